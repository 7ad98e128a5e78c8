// Multilayer perceptrons over neurons and over edges: see ../blocked_mlp.py and ../pair_mlp.py for what is computed.
//
// Rows are frames of a neuron or edge, one after the other. Threads have neurons or edges of their own, and take rows a
// block at a time, so that a block goes through all layers in the second-level cache. The backward pass computes the
// first layer again and reads the others where they were kept; else it computes all again. Sums over rows are made by
// thread and added up in the order of the threads: results are equal to the bit from run to run with the same number
// of threads.
#include "first_layer.h"
#include "mlp.h"
#include "product.h"

#define BLOCK_ROWS 120

// ---- forward

static void output(const Mlp *m, const Tables *t, Block block, const float *hidden) {
    int64_t top = m->n_layers - 1, ld = t->width[top], width = m->width[top];
    int64_t frame = block.first % m->batch, neuron = block.first / m->batch;
    for (int64_t r = 0; r < block.rows; r++) {
        float y = dot(hidden + r * ld, t->last, ld) + m->bias[top + 1][0];
        if (m->values) m->values[block.first + r] = y;
        m->out[frame * m->out_stride[0] + neuron * m->out_stride[1]] = m->gain * (m->squared ? y * y : y);
        if (m->by_last) {
            float *by = m->by_last + (block.first + r) * (width + 1), slope = m->gain * (m->squared ? 2.0f * y : 1.0f);
            for (int64_t k = 0; k < width; k++) by[k] = slope * hidden[r * ld + k];
            by[width] = slope;
        }
        if (++frame == m->batch) frame = 0, neuron++;
    }
}

INLINE void further_layer(const Mlp *m, const Tables *t, int l, int64_t rows, const float *below, float *hidden,
                          const int kind) {
    int64_t ld = t->width[l];
    multiply((Product){rows, m->width[l - 1], ld, .a = below, .a_row = t->width[l - 1], .a_depth = 1,
                       .b = t->weight[l], .b_row = ld, .c = hidden, .c_row = ld, .bias = t->bias[l]});
    for (int64_t i = 0; i < rows * ld; i += LANES) store(hidden + i, activate(kind, load(hidden + i)));
}

// Out of line: inlined, it makes steps that need none of it 1 to 2 % slower.
static __attribute__((noinline)) void further_layers(const Mlp *m, const Tables *t, int64_t rows, float **hidden,
                                                     const int kind) {
    for (int l = 1; l < m->n_layers; l++) further_layer(m, t, l, rows, hidden[l - 1], hidden[l], kind);
}

INLINE void forward_rows(const Mlp *m, const Tables *t, int64_t start, int64_t stop, const int kind) {
    int64_t size = 0, top = m->n_layers - 1, rows = m->n * m->batch;
    for (int l = 0; l <= top; l++) size += BLOCK_ROWS * t->width[l];
    float *memory = scratch(size), *own[MOST_LAYERS], *kept[MOST_LAYERS], *next = m->kept;
    for (int l = 0; l <= top; l++) {
        own[l] = take(&memory, BLOCK_ROWS * t->width[l]);
        kept[l] = l && m->kept ? take(&next, rows * t->width[l]) : NULL;
    }
    for (int64_t row = start; row < stop; row += BLOCK_ROWS) {
        Block block = {row, stop - row < BLOCK_ROWS ? stop - row : BLOCK_ROWS};
        float *below = own[0];
        first_layer(m, t, block, below, kind);
        for (int l = 1; l <= top; l++) {
            float *hidden = kept[l] ? kept[l] + row * t->width[l] : own[l];
            further_layer(m, t, l, block.rows, below, hidden, kind);
            below = hidden;
        }
        output(m, t, block, below);
    }
}

// ---- backward

typedef struct { // over the rows of a thread; padded as the tables
    float *first, *weight[MOST_LAYERS], *bias[MOST_LAYERS], *last, last_bias;
    float *memory;
} Sums;

static Sums new_sums(const Mlp *m, const Tables *t) {
    Sums s = {0};
    int64_t top = m->n_layers - 1, size = (t->inputs + 1) * t->width[0] + t->width[top];
    for (int l = 1; l <= top; l++) size += t->width[l] * (t->width[l - 1] + 1);
    float *memory = s.memory = new_floats(size);
    memset(memory, 0, size * sizeof(float));
    s.first = take(&memory, (t->inputs + 1) * t->width[0]);
    for (int l = 1; l <= top; l++) {
        s.weight[l] = take(&memory, t->width[l] * t->width[l - 1]);
        s.bias[l] = take(&memory, t->width[l]);
    }
    s.last = take(&memory, t->width[top]);
    return s;
}

static void output_back(const Mlp *m, Block block, float *grad) {
    int64_t frame = block.first % m->batch, neuron = block.first / m->batch;
    for (int64_t r = 0; r < block.rows; r++) {
        float g = m->gain * m->grad[frame * m->grad_stride[0] + neuron * m->grad_stride[1]];
        grad[r] = m->squared ? 2.0f * m->values[block.first + r] * g : g;
        if (++frame == m->batch) frame = 0, neuron++;
    }
}

INLINE void last_layer_back(const Mlp *m, const Tables *t, Sums *s, Block block, const float *hidden, float *delta,
                            const int kind) {
    int64_t ld = t->width[m->n_layers - 1];
    float grad[BLOCK_ROWS];
    output_back(m, block, grad);
    for (int64_t v = 0; v < ld; v += LANES) {
        vec weight = load(t->last + v), total = load(s->last + v);
        for (int64_t r = 0; r < block.rows; r++) {
            vec h = load(hidden + r * ld + v), g = splat(grad[r]);
            total += g * h;
            store(delta + r * ld + v, pull_back(kind, g * weight, h));
        }
        store(s->last + v, total);
    }
    for (int64_t r = 0; r < block.rows; r++) s->last_bias += grad[r];
}

static void add_rows(float *total, const float *x, int64_t rows, int64_t ld) {
    for (int64_t v = 0; v < ld; v += LANES) {
        vec s = load(total + v);
        for (int64_t r = 0; r < rows; r++) s += load(x + r * ld + v);
        store(total + v, s);
    }
}

// Gradient of layer l from that of its inputs to the activation, `delta`; gives the same of the layer below.
INLINE void further_layer_back(const Mlp *m, const Tables *t, Sums *s, int l, int64_t rows, const float *delta,
                               const float *hidden, float *below, const int kind) {
    int64_t ld = t->width[l], in = t->width[l - 1];
    add_rows(s->bias[l], delta, rows, ld);
    multiply((Product){m->width[l], rows, in, .a = delta, .a_row = 1, .a_depth = ld, .b = hidden, .b_row = in,
                       .c = s->weight[l], .c_row = in, .adds = 1});
    multiply((Product){rows, m->width[l], in, .a = delta, .a_row = ld, .a_depth = 1, .b = t->weight[l], .b_row = in,
                       .c = below, .c_row = in});
    for (int64_t i = 0; i < rows * in; i += LANES)
        store(below + i, pull_back(kind, load(below + i), load(hidden + i)));
}

// Thread p's rows; `forward` are the tables of the forward pass, where it kept nothing.
INLINE void backward_rows(const Mlp *m, const Tables *t, const Tables *forward, Sums *s, int64_t p, const int kind) {
    int64_t start = m->n * p / m->n_threads * m->batch, stop = m->n * (p + 1) / m->n_threads * m->batch;
    int64_t top = m->n_layers - 1, size = BLOCK_ROWS * t->width[0], rows = m->n * m->batch;
    for (int l = 0; l <= top; l++) size += 2 * BLOCK_ROWS * t->width[l];
    float *memory = scratch(size), *next = m->kept, *by_neuron = take(&memory, BLOCK_ROWS * t->width[0]);
    float *delta[MOST_LAYERS], *own[MOST_LAYERS], *kept[MOST_LAYERS], *hidden[MOST_LAYERS];
    for (int l = 0; l <= top; l++) {
        delta[l] = take(&memory, BLOCK_ROWS * t->width[l]);
        own[l] = take(&memory, BLOCK_ROWS * t->width[l]);
        kept[l] = l && m->kept ? take(&next, rows * t->width[l]) : NULL;
    }
    for (int64_t row = start; row < stop; row += BLOCK_ROWS) {
        Block block = {row, stop - row < BLOCK_ROWS ? stop - row : BLOCK_ROWS};
        first_layer(m, t, block, hidden[0] = own[0], kind);
        for (int l = 1; l <= top; l++) hidden[l] = kept[l] ? kept[l] + row * t->width[l] : own[l];
        if (!m->kept) further_layers(m, forward, block.rows, hidden, kind);
        last_layer_back(m, t, s, block, hidden[top], delta[top], kind);
        for (int l = top; l; l--)
            further_layer_back(m, t, s, l, block.rows, delta[l], hidden[l - 1], delta[l - 1], kind);
        if (m->ends[0]) {
            layer_of_edges_back(m, t, block, delta[0], p);
        } else {
            first_layer_back(m, t, s->first, block, delta[0], by_neuron);
            inputs_back(m, t, block, delta[0], by_neuron);
        }
    }
}

typedef struct { // (n, in) of which element (i, k) is at i row + k column
    int64_t n, in, row, column;
} Shape;

// Puts a part of the first thread's sums into a gradient, and adds that of the others.
static void add_to(float *grad, Shape x, const float *sums, float factor, int is_first) {
    for (int64_t i = 0; i < x.n; i++)
        for (int64_t k = 0; k < x.in; k++) {
            float value = factor * sums[i * x.row + k * x.column];
            grad[i * x.in + k] = is_first ? value : grad[i * x.in + k] + value;
        }
}

// A thread's sums, without padding, as the weights lie.
static void add_up(const Mlp *m, const Tables *t, const Sums *s, int is_first) {
    int64_t top = m->n_layers - 1, ld = t->width[0], n = m->width[0];
    if (!m->ends[0]) {
        add_to(m->grad_first[0], (Shape){n, m->n_scalars, 1, ld}, s->first, 1.0f / m->unit, is_first);
        add_to(m->grad_first[1], (Shape){n, m->n_embedding, 1, ld}, s->first + m->n_scalars * ld, 1.0f, is_first);
        add_to(m->grad_bias[0], (Shape){n, 1, 1, 0}, s->first + t->inputs * ld, 1.0f, is_first);
    }
    for (int l = 1; l <= top; l++) {
        int64_t out = m->width[l], in = m->width[l - 1];
        add_to(m->grad_weight[l], (Shape){out, in, t->width[l - 1], 1}, s->weight[l], 1.0f, is_first);
        add_to(m->grad_bias[l], (Shape){out, 1, 1, 0}, s->bias[l], 1.0f, is_first);
    }
    add_to(m->grad_weight[top + 1], (Shape){1, m->width[top], 0, 1}, s->last, 1.0f, is_first);
    add_to(m->grad_bias[top + 1], (Shape){1, 1, 0, 0}, &s->last_bias, 1.0f, is_first);
}

// ---- what Python calls

// Calls a function of an activation's number with that number as a constant.
#define BY_ACTIVATION(kind, call)             \
    switch (kind) {                           \
    case RELU: call(RELU); break;             \
    case LEAKY_RELU: call(LEAKY_RELU); break; \
    case TANH: call(TANH); break;             \
    case SIGMOID: call(SIGMOID); break;       \
    default: call(SOFTPLUS);                  \
    }

void lobula_mlp_forward(const Mlp *m) {
    Tables t = new_tables(m, 1);
#pragma omp parallel for schedule(static, 1) num_threads(m->n_threads)
    for (int64_t p = 0; p < m->n_threads; p++) {
        int64_t start = m->n * p / m->n_threads * m->batch, stop = m->n * (p + 1) / m->n_threads * m->batch;
#define CALL(kind) forward_rows(m, &t, start, stop, kind)
        BY_ACTIVATION(m->activation, CALL)
#undef CALL
    }
    free(t.memory);
}

void lobula_mlp_backward(const Mlp *m) {
    Tables t = new_tables(m, 0), forward = {0};
    if (!m->kept) forward = new_tables(m, 1);
    Sums sums[m->n_threads];
#pragma omp parallel for schedule(static, 1) num_threads(m->n_threads)
    for (int64_t p = 0; p < m->n_threads; p++) {
        sums[p] = new_sums(m, &t);
#define CALL(kind) backward_rows(m, &t, &forward, sums + p, p, kind)
        BY_ACTIVATION(m->activation, CALL)
#undef CALL
    }
    for (int64_t p = 0; p < m->n_threads; p++) {
        add_up(m, &t, sums + p, p == 0);
        free(sums[p].memory);
    }
    free(forward.memory);
    free(t.memory);
}
