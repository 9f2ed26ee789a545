/*
 * What can be done to one vector. Two files keep this promise with the same bytes: vector_simd.c and vector_scalar.c.
 *
 * Every sum has a fixed shape: sixteen running sums (lane l takes elements l, l + 16, ...) folded in halves, so that
 * a machine with vectors and one without add the same numbers in the same order. n is a multiple of 16 everywhere.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define LANES 16

extern uint8_t unread[16];

/*
 * How to keep sums in registers. The host's deadline costs every loop a check, the check may call out, and a call
 * keeps no vector register: Cranelift spills the sums of a tight loop in every turn. A hot loop is therefore a
 * function of its own (HOT) that turns once for several steps (UNROLLED), on pointers advanced by hand (ADVANCED
 * hides the sum from the optimiser, which would otherwise compute every address afresh). Within a turn Cranelift
 * takes all loads first and spills them too, unless something asks for the sums after each step: DEMAND, a store
 * that nobody reads.
 */
#define HOT __attribute__((noinline))
#define UNROLLED _Pragma("clang loop unroll(full)")
#define ADVANCED(pointer) __asm__("" : "+r"(pointer))
#define DEMAND(vector) (*(volatile v128_t *)unread = (vector))

/*
 * Ask for cache lines. The processor looks some 500 instructions ahead: four rows of arithmetic, but a hundred of these
 * loads. So scattered rows are asked for together before the first of them is used; 16 rows wait as long as one.
 */
static inline void fetch(const void *start, uint32_t bytes) {
    for (const volatile uint8_t *line = start, *end = line + bytes; line < end; line += 64) (void)*line;
}

/*
 * A query in two digits of seven bits, because the dot product that is exact on every machine wants its second operand
 * in 0..127: query = scale * (128 * (high - 63) + low - 64), within `error` in length. Digits lie 16 by 16 in turn.
 */
#define MIDDLE (63 * 128 + 64)
struct quantized_query {
    const uint8_t *digits; /* (n / 16, 2, 16) high, low */
    float scale, error;
};

HOT float dot_f32(const float *a, const float *b, uint32_t n);

/* The dot product of a row with a query in units of both scales; row_sum is the sum of the row. */
HOT float dot_i8(const int8_t *row, int32_t row_sum, const uint8_t *digits, uint32_t n);
double sum_of_squares_f32(const float *a, uint32_t n);

void normalize_f32(float *vector, uint32_t n);
float quantize_f32(const float *vector, uint32_t n, int8_t *quantized, int32_t *sum, float *error);
struct quantized_query quantize_query_f32(const float *query, uint32_t n, uint8_t *digits);
