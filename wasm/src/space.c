/* The resident rows: open a space, put and drop rows, read them back. */
#include "layout.h"
#include "sieve.h"
#include "vector.h"

extern uint8_t __heap_base;
struct layout space;

static uint32_t arguments[16];

/* Returns the address where the host writes the arguments of the next operation. */
const uint32_t *EXPORT(argument_block)(void) { return arguments; }

static uint32_t allocate(uint32_t *end, uint32_t bytes) {
    uint32_t start = *end;
    *end = (start + bytes + 63) / 64 * 64;
    return start;
}

static uint32_t first_free_address(void) { return ((uint32_t)(uintptr_t)&__heap_base + 63) / 64 * 64; }

static uint32_t code_bits_of(uint32_t dimension) {
    uint32_t bits = 256;
    while (bits < dimension) bits *= 2;
    return bits;
}

/* Sets the dimension (a multiple of 16). Call it once, before any row is put. Returns the bytes of a segment. */
uint32_t EXPORT(open_space)(uint32_t dimension) {
    uint32_t end = 0;
    space.dimension = dimension;
    space.code_bits = code_bits_of(dimension);
    space.vectors = allocate(&end, SEGMENT_ROWS * dimension * 4);
    space.quantized = allocate(&end, SEGMENT_ROWS * dimension);
    space.codes = allocate(&end, SEGMENT_ROWS * space.code_bits / 8);
    space.ids = allocate(&end, SEGMENT_ROWS * 8);
    space.scales = allocate(&end, SEGMENT_ROWS * sizeof(struct scale));
    space.code_scales = allocate(&end, SEGMENT_ROWS * 4);
    space.code_errors = allocate(&end, SEGMENT_ROWS * 4);
    space.live = allocate(&end, SEGMENT_ROWS / 8);
    space.segment_bytes = end;
    space.base = first_free_address();
    space.segments = 0;
    init_sieve();
    return end;
}

/* Returns the address of the scratch for this many segments. */
uint32_t EXPORT(scratch_base)(uint32_t segments) {
    return first_free_address() + segments * space.segment_bytes;
}

/* Adds segments without live rows. The host must have grown the memory before. */
void EXPORT(extend_space)(uint32_t segments) {
    for (; space.segments < segments; space.segments++)
        __builtin_memset(segment_at(space.segments).live, 0, SEGMENT_ROWS / 8);
}

/* A compiler barrier: no memory access moves across it. */
#define UNMOVED __asm__ volatile("" ::: "memory")

static void put_row(int32_t row, int64_t id, const float *source) {
    struct segment segment = segment_at((uint32_t)row / SEGMENT_ROWS);
    uint32_t at = (uint32_t)row % SEGMENT_ROWS;
    float *vector = segment.vectors + (size_t)at * space.dimension;
    segment.live[at / 32] &= ~(1u << at % 32);
    UNMOVED; /* a deadline during the next steps leaves a row that is not live, never a live row that is half written */
    __builtin_memcpy(vector, source, space.dimension * sizeof(float));
    normalize_f32(vector, space.dimension);
    segment.ids[at] = id;
    struct scale *scale = &segment.scales[at];
    scale->factor = quantize_f32(vector, space.dimension, segment.quantized + (size_t)at * space.dimension,
                                 &scale->sum, &scale->error);
    encode_signs(segment, at, vector);
    UNMOVED;
    segment.live[at / 32] |= 1u << at % 32;
}

void EXPORT(put_rows)(const struct put_rows *a) {
    for (uint32_t i = 0; i < a->count; i++) put_row(a->rows[i], a->ids[i], a->vectors + (size_t)i * space.dimension);
}

void EXPORT(drop_rows)(const struct drop_rows *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t at = (uint32_t)a->rows[i] % SEGMENT_ROWS;
        segment_at((uint32_t)a->rows[i] / SEGMENT_ROWS).live[at / 32] &= ~(1u << at % 32);
    }
}

/* Returns whether a row is resident. -1 stands for a candidate without a vector. */
bool is_live(int32_t row) {
    if (row < 0 || (uint32_t)row / SEGMENT_ROWS >= space.segments) return false;
    uint32_t at = (uint32_t)row % SEGMENT_ROWS;
    return segment_at((uint32_t)row / SEGMENT_ROWS).live[at / 32] >> at % 32 & 1;
}

void EXPORT(read_rows)(const struct read_rows *a) {
    uint32_t bytes = space.dimension * sizeof(float);
    for (uint32_t i = 0; i < a->count; i++) {
        float *out = a->out + (size_t)i * space.dimension;
        if (is_live(a->rows[i])) __builtin_memcpy(out, vector_of(a->rows[i]), bytes);
        else __builtin_memset(out, 0, bytes);
    }
}
