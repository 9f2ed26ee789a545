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

/* Returns the largest weighted cosine of a live row with the interests from `first` to `end`; 0 without any. */
static float largest_cosine(const struct score_candidates *a, int32_t row, uint32_t first, uint32_t end) {
    float largest = 0;
    for (uint32_t j = first; j < end; j++) {
        float part = a->interest_weights[j] * cosine_of(row, a->interests + (size_t)j * space.dimension);
        largest = j == first || part > largest ? part : largest;
    }
    return largest;
}

void EXPORT(score_candidates)(const struct score_candidates *a) {
    const float *column = a->columns;
    float *part = a->parts;
    uint32_t liked_count = a->interest_count, all_count = liked_count + a->rejected_count;
    normalize_all(a->interests, all_count);
    for (uint32_t i = 0; i < a->count; i++) {
        if (i % FETCHED_ROWS == 0) fetch_rows(a->rows + i, a->count - i);
        bool has_vector = is_live(a->rows[i]);
        const float *weight = a->weights;
        float total = *part++ = *weight++ * (has_vector ? largest_cosine(a, a->rows[i], 0, liked_count) : 0);
        if (a->rejected_count > 0) {
            float dislike = has_vector ? largest_cosine(a, a->rows[i], liked_count, all_count) : 0;
            total += *part++ = *weight++ * (dislike > 0 ? dislike : 0);
        }
        for (uint32_t j = 0; j < a->column_count; j++) total += *part++ = *weight++ * *column++;
        a->totals[i] = total;
    }
}
