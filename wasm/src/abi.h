/*
 * What the host calls, and with what. An operation takes the address of its arguments, four bytes each: handing them
 * over one by one costs a Python host some 8 microseconds apiece. The host writes them to `arguments`.
 *
 * n, d, k ... are counts; every row of floats is d long, and d is a multiple of 16 (padded with zeros). Arrays are
 * packed and aligned to 64 bytes. The checks are the host's: the kernel trusts what it is given.
 */
#pragma once
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name))) name

struct put_rows {
    const int32_t *rows;  /* (n,) */
    const int64_t *ids;   /* (n,) */
    const float *vectors; /* (n, d) any length: they are normalised */
    uint32_t count;
};

struct drop_rows {
    const int32_t *rows; /* (n,) */
    uint32_t count;
};

struct read_rows {
    const int32_t *rows; /* (n,) */
    uint32_t count;
    float *out; /* (n, d) zeros where a row is not live */
};

struct scan_topk {
    float *queries; /* (q, d) normalised in place */
    uint32_t count, k;
    const uint32_t *eligible; /* (words,) a bit a row; null: all */
    uint32_t eligible_words, with_sieve;
    int32_t *rows;      /* (q, k) out, -1 where fewer were found */
    int64_t *ids;       /* (q, k) out, -1 */
    float *scores;      /* (q, k) out, minus infinity */
    uint8_t *workspace; /* scan_workspace(q, k, with_sieve) bytes */
};

struct rescore {
    const int32_t *rows; /* (n,) */
    uint32_t count;
    float *queries; /* (q, d) normalised in place */
    uint32_t query_count;
    float *out; /* (n, q) the cosine; 0 for a row that is not live */
};

struct score_candidates {
    const int32_t *rows; /* (n,) */
    uint32_t count;
    float *interests;              /* (i, d) normalised in place */
    const float *interest_weights; /* (i,) */
    uint32_t interest_count;
    const float *columns; /* (n, c) */
    uint32_t column_count;
    const float *weights; /* (1 + c,) */
    float *parts;         /* (n, 1 + c) out: weight * value */
    float *totals;        /* (n,) out: the parts, added from left to right */
};

struct diversify {
    const int32_t *rows;   /* (n,) */
    const float *vectors;  /* (n, d) in place of the rows; null: resident */
    const float *scores;   /* (n,) */
    const int64_t *groups; /* (n,) negative: unknown, not capped */
    const int64_t *ids;    /* (n,) */
    uint32_t count, k;
    float trade_off;
    uint32_t cap;
    int32_t *positions; /* (k,) out */
    uint8_t *workspace; /* diversify_workspace(n, k) bytes */
};
