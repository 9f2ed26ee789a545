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

/* A query in seven bits, because the exact-everywhere dot product wants its second operand in 0..127. */
struct quantized_query {
    const uint8_t *values; /* round(query / scale) + 64 */
    float scale;
    float error;           /* length of query - scale * (values - 64) */
};

float dot_f32(const float *a, const float *b, uint32_t n);
int32_t dot_i8(const int8_t *row, const uint8_t *query, uint32_t n);
double sum_of_squares_f32(const float *a, uint32_t n);

void normalize_f32(float *vector, uint32_t n);
float quantize_f32(const float *vector, uint32_t n, int8_t *quantized, int32_t *sum, float *error);
struct quantized_query quantize_query_f32(const float *query, uint32_t n, uint8_t *values);
