/*
 * One bit a dimension turns most rows away before their bytes are read (RaBitQ: Gao & Long, SIGMOD 2024).
 *
 * A row o is rotated at random and only the signs b of R o are kept. For a query q the estimate
 *     <q, o>  ~  sum_i (R q)_i b_i / sum_i |(R o)_i|
 * has no bias, and an error near normal with deviation
 *     sqrt(1 - <q, o>^2) * sqrt(1 - f^2) / f / sqrt(bits - 1),   f = sum_i |(R o)_i| / sqrt(bits),
 * whatever the data, because the rotation is random. A row is turned away only when its estimate lies
 * SIEVE_DEVIATIONS below the score that it would have to reach.
 */
#pragma once
#include "layout.h"

#define SIEVE_DEVIATIONS 3.5f /* a row exactly at the threshold is lost once in 4,300 */

struct sieve {
    const uint8_t *tables; /* (code_bits / 8, 2, 16): what each half of a code byte adds to the sum */
    float scale, offset;   /* sum_i (R q)_i b_i = sum of table entries * scale - offset */
    float widening;        /* deviations, widened by the rounding of the tables */
};

/* Draws the rotation, once the dimension is set. */
void open_sieve(void);

/* Keeps the signs of a row that is normalised already. */
void encode_signs(struct segment segment, uint32_t at, const float *vector);

uint32_t table_bytes(void);
struct sieve prepare_sieve(const float *query, uint8_t *tables);

/* Adds the tables up for the 32 rows of a block. */
void sum_signs(const struct sieve *sieve, const struct segment *segment, uint32_t block,
               uint16_t sums[CODE_BLOCK_ROWS]);

/* The estimated cosine of one row, from its sum. */
static inline float estimate(const struct sieve *sieve, const struct segment *segment, uint32_t at, uint16_t sum) {
    return ((float)sum * sieve->scale - sieve->offset) * segment->code_scales[at];
}

/* Of 32 rows, the bit set of those whose estimate lies at most `deviations` of its own error below `least`. */
uint32_t reach(const struct sieve *sieve, const struct segment *segment, uint32_t block,
               const uint16_t sums[CODE_BLOCK_ROWS], float deviations, float least);

/* How far below `least` an estimate may lie: the error shrinks as the true cosine nears 1. */
static inline float deviations_at(const struct sieve *sieve, float least) {
    return sieve->widening * (least > 0 && least < 1 ? __builtin_sqrtf(1 - least * least) : 1);
}
