/*
 * The sieve: reject most rows of a scan from one bit per dimension, before their other bytes are read
 * (RaBitQ: Gao & Long, SIGMOD 2024).
 *
 * A row o is rotated by a random rotation R, and only the signs b of R o are stored. For a query q the estimate
 *     <q, o>  ~  sum_i (R q)_i b_i / sum_i |(R o)_i|
 * has no bias, and its error is close to normal with the standard deviation
 *     sqrt(1 - <q, o>^2) * sqrt(1 - f^2) / f / sqrt(bits - 1),   f = sum_i |(R o)_i| / sqrt(bits).
 *
 * Why the bound is safe. A row is rejected only if its estimate plus SIEVE_DEVIATIONS standard deviations is below the
 * score that the row must reach to enter the answer. The deviation holds for any data, because the randomness is in the
 * rotation and not in the rows. Vectors without structure therefore do not make the sieve lose more rows; they only
 * make it reject fewer rows, which costs time. A row whose true score is exactly the required score is lost with the
 * odds of a normal variable below -3.5 deviations (1 in 4,300); a row with a higher score is further from the bound and
 * is lost less often. Three details keep the bound valid:
 *   - the required score is a lower bound of the final k-th score (scan.c), so it is never too high;
 *   - `deviations_at` takes sqrt(1 - score^2) at the required score. If that score is positive, rows above it have a
 *     smaller error; if it is 0 or less, the factor is 1, its maximum;
 *   - the query is rounded to 4-bit table entries, and `widening` enlarges the deviation by that rounding error.
 * If any of the three changes, tests/kernel/test_properties.py (recall over 12,800 results) must still pass.
 */
#pragma once
#include "layout.h"

#define SIEVE_DEVIATIONS 3.5f /* a row exactly at the required score is lost once in 4,300 */

struct sieve {
    const uint8_t *tables; /* (code_bits / 8, 2, 16): the addend of each half of a code byte */
    float scale, offset;   /* sum_i (R q)_i b_i = sum of table entries * scale - offset */
    float widening;        /* SIEVE_DEVIATIONS, enlarged by the rounding error of the tables */
};

/* Draws the rotation. Call it once, after the dimension is set. */
void init_sieve(void);

/* Stores the signs of a normalized row. */
void encode_signs(struct segment segment, uint32_t at, const float *vector);

uint32_t table_bytes(void);
struct sieve prepare_sieve(const float *query, uint8_t *tables);

/* Adds up the table entries of the 32 rows of a block. */
void sum_signs(const struct sieve *sieve, const struct segment *segment, uint32_t block,
               uint16_t sums[CODE_BLOCK_ROWS]);

/* Returns the estimated cosine of one row from its sum. */
static inline float estimate(const struct sieve *sieve, const struct segment *segment, uint32_t at, uint16_t sum) {
    return ((float)sum * sieve->scale - sieve->offset) * segment->code_scales[at];
}

/* Returns a bit for each of 32 rows: set if estimate + deviations * standard error reaches `min_score`. */
uint32_t rows_within_reach(const struct sieve *sieve, const struct segment *segment, uint32_t block,
               const uint16_t sums[CODE_BLOCK_ROWS], float deviations, float min_score);

/* Returns how many standard errors below `min_score` an estimate may be. The error shrinks as the cosine nears 1. */
static inline float deviations_at(const struct sieve *sieve, float min_score) {
    return sieve->widening * (min_score > 0 && min_score < 1 ? __builtin_sqrtf(1 - min_score * min_score) : 1);
}
