// A graph network whose messages depend on their source alone: messages, their sums and the update in one call.
#include "message_sum.h"
#include "mlp.h"

// `sent` is where the message network puts its output, and `summed` what the update network reads; both (N, B).
void lobula_source_network(const Mlp *message, const Pattern *pattern, const float *weight, const float *sent,
                           float *summed, const Mlp *update) {
    lobula_mlp_forward(message);
    lobula_message_sum(pattern, weight, sent, summed);
    lobula_mlp_forward(update);
}

// `by_summed` is where the update network puts its gradient, and `by_sent` what the message network reads.
void lobula_source_network_back(const Mlp *message, const Pattern *pattern, const float *weight, const float *sent,
                                const float *by_summed, float *by_weight, float *by_sent, const Mlp *update) {
    lobula_mlp_backward(update);
    lobula_message_sum_back(pattern, weight, sent, by_summed, by_weight, by_sent);
    lobula_mlp_backward(message);
}
