/*
 * The layout of linear memory.
 *
 *   0 ........... stack (a stack that overflows traps at address 0) and constants
 *   __heap_base . segment 0, segment 1, ...   the resident rows, SEGMENT_ROWS each
 *   after them .. scratch: the arguments and results of one call
 *
 * A segment holds every form of its rows, so growing never moves a row. The scratch moves up instead; it is empty
 * between calls. In a batch scan one segment stays in the L2 cache while every query is compared with it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

#define SEGMENT_ROWS 1024
#define CODE_BLOCK_ROWS 32 /* sign codes of 32 rows are interleaved byte by byte */

struct layout {
    uint32_t dimension; /* floats a row, padded with zeros to a multiple of 16 */
    uint32_t code_bits; /* signs a row: the next power of two, at least 256 */
    uint32_t base, segments, segment_bytes;
    /* Offsets inside a segment, in bytes. */
    uint32_t vectors, quantized, codes, ids, scales, code_scales, code_errors, live;
};
extern struct layout space;

/* How to restore an int8 row: vector = quantized * factor, and the difference has at most the length `error`. */
struct scale {
    float factor, error;
    int32_t sum; /* of the quantized row */
};

struct segment {
    float *vectors;         /* (1024, dimension) unit length, or zero */
    int8_t *quantized;      /* (1024, dimension) */
    uint8_t *codes;         /* signs of the rotated vector, 32 rows interleaved */
    int64_t *ids;           /* (1024,) the lower id wins a tie */
    struct scale *scales;   /* (1024,) of the quantized rows */
    float *code_scales;     /* (1024,) 1 / sum |rotated vector| */
    float *code_errors;     /* (1024,) standard error of the estimate from signs */
    uint32_t *live;         /* (32,) one bit a row: put and not dropped */
};

static inline struct segment segment_at(uint32_t index) {
    uint8_t *start = (uint8_t *)(uintptr_t)(space.base + index * space.segment_bytes);
    return (struct segment){
        .vectors = (float *)(start + space.vectors),
        .quantized = (int8_t *)(start + space.quantized),
        .codes = start + space.codes,
        .ids = (int64_t *)(start + space.ids),
        .scales = (struct scale *)(start + space.scales),
        .code_scales = (float *)(start + space.code_scales),
        .code_errors = (float *)(start + space.code_errors),
        .live = (uint32_t *)(start + space.live),
    };
}

bool is_live(int32_t row);

static inline const float *vector_of(int32_t row) {
    struct segment segment = segment_at((uint32_t)row / SEGMENT_ROWS);
    return segment.vectors + (size_t)((uint32_t)row % SEGMENT_ROWS) * space.dimension;
}
