// The mean of weighted squares of what is not predicted, and its gradient, in one pass.
#include "loss.h"

#define MOST_THREADS 1024

// Every thread has neurons of its own; single precision within a frame.
void lobula_scaled_mse(const Loss *m) {
    int64_t n_threads = m->n_threads < MOST_THREADS ? m->n_threads : MOST_THREADS;
    double total = 0.0, of_thread[MOST_THREADS], count = (double)m->n_frames * m->n;
    float share = 2.0 / count;
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++) {
        int64_t start = m->n * p / n_threads, stop = m->n * (p + 1) / n_threads;
        of_thread[p] = 0.0;
        for (int64_t t = 0; t < m->n_frames; t++) {
            const float *x = m->prediction + t * m->n, *y = m->target + t * m->n;
            float *by = m->by_prediction + t * m->n, some = 0.0f;
#pragma omp simd reduction(+ : some)
            for (int64_t i = start; i < stop; i++) {
                float residual = x[i] - y[i], weighted = m->weight[i] * residual;
                some += weighted * residual;
                by[i] = share * weighted;
            }
            of_thread[p] += some;
        }
    }
    for (int64_t p = 0; p < n_threads; p++) total += of_thread[p];
    *m->loss = total / count;
}
