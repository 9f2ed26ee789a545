/*
 * The k best rows for each query, exactly, reading as few bytes as the answer allows.
 *
 * A row passes three gates, each against the k-th best exact score so far: signs (1 bit a dimension), int8, float32.
 * The int8 gate cannot lose a row: by Cauchy-Schwarz, <q, x> differs from its int8 form by at most
 *     error(q) * (1 + error(x)) + error(x).
 * The sign gate can, with the odds that sieve.h states; it is left out on request and where rows are short.
 *
 * With signs there are two passes. The first sums the signs of all rows, and the exact scores of the best estimates
 * give a floor that is close to the final k-th score; the second reads only the rows that may reach the floor, a
 * third of those that a floor found on the way would let through. Rows are taken a segment at a time, and every
 * query passes over the segment while it lies in the cache.
 */
#include "guesses.h"
#include "layout.h"
#include "sieve.h"
#include "topk.h"
#include "vector.h"

#define MANY_QUERIES 32
#define FETCHED_ROWS 32
#define ROUNDING 4e-5f /* covers the rounding of float32 sums of 4,096 products */

struct search {
    const float *query;
    struct quantized_query quantized;
    struct sieve sieve;
    uint16_t *sums; /* (rows,) of signs; null without a sieve */
    float floor;    /* no row that scores less is among the k best */
    struct guesses guesses;
    struct topk top;
    bool scattered; /* few rows of a segment are read, and nobody has read them before */
};

/* Estimates that are scored to find the floor. */
static uint32_t guesses_for(uint32_t k) { return k + k / 2; }

static uint32_t padded(uint32_t bytes) { return (bytes + 63) / 64 * 64; }

static uint32_t hits_bytes(uint32_t k) { return padded(k * sizeof(struct hit)); }

static uint32_t guesses_bytes(uint32_t k, bool with_sieve) {
    return with_sieve ? padded(2 * guesses_for(k) * sizeof(struct guess)) : 0;
}

static uint32_t sums_bytes(bool with_sieve) {
    return with_sieve ? space.segments * SEGMENT_ROWS * sizeof(uint16_t) : 0;
}

static uint32_t search_bytes(uint32_t k, bool with_sieve) {
    return padded(2 * space.dimension) + padded(table_bytes()) + hits_bytes(k) + guesses_bytes(k, with_sieve) +
           sums_bytes(with_sieve);
}

/* Bytes of workspace that `scan_topk` needs, aligned to 64. */
uint32_t EXPORT(scan_workspace)(uint32_t queries, uint32_t k, uint32_t with_sieve) {
    return padded(queries * sizeof(struct search)) + queries * search_bytes(k, with_sieve);
}

static struct search prepare(float *query, uint32_t k, bool with_sieve, uint8_t *memory) {
    normalize_f32(query, space.dimension);
    struct search search = {.query = query, .floor = -__builtin_inff()};
    search.quantized = quantize_query_f32(query, space.dimension, memory);
    memory += padded(2 * space.dimension);
    uint8_t *tables = memory, *hits = tables + padded(table_bytes()), *guesses = hits + hits_bytes(k);
    search.top = (struct topk){.hits = (struct hit *)hits, .k = k};
    if (with_sieve) {
        search.sieve = prepare_sieve(query, tables);
        search.guesses = (struct guesses){(struct guess *)guesses, 0, guesses_for(k), -__builtin_inff()};
        search.sums = (uint16_t *)(guesses + guesses_bytes(k, with_sieve));
    }
    return search;
}

static inline uint32_t eligible_rows(const uint32_t *eligible, uint32_t eligible_words, uint32_t word) {
    return !eligible ? ~0u : word < eligible_words ? eligible[word] : 0;
}

static inline float least_score(const struct search *search) {
    float found = threshold(&search->top);
    return found > search->floor ? found : search->floor;
}

static inline struct hit hit_at(float score, const struct segment *segment, uint32_t index, uint32_t at) {
    return (struct hit){score, (int32_t)(index * SEGMENT_ROWS + at), segment->ids[at]};
}

/* First pass: sums the signs of a segment and keeps the best estimates. */
static void estimate_segment(struct search *search, uint32_t index, const uint32_t *eligible) {
    struct segment segment = segment_at(index);
    uint16_t *sums = search->sums + index * SEGMENT_ROWS;
    for (uint32_t block = 0; block < SEGMENT_ROWS / 32; block++, sums += 32) {
        if (!eligible[block]) continue;
        sum_signs(&search->sieve, &segment, block, sums);
        uint32_t rows = eligible[block] & reach(&search->sieve, &segment, block, sums, 0, search->guesses.least);
        for (; rows; rows &= rows - 1) {
            uint32_t at = block * 32 + (uint32_t)__builtin_ctz(rows);
            float score = estimate(&search->sieve, &segment, at, sums[at % 32]);
            gather(&search->guesses, (struct guess){score, (int32_t)(index * SEGMENT_ROWS + at)});
        }
    }
}

/* Between the passes: the k-th best score is at least the k-th best among the guesses. */
static void find_floor(struct search *search) {
    keep_best(&search->guesses);
    struct guess *guesses = search->guesses.rows;
    uint32_t count = search->guesses.count;
    for (uint32_t i = 0; i < count; i++) {
        if (i % FETCHED_ROWS == 0)
            for (uint32_t j = i; j < count && j < i + FETCHED_ROWS; j++)
                fetch(vector_of(guesses[j].row), space.dimension * sizeof(float));
        guesses[i].score = dot_f32(search->query, vector_of(guesses[i].row), space.dimension);
    }
    search->floor = select_best(guesses, count, search->top.k);
}

/* Lists the rows of a segment that pass the first gate. */
static uint32_t shortlist(const struct search *search, const struct segment *segment, uint32_t index,
                          const uint32_t *eligible, uint16_t *listed) {
    float least = least_score(search), deviations = deviations_at(&search->sieve, least);
    uint32_t count = 0;
    for (uint32_t block = 0; block < SEGMENT_ROWS / 32; block++) {
        uint32_t rows = eligible[block];
        if (rows && search->sums) {
            const uint16_t *sums = search->sums + index * SEGMENT_ROWS + block * 32;
            rows &= reach(&search->sieve, segment, block, sums, deviations, least);
        }
        for (; rows; rows &= rows - 1) listed[count++] = (uint16_t)(block * 32 + (uint32_t)__builtin_ctz(rows));
    }
    return count;
}

static inline float upper_bound(const struct quantized_query *query, const struct segment *segment, uint32_t at) {
    const int8_t *row = segment->quantized + (size_t)at * space.dimension;
    struct scale scale = segment->scales[at];
    float dot = dot_i8(row, scale.sum, query->digits, space.dimension);
    return scale.factor * query->scale * dot + query->error * (1 + scale.error) + scale.error + ROUNDING;
}

/* Keeps the listed rows that pass the second gate, without a branch that would be hard to foresee. */
static uint32_t narrow(const struct search *search, const struct segment *segment, uint16_t *listed, uint32_t count) {
    float least = least_score(search);
    uint32_t kept = 0;
    for (uint32_t i = 0; search->scattered && i < count; i++) {
        fetch(&segment->scales[listed[i]], 1);
        fetch(segment->quantized + (size_t)listed[i] * space.dimension, space.dimension);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint16_t at = listed[i];
        listed[kept] = at;
        kept += upper_bound(&search->quantized, segment, at) >= least;
    }
    return kept;
}

/* Second pass. */
static void scan_segment(struct search *search, uint32_t index, const uint32_t *eligible) {
    static uint16_t listed[SEGMENT_ROWS];
    struct segment segment = segment_at(index);
    uint32_t count = narrow(search, &segment, listed, shortlist(search, &segment, index, eligible, listed));
    for (uint32_t i = 0; search->sums && i < count; i++)
        fetch(segment.vectors + (size_t)listed[i] * space.dimension, space.dimension * sizeof(float));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = listed[i];
        float score = dot_f32(search->query, segment.vectors + (size_t)at * space.dimension, space.dimension);
        offer(&search->top, hit_at(score, &segment, index, at));
    }
}

/* Which rows of a segment may be returned; false if none. */
static bool allow(uint32_t index, const uint32_t *eligible, uint32_t eligible_words, uint32_t *allowed) {
    const uint32_t *live = segment_at(index).live;
    uint32_t any = 0;
    for (uint32_t i = 0; i < SEGMENT_ROWS / 32; i++)
        any |= allowed[i] = live[i] & eligible_rows(eligible, eligible_words, index * (SEGMENT_ROWS / 32) + i);
    return any != 0;
}

void EXPORT(scan_topk)(const struct scan_topk *a) {
    struct search *searches = (struct search *)a->workspace;
    uint8_t *memory = a->workspace + padded(a->count * sizeof(struct search));
    uint32_t allowed[SEGMENT_ROWS / 32];
    for (uint32_t i = 0; i < a->count; i++, memory += search_bytes(a->k, a->with_sieve)) {
        searches[i] = prepare(a->queries + (size_t)i * space.dimension, a->k, a->with_sieve, memory);
        searches[i].scattered = a->with_sieve && a->count < MANY_QUERIES;
    }
    for (uint32_t index = 0; a->with_sieve && index < space.segments; index++)
        if (allow(index, a->eligible, a->eligible_words, allowed))
            for (uint32_t i = 0; i < a->count; i++) estimate_segment(&searches[i], index, allowed);
    for (uint32_t i = 0; i < a->count; i++) find_floor(&searches[i]);
    for (uint32_t index = 0; index < space.segments; index++) {
        if (!allow(index, a->eligible, a->eligible_words, allowed)) continue;
        /* Many queries read most rows of a segment between them: in order, that is three times as fast. */
        if (a->count >= MANY_QUERIES) fetch(segment_at(index).quantized, SEGMENT_ROWS * space.dimension);
        for (uint32_t i = 0; i < a->count; i++) scan_segment(&searches[i], index, allowed);
    }
    for (uint32_t i = 0; i < a->count; i++)
        drain(&searches[i].top, a->rows + (size_t)i * a->k, a->ids + (size_t)i * a->k, a->scores + (size_t)i * a->k);
}
