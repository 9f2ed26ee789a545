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

/* A query in seven bits, because the exact-everywhere dot product wants its second operand in 0..127. */
struct quantized_query {
    const uint8_t *values; /* round(query / scale) + 64 */
    float scale;
    float error;           /* length of query - scale * (values - 64) */
};

HOT float dot_f32(const float *a, const float *b, uint32_t n);
HOT int32_t dot_i8(const int8_t *row, const uint8_t *query, uint32_t n);
double sum_of_squares_f32(const float *a, uint32_t n);

void normalize_f32(float *vector, uint32_t n);
float quantize_f32(const float *vector, uint32_t n, int8_t *quantized, int32_t *sum, float *error);
struct quantized_query quantize_query_f32(const float *query, uint32_t n, uint8_t *values);
