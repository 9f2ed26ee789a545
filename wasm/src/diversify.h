/*
 * Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998), greedily:
 *     value = (1 - trade_off) * score - trade_off * max(0, largest cosine with a row picked before)
 * and at most `cap` picks of one group; a negative group is unknown and is not capped.
 * A finalist without a vector is like nothing. Ties go to the lower id.
 */
#pragma once
#include "layout.h"
#include "vector.h"

struct finalist {
    int64_t id, group;
    float score, likeness, value;
    const float *vector; /* null where there is none */
    uint32_t position, compared; /* how many picks it has been compared with */
    uint32_t alike;              /* of those, how many are of its group; counted by diversify.c only */
};

static inline bool ahead(const struct finalist *a, const struct finalist *b) {
    return a->value > b->value || (a->value == b->value && a->id < b->id);
}

/* Compares a finalist with the picks that it has not met yet. */
static inline void meet(struct finalist *finalist, const float *const *picked, uint32_t count, float trade_off) {
    for (; finalist->compared < count; finalist->compared++) {
        const float *pick = picked[finalist->compared];
        if (!finalist->vector || !pick) continue;
        float cosine = dot_f32(finalist->vector, pick, space.dimension);
        if (cosine > finalist->likeness) finalist->likeness = cosine;
    }
    finalist->value = (1 - trade_off) * finalist->score - trade_off * finalist->likeness;
}

/* Picks of a group, by counting: the picks are few. */
static inline bool capped(int64_t group, const int64_t *picked_groups, uint32_t count, uint32_t cap) {
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count && group >= 0; i++) seen += picked_groups[i] == group;
    return seen >= cap;
}

/* A finalist's vector is resident, or comes with the call. */
static inline struct finalist finalist_of(const struct diversify *a, uint32_t i) {
    struct finalist finalist = {.id = a->ids[i], .group = a->groups[i], .score = a->scores[i], .position = i};
    if (a->vectors) finalist.vector = a->vectors + (size_t)i * space.dimension;
    else if (is_live(a->rows[i])) finalist.vector = vector_of(a->rows[i]);
    meet(&finalist, 0, 0, a->trade_off);
    return finalist;
}
