// The first layer of a perceptron. Over neurons its inputs are few, so it is taken column by column of its units, and
// the embedding's share is computed once per neuron. Over edges it is a sum of two rows.
#ifndef LOBULA_FIRST_LAYER_H
#define LOBULA_FIRST_LAYER_H
#include "mlp.h"
#include "vectors.h"

typedef struct {
    int64_t first, rows;
} Block;

typedef struct { // the rows of one neuron in a block
    int64_t stop;
    const float *scalars[MOST_INPUTS], *embedding;
} Stretch;

INLINE Stretch stretch_at(const Mlp *m, Block block, int64_t row, const int64_t n_scalars) {
    int64_t neuron = row / m->batch, frame = row - neuron * m->batch;
    int64_t stop = (neuron + 1) * m->batch, end = block.first + block.rows;
    Stretch s = {.stop = stop < end ? stop : end, .embedding = m->embedding + neuron * m->embedding_stride};
    for (int64_t k = 0; k < n_scalars; k++)
        s.scalars[k] = m->scalars[k] + frame * m->scalar_stride[k][0] + neuron * m->scalar_stride[k][1];
    return s;
}

INLINE float next_frame(const Mlp *m, Stretch *s, int64_t k) {
    float x = *s->scalars[k];
    s->scalars[k] += m->scalar_stride[k][0];
    return x;
}

INLINE void first_layer_of(const Mlp *m, const Tables *t, Block block, float *hidden, const int kind,
                           const int64_t n_scalars) {
    int64_t ld = t->width[0];
    for (int64_t v = 0; v < ld; v += LANES) {
        const float *column = t->first + v;
        float *h = hidden + v;
        for (int64_t row = block.first; row < block.first + block.rows;) {
            Stretch s = stretch_at(m, block, row, n_scalars);
            vec own = load(column + t->inputs * ld);
            for (int64_t d = 0; d < m->n_embedding; d++)
                own += splat(s.embedding[d]) * load(column + (n_scalars + d) * ld);
            for (; row < s.stop; row++, h += ld) {
                vec x = own;
                for (int64_t k = 0; k < n_scalars; k++) x += splat(next_frame(m, &s, k)) * load(column + k * ld);
                store(h, activate(kind, x));
            }
        }
    }
}

// Place of a row's share: that of an end of its edge in its frame.
INLINE int64_t share_at(const Mlp *m, int64_t row, int end) {
    int64_t edge = row / m->batch;
    return (m->ends[end][edge] * m->batch + row - edge * m->batch) * m->width[0];
}

INLINE void layer_of_edges(const Mlp *m, const Tables *t, Block block, float *hidden, const int kind) {
    int64_t width = m->width[0], ld = t->width[0];
    for (int64_t r = 0; r < block.rows; r++) {
        const float *a = m->shares[0] + share_at(m, block.first + r, 0);
        const float *b = m->shares[1] + share_at(m, block.first + r, 1);
        float *h = hidden + r * ld;
        for (int64_t i = 0; i < width; i++) h[i] = a[i] + b[i];
        for (int64_t i = width; i < ld; i++) h[i] = 0.0f;
        for (int64_t v = 0; v < ld; v += LANES) store(h + v, activate(kind, load(h + v)));
    }
}

// Adds the gradients of a block's rows to those of thread p.
static void layer_of_edges_back(const Mlp *m, const Tables *t, Block block, const float *delta, int64_t p) {
    int64_t width = m->width[0];
    for (int end = 0; end < 2; end++) {
        float *sums = m->grad_shares[end] + p * m->nodes[end] * m->batch * width;
        for (int64_t r = 0; r < block.rows; r++) {
            float *sum = sums + share_at(m, block.first + r, end);
            const float *d = delta + r * t->width[0];
            for (int64_t i = 0; i < width; i++) sum[i] += d[i];
        }
    }
}

INLINE void first_layer(const Mlp *m, const Tables *t, Block block, float *hidden, const int kind) {
    if (m->ends[0]) {
        layer_of_edges(m, t, block, hidden, kind);
        return;
    }
    switch (m->n_scalars) { // those of the message and of the update network
    case 1: first_layer_of(m, t, block, hidden, kind, 1); break;
    case 3: first_layer_of(m, t, block, hidden, kind, 3); break;
    default: first_layer_of(m, t, block, hidden, kind, m->n_scalars);
    }
}

// Adds the gradients of the layer to `sums`, and puts those summed over a neuron's rows into `by_neuron`.
INLINE void first_layer_back_of(const Mlp *m, const Tables *t, float *sums, Block block, const float *delta,
                                float *by_neuron, const int64_t n_scalars) {
    int64_t ld = t->width[0], n_embedding = m->n_embedding;
    for (int64_t v = 0; v < ld; v += LANES) {
        vec by_scalar[MOST_INPUTS], by_embedding[MOST_INPUTS], by_bias = load(sums + t->inputs * ld + v);
        for (int64_t k = 0; k < n_scalars; k++) by_scalar[k] = load(sums + k * ld + v);
        for (int64_t d = 0; d < n_embedding; d++) by_embedding[d] = load(sums + (n_scalars + d) * ld + v);
        const float *x = delta + v;
        float *total = by_neuron + v;
        for (int64_t row = block.first; row < block.first + block.rows; total += ld) {
            Stretch s = stretch_at(m, block, row, n_scalars);
            vec all = splat(0.0f);
            for (; row < s.stop; row++, x += ld) {
                all += load(x);
                for (int64_t k = 0; k < n_scalars; k++) by_scalar[k] += splat(next_frame(m, &s, k)) * load(x);
            }
            by_bias += all;
            for (int64_t d = 0; d < n_embedding; d++) by_embedding[d] += splat(s.embedding[d]) * all;
            store(total, all);
        }
        store(sums + t->inputs * ld + v, by_bias);
        for (int64_t k = 0; k < n_scalars; k++) store(sums + k * ld + v, by_scalar[k]);
        for (int64_t d = 0; d < n_embedding; d++) store(sums + (n_scalars + d) * ld + v, by_embedding[d]);
    }
}

static void first_layer_back(const Mlp *m, const Tables *t, float *sums, Block block, const float *delta,
                             float *by_neuron) {
    switch (m->n_scalars) {
    case 1: first_layer_back_of(m, t, sums, block, delta, by_neuron, 1); break;
    case 3: first_layer_back_of(m, t, sums, block, delta, by_neuron, 3); break;
    default: first_layer_back_of(m, t, sums, block, delta, by_neuron, m->n_scalars);
    }
}

static void inputs_back(const Mlp *m, const Tables *t, Block block, const float *delta, const float *by_neuron) {
    int64_t ld = t->width[0], n_scalars = m->n_scalars, n_embedding = m->n_embedding;
    int64_t first = block.first / m->batch, last = (block.first + block.rows - 1) / m->batch;
    for (int64_t k = 0; k < n_scalars; k++)
        for (int64_t r = 0; m->grad_scalars[k] && r < block.rows; r++)
            m->grad_scalars[k][block.first + r] = dot(delta + r * ld, t->first + k * ld, ld);
    for (int64_t i = first; m->grad_embedding && i <= last; i++)
        for (int64_t d = 0; d < n_embedding; d++) // a neuron may have rows in several blocks
            m->grad_embedding[i * n_embedding + d] +=
                dot(by_neuron + (i - first) * ld, t->first + (n_scalars + d) * ld, ld);
}

#endif
