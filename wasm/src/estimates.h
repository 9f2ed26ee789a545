/*
 * The rows with the k best estimates so far, in no order. The buffer takes 2 k rows; when it is full, quickselect keeps
 * the better half. Not a heap: early in a scan most rows enter, and a heap took half of the time of the first pass.
 *
 * Dropping a row here is safe: `min_score` is the k-th best estimate of rows that are in the buffer, so a row that
 * was dropped has k rows with better estimates. Which rows have the best estimates only affects the speed of the second
 * pass, because their exact scores give the floor (scan.c, find_floor).
 */
#pragma once
#include "layout.h"

struct estimated_row {
    float score;
    int32_t row;
};

struct best_estimates {
    struct estimated_row *rows; /* room for 2 k */
    uint32_t count, k;
    float min_score; /* no row with a lower estimate is among the k best */
};

static inline int64_t id_of(int32_t row) {
    return segment_at((uint32_t)row / SEGMENT_ROWS).ids[(uint32_t)row % SEGMENT_ROWS];
}

/* The order of topk.h. Ids are read for ties only: each read may be a cache miss. */
static inline bool estimate_ranks_before(struct estimated_row a, struct estimated_row b) {
    return a.score == b.score ? id_of(a.row) < id_of(b.row) : a.score > b.score;
}

static inline void swap(struct estimated_row *a, struct estimated_row *b) {
    struct estimated_row saved = *a;
    *a = *b;
    *b = saved;
}

/* Moves the rows of [low, high) that rank before the last row to the front, and the last row after them. Returns the
 * position of the last row (the pivot of quickselect). */
static uint32_t partition(struct estimated_row *rows, uint32_t low, uint32_t high) {
    struct estimated_row pivot = rows[high - 1];
    uint32_t place = low;
    for (uint32_t i = low; i < high - 1; i++) {
        struct estimated_row row = rows[i];
        rows[i] = rows[place];
        rows[place] = row;
        place += estimate_ranks_before(row, pivot); /* not a branch: the processor could not predict it */
    }
    swap(&rows[place], &rows[high - 1]);
    return place;
}

/* Moves the k best rows to the front (Hoare's quickselect). Returns the k-th best score, or minus infinity if there are
 * fewer than k rows. */
static float select_best(struct estimated_row *rows, uint32_t count, uint32_t k) {
    if (count < k) return -__builtin_inff();
    for (uint32_t low = 0, high = count; high - low > 1;) {
        swap(&rows[low + (high - low) / 2], &rows[high - 1]);
        uint32_t place = partition(rows, low, high);
        if (k <= place) high = place;
        else low = place + 1;
    }
    float min_score = rows[0].score;
    for (uint32_t i = 1; i < k; i++) min_score = rows[i].score < min_score ? rows[i].score : min_score;
    return min_score;
}

static inline void trim_to_best(struct best_estimates *best) {
    best->min_score = select_best(best->rows, best->count, best->k);
    best->count = best->count < best->k ? best->count : best->k;
}

static inline void add_estimate(struct best_estimates *best, struct estimated_row row) {
    if (best->count == 2 * best->k) trim_to_best(best);
    best->rows[best->count++] = row;
}
