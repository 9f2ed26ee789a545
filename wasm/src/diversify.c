/*
 * Lazy greedy selection (Minoux, 1978). A value only falls as picks are added, so an outdated value is an upper bound,
 * and only the finalist at the root of the heap has to be compared with the latest picks. The result is the same as
 * that of diversify_reference.c.
 */
#include "diversify.h"

/* The heap holds positions of finalists: swapping four bytes is cheaper than swapping forty-eight. */
static void sift_down_finalist(uint32_t *heap, const struct finalist *finalists, uint32_t count, uint32_t at) {
    uint32_t moved = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && ranks_before(&finalists[heap[child + 1]], &finalists[heap[child]])) child++;
        if (!ranks_before(&finalists[heap[child]], &finalists[moved])) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

uint32_t EXPORT(diversify_workspace)(uint32_t count, uint32_t k) {
    return count * (sizeof(struct finalist) + sizeof(uint32_t)) + k * (sizeof(int64_t) + sizeof(float *));
}

/*
 * Compares a finalist with the next pick only: the comparison with the pick after it may not be needed. Also counts the
 * picks of its group, since counting them again among all picks takes longer than the comparisons.
 */
static inline void compare_with_next_pick(struct finalist *finalist, const float *const *picked, const int64_t *groups,
                             float trade_off) {
    finalist->group_picks += finalist->group >= 0 && groups[finalist->compared] == finalist->group;
    compare_with_picks(finalist, picked, finalist->compared + 1, trade_off);
}

/* Returns how many positions it wrote, best first. */
uint32_t EXPORT(diversify)(const struct diversify *a) {
    struct finalist *finalists = (struct finalist *)a->workspace;
    int64_t *picked_groups = (int64_t *)(finalists + a->count);
    uint32_t *heap = (uint32_t *)(picked_groups + a->k);
    const float **picked = (const float **)(heap + a->count);
    uint32_t picks = 0, left = a->count;
    for (uint32_t i = 0; i < a->count; i++) {
        finalists[i] = make_finalist(a, i);
        heap[i] = i;
    }
    for (uint32_t at = a->count / 2; at-- > 0;) sift_down_finalist(heap, finalists, a->count, at);
    while (picks < a->k && left > 0) {
        struct finalist *best = &finalists[heap[0]];
        bool is_full = best->group_picks >= a->cap;
        if (!is_full && best->compared < picks) {
            compare_with_next_pick(best, picked, picked_groups, a->trade_off);
        } else {
            if (!is_full) {
                a->positions[picks] = (int32_t)best->position;
                picked_groups[picks] = best->group;
                picked[picks++] = best->vector;
            }
            heap[0] = heap[--left];
        }
        if (left > 0) sift_down_finalist(heap, finalists, left, 0);
    }
    return picks;
}
