/* The k best rows so far, in a heap whose root is the worst of them: one comparison rejects most rows. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hit {
    float score;
    int32_t row;
    int64_t id;
};

struct topk {
    struct hit *hits;
    uint32_t count, k;
};

/* The order of every result: the higher score first, then the lower id. */
static inline bool ranks_before_hit(struct hit a, struct hit b) {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
}

/* Returns the k-th best score so far: no row with a lower score can enter. */
static inline float threshold(const struct topk *top) {
    return top->count == top->k ? top->hits[0].score : -__builtin_inff();
}

static inline void sift_down(struct hit *hits, uint32_t count, uint32_t at) {
    struct hit moved = hits[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && ranks_before_hit(hits[child], hits[child + 1])) child++;
        if (!ranks_before_hit(moved, hits[child])) break;
        hits[at] = hits[child];
    }
    hits[at] = moved;
}

static inline void push_hit(struct topk *top, struct hit hit) {
    if (top->count < top->k) {
        uint32_t at = top->count++;
        for (uint32_t parent; at > 0 && ranks_before_hit(top->hits[parent = (at - 1) / 2], hit); at = parent)
            top->hits[at] = top->hits[parent];
        top->hits[at] = hit;
    } else if (ranks_before_hit(hit, top->hits[0])) {
        top->hits[0] = hit;
        sift_down(top->hits, top->count, 0);
    }
}

/* Writes k rows and scores, best first; -1 and minus infinity where fewer were found. Empties the heap. */
static inline void pop_all_hits(struct topk *top, int32_t *rows, int64_t *ids, float *scores) {
    for (uint32_t i = top->count; i < top->k; i++) {
        rows[i] = -1;
        ids[i] = -1;
        scores[i] = -__builtin_inff();
    }
    while (top->count > 0) {
        struct hit worst = top->hits[0];
        top->hits[0] = top->hits[--top->count];
        if (top->count > 0) sift_down(top->hits, top->count, 0);
        rows[top->count] = worst.row;
        ids[top->count] = worst.id;
        scores[top->count] = worst.score;
    }
}
