/* Exact cosines of listed rows, and the blend of a request's score parts. */
#include "layout.h"
#include "vector.h"

static void normalize_all(float *vectors, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) normalize_f32(vectors + (size_t)i * space.dimension, space.dimension);
}

static inline float cosine_of(int32_t row, const float *query) {
    return is_live(row) ? dot_f32(query, vector_of(row), space.dimension) : 0;
}

/* out (count, query_count): the cosine of each row with each query; 0 for a row that is not live. */
void EXPORT(rescore)(const int32_t *rows, uint32_t count, float *queries, uint32_t query_count, float *out) {
    normalize_all(queries, query_count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < query_count; j++)
            out[(size_t)i * query_count + j] = cosine_of(rows[i], queries + (size_t)j * space.dimension);
}

enum reduction { REDUCE_MAX = 0, REDUCE_SUM = 1 };

/* How much a row is to someone's taste: their best weighted interest, or the weighted sum of all. */
static float taste(int32_t row, const float *interests, const float *interest_weights, uint32_t interest_count,
                   uint32_t reduction) {
    float taste = 0;
    for (uint32_t j = 0; j < interest_count; j++) {
        float part = interest_weights[j] * cosine_of(row, interests + (size_t)j * space.dimension);
        if (reduction == REDUCE_SUM) taste += part;
        else taste = j == 0 || part > taste ? part : taste;
    }
    return taste;
}

/*
 * columns (count, column_count), weights (1 + column_count,), parts (count, 1 + column_count), totals (count,).
 * A part is weight * value; a total is the sum of its parts from left to right, so the parts explain it exactly.
 */
void EXPORT(score_candidates)(const int32_t *rows, uint32_t count, float *interests, const float *interest_weights,
                              uint32_t interest_count, uint32_t reduction, const float *columns, uint32_t column_count,
                              const float *weights, float *parts, float *totals) {
    normalize_all(interests, interest_count);
    for (uint32_t i = 0; i < count; i++) {
        float total = *parts++ =
            weights[0] * (is_live(rows[i]) ? taste(rows[i], interests, interest_weights, interest_count, reduction) : 0);
        for (uint32_t j = 0; j < column_count; j++) total += *parts++ = weights[1 + j] * *columns++;
        totals[i] = total;
    }
}
