/* The reference for scan.c and sieve.c: scores every eligible row exactly and keeps a sorted list of the k best. */
#include "layout.h"
#include "sieve.h"
#include "topk.h"
#include "vector.h"

void init_sieve(void) {}

void encode_signs(struct segment segment, uint32_t at, const float *vector) {
    (void)segment, (void)at, (void)vector; /* the reference has no sieve, so it stores no codes */
}

uint32_t EXPORT(scan_workspace)(uint32_t queries, uint32_t k, uint32_t with_sieve) {
    (void)with_sieve;
    return queries * (k + 1) * sizeof(struct hit);
}

static void insert(struct hit *sorted, uint32_t *count, uint32_t k, struct hit hit) {
    uint32_t at = *count;
    while (at > 0 && ranks_before_hit(hit, sorted[at - 1])) at--;
    if (at == k) return;
    if (*count < k) ++*count;
    for (uint32_t i = *count - 1; i > at; i--) sorted[i] = sorted[i - 1];
    sorted[at] = hit;
}

static bool is_eligible(int32_t row, const uint32_t *eligible, uint32_t eligible_words) {
    uint32_t word = (uint32_t)row / 32;
    return is_live(row) && (!eligible || (word < eligible_words && eligible[word] >> row % 32 & 1));
}

static uint32_t search(const struct scan_topk *a, const float *query, struct hit *sorted) {
    uint32_t hit_count = 0;
    for (int32_t row = 0; (uint32_t)row < space.segments * SEGMENT_ROWS; row++) {
        if (!is_eligible(row, a->eligible, a->eligible_words)) continue;
        int64_t id = segment_at((uint32_t)row / SEGMENT_ROWS).ids[row % SEGMENT_ROWS];
        insert(sorted, &hit_count, a->k, (struct hit){dot_f32(query, vector_of(row), space.dimension), row, id});
    }
    return hit_count;
}

void EXPORT(scan_topk)(const struct scan_topk *a) {
    struct hit *sorted = (struct hit *)a->workspace;
    for (uint32_t i = 0; i < a->count; i++) {
        float *query = a->queries + (size_t)i * space.dimension;
        normalize_f32(query, space.dimension);
        uint32_t hit_count = search(a, query, sorted);
        for (uint32_t j = 0; j < a->k; j++) {
            struct hit hit = j < hit_count ? sorted[j] : (struct hit){-__builtin_inff(), -1, -1};
            a->rows[i * a->k + j] = hit.row;
            a->ids[i * a->k + j] = hit.id;
            a->scores[i * a->k + j] = hit.score;
        }
    }
}
