/* Operations on vectors that are not resident. n is the padded dimension, a multiple of 16. */
#include "layout.h"
#include "vector.h"

void EXPORT(normalize)(float *vectors, uint32_t count, uint32_t n) {
    for (uint32_t i = 0; i < count; i++) normalize_f32(vectors + (size_t)i * n, n);
}

/* Normalises both sides in place; out (count,). */
void EXPORT(cosine)(float *query, float *vectors, uint32_t count, uint32_t n, float *out) {
    normalize_f32(query, n);
    for (uint32_t i = 0; i < count; i++) {
        normalize_f32(vectors + (size_t)i * n, n);
        out[i] = dot_f32(query, vectors + (size_t)i * n, n);
    }
}

/* quantized (count, n), scales, sums and errors (count,): vector = quantized * scale, within error in length. */
void EXPORT(quantize)(const float *vectors, uint32_t count, uint32_t n, int8_t *quantized, float *scales, int32_t *sums,
                      float *errors) {
    for (uint32_t i = 0; i < count; i++)
        scales[i] = quantize_f32(vectors + (size_t)i * n, n, quantized + (size_t)i * n, &sums[i], &errors[i]);
}

/* 2^x for x <= 0 by Taylor's series around a half: no library's exp gives the same bytes everywhere. */
static double power_of_two(double x) {
    if (x < -1000) return 0;
    double whole = __builtin_floor(x), r = (x - whole - 0.5) * 0.693147180559945309;
    double term = 1, sum = 1;
    for (int32_t i = 1; i <= 14; i++) {
        term = term * r / i;
        sum += term;
    }
    union { uint64_t bits; double value; } scale = {.bits = (uint64_t)(1023 + (int64_t)whole) << 52};
    return sum * 1.41421356237309505 * scale.value;
}

/*
 * out (n,) = sum w x / sum |w| with w = weights * 2^(-ages / half_life); zeros where every weight is zero.
 * sums: n doubles of workspace.
 */
void EXPORT(weighted_mean)(const float *vectors, uint32_t count, uint32_t n, const float *weights, const double *ages,
                           double half_life, double *sums, float *out) {
    double total = 0;
    for (uint32_t j = 0; j < n; j++) sums[j] = 0;
    for (uint32_t i = 0; i < count; i++) {
        double weight = weights[i] * power_of_two(-ages[i] / half_life);
        total += __builtin_fabs(weight);
        for (uint32_t j = 0; j < n; j++) sums[j] += weight * (double)vectors[(size_t)i * n + j];
    }
    for (uint32_t j = 0; j < n; j++) out[j] = total > 0 ? (float)(sums[j] / total) : 0;
}
