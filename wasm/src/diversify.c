/*
 * Lazy greedy (Minoux, 1978): a value only falls as picks are added, so a stale value is an upper bound, and only the
 * finalist at the root of the heap ever needs to meet the latest picks. The picks are those of diversify_reference.c.
 */
#include "diversify.h"

/* The heap orders finalists by position: swapping four bytes is cheaper than swapping forty-eight. */
static void sink_finalist(uint32_t *heap, const struct finalist *finalists, uint32_t count, uint32_t at) {
    uint32_t moved = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && ahead(&finalists[heap[child + 1]], &finalists[heap[child]])) child++;
        if (!ahead(&finalists[heap[child]], &finalists[moved])) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

uint32_t EXPORT(diversify_workspace)(uint32_t count, uint32_t k) {
    return count * (sizeof(struct finalist) + sizeof(uint32_t)) + k * (sizeof(int64_t) + sizeof(float *));
}

/* Returns how many positions it wrote, best first. */
uint32_t EXPORT(diversify)(const struct diversify *a) {
    struct finalist *finalists = (struct finalist *)a->workspace;
    int64_t *picked_groups = (int64_t *)(finalists + a->count);
    uint32_t *heap = (uint32_t *)(picked_groups + a->k);
    const float **picked = (const float **)(heap + a->count);
    uint32_t picks = 0, left = a->count;
    for (uint32_t i = 0; i < a->count; i++) {
        finalists[i] = finalist_of(a, i);
        heap[i] = i;
    }
    for (uint32_t at = a->count / 2; at-- > 0;) sink_finalist(heap, finalists, a->count, at);
    while (picks < a->k && left > 0) {
        struct finalist *best = &finalists[heap[0]];
        bool done = capped(best->group, picked_groups, picks, a->cap);
        if (!done && best->compared < picks) {
            meet(best, picked, best->compared + 1, a->trade_off); /* one: the next may not be needed */
        } else {
            if (!done) {
                a->positions[picks] = (int32_t)best->position;
                picked_groups[picks] = best->group;
                picked[picks++] = best->vector;
            }
            heap[0] = heap[--left];
        }
        if (left > 0) sink_finalist(heap, finalists, left, 0);
    }
    return picks;
}
