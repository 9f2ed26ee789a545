/* The k best rows so far. A heap whose root is the worst of them, so that one comparison turns most rows away. */
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

/* The one order of the kernel: higher score first, then lower id. */
static inline bool better(struct hit a, struct hit b) {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
}

/* No row with a smaller score can enter. */
static inline float threshold(const struct topk *top) {
    return top->count == top->k ? top->hits[0].score : -__builtin_inff();
}

static inline void sink(struct hit *hits, uint32_t count, uint32_t at) {
    struct hit moved = hits[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && better(hits[child], hits[child + 1])) child++;
        if (!better(moved, hits[child])) break;
        hits[at] = hits[child];
    }
    hits[at] = moved;
}

static inline void offer(struct topk *top, struct hit hit) {
    if (top->count < top->k) {
        uint32_t at = top->count++;
        for (uint32_t parent; at > 0 && better(top->hits[parent = (at - 1) / 2], hit); at = parent)
            top->hits[at] = top->hits[parent];
        top->hits[at] = hit;
    } else if (better(hit, top->hits[0])) {
        top->hits[0] = hit;
        sink(top->hits, top->count, 0);
    }
}

/* Writes k rows and scores, best first; -1 and minus infinity where fewer were found. Empties the heap. */
static inline void drain(struct topk *top, int32_t *rows, int64_t *ids, float *scores) {
    for (uint32_t i = top->count; i < top->k; i++) {
        rows[i] = -1;
        ids[i] = -1;
        scores[i] = -__builtin_inff();
    }
    while (top->count > 0) {
        struct hit worst = top->hits[0];
        top->hits[0] = top->hits[--top->count];
        if (top->count > 0) sink(top->hits, top->count, 0);
        rows[top->count] = worst.row;
        ids[top->count] = worst.id;
        scores[top->count] = worst.score;
    }
}
