// Products of a block of rows with a small matrix, tile by tile: the sums of a tile stay in registers.
#ifndef LOBULA_PRODUCT_H
#define LOBULA_PRODUCT_H
#include <stddef.h>

#include "vectors.h"

#if LANES == 16 // of 32 registers 25 hold sums, 5 a row of b and one an element of a
#define TILE_ROWS 5
#define TILE_VECS 5
#else // of 16 registers 12, 2 and one
#define TILE_ROWS 6
#define TILE_VECS 2
#endif

typedef struct { // c (rows, width) = a (rows, depth) b (depth, width) + bias, or c += a b
    int64_t rows, depth, width;
    const float *a;
    int64_t a_row, a_depth; // distances
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    const float *bias; // (width) or NULL
    int adds;
} Product;

INLINE void tile(const Product *p, int64_t row, int64_t column, const int rows, const int vecs) {
    vec sums[TILE_ROWS][TILE_VECS], of_b[TILE_VECS];
    float *c = p->c + row * p->c_row + column;
    const float *a = p->a + row * p->a_row, *b = p->b + column;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vecs; v++)
            sums[r][v] = p->adds   ? load(c + r * p->c_row + v * LANES)
                         : p->bias ? load(p->bias + column + v * LANES)
                                   : splat(0.0f);
    for (int64_t k = 0; k < p->depth; k++, a += p->a_depth, b += p->b_row) {
#pragma GCC unroll 8
        for (int v = 0; v < vecs; v++) of_b[v] = load(b + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vec of_a = splat(a[r * p->a_row]);
#pragma GCC unroll 8
            for (int v = 0; v < vecs; v++) sums[r][v] += of_a * of_b[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vecs; v++) store(c + r * p->c_row + v * LANES, sums[r][v]);
}

INLINE void panel(const Product *p, int64_t column, const int vecs) {
    int64_t r = 0;
    for (; r + TILE_ROWS <= p->rows; r += TILE_ROWS) tile(p, r, column, TILE_ROWS, vecs);
    for (; r < p->rows; r++) tile(p, r, column, 1, vecs);
}

// Rows of b, of c and of the bias are aligned and padded to whole vectors.
static void multiply(Product p) {
    int64_t vecs = p.width / LANES, most = TILE_VECS;
    while (most > TILE_VECS / 2 + 1 && vecs % most) most--; // panels of equal width where there are such
    if (vecs % most) most = TILE_VECS;
    for (int64_t v = 0; v < vecs; v += most) {
        switch (vecs - v < most ? vecs - v : most) {
        case 1: panel(&p, v * LANES, 1); break;
        case 2: panel(&p, v * LANES, 2); break;
#if TILE_VECS == 5
        case 3: panel(&p, v * LANES, 3); break;
        case 4: panel(&p, v * LANES, 4); break;
        case 5: panel(&p, v * LANES, 5); break;
#endif
        }
    }
}

#endif
