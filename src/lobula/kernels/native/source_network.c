// A graph network whose messages depend on their source alone: messages, their sums and the update in one call, and all
// of a training step up to the gradients.
#include "loss.h"
#include "message_sum.h"
#include "mlp.h"

typedef struct { // as in source_network.py; the networks' outputs and gradients lie where the others read them
    Mlp *message, *update;
    const Pattern *pattern;
    const float *weight, *sent; // (E,); (N, B) output of the message network
    float *summed;              // (N, B) input of the update network
    const float *by_summed;     // (N, B) gradient that the update network gives
    float *by_weight, *by_sent; // (E,) or NULL; (N, B) gradient that the message network reads
} Network;

void lobula_source_network(const Network *m) {
    lobula_mlp_forward(m->message);
    lobula_message_sum(m->pattern, m->weight, m->sent, m->summed);
    lobula_mlp_forward(m->update);
}

void lobula_source_network_back(const Network *m) {
    lobula_mlp_backward(m->update);
    lobula_message_sum_back(m->pattern, m->weight, m->sent, m->by_summed, m->by_weight, m->by_sent);
    lobula_mlp_backward(m->message);
}

void lobula_source_network_fit(const Network *m, const Loss *loss) {
    lobula_source_network(m);
    lobula_scaled_mse(loss);
    lobula_source_network_back(m);
}
