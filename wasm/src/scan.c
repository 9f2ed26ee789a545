/*
 * Find the k best rows for each query by exact score, and read as few bytes as possible.
 *
 * A row is compared in three steps, each time with the k-th best exact score so far: by signs (1 bit a dimension), by
 * int8, by float32. The int8 step cannot lose a row: by Cauchy-Schwarz, <q, x> differs from its int8 form by at most
 *     error(q) * (1 + error(x)) + error(x).
 * The sign step can lose a row, with the odds that sieve.h states. The caller can turn it off, and the host leaves it
 * out for short rows.
 *
 * A scan with signs makes two passes. The first pass sums the signs of all rows and keeps the rows with the best
 * estimates. Their exact scores give the floor: the k-th best exact score of some rows is never above the k-th best of
 * all rows, so the floor is a safe lower bound, and it is close to the final k-th score. The second pass reads only the
 * rows that may reach the floor; a single pass that raises its floor as it goes would read three times as many.
 * Rows are processed one segment at a time, and every query is compared with the segment while it is in the cache.
 */
#include "estimates.h"
#include "layout.h"
#include "sieve.h"
#include "topk.h"
#include "vector.h"

#define MANY_QUERIES 32
#define FETCHED_ROWS 32
#define ROUNDING 4e-5f /* the largest rounding error of a float32 sum of 4,096 products */

struct search {
    const float *query;
    struct quantized_query quantized;
    struct sieve sieve;
    uint16_t *sums; /* (rows,) of signs; null without a sieve */
    float floor;    /* no row with a lower score is among the k best */
    struct best_estimates estimates;
    struct topk top;
    bool scattered; /* few rows of a segment are read, and they are not in the cache */
};

/* How many of the best estimates are scored exactly to find the floor. */
static uint32_t estimate_count(uint32_t k) { return k + k / 2; }

static uint32_t padded(uint32_t bytes) { return (bytes + 63) / 64 * 64; }

static uint32_t hits_bytes(uint32_t k) { return padded(k * sizeof(struct hit)); }

static uint32_t estimates_bytes(uint32_t k, bool with_sieve) {
    return with_sieve ? padded(2 * estimate_count(k) * sizeof(struct estimated_row)) : 0;
}

static uint32_t sums_bytes(bool with_sieve) {
    return with_sieve ? space.segments * SEGMENT_ROWS * sizeof(uint16_t) : 0;
}

static uint32_t search_bytes(uint32_t k, bool with_sieve) {
    return padded(2 * space.dimension) + padded(table_bytes()) + hits_bytes(k) + estimates_bytes(k, with_sieve) +
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
    uint8_t *tables = memory, *hits = tables + padded(table_bytes()), *estimates = hits + hits_bytes(k);
    search.top = (struct topk){.hits = (struct hit *)hits, .k = k};
    if (with_sieve) {
        search.sieve = prepare_sieve(query, tables);
        search.estimates =
            (struct best_estimates){(struct estimated_row *)estimates, 0, estimate_count(k), -__builtin_inff()};
        search.sums = (uint16_t *)(estimates + estimates_bytes(k, with_sieve));
    }
    return search;
}

static inline uint32_t eligible_rows(const uint32_t *eligible, uint32_t eligible_words, uint32_t word) {
    return !eligible ? ~0u : word < eligible_words ? eligible[word] : 0;
}

static inline float min_score(const struct search *search) {
    float kth_score = threshold(&search->top);
    return kth_score > search->floor ? kth_score : search->floor;
}

static inline struct hit hit_at(float score, const struct segment *segment, uint32_t index, uint32_t at) {
    return (struct hit){score, (int32_t)(index * SEGMENT_ROWS + at), segment->ids[at]};
}

/* First pass: sum the signs of a segment's rows and keep the best estimates. */
static void estimate_segment(struct search *search, uint32_t index, const uint32_t *eligible) {
    struct segment segment = segment_at(index);
    uint16_t *sums = search->sums + index * SEGMENT_ROWS;
    for (uint32_t block = 0; block < SEGMENT_ROWS / 32; block++, sums += 32) {
        if (!eligible[block]) continue;
        sum_signs(&search->sieve, &segment, block, sums);
        uint32_t reaching = rows_within_reach(&search->sieve, &segment, block, sums, 0, search->estimates.min_score);
        uint32_t rows = eligible[block] & reaching;
        for (; rows; rows &= rows - 1) {
            uint32_t at = block * 32 + (uint32_t)__builtin_ctz(rows);
            float score = estimate(&search->sieve, &segment, at, sums[at % 32]);
            add_estimate(&search->estimates, (struct estimated_row){score, (int32_t)(index * SEGMENT_ROWS + at)});
        }
    }
}

/* Between the passes: sets the floor to the k-th best exact score among the rows with the best estimates. */
static void find_floor(struct search *search) {
    trim_to_best(&search->estimates);
    struct estimated_row *rows = search->estimates.rows;
    uint32_t count = search->estimates.count;
    for (uint32_t i = 0; i < count; i++) {
        if (i % FETCHED_ROWS == 0)
            for (uint32_t j = i; j < count && j < i + FETCHED_ROWS; j++)
                fetch(vector_of(rows[j].row), space.dimension * sizeof(float));
        rows[i].score = dot_f32(search->query, vector_of(rows[i].row), space.dimension);
    }
    search->floor = select_best(rows, count, search->top.k);
}

/* Lists the rows of a segment that pass the sign step. Returns their number. */
static uint32_t shortlist(const struct search *search, const struct segment *segment, uint32_t index,
                          const uint32_t *eligible, uint16_t *listed) {
    float required = min_score(search), deviations = deviations_at(&search->sieve, required);
    uint32_t count = 0;
    for (uint32_t block = 0; block < SEGMENT_ROWS / 32; block++) {
        uint32_t rows = eligible[block];
        if (rows && search->sums) {
            const uint16_t *sums = search->sums + index * SEGMENT_ROWS + block * 32;
            rows &= rows_within_reach(&search->sieve, segment, block, sums, deviations, required);
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

/* Keeps the listed rows that pass the int8 step and returns their number. A branch here would be unpredictable. */
static uint32_t filter_by_int8_bound(const struct search *search, const struct segment *segment, uint16_t *listed,
                                     uint32_t count) {
    float required = min_score(search);
    uint32_t kept = 0;
    for (uint32_t i = 0; search->scattered && i < count; i++) {
        fetch(&segment->scales[listed[i]], 1);
        fetch(segment->quantized + (size_t)listed[i] * space.dimension, space.dimension);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint16_t at = listed[i];
        listed[kept] = at;
        kept += upper_bound(&search->quantized, segment, at) >= required;
    }
    return kept;
}

/* Second pass: score the rows of a segment that may be among the k best. */
static void scan_segment(struct search *search, uint32_t index, const uint32_t *eligible) {
    static uint16_t listed[SEGMENT_ROWS];
    struct segment segment = segment_at(index);
    uint32_t count = shortlist(search, &segment, index, eligible, listed);
    count = filter_by_int8_bound(search, &segment, listed, count);
    for (uint32_t i = 0; search->sums && i < count; i++)
        fetch(segment.vectors + (size_t)listed[i] * space.dimension, space.dimension * sizeof(float));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = listed[i];
        float score = dot_f32(search->query, segment.vectors + (size_t)at * space.dimension, space.dimension);
        push_hit(&search->top, hit_at(score, &segment, index, at));
    }
}

/* Writes a bit for each row of a segment that may be returned. Returns false if there is none. */
static bool eligible_rows_of_segment(uint32_t index, const uint32_t *eligible, uint32_t eligible_words,
                                     uint32_t *allowed) {
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
        if (eligible_rows_of_segment(index, a->eligible, a->eligible_words, allowed))
            for (uint32_t i = 0; i < a->count; i++) estimate_segment(&searches[i], index, allowed);
    for (uint32_t i = 0; i < a->count; i++) find_floor(&searches[i]);
    for (uint32_t index = 0; index < space.segments; index++) {
        if (!eligible_rows_of_segment(index, a->eligible, a->eligible_words, allowed)) continue;
        /* Many queries together read most rows of a segment; to read them in order is three times as fast. */
        if (a->count >= MANY_QUERIES) fetch(segment_at(index).quantized, SEGMENT_ROWS * space.dimension);
        for (uint32_t i = 0; i < a->count; i++) scan_segment(&searches[i], index, allowed);
    }
    for (uint32_t i = 0; i < a->count; i++)
        pop_all_hits(&searches[i].top, a->rows + (size_t)i * a->k, a->ids + (size_t)i * a->k,
                     a->scores + (size_t)i * a->k);
}
