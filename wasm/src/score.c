/* Exact cosines of listed rows, and the weighted sum of a request's score parts. */
#include "layout.h"
#include "vector.h"

#define FETCHED_ROWS 16

static void normalize_all(float *vectors, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) normalize_f32(vectors + (size_t)i * space.dimension, space.dimension);
}

static inline float cosine_of(int32_t row, const float *query) {
    return is_live(row) ? dot_f32(query, vector_of(row), space.dimension) : 0;
}

static void fetch_rows(const int32_t *rows, uint32_t count) {
    for (uint32_t i = 0; i < count && i < FETCHED_ROWS; i++)
        if (is_live(rows[i])) fetch(vector_of(rows[i]), space.dimension * sizeof(float));
}

void EXPORT(rescore)(const struct rescore *a) {
    normalize_all(a->queries, a->query_count);
    for (uint32_t i = 0; i < a->count; i++) {
        if (i % FETCHED_ROWS == 0) fetch_rows(a->rows + i, a->count - i);
        for (uint32_t j = 0; j < a->query_count; j++)
            a->out[(size_t)i * a->query_count + j] = cosine_of(a->rows[i], a->queries + (size_t)j * space.dimension);
    }
}

/* Returns the taste for a row: the largest weighted cosine with an interest. */
static float taste(const struct score_candidates *a, int32_t row) {
    float taste = 0;
    for (uint32_t j = 0; j < a->interest_count; j++) {
        float part = a->interest_weights[j] * cosine_of(row, a->interests + (size_t)j * space.dimension);
        taste = j == 0 || part > taste ? part : taste;
    }
    return taste;
}

void EXPORT(score_candidates)(const struct score_candidates *a) {
    const float *column = a->columns;
    float *part = a->parts;
    normalize_all(a->interests, a->interest_count);
    for (uint32_t i = 0; i < a->count; i++) {
        if (i % FETCHED_ROWS == 0) fetch_rows(a->rows + i, a->count - i);
        float total = *part++ = a->weights[0] * (is_live(a->rows[i]) ? taste(a, a->rows[i]) : 0);
        for (uint32_t j = 0; j < a->column_count; j++) total += *part++ = a->weights[1 + j] * *column++;
        a->totals[i] = total;
    }
}
