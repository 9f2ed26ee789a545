/* The sign codes of rows, the lookup tables of queries, and the bound of sieve.h. */
#include <wasm_simd128.h>

#include "sieve.h"
#include "vector.h"

#define TABLE_LIMIT 15 /* sixteen entries of 0..15 have a sum that fits into a byte */

#define LARGEST_DIMENSION 4096
#define ROUNDS 3

static float rotated[LARGEST_DIMENSION];
static float factors[ROUNDS][LARGEST_DIMENSION]; /* random sign / sqrt(bits) */

/* Deterministic random signs: one bit of a mixed counter (the finalizer of MurmurHash3). */
static inline bool flips(uint32_t round, uint32_t i) {
    uint32_t h = i * 4 + round + 1;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return (h ^ h >> 16) & 1;
}

/* The first two steps of the transform, within four neighboring values. */
static inline v128_t transform_4(v128_t x) {
    const v128_t second = wasm_f32x4_const(1, -1, 1, -1), fourth = wasm_f32x4_const(1, 1, -1, -1);
    x = wasm_f32x4_add(wasm_f32x4_mul(x, second), wasm_i32x4_shuffle(x, x, 1, 0, 3, 2));
    return wasm_f32x4_add(wasm_f32x4_mul(x, fourth), wasm_i32x4_shuffle(x, x, 2, 3, 0, 1));
}

/* Walsh-Hadamard transform in place, without its factor 1 / sqrt(n). */
static HOT void transform(float *a, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 4) wasm_v128_store(a + i, transform_4(wasm_v128_load(a + i)));
    for (uint32_t half = 4; half < n; half *= 2)
        for (uint32_t start = 0; start < n; start += 2 * half)
            for (uint32_t i = start; i < start + half; i += 4) {
                v128_t x = wasm_v128_load(a + i), y = wasm_v128_load(a + i + half);
                wasm_v128_store(a + i, wasm_f32x4_add(x, y));
                wasm_v128_store(a + i + half, wasm_f32x4_sub(x, y));
            }
}

void init_sieve(void) {
    float factor = 1.0f / __builtin_sqrtf((float)space.code_bits);
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t i = 0; i < space.code_bits; i++) factors[round][i] = flips(round, i) ? -factor : factor;
}

/* Rotates in n log n steps: three rounds of random signs and a transform act like a random rotation. */
static void rotate(const float *vector, float *out) {
    uint32_t bits = space.code_bits;
    for (uint32_t i = 0; i < bits; i++) out[i] = i < space.dimension ? vector[i] : 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < bits; i++) out[i] *= factors[round][i];
        transform(out, bits);
    }
}

static inline uint32_t positive_4(const float *a) {
    return (uint32_t)wasm_i32x4_bitmask(wasm_f32x4_ge(wasm_v128_load(a), wasm_f32x4_splat(0)));
}

static float sum_of_sizes(const float *a, uint32_t n) {
    v128_t sums = wasm_f32x4_splat(0);
    for (uint32_t i = 0; i < n; i += 4) sums = wasm_f32x4_add(sums, wasm_f32x4_abs(wasm_v128_load(a + i)));
    return wasm_f32x4_extract_lane(sums, 0) + wasm_f32x4_extract_lane(sums, 1) + wasm_f32x4_extract_lane(sums, 2) +
           wasm_f32x4_extract_lane(sums, 3);
}

void encode_signs(struct segment segment, uint32_t at, const float *vector) {
    rotate(vector, rotated);
    uint32_t bytes = space.code_bits / 8;
    uint8_t *code = segment.codes + at / CODE_BLOCK_ROWS * CODE_BLOCK_ROWS * bytes + at % CODE_BLOCK_ROWS;
    for (uint32_t j = 0; j < bytes; j++)
        code[j * CODE_BLOCK_ROWS] = (uint8_t)(positive_4(rotated + 8 * j) | positive_4(rotated + 8 * j + 4) << 4);
    float sum = sum_of_sizes(rotated, space.code_bits);
    float fit = sum / __builtin_sqrtf((float)space.code_bits);
    float rest = 1 - fit * fit;
    segment.code_scales[at] = sum > 0 ? 1 / sum : 0;
    segment.code_errors[at] =
        sum > 0 ? __builtin_sqrtf(rest > 0 ? rest : 0) / fit / __builtin_sqrtf((float)(space.code_bits - 1)) : 0;
}

uint32_t table_bytes(void) { return space.code_bits * 4; }

static float largest_table_sum(const float *query) {
    float largest = 0;
    for (uint32_t i = 0; i < space.code_bits; i += 4) {
        float sum = 0;
        for (uint32_t t = 0; t < 4; t++) sum += __builtin_fabsf(query[i + t]);
        largest = sum > largest ? sum : largest;
    }
    return largest;
}

struct sieve prepare_sieve(const float *query, uint8_t *tables) {
    rotate(query, rotated);
    uint32_t count = space.code_bits / 4;
    float largest = largest_table_sum(rotated), offset = 0;
    float levels = largest > 0 ? TABLE_LIMIT / (2 * largest) : 0;
    for (uint32_t j = 0; j < count; j++) {
        const float *q = rotated + 4 * j;
        float middle = __builtin_fabsf(q[0]) + __builtin_fabsf(q[1]) + __builtin_fabsf(q[2]) + __builtin_fabsf(q[3]);
        offset += middle;
        for (uint32_t code = 0; code < 16; code++) {
            float sum = middle;
            for (uint32_t t = 0; t < 4; t++) sum += code >> t & 1 ? q[t] : -q[t];
            tables[16 * j + code] = (uint8_t)(sum * levels + 0.5f);
        }
    }
    float scale = levels > 0 ? 1 / levels : 0;
    /* Rounding an entry has a standard error of scale / sqrt(12). 2.8 is (1 / fit)^2 / (1 / fit^2 - 1) for normal
     * coordinates: it converts the rounding error of the sum into the units of the row's own error. */
    float rounding = scale * scale / 12 * (float)count;
    return (struct sieve){tables, scale, offset, SIEVE_DEVIATIONS * __builtin_sqrtf(1 + 2.8f * rounding)};
}

#ifdef __wasm_relaxed_simd__
#define LOOK_UP wasm_i8x16_relaxed_swizzle /* every index is below 16, where both instructions give the same result */
#else
#define LOOK_UP wasm_i8x16_swizzle
#endif

static inline v128_t look_up(const uint8_t *tables, v128_t codes) {
    v128_t low = LOOK_UP(wasm_v128_load(tables), wasm_v128_and(codes, wasm_i8x16_splat(15)));
    return wasm_i8x16_add(low, LOOK_UP(wasm_v128_load(tables + 16), wasm_u8x16_shr(codes, 4)));
}

/* The sums of 16 rows: `all` is even rows + 256 * odd rows, modulo 2^16; `odd` is the odd rows. */
struct sums {
    v128_t all, odd;
};

static inline struct sums add(struct sums sums, v128_t bytes) {
    return (struct sums){wasm_i16x8_add(sums.all, bytes), wasm_i16x8_add(sums.odd, wasm_u16x8_shr(bytes, 8))};
}

static inline void store_in_order(struct sums sums, uint16_t out[16]) {
    v128_t even = wasm_i16x8_sub(sums.all, wasm_i16x8_shl(sums.odd, 8));
    wasm_v128_store(out, wasm_i16x8_shuffle(even, sums.odd, 0, 8, 1, 9, 2, 10, 3, 11));
    wasm_v128_store(out + 8, wasm_i16x8_shuffle(even, sums.odd, 4, 12, 5, 13, 6, 14, 7, 15));
}

static HOT void sum_tables(const uint8_t *codes, const uint8_t *tables, uint32_t bytes, uint16_t out[CODE_BLOCK_ROWS]) {
    struct sums a = {wasm_i16x8_splat(0), wasm_i16x8_splat(0)}, b = a;
    for (; bytes > 0; bytes -= 8) {
        v128_t first = wasm_i8x16_splat(0), second = first;
        UNROLLED for (uint32_t i = 0; i < 8 * CODE_BLOCK_ROWS; i += CODE_BLOCK_ROWS) {
            first = wasm_i8x16_add(first, look_up(tables + i, wasm_v128_load(codes + i)));
            second = wasm_i8x16_add(second, look_up(tables + i, wasm_v128_load(codes + i + 16)));
            DEMAND(first);
            DEMAND(second);
        }
        a = add(a, first);
        b = add(b, second);
        codes += 8 * CODE_BLOCK_ROWS, tables += 8 * CODE_BLOCK_ROWS;
        ADVANCED(codes);
        ADVANCED(tables);
    }
    store_in_order(a, out);
    store_in_order(b, out + 16);
}

void sum_signs(const struct sieve *sieve, const struct segment *segment, uint32_t block,
               uint16_t sums[CODE_BLOCK_ROWS]) {
    uint32_t bytes = space.code_bits / 8;
    sum_tables(segment->codes + block * CODE_BLOCK_ROWS * bytes, sieve->tables, bytes, sums);
}

struct reach_bound {
    v128_t scale, offset, deviations, min_score;
};

static inline v128_t reach_4(const struct reach_bound *limit, v128_t sums, const float *scales, const float *errors) {
    v128_t inner = wasm_f32x4_sub(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums), limit->scale), limit->offset);
    v128_t bound = wasm_f32x4_add(wasm_f32x4_mul(inner, wasm_v128_load(scales)),
                                  wasm_f32x4_mul(wasm_v128_load(errors), limit->deviations));
    return wasm_f32x4_ge(bound, limit->min_score);
}

static inline v128_t reach_8(const struct reach_bound *limit, const uint16_t *sums, const float *scales,
                             const float *errors) {
    v128_t eight = wasm_v128_load(sums);
    return wasm_i16x8_narrow_i32x4(reach_4(limit, wasm_u32x4_extend_low_u16x8(eight), scales, errors),
                                   reach_4(limit, wasm_u32x4_extend_high_u16x8(eight), scales + 4, errors + 4));
}

HOT uint32_t rows_within_reach(const struct sieve *sieve, const struct segment *segment, uint32_t block,
                   const uint16_t sums[CODE_BLOCK_ROWS], float deviations, float min_score) {
    const struct reach_bound limit = {wasm_f32x4_splat(sieve->scale), wasm_f32x4_splat(sieve->offset),
                                wasm_f32x4_splat(deviations), wasm_f32x4_splat(min_score)};
    const float *scales = segment->code_scales + block * CODE_BLOCK_ROWS;
    const float *errors = segment->code_errors + block * CODE_BLOCK_ROWS;
    uint32_t rows = 0;
    UNROLLED for (uint32_t i = 0; i < CODE_BLOCK_ROWS; i += 16) {
        v128_t sixteen = wasm_i8x16_narrow_i16x8(reach_8(&limit, sums + i, scales + i, errors + i),
                                                 reach_8(&limit, sums + i + 8, scales + i + 8, errors + i + 8));
        rows |= (uint32_t)wasm_i8x16_bitmask(sixteen) << i;
    }
    return rows;
}
