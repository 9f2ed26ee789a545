/* Operations on vectors that are not resident. */
#include <stddef.h>

#include "abi.h"
#include "vector.h"

void EXPORT(normalize)(const struct normalize *a) {
    for (uint32_t i = 0; i < a->count; i++) normalize_f32(a->vectors + (size_t)i * a->dimension, a->dimension);
}

void EXPORT(cosine)(const struct cosine *a) {
    normalize_f32(a->query, a->dimension);
    for (uint32_t i = 0; i < a->count; i++) {
        float *vector = a->vectors + (size_t)i * a->dimension;
        normalize_f32(vector, a->dimension);
        a->out[i] = dot_f32(a->query, vector, a->dimension);
    }
}

void EXPORT(quantize)(const struct quantize *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        size_t at = (size_t)i * a->dimension;
        a->scales[i] = quantize_f32(a->vectors + at, a->dimension, a->quantized + at, &a->sums[i], &a->errors[i]);
    }
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

void EXPORT(weighted_mean)(const struct weighted_mean *a) {
    double *sums = a->workspace, total = 0;
    for (uint32_t j = 0; j < a->dimension; j++) sums[j] = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        double weight = a->weights[i] * power_of_two(-a->ages[i] / a->half_life);
        total += __builtin_fabs(weight);
        const float *vector = a->vectors + (size_t)i * a->dimension;
        for (uint32_t j = 0; j < a->dimension; j++) sums[j] += weight * (double)vector[j];
    }
    for (uint32_t j = 0; j < a->dimension; j++) a->out[j] = total > 0 ? (float)(sums[j] / total) : 0;
}
