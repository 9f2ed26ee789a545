/* The 128-bit SIMD version of vector_scalar.c. `make kernel` builds it twice: with and without relaxed SIMD. */
#include <wasm_simd128.h>

#include "vector.h"

uint8_t unread[16] __attribute__((aligned(16)));

static inline float fold_f32(v128_t a, v128_t b, v128_t c, v128_t d) {
    v128_t four = wasm_f32x4_add(wasm_f32x4_add(a, c), wasm_f32x4_add(b, d));
    v128_t two = wasm_f32x4_add(four, wasm_i32x4_shuffle(four, four, 2, 3, 0, 1));
    return wasm_f32x4_extract_lane(two, 0) + wasm_f32x4_extract_lane(two, 1);
}

struct sums_f32 {
    v128_t lanes[4];
};

static inline void add_dot_f32(struct sums_f32 *sums, const float *a, const float *b) {
    UNROLLED for (uint32_t l = 0; l < 4; l++) {
        v128_t product = wasm_f32x4_mul(wasm_v128_load(a + 4 * l), wasm_v128_load(b + 4 * l));
        sums->lanes[l] = wasm_f32x4_add(sums->lanes[l], product);
    }
}

float dot_f32(const float *a, const float *b, uint32_t n) {
    struct sums_f32 s = {{wasm_f32x4_splat(0), wasm_f32x4_splat(0), wasm_f32x4_splat(0), wasm_f32x4_splat(0)}};
    for (; n >= 4 * LANES; n -= 4 * LANES) {
        UNROLLED for (uint32_t step = 0; step < 4; step++) {
            add_dot_f32(&s, a + step * LANES, b + step * LANES);
            DEMAND(s.lanes[0]);
            DEMAND(s.lanes[1]);
            DEMAND(s.lanes[2]);
            DEMAND(s.lanes[3]);
        }
        a += 4 * LANES, b += 4 * LANES;
        ADVANCED(a);
        ADVANCED(b);
    }
    for (; n > 0; n -= LANES, a += LANES, b += LANES) add_dot_f32(&s, a, b);
    return fold_f32(s.lanes[0], s.lanes[1], s.lanes[2], s.lanes[3]);
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

struct sums_i8 {
    v128_t high, low;
};

static inline struct sums_i8 add_digits(struct sums_i8 sums, const int8_t *row, const uint8_t *digits) {
    v128_t values = wasm_v128_load(row);
    return (struct sums_i8){add_dot_i8(sums.high, values, wasm_v128_load(digits)),
                            add_dot_i8(sums.low, values, wasm_v128_load(digits + 16))};
}

static inline int32_t total_i32(v128_t sum) {
    v128_t two = wasm_i32x4_add(sum, wasm_i32x4_shuffle(sum, sum, 2, 3, 0, 1));
    return wasm_i32x4_extract_lane(two, 0) + wasm_i32x4_extract_lane(two, 1);
}

float dot_i8(const int8_t *row, int32_t row_sum, const uint8_t *digits, uint32_t n) {
    struct sums_i8 sums = {wasm_i32x4_splat(0), wasm_i32x4_splat(0)};
    for (; n >= 128; n -= 128) {
        UNROLLED for (uint32_t i = 0; i < 128; i += 32) {
            sums = add_digits(sums, row + i, digits + 2 * i);
            sums = add_digits(sums, row + i + 16, digits + 2 * i + 32);
            DEMAND(sums.high);
            DEMAND(sums.low);
        }
        row += 128, digits += 256;
        ADVANCED(row);
        ADVANCED(digits);
    }
    for (; n > 0; n -= 16, row += 16, digits += 32) sums = add_digits(sums, row, digits);
    int32_t high = total_i32(sums.high) - 63 * row_sum, low = total_i32(sums.low) - 64 * row_sum;
    return 128.0f * (float)high + (float)low;
}
