// Messages summed over the inputs of every neuron, and the gradients of that: see ../message_sum.py.
// Matrices are CSR; rows are given to threads by their number of edges. The batch, in the fast axis, is taken in pieces
// of 16, 8, 4, 2 or 1 columns, whose sums stay in registers.
#include "message_sum.h"

#include <stddef.h>

#define INLINE static inline __attribute__((always_inline))

typedef float four __attribute__((vector_size(16), aligned(4)));
typedef float quad __attribute__((vector_size(64), aligned(4))); // one register with AVX-512, else several
#define AHEAD 4 // edges whose rows of a table are asked for before they are needed

typedef struct { // one of the two matrices
    int64_t n, batch, n_threads;
    const int32_t *indptr, *columns;
    const int32_t *order; // NULL where values are in the order of the edges
} Matrix;

static Matrix forwards(const Pattern *m) {
    return (Matrix){m->n, m->batch, m->n_threads, m->indptr, m->columns, NULL};
}

static Matrix transposed(const Pattern *m) {
    return (Matrix){m->n, m->batch, m->n_threads, m->indptr_out, m->columns_out, m->order_out};
}

// First row of thread p: the one with edge number E p / T, so that threads have about as many edges.
static int64_t first_row(const Matrix *m, int64_t p) {
    int64_t edge = m->indptr[m->n] * p / m->n_threads, low = 0, high = m->n;
    if (p == m->n_threads) return m->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (m->indptr[middle] < edge) low = middle + 1;
        else high = middle;
    }
    return low;
}

INLINE void sum_rows(const Matrix *m, const float *values, const float *messages, float *out, int64_t start,
                     int64_t stop, const int width) {
    for (int64_t i = start; i < stop; i++) {
        float total[16] = {0.0f}, other[16] = {0.0f};
        int64_t e = m->indptr[i], end = m->indptr[i + 1];
        for (; e + 1 < end; e += 2) { // two sums, as one would wait for itself
            const float *a = messages + m->columns[e] * m->batch, *b = messages + m->columns[e + 1] * m->batch;
            float v = values[m->order ? m->order[e] : e], w = values[m->order ? m->order[e + 1] : e + 1];
#pragma omp simd
            for (int k = 0; k < width; k++) total[k] += v * a[k];
#pragma omp simd
            for (int k = 0; k < width; k++) other[k] += w * b[k];
        }
        if (e < end) {
            const float *a = messages + m->columns[e] * m->batch;
            float v = values[m->order ? m->order[e] : e];
            for (int k = 0; k < width; k++) total[k] += v * a[k];
        }
        for (int k = 0; k < width; k++) out[i * m->batch + k] = total[k] + other[k];
    }
}

INLINE void multiply_rows(const Matrix *m, const float *grad, const float *messages, float *out, int64_t start,
                          int64_t stop, const int adds, const int width) {
    for (int64_t i = start; i < stop; i++) {
        const float *g = grad + i * m->batch;
        for (int64_t e = m->indptr[i]; e < m->indptr[i + 1]; e++) {
            const float *h = messages + m->columns[e] * m->batch;
            float total = 0.0f;
            if (width >= 4) {
                four t = {0.0f};
                for (int k = 0; k < width; k += 4) t += *(const four *)(g + k) * *(const four *)(h + k);
                total = (t[0] + t[1]) + (t[2] + t[3]);
            } else
                for (int k = 0; k < width; k++) total += g[k] * h[k];
            out[e] = adds ? out[e] + total : total;
        }
    }
}

static int64_t piece(int64_t left) { return left >= 16 ? 16 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

// Calls a function of a piece's width with that width as a constant.
#define BY_WIDTH(width, call) \
    switch (width) {          \
    case 16: call(16); break; \
    case 8: call(8); break;   \
    case 4: call(4); break;   \
    case 2: call(2); break;   \
    default: call(1);         \
    }

// Thread p's part of out (N, B) = W x (N, B).
static void sum_part(const Matrix *m, const float *values, const float *x, float *out, int64_t p) {
    int64_t start = first_row(m, p), stop = first_row(m, p + 1);
    for (int64_t b = 0, width; b < m->batch; b += width) {
        width = piece(m->batch - b);
#define CALL(w) sum_rows(m, values, x + b, out + b, start, stop, w)
        BY_WIDTH(width, CALL)
#undef CALL
    }
}

// Thread p's part of out (E,): scalar products of grad (N, B) at an edge's row and messages (N, B) at its column.
static void multiply_part(const Matrix *m, const float *grad, const float *messages, float *out, int64_t p) {
    int64_t start = first_row(m, p), stop = first_row(m, p + 1);
    for (int64_t b = 0, width; b < m->batch; b += width) {
        width = piece(m->batch - b);
#define CALL(w) multiply_rows(m, grad + b, messages + b, out, start, stop, b > 0, w)
        BY_WIDTH(width, CALL)
#undef CALL
    }
}

void lobula_message_sum(const Pattern *pattern, const float *weight, const float *messages, float *out) {
    Matrix m = forwards(pattern);
#pragma omp parallel for schedule(static, 1) num_threads(m.n_threads)
    for (int64_t p = 0; p < m.n_threads; p++) sum_part(&m, weight, messages, out, p);
}

// Gradients by the weight (E,), or NULL, and by the messages (N, B).
void lobula_message_sum_back(const Pattern *pattern, const float *weight, const float *messages, const float *grad,
                             float *by_weight, float *by_messages) {
    Matrix m = forwards(pattern), out = transposed(pattern);
#pragma omp parallel for schedule(static, 1) num_threads(m.n_threads)
    for (int64_t p = 0; p < m.n_threads; p++) {
        if (by_weight) multiply_part(&m, grad, messages, by_weight, p);
        sum_part(&out, weight, grad, by_messages, p);
    }
}

// Rows of a table that messages look up, summed over the inputs of some neurons: see table_sums in message_sum.py.
typedef struct {
    int64_t n_rows, n_frames, width, n_threads;
    const int64_t *neurons, *indptr; // which neurons, and where their edges begin
    const int64_t *columns, *cells;  // of the edges; (M, frames) row of the table that each message looks up
    const float *weights, *table;    // of the edges; (rows, width), width a multiple of 16
    float *out;                      // (n_rows, frames, width)
} Lookup;

INLINE void look_up(const Lookup *m, int64_t row, int64_t t, int64_t first, const int quads) {
    quad total[8] = {0};
    int64_t end = m->indptr[m->neurons[row] + 1];
    for (int64_t e = m->indptr[m->neurons[row]]; e < end; e++) {
        const float *x = m->table + m->cells[m->columns[e] * m->n_frames + t] * m->width + first;
        if (e + AHEAD < end) {
            const float *next = m->table + m->cells[m->columns[e + AHEAD] * m->n_frames + t] * m->width + first;
            for (int k = 0; k < quads; k++) __builtin_prefetch(next + 16 * k);
        }
#pragma GCC unroll 8
        for (int k = 0; k < quads; k++) total[k] += m->weights[e] * *(const quad *)(x + 16 * k);
    }
    float *out = m->out + (row * m->n_frames + t) * m->width + first;
#pragma GCC unroll 8
    for (int k = 0; k < quads; k++) *(quad *)(out + 16 * k) = total[k];
}

void lobula_table_sums(const Lookup *m) {
#pragma omp parallel for schedule(dynamic, 8) num_threads(m->n_threads)
    for (int64_t row = 0; row < m->n_rows; row++)
        for (int64_t t = 0; t < m->n_frames; t++) {
            int64_t first = 0;
            for (; first + 128 <= m->width; first += 128) look_up(m, row, t, first, 8);
            for (; first + 64 <= m->width; first += 64) look_up(m, row, t, first, 4);
            for (; first + 16 <= m->width; first += 16) look_up(m, row, t, first, 1);
        }
}
