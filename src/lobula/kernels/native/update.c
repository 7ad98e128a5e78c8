// What follows the gradients: clipping and Adam (Kingma & Ba 2015). Every thread has its share of every tensor.
#include <math.h>
#include <stdint.h>

#define MOST_THREADS 1024
#define PIECE 4096

typedef struct { // as in update.py
    int64_t size;
    float *value, *grad, *step, *mean, *square; // grad: NULL where there is none
} Parameter;

// Sum of squares of elements start to stop, in single precision within a piece.
static double squares(const float *x, int64_t start, int64_t stop) {
    double total = 0.0;
    for (int64_t piece = start; piece < stop; piece += PIECE) {
        int64_t end = piece + PIECE < stop ? piece + PIECE : stop;
        float some = 0.0f;
#pragma omp simd reduction(+ : some)
        for (int64_t i = piece; i < end; i++) some += x[i] * x[i];
        total += some;
    }
    return total;
}

// Shortens the gradient of all tensors together to a norm, if it is longer.
void lobula_clip(const Parameter *list, int64_t n, double limit, int64_t n_threads) {
    double total = 0.0, of_thread[MOST_THREADS];
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++) {
        of_thread[p] = 0.0;
        for (int64_t k = 0; k < n; k++)
            of_thread[p] += squares(list[k].grad, list[k].size * p / n_threads, list[k].size * (p + 1) / n_threads);
    }
    for (int64_t p = 0; p < n_threads; p++) total += of_thread[p];
    float factor = limit / (sqrt(total) + 1e-6); // as in torch
    if (factor >= 1.0f) return; // not so for NaN, which goes on
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++)
        for (int64_t k = 0; k < n; k++) {
            int64_t stop = list[k].size * (p + 1) / n_threads;
            for (int64_t i = list[k].size * p / n_threads; i < stop; i++) list[k].grad[i] *= factor;
        }
}

// One step of all parameters of a group; those without a gradient stay where they are.
void lobula_adam(const Parameter *list, int64_t n, double rate, double beta1, double beta2, double eps,
                 int64_t n_threads) {
    for (int64_t k = 0; k < n; k++)
        if (list[k].grad) *list[k].step += 1.0f;
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++)
        for (int64_t k = 0; k < n; k++) {
            Parameter x = list[k];
            if (!x.grad) continue;
            float step = rate / (1.0 - pow(beta1, *x.step)), root = sqrt(1.0 - pow(beta2, *x.step));
            float b1 = beta1, b2 = beta2, small = eps;
            int64_t start = x.size * p / n_threads, stop = x.size * (p + 1) / n_threads;
#pragma omp simd
            for (int64_t i = start; i < stop; i++) {
                float g = x.grad[i], mean = b1 * x.mean[i] + (1.0f - b1) * g;
                float square = b2 * x.square[i] + (1.0f - b2) * g * g;
                x.mean[i] = mean;
                x.square[i] = square;
                x.value[i] -= step * mean / (sqrtf(square) / root + small);
            }
        }
}
