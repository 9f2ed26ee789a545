/*
 * Operations on one vector, implemented twice with the same resulting bytes: vector_simd.c and vector_scalar.c.
 *
 * Every sum has a fixed order: sixteen running sums (lane l takes elements l, l + 16, ...) that are folded in halves.
 * So SIMD code and scalar code add the same numbers in the same order. n is always a multiple of 16.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define LANES 16

extern uint8_t unread[16];

/*
 * How to keep sums in registers. The host's deadline adds a check to every iteration of a loop, the check may make a
 * call, and a call preserves no vector register: so Cranelift spills the sums of a tight loop in every iteration.
 * A hot loop is a separate function (HOT) with several steps per iteration (UNROLLED), on pointers that are advanced by
 * hand (ADVANCED hides the addition from the optimizer, which would otherwise recompute every address). Within an
 * iteration Cranelift moves all loads to the front and spills them too, unless the sums are used after each step:
 * DEMAND stores them to a place that is never read.
 */
#define HOT __attribute__((noinline))
#define UNROLLED _Pragma("clang loop unroll(full)")
#define ADVANCED(pointer) __asm__("" : "+r"(pointer))
#define DEMAND(vector) (*(volatile v128_t *)unread = (vector))

/*
 * Load cache lines ahead of their use. The processor executes about 500 instructions ahead: that is four rows of
 * arithmetic, but a hundred of these loads. So scattered rows are fetched together before the first of them is used;
 * 16 rows then take as long as one.
 */
static inline void fetch(const void *start, uint32_t bytes) {
    for (const volatile uint8_t *line = start, *end = line + bytes; line < end; line += 64) (void)*line;
}

/*
 * A query in two digits of seven bits, because the dot product that is exact on every machine needs its second operand
 * in 0..127: query = scale * (128 * (high - 63) + low - 64), and the difference has at most the length `error`. Sixteen
 * high digits and sixteen low digits alternate.
 */
#define MIDDLE (63 * 128 + 64)
struct quantized_query {
    const uint8_t *digits; /* (n / 16, 2, 16) high, low */
    float scale, error;
};

HOT float dot_f32(const float *a, const float *b, uint32_t n);

/* Returns the dot product of a row and a query in units of both scales; row_sum is the sum of the row. */
HOT float dot_i8(const int8_t *row, int32_t row_sum, const uint8_t *digits, uint32_t n);
double sum_of_squares_f32(const float *a, uint32_t n);

void normalize_f32(float *vector, uint32_t n);
float quantize_f32(const float *vector, uint32_t n, int8_t *quantized, int32_t *sum, float *error);
struct quantized_query quantize_query_f32(const float *query, uint32_t n, uint8_t *digits);
