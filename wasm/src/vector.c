/* Normalize and quantize, element by element: the compiler may vectorize these loops without changing a byte. */
#include "vector.h"

static const float ROUND_UP = 1.000001f; /* rounding to float32 must not make an error bound smaller */

static float largest_f32(const float *a, uint32_t n) {
    float largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        float size = __builtin_fabsf(a[i]);
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* Sums in float64, where the square of the largest float32 is finite and that of the smallest is not 0. */
void normalize_f32(float *vector, uint32_t n) {
    double squares = sum_of_squares_f32(vector, n);
    if (squares == 0) return;
    double scale = 1.0 / __builtin_sqrt(squares);
    for (uint32_t i = 0; i < n; i++) vector[i] = (float)((double)vector[i] * scale);
}

float quantize_f32(const float *vector, uint32_t n, int8_t *quantized, int32_t *sum, float *error) {
    float largest = largest_f32(vector, n);
    float scale = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0;
    /* The reciprocal of a subnormal is infinite. Such a row is stored as zeros, and `error` covers the difference. */
    if (inverse > 3.0e38f) scale = inverse = 0;
    double squares = 0;
    *sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t level = (int32_t)__builtin_rintf(vector[i] * inverse);
        level = level > 127 ? 127 : level < -127 ? -127 : level;
        double residual = (double)vector[i] - (double)scale * level;
        squares += residual * residual;
        quantized[i] = (int8_t)level;
        *sum += level;
    }
    *error = (float)__builtin_sqrt(squares) * ROUND_UP;
    return scale;
}

struct quantized_query quantize_query_f32(const float *query, uint32_t n, uint8_t *digits) {
    float largest = largest_f32(query, n);
    float scale = largest / MIDDLE, inverse = largest > 0 ? MIDDLE / largest : 0;
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t level = (int32_t)__builtin_rintf(query[i] * inverse);
        level = level > MIDDLE ? MIDDLE : level < -MIDDLE ? -MIDDLE : level;
        double residual = (double)query[i] - (double)scale * level;
        squares += residual * residual;
        uint8_t *pair = digits + i / 16 * 32 + i % 16;
        pair[0] = (uint8_t)((level + MIDDLE) / 128);
        pair[16] = (uint8_t)((level + MIDDLE) % 128);
    }
    return (struct quantized_query){digits, scale, (float)__builtin_sqrt(squares) * ROUND_UP};
}
