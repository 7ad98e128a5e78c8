// Vectors of as many floats as a register holds, and the activations on them.
#ifndef LOBULA_VECTORS_H
#define LOBULA_VECTORS_H
#include <stdint.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES)));

INLINE vec splat(float x) { return x - (vec){}; }
INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec x) { *(vec *)p = x; }
INLINE vec either(mask m, vec a, vec b) { return (vec)((m & (mask)a) | (~m & (mask)b)); }

INLINE float sum(vec x) {
#if LANES == 16
    x += __builtin_shuffle(x, (mask){8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
    x += __builtin_shuffle(x, (mask){4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3});
    x += __builtin_shuffle(x, (mask){2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1});
    x += __builtin_shuffle(x, (mask){1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0});
#else
    x += __builtin_shuffle(x, (mask){4, 5, 6, 7, 0, 1, 2, 3});
    x += __builtin_shuffle(x, (mask){2, 3, 0, 1, 2, 3, 0, 1});
    x += __builtin_shuffle(x, (mask){1, 0, 1, 0, 1, 0, 1, 0});
#endif
    return x[0];
}

INLINE float dot(const float *a, const float *b, int64_t n) {
    vec s = splat(0.0f);
    for (int64_t v = 0; v < n; v += LANES) s += load(a + v) * load(b + v);
    return sum(s);
}

// ---- activations; the order is that of FUNCTIONS in mlp.py. Comparisons are false for NaN, which goes through.

enum { RELU, LEAKY_RELU, TANH, SIGMOID, SOFTPLUS };

INLINE vec absolute(vec x) { return (vec)((mask)x & 0x7fffffff); }

// exp to 2e-7, relative: 2^n e^r with |r| <= log(2) / 2; e^r as in Cephes' expf.
INLINE vec exponential(vec x) {
    const vec rounds = splat(12582912.0f); // 1.5 2^23: adding it leaves an integer in the low bits
    x = either(x < splat(-87.0f), splat(-87.0f), x);
    x = either(x > splat(88.0f), splat(88.0f), x);
    vec shifted = x * splat(1.44269504f) + rounds, n = shifted - rounds;
    vec r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
    vec p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    return (vec)((mask)p + ((mask)shifted << 23));
}

// log(1 + u) for u in [0, 1] as 2 artanh(u / (2 + u)), whose series gains a digit per term.
INLINE vec log_one_plus(vec u) {
    vec z = u / (u + splat(2.0f)), square = z * z, p = splat(1.0f / 17);
    for (int k = 15; k > 0; k -= 2) p = p * square + splat(1.0f / k);
    return splat(2.0f) * z * p;
}

INLINE vec activate(const int kind, vec x) {
    const vec zero = splat(0.0f), one = splat(1.0f);
    switch (kind) {
    case RELU: return (vec)((mask)x & ~(x < zero));
    case LEAKY_RELU: return either(x < zero, splat(0.01f) * x, x);
    case TANH: return one - splat(2.0f) / (exponential(x + x) + one);
    case SIGMOID: return one / (one + exponential(-x));
    default: return (vec)((mask)x & ~(x < zero)) + log_one_plus(exponential(-absolute(x)));
    }
}

// Gradient before the activation, from that after it and the activation's value.
INLINE vec pull_back(const int kind, vec grad, vec y) {
    const vec zero = splat(0.0f), one = splat(1.0f);
    switch (kind) {
    case RELU: return (vec)((mask)grad & (y > zero));
    case LEAKY_RELU: return either(y > zero, grad, splat(0.01f) * grad);
    case TANH: return grad * (one - y * y);
    case SIGMOID: return grad * y * (one - y);
    default: return grad * (one - exponential(-y));
    }
}

#endif
