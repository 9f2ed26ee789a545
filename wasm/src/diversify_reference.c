/* The reference for diversify.c: compares every finalist with every pick and searches all finalists for each pick. */
#include "diversify.h"

uint32_t EXPORT(diversify_workspace)(uint32_t count, uint32_t k) {
    return count * sizeof(struct finalist) + k * (sizeof(int64_t) + sizeof(float *));
}

uint32_t EXPORT(diversify)(const struct diversify *a) {
    struct finalist *finalists = (struct finalist *)a->workspace;
    int64_t *picked_groups = (int64_t *)(finalists + a->count);
    const float **picked = (const float **)(picked_groups + a->k);
    uint32_t picks = 0;
    for (uint32_t i = 0; i < a->count; i++) finalists[i] = make_finalist(a, i);
    while (picks < a->k) {
        struct finalist *best = 0;
        for (uint32_t i = 0; i < a->count; i++) {
            compare_with_picks(&finalists[i], picked, picks, a->trade_off);
            bool taken = false;
            for (uint32_t p = 0; p < picks; p++) taken |= a->positions[p] == (int32_t)i;
            if (taken || is_capped(finalists[i].group, picked_groups, picks, a->cap)) continue;
            if (!best || ranks_before(&finalists[i], best)) best = &finalists[i];
        }
        if (!best) break;
        a->positions[picks] = (int32_t)best->position;
        picked_groups[picks] = best->group;
        picked[picks++] = best->vector;
    }
    return picks;
}
