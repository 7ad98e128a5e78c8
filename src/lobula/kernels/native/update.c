// What follows the gradients: clipping and Adam (Kingma & Ba 2015). Every thread has its share of every tensor.
#include <math.h>
#include <stdint.h>

#define MOST_THREADS 1024
#define PIECE 4096

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

// Shortens the gradient of n tensors together to a norm, if it is longer.
void lobula_clip(int64_t n, const int64_t *size, float *const *grad, double limit, int64_t n_threads) {
    double total = 0.0, of_thread[MOST_THREADS];
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++) {
        of_thread[p] = 0.0;
        for (int64_t k = 0; k < n; k++)
            of_thread[p] += squares(grad[k], size[k] * p / n_threads, size[k] * (p + 1) / n_threads);
    }
    for (int64_t p = 0; p < n_threads; p++) total += of_thread[p];
    float factor = limit / (sqrt(total) + 1e-6); // as in torch
    if (factor >= 1.0f) return; // not so for NaN, which goes on
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++)
        for (int64_t k = 0; k < n; k++) {
            int64_t stop = size[k] * (p + 1) / n_threads;
            for (int64_t i = size[k] * p / n_threads; i < stop; i++) grad[k][i] *= factor;
        }
}

typedef struct { // of n parameters, as in update.py; grad: NULL where there is none
    int64_t n;
    const int64_t *size;
    float *const *value, *const *grad, *const *step, *const *mean, *const *square;
} Group;

// One step of all parameters of a group; those without a gradient stay where they are.
void lobula_adam(const Group *all, double rate, double beta1, double beta2, double eps, int64_t n_threads) {
    for (int64_t k = 0; k < all->n; k++)
        if (all->grad[k]) *all->step[k] += 1.0f;
#pragma omp parallel for schedule(static, 1) num_threads(n_threads)
    for (int64_t p = 0; p < n_threads; p++)
        for (int64_t k = 0; k < all->n; k++) {
            float *value = all->value[k], *mean = all->mean[k], *square = all->square[k];
            const float *grad = all->grad[k];
            if (!grad) continue;
            double n_steps = *all->step[k];
            float step = rate / (1.0 - pow(beta1, n_steps)), root = sqrt(1.0 - pow(beta2, n_steps));
            float b1 = beta1, b2 = beta2, small = eps;
            int64_t start = all->size[k] * p / n_threads, stop = all->size[k] * (p + 1) / n_threads;
#pragma omp simd
            for (int64_t i = start; i < stop; i++) {
                float g = grad[i];
                mean[i] = b1 * mean[i] + (1.0f - b1) * g;
                square[i] = b2 * square[i] + (1.0f - b2) * g * g;
                value[i] -= step * mean[i] / (sqrtf(square[i]) / root + small);
            }
        }
}
