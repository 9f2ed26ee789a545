/*
 * The k best rows for each query, exactly, reading as few bytes as the answer allows.
 *
 * A row passes three gates, each against the k-th best exact score so far: signs (1 bit a dimension), int8, float32.
 * The int8 gate cannot lose a row: by Cauchy-Schwarz, <q, x> differs from its int8 form by at most
 *     error(q) * (1 + error(x)) + error(x).
 * The sign gate can, with the odds that sieve.h states; it is left out on request and where rows are short.
 * Rows are taken a segment at a time and every query passes over the segment while it lies in the cache.
 */
#include "layout.h"
#include "sieve.h"
#include "topk.h"
#include "vector.h"

#define ROUNDING 4e-5f /* covers the rounding of float32 sums of 4,096 products */

struct search {
    const float *query;
    struct quantized_query quantized;
    struct sieve sieve;
    struct topk top;
};

static uint32_t padded(uint32_t bytes) { return (bytes + 63) / 64 * 64; }

static uint32_t search_bytes(uint32_t k) { return padded(space.dimension) + padded(sieve_bytes()) + padded(k * sizeof(struct hit)); }

/* Bytes of workspace that `scan_topk` needs, aligned to 64. */
uint32_t EXPORT(scan_workspace)(uint32_t queries, uint32_t k) {
    return padded(queries * sizeof(struct search)) + queries * search_bytes(k);
}

static struct search prepare(float *query, uint32_t k, bool with_sieve, uint8_t *memory) {
    normalize_f32(query, space.dimension);
    struct search search = {.query = query};
    search.quantized = quantize_query_f32(query, space.dimension, memory);
    memory += padded(space.dimension);
    if (with_sieve) search.sieve = prepare_sieve(query, memory);
    search.top = (struct topk){.hits = (struct hit *)(memory + padded(sieve_bytes())), .count = 0, .k = k};
    return search;
}

static inline uint32_t eligible_rows(const uint32_t *eligible, uint32_t eligible_words, uint32_t word) {
    return !eligible ? ~0u : word < eligible_words ? eligible[word] : 0;
}

/* Lists the rows of a segment that pass the first gate. */
static uint32_t shortlist(const struct search *search, bool with_sieve, struct segment segment, const uint32_t *eligible,
                          uint16_t *listed) {
    float least = threshold(&search->top);
    bool sieved = with_sieve && least > -1;
    uint32_t count = 0;
    for (uint32_t block = 0; block < SEGMENT_ROWS / 32; block++) {
        uint32_t rows = eligible[block];
        if (rows && sieved) rows &= sift(&search->sieve, segment, block, least);
        for (; rows; rows &= rows - 1) listed[count++] = (uint16_t)(block * 32 + (uint32_t)__builtin_ctz(rows));
    }
    return count;
}

static inline float upper_bound(const struct quantized_query *query, struct segment segment, uint32_t at) {
    int32_t dot = dot_i8(segment.quantized + (size_t)at * space.dimension, query->values, space.dimension);
    float error = segment.errors[at];
    return segment.scales[at] * query->scale * (float)(dot - 64 * segment.sums[at]) + query->error * (1 + error) + error + ROUNDING;
}

static void scan_segment(struct search *search, bool with_sieve, uint32_t index, const uint32_t *eligible) {
    static uint16_t listed[SEGMENT_ROWS];
    struct segment segment = segment_at(index);
    uint32_t count = shortlist(search, with_sieve, segment, eligible, listed);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = listed[i];
        if (upper_bound(&search->quantized, segment, at) < threshold(&search->top)) continue;
        float score = dot_f32(search->query, segment.vectors + (size_t)at * space.dimension, space.dimension);
        offer(&search->top, (struct hit){score, (int32_t)(index * SEGMENT_ROWS + at), segment.ids[at]});
    }
}

/*
 * queries (count, dimension) are normalised in place; eligible is a bit mask of `eligible_words` words, or null for
 * all; out_* are (count, k). `workspace` holds scan_workspace(count, k) bytes, aligned to 64.
 */
void EXPORT(scan_topk)(float *queries, uint32_t count, uint32_t k, const uint32_t *eligible, uint32_t eligible_words,
                       uint32_t with_sieve, int32_t *out_rows, int64_t *out_ids, float *out_scores, uint8_t *workspace) {
    struct search *searches = (struct search *)workspace;
    uint8_t *memory = workspace + padded(count * sizeof(struct search));
    for (uint32_t i = 0; i < count; i++)
        searches[i] = prepare(queries + (size_t)i * space.dimension, k, with_sieve, memory + i * search_bytes(k));
    for (uint32_t index = 0; index < space.segments; index++) {
        uint32_t allowed[SEGMENT_ROWS / 32], any = 0;
        for (uint32_t word = 0; word < SEGMENT_ROWS / 32; word++)
            any |= allowed[word] = segment_at(index).live[word] &
                                   eligible_rows(eligible, eligible_words, index * (SEGMENT_ROWS / 32) + word);
        if (any)
            for (uint32_t i = 0; i < count; i++) scan_segment(&searches[i], with_sieve, index, allowed);
    }
    for (uint32_t i = 0; i < count; i++)
        drain(&searches[i].top, out_rows + (size_t)i * k, out_ids + (size_t)i * k, out_scores + (size_t)i * k);
}
