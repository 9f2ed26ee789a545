/*
 * Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998). Each step picks the finalist with the largest
 *     value = (1 - trade_off) * score - trade_off * max(0, largest cosine with a row picked before)
 * and at most `cap` finalists of one group are picked. A negative group is unknown and is not capped. The cosine of a
 * finalist without a vector is 0. The lower id wins a tie.
 */
#pragma once
#include "layout.h"
#include "vector.h"

struct finalist {
    int64_t id, group;
    float score, similarity, value; /* similarity: the largest cosine with a pick, at least 0 */
    const float *vector; /* null where there is none */
    uint32_t position, compared; /* the number of picks that it has been compared with */
    uint32_t group_picks;        /* how many of those are of its group; counted by diversify.c only */
};

static inline bool ranks_before(const struct finalist *a, const struct finalist *b) {
    return a->value > b->value || (a->value == b->value && a->id < b->id);
}

/* Compares a finalist with the picks that it has not been compared with, and updates its value. */
static inline void compare_with_picks(struct finalist *finalist, const float *const *picked, uint32_t count,
                                      float trade_off) {
    for (; finalist->compared < count; finalist->compared++) {
        const float *pick = picked[finalist->compared];
        if (!finalist->vector || !pick) continue;
        float cosine = dot_f32(finalist->vector, pick, space.dimension);
        if (cosine > finalist->similarity) finalist->similarity = cosine;
    }
    finalist->value = (1 - trade_off) * finalist->score - trade_off * finalist->similarity;
}

/* Returns whether a group has `cap` picks. Counts each time, since the picks are few. */
static inline bool is_capped(int64_t group, const int64_t *picked_groups, uint32_t count, uint32_t cap) {
    uint32_t group_picks = 0;
    for (uint32_t i = 0; i < count && group >= 0; i++) group_picks += picked_groups[i] == group;
    return group_picks >= cap;
}

/* Builds a finalist. Its vector is the one of the call or else the resident row. */
static inline struct finalist make_finalist(const struct diversify *a, uint32_t i) {
    struct finalist finalist = {.id = a->ids[i], .group = a->groups[i], .score = a->scores[i], .position = i};
    if (a->vectors) finalist.vector = a->vectors + (size_t)i * space.dimension;
    else if (is_live(a->rows[i])) finalist.vector = vector_of(a->rows[i]);
    compare_with_picks(&finalist, 0, 0, a->trade_off);
    return finalist;
}
