/*
 * The operations that the host calls, with their arguments. The host writes the arguments, four bytes each, to the
 * block at `argument_block()` and passes the block's address: passing them one by one costs a Python host about
 * 8 microseconds each.
 *
 * n, d, k ... are counts; every row of floats has d values, and d is a multiple of 16 (padded with zeros). Arrays are
 * packed and aligned to 64 bytes. The host validates every argument; the kernel does not check them again.
 */
#pragma once
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name))) name

struct put_rows {
    const int32_t *rows;  /* (n,) */
    const int64_t *ids;   /* (n,) */
    const float *vectors; /* (n, d) of any length; the kernel normalizes them */
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
    float *queries; /* (q, d) normalized in place */
    uint32_t count, k;
    const uint32_t *eligible; /* (words,) one bit a row; null: all rows */
    uint32_t eligible_words, with_sieve;
    int32_t *rows;      /* (q, k) out, -1 where fewer were found */
    int64_t *ids;       /* (q, k) out, -1 */
    float *scores;      /* (q, k) out, minus infinity */
    uint8_t *workspace; /* scan_workspace(q, k, with_sieve) bytes */
};

struct rescore {
    const int32_t *rows; /* (n,) */
    uint32_t count;
    float *queries; /* (q, d) normalized in place */
    uint32_t query_count;
    float *out; /* (n, q) the cosine; 0 for a row that is not live */
};

struct score_candidates {
    const int32_t *rows; /* (n,) */
    uint32_t count;
    float *interests;              /* (i + r, d) normalized in place; the last r are rejected */
    const float *interest_weights; /* (i + r,) */
    uint32_t interest_count;       /* i */
    uint32_t rejected_count;       /* r */
    const float *columns;          /* (n, c) */
    uint32_t column_count;
    const float *weights; /* (p,) for p = 1 + c parts, or 2 + c if r is not 0 */
    float *parts;         /* (n, p) out: weight * value */
    float *totals;        /* (n,) out: the parts, added from left to right */
};

struct diversify {
    const int32_t *rows;   /* (n,) */
    const float *vectors;  /* (n, d) used instead of the resident rows; null: use the resident rows */
    const float *scores;   /* (n,) */
    const int64_t *groups; /* (n,) negative: unknown, not capped */
    const int64_t *ids;    /* (n,) */
    uint32_t count, k;
    float trade_off;
    uint32_t cap;
    int32_t *positions; /* (k,) out */
    uint8_t *workspace; /* diversify_workspace(n, k) bytes */
};
