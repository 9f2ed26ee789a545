/* The twin of diversify.c: every finalist meets every pick, and the best of all is looked for each time. */
#include "diversify.h"

uint32_t EXPORT(diversify_workspace)(uint32_t count, uint32_t k) {
    return count * sizeof(struct finalist) + k * (sizeof(int64_t) + sizeof(float *));
}

uint32_t EXPORT(diversify)(const int32_t *rows, const float *vectors, const float *scores, const int64_t *groups,
                           const int64_t *ids, uint32_t count, uint32_t k, float trade_off, uint32_t cap,
                           int32_t *positions, uint8_t *workspace) {
    struct finalist *finalists = (struct finalist *)workspace;
    int64_t *picked_groups = (int64_t *)(finalists + count);
    const float **picked = (const float **)(picked_groups + k);
    uint32_t picks = 0;
    for (uint32_t i = 0; i < count; i++) finalists[i] = finalist_of(i, rows, vectors, scores, groups, ids, trade_off);
    while (picks < k) {
        struct finalist *best = 0;
        for (uint32_t i = 0; i < count; i++) {
            meet(&finalists[i], picked, picks, trade_off);
            bool taken = false;
            for (uint32_t p = 0; p < picks; p++) taken |= positions[p] == (int32_t)i;
            if (taken || capped(finalists[i].group, picked_groups, picks, cap)) continue;
            if (!best || ahead(&finalists[i], best)) best = &finalists[i];
        }
        if (!best) break;
        positions[picks] = (int32_t)best->position;
        picked_groups[picks] = best->group;
        picked[picks++] = best->vector;
    }
    return picks;
}
