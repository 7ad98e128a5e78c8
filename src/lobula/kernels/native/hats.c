// Functions that are linear between knots: where voltages lie among the knots, values, and sums of hat functions.
#include <math.h>
#include <stdint.h>
#include <string.h>

#define CELLS 4096
#define LEAST_PER_THREAD 16384

typedef struct { // which interval begins at or before the left end of every cell of a regular grid
    const double *knots;
    int64_t n_knots;
    double low, per_cell;
    int32_t start[CELLS];
} Grid;

static void place(Grid *g, const double *knots, int64_t n_knots) {
    double width = (knots[n_knots - 1] - knots[0]) / CELLS;
    *g = (Grid){.knots = knots, .n_knots = n_knots, .low = knots[0], .per_cell = 1.0 / width};
    int64_t k = 0;
    for (int64_t cell = 0; cell < CELLS; cell++) {
        while (k < n_knots - 2 && knots[k + 1] <= g->low + cell * width) k++;
        g->start[cell] = k;
    }
}

// The interval that v is in, the outer ones without an end; the last for NaN.
static inline int64_t interval(const Grid *g, double v) {
    double cell = (v - g->low) * g->per_cell;
    if (!(cell < CELLS)) return g->n_knots - 2;
    int64_t k = g->start[cell < 0.0 ? 0 : (int64_t)cell];
    while (k < g->n_knots - 2 && g->knots[k + 1] <= v) k++;
    while (k > 0 && g->knots[k] > v) k--;
    return k;
}

static int64_t threads_for(int64_t n, int64_t most) {
    int64_t enough = n / LEAST_PER_THREAD + 1;
    return enough < most ? enough : most;
}

void lobula_locate(const double *knots, int64_t n_knots, const double *voltage, int64_t n, int64_t *index,
                   double *fraction, int64_t n_threads) {
    Grid g;
    place(&g, knots, n_knots);
#pragma omp parallel for schedule(static) num_threads(threads_for(n, n_threads))
    for (int64_t i = 0; i < n; i++) {
        int64_t k = index[i] = interval(&g, voltage[i]);
        fraction[i] = (voltage[i] - knots[k]) / (knots[k + 1] - knots[k]);
    }
}

void lobula_piecewise(const double *knots, const double *values, int64_t n_knots, const double *voltage, int64_t n,
                      double *out, int64_t n_threads) {
    Grid g;
    place(&g, knots, n_knots);
#pragma omp parallel for schedule(static) num_threads(threads_for(n, n_threads))
    for (int64_t i = 0; i < n; i++) {
        int64_t k = interval(&g, voltage[i]);
        out[i] = values[k] + (voltage[i] - knots[k]) / (knots[k + 1] - knots[k]) * (values[k + 1] - values[k]);
    }
}

// Rows of a design, one per frame, `row` numbers apart: hat functions of all inputs, each times its share, summed over
// inputs at `offset` + index; after these `width` columns the inputs' messages. One thread.
void lobula_hat_rows(const int64_t *inputs, const int64_t *offset, const double *share, int64_t n_inputs,
                     const int64_t *index, const double *fraction, const double *messages, int64_t n_frames,
                     double *x, int64_t width, int64_t row) {
    for (int64_t t = 0; t < n_frames; t++) memset(x + t * row, 0, width * sizeof(double));
    for (int64_t e = 0; e < n_inputs; e++) {
        const int64_t *k = index + inputs[e] * n_frames;
        const double *f = fraction + inputs[e] * n_frames, *h = messages + inputs[e] * n_frames;
        for (int64_t t = 0; t < n_frames; t++) {
            double *here = x + t * row, right = share[e] * f[t];
            here[offset[e] + k[t]] += share[e] - right;
            here[offset[e] + k[t] + 1] += right;
            here[width + e] = h[t];
        }
    }
}
