// The loss, as Python describes it.
#ifndef LOBULA_LOSS_H
#define LOBULA_LOSS_H
#include <stdint.h>

typedef struct { // as in loss.py; (frames, n) but the weight (n) and the loss, a number
    int64_t n_frames, n, n_threads;
    const float *prediction, *target, *weight;
    float *by_prediction, *loss;
} Loss;

void lobula_scaled_mse(const Loss *m);

#endif
