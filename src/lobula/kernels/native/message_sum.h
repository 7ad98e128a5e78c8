// The wiring, as Python describes it, and sums of messages over it.
#ifndef LOBULA_MESSAGE_SUM_H
#define LOBULA_MESSAGE_SUM_H
#include <stdint.h>

typedef struct { // as in message_sum.py
    int64_t n, batch, n_threads;
    const int32_t *indptr, *columns;         // of the matrix
    const int32_t *indptr_out, *columns_out; // of its transpose
    const int32_t *order_out;                // place of every value of the transpose
} Pattern;

void lobula_message_sum(const Pattern *pattern, const float *weight, const float *messages, float *out);
void lobula_message_sum_back(const Pattern *pattern, const float *weight, const float *messages, const float *grad,
                             float *by_weight, float *by_messages);

#endif
