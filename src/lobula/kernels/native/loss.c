// The mean of weighted squares of what is not predicted, and its gradient, in one pass.
#include <stdint.h>

#define MOST_THREADS 1024

// All (frames, n) but weight (n). Every thread has neurons of its own; single precision within a frame.
void lobula_scaled_mse(int64_t n_frames, int64_t n, const float *prediction, const float *target, const float *weight,
                       float *by_prediction, float *loss, int64_t n_threads) {
    double total = 0.0, of_thread[MOST_THREADS], count = (double)n_frames * n;
    float share = 2.0 / count;
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++) {
        int64_t start = n * p / n_threads, stop = n * (p + 1) / n_threads;
        of_thread[p] = 0.0;
        for (int64_t t = 0; t < n_frames; t++) {
            const float *x = prediction + t * n, *y = target + t * n;
            float *by = by_prediction + t * n, some = 0.0f;
#pragma omp simd reduction(+ : some)
            for (int64_t i = start; i < stop; i++) {
                float residual = x[i] - y[i], weighted = weight[i] * residual;
                some += weighted * residual;
                by[i] = share * weighted;
            }
            of_thread[p] += some;
        }
    }
    for (int64_t p = 0; p < n_threads; p++) total += of_thread[p];
    *loss = total / count;
}
