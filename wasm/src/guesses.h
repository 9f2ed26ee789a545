/*
 * The rows of the k best estimates so far, in no order. They are gathered until there are twice as many, and the worse
 * half is let go: many rows enter for a while, and a heap took half of the first pass.
 */
#pragma once
#include "layout.h"

struct guess {
    float score;
    int32_t row;
};

struct guesses {
    struct guess *rows; /* room for 2 k */
    uint32_t count, k;
    float least; /* no row with a smaller estimate is among the k best */
};

static inline int64_t id_of(int32_t row) {
    return segment_at((uint32_t)row / SEGMENT_ROWS).ids[(uint32_t)row % SEGMENT_ROWS];
}

/* The order of topk.h; ids are looked up for ties only, since each may be a line of memory that nobody has read. */
static inline bool likelier(struct guess a, struct guess b) {
    return a.score == b.score ? id_of(a.row) < id_of(b.row) : a.score > b.score;
}

static inline void swap(struct guess *a, struct guess *b) {
    struct guess kept = *a;
    *a = *b;
    *b = kept;
}

/* Brings rows[low, high) that are likelier than the last of them to the front, and it behind them: its place. */
static uint32_t part(struct guess *rows, uint32_t low, uint32_t high) {
    struct guess pivot = rows[high - 1];
    uint32_t place = low;
    for (uint32_t i = low; i < high - 1; i++) {
        struct guess row = rows[i];
        rows[i] = rows[place];
        rows[place] = row;
        place += likelier(row, pivot); /* not a branch: nothing foresees it */
    }
    swap(&rows[place], &rows[high - 1]);
    return place;
}

/* Puts the k best first (Hoare's selection); returns the k-th best score, minus infinity if there are fewer. */
static float select_best(struct guess *rows, uint32_t count, uint32_t k) {
    if (count < k) return -__builtin_inff();
    for (uint32_t low = 0, high = count; high - low > 1;) {
        swap(&rows[low + (high - low) / 2], &rows[high - 1]);
        uint32_t place = part(rows, low, high);
        if (k <= place) high = place;
        else low = place + 1;
    }
    float least = rows[0].score;
    for (uint32_t i = 1; i < k; i++) least = rows[i].score < least ? rows[i].score : least;
    return least;
}

static inline void keep_best(struct guesses *guesses) {
    guesses->least = select_best(guesses->rows, guesses->count, guesses->k);
    guesses->count = guesses->count < guesses->k ? guesses->count : guesses->k;
}

static inline void gather(struct guesses *guesses, struct guess guess) {
    if (guesses->count == 2 * guesses->k) keep_best(guesses);
    guesses->rows[guesses->count++] = guess;
}
