// A multilayer perceptron over neurons or over edges, as Python describes it, and its weights as the kernels read them.
#ifndef LOBULA_MLP_H
#define LOBULA_MLP_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64 // bytes
#define PAD 16       // widths are padded to so many units
#define MOST_INPUTS 8
#define MOST_LAYERS 8

typedef struct { // as in mlp.py; strides of (frame, neuron)
    int64_t n, batch, n_scalars, n_embedding, n_layers, activation, n_threads;
    int64_t width[MOST_LAYERS]; // units of the hidden layers
    float unit, gain;           // of the scalars, and of the output
    int64_t squared;            // whether the output is
    const float *scalars[MOST_INPUTS];
    int64_t scalar_stride[MOST_INPUTS][2];
    const float *embedding;
    int64_t embedding_stride;
    const float *first[2], *weight[MOST_LAYERS + 1], *bias[MOST_LAYERS + 1]; // (out, in): first for scalars, embedding
    float *kept;   // layers after the first, each (n batch, padded width); NULL where no gradient follows
    float *values; // (n batch) output before it is squared; NULL where it is not, or no gradient follows
    float *out;
    int64_t out_stride[2];
    float *by_last; // (n batch, width + 1) derivatives of the output by the last layer's weights and bias, or NULL
    const float *grad;
    int64_t grad_stride[2];
    float *grad_scalars[MOST_INPUTS]; // (n batch) or NULL
    float *grad_embedding;            // (n, n_embedding), which is added to, or NULL
    float *grad_first[2], *grad_weight[MOST_LAYERS + 1], *grad_bias[MOST_LAYERS + 1];
    // over edges, n of them, the first layer is the sum of what both ends give to it; all NULL over neurons
    const int64_t *ends[2];
    const float *shares[2]; // (nodes, batch, width[0])
    int64_t nodes[2];
    float *grad_shares[2]; // (threads, nodes, batch, width[0]), which is added to
} Mlp;

void lobula_mlp_forward(const Mlp *m);
void lobula_mlp_backward(const Mlp *m);

// ---- memory

static int64_t padded(int64_t n) { return (n + PAD - 1) / PAD * PAD; }

static float *new_floats(int64_t n) { return aligned_alloc(ALIGNMENT, (size_t)padded(n) * sizeof(float)); }

// Of this thread, kept from call to call: fresh memory costs more than what is written into it.
static float *scratch(int64_t n) {
    static _Thread_local float *memory = NULL;
    static _Thread_local int64_t size = 0;
    if (n > size) {
        free(memory);
        memory = new_floats(n);
        size = n;
    }
    return memory;
}

static float *take(float **from, int64_t n) {
    float *part = *from;
    *from += padded(n);
    return part;
}

// ---- weights, padded with zeros and as both passes want them

typedef struct {
    int64_t inputs, width[MOST_LAYERS];
    float *first;               // (inputs + 1, width) columns of the first layer, then its bias
    float *weight[MOST_LAYERS]; // (in, out) for the forward pass, (out, in) for the backward pass
    float *bias[MOST_LAYERS], *last;
    float *memory;
} Tables;

static void first_table(const Mlp *m, Tables *t, float **memory) {
    int64_t n = m->width[0], ld = t->width[0];
    t->first = take(memory, (t->inputs + 1) * ld);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < m->n_scalars; k++) t->first[k * ld + i] = m->first[0][i * m->n_scalars + k] / m->unit;
        for (int64_t d = 0; d < m->n_embedding; d++)
            t->first[(m->n_scalars + d) * ld + i] = m->first[1][i * m->n_embedding + d];
        t->first[t->inputs * ld + i] = m->bias[0][i];
    }
}

static void further_table(const Mlp *m, Tables *t, int l, int forward, float **memory) {
    int64_t n = m->width[l], in = m->width[l - 1], ld = t->width[l], below = t->width[l - 1];
    float *table = t->weight[l] = take(memory, below * ld);
    t->bias[l] = take(memory, ld);
    memcpy(t->bias[l], m->bias[l], n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        if (forward)
            for (int64_t k = 0; k < in; k++) table[k * ld + i] = m->weight[l][i * in + k];
        else
            memcpy(table + i * below, m->weight[l] + i * in, in * sizeof(float));
}

static Tables new_tables(const Mlp *m, int forward) {
    Tables t = {.inputs = m->n_scalars + m->n_embedding};
    for (int l = 0; l < m->n_layers; l++) t.width[l] = padded(m->width[l]);
    int64_t top = m->n_layers - 1, size = (t.inputs + 1) * t.width[0] + t.width[top];
    for (int l = 1; l < m->n_layers; l++) size += (t.width[l - 1] + 1) * t.width[l];
    float *memory = t.memory = new_floats(size);
    memset(memory, 0, size * sizeof(float));
    if (!m->ends[0]) first_table(m, &t, &memory);
    for (int l = 1; l < m->n_layers; l++) further_table(m, &t, l, forward, &memory);
    t.last = take(&memory, t.width[top]);
    memcpy(t.last, m->weight[m->n_layers], m->width[top] * sizeof(float));
    return t;
}

#endif
