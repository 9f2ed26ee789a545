/* The 128-bit twin of vector_scalar.c. `make kernel` builds it twice: with and without relaxed SIMD. */
#include "vector.h"

#include <wasm_simd128.h>

static inline float fold_f32(v128_t a, v128_t b, v128_t c, v128_t d) {
    v128_t four = wasm_f32x4_add(wasm_f32x4_add(a, c), wasm_f32x4_add(b, d));
    v128_t two = wasm_f32x4_add(four, wasm_i32x4_shuffle(four, four, 2, 3, 0, 1));
    return wasm_f32x4_extract_lane(two, 0) + wasm_f32x4_extract_lane(two, 1);
}

float dot_f32(const float *a, const float *b, uint32_t n) {
    v128_t s0 = wasm_f32x4_splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (uint32_t i = 0; i < n; i += LANES) {
        s0 = wasm_f32x4_add(s0, wasm_f32x4_mul(wasm_v128_load(a + i), wasm_v128_load(b + i)));
        s1 = wasm_f32x4_add(s1, wasm_f32x4_mul(wasm_v128_load(a + i + 4), wasm_v128_load(b + i + 4)));
        s2 = wasm_f32x4_add(s2, wasm_f32x4_mul(wasm_v128_load(a + i + 8), wasm_v128_load(b + i + 8)));
        s3 = wasm_f32x4_add(s3, wasm_f32x4_mul(wasm_v128_load(a + i + 12), wasm_v128_load(b + i + 12)));
    }
    return fold_f32(s0, s1, s2, s3);
}

double sum_of_squares_f32(const float *a, uint32_t n) {
    v128_t s[LANES / 2];
    for (uint32_t l = 0; l < LANES / 2; l++) s[l] = wasm_f64x2_splat(0);
    for (uint32_t i = 0; i < n; i += LANES)
        for (uint32_t l = 0; l < LANES / 2; l++) {
            v128_t two = wasm_f64x2_promote_low_f32x4(wasm_v128_load64_zero(a + i + 2 * l));
            s[l] = wasm_f64x2_add(s[l], wasm_f64x2_mul(two, two));
        }
    for (uint32_t half = LANES / 4; half > 0; half /= 2)
        for (uint32_t l = 0; l < half; l++) s[l] = wasm_f64x2_add(s[l], s[l + half]);
    return wasm_f64x2_extract_lane(s[0], 0) + wasm_f64x2_extract_lane(s[0], 1);
}

static inline v128_t add_dot_i8(v128_t sum, v128_t row, v128_t query) {
#ifdef __wasm_relaxed_simd__
    return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(row, query, sum);
#else
    v128_t low = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(row), wasm_i16x8_extend_low_i8x16(query));
    v128_t high = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(row), wasm_i16x8_extend_high_i8x16(query));
    return wasm_i32x4_add(sum, wasm_i32x4_add(low, high));
#endif
}

int32_t dot_i8(const int8_t *row, const uint8_t *query, uint32_t n) {
    v128_t even = wasm_i32x4_splat(0), odd = even;
    uint32_t i = 0;
    for (; i + 32 <= n; i += 32) {
        even = add_dot_i8(even, wasm_v128_load(row + i), wasm_v128_load(query + i));
        odd = add_dot_i8(odd, wasm_v128_load(row + i + 16), wasm_v128_load(query + i + 16));
    }
    if (i < n) even = add_dot_i8(even, wasm_v128_load(row + i), wasm_v128_load(query + i));
    v128_t four = wasm_i32x4_add(even, odd);
    return wasm_i32x4_extract_lane(four, 0) + wasm_i32x4_extract_lane(four, 1) + wasm_i32x4_extract_lane(four, 2) +
           wasm_i32x4_extract_lane(four, 3);
}
