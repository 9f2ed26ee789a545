/* The scalar reference that defines the correct result of vector_simd.c. Built without vectorization. */
#include "vector.h"

float dot_f32(const float *a, const float *b, uint32_t n) {
    float lanes[LANES] = {0};
    for (uint32_t i = 0; i < n; i++) lanes[i % LANES] += a[i] * b[i];
    for (uint32_t half = LANES / 2; half > 0; half /= 2)
        for (uint32_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

double sum_of_squares_f32(const float *a, uint32_t n) {
    double lanes[LANES] = {0};
    for (uint32_t i = 0; i < n; i++) lanes[i % LANES] += (double)a[i] * (double)a[i];
    for (uint32_t half = LANES / 2; half > 0; half /= 2)
        for (uint32_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

float dot_i8(const int8_t *row, int32_t row_sum, const uint8_t *digits, uint32_t n) {
    int32_t high = 0, low = 0;
    for (uint32_t i = 0; i < n; i++) {
        high += (int32_t)row[i] * (int32_t)digits[i / 16 * 32 + i % 16];
        low += (int32_t)row[i] * (int32_t)digits[i / 16 * 32 + i % 16 + 16];
    }
    return 128.0f * (float)(high - 63 * row_sum) + (float)(low - 64 * row_sum);
}
