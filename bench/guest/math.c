// Arithmetic.

#include "bench.h"
#include <emmintrin.h>
#include <math.h>
#include <string.h>

// A multiplication and a division, each waiting for the other.
static word muldiv(uint64_t turns) {
    word x = 12345, sum = 0, d = 1000003;
    OPAQUE(d); // or the division becomes a multiplication
    for (word n = (word)turns; n; n--) {
        x = x * 1103515245u + 12345;
        sum += x / d + x % d;
    }
    return sum;
}

// The planets of the Computer Language Benchmarks Game, and one step of theirs: 10 square roots, about 300 operations.
struct body {
    double x, y, z, vx, vy, vz, mass;
};

static const struct body planets[5] = {
    {0, 0, 0, 0, 0, 0, 39.47841760435743},
    {4.84143144246472090, -1.16032004402742839, -0.103622044471123109, 0.606326392995832, 2.81198684491626,
     -0.02521836165988763, 0.03769367487038949},
    {8.34336671824457987, 4.12479856412430479, -0.403523417114321381, -1.01077434617879236, 1.82566237123041186,
     0.00841576137658415351, 0.0112863261319687668},
    {12.8943695621391310, -15.1111514016986312, -0.223307578892655734, 1.08279100644153536, 0.868713018169608219,
     -0.010832637401363636, 0.00172372405705971206},
    {15.3796971148509165, -25.9193146099879641, 0.179258772950371181, 0.979090732243897976, 0.594698998647676169,
     -0.034755955504078104, 0.00203368686992463042},
};

static word nbody(uint64_t turns) {
    static struct body bodies[5];
    memcpy(bodies, planets, sizeof bodies);
    const double dt = 0.001;
    for (uint64_t n = 0; n < turns; n++) {
        for (int i = 0; i < 5; i++) {
            struct body *a = &bodies[i];
            for (int j = i + 1; j < 5; j++) {
                struct body *b = &bodies[j];
                double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
                double square = dx * dx + dy * dy + dz * dz;
                double mag = dt / (square * sqrt(square));
                a->vx -= dx * b->mass * mag;
                a->vy -= dy * b->mass * mag;
                a->vz -= dz * b->mass * mag;
                b->vx += dx * a->mass * mag;
                b->vy += dy * a->mass * mag;
                b->vz += dz * a->mass * mag;
            }
        }
        for (int i = 0; i < 5; i++) {
            struct body *a = &bodies[i];
            a->x += dt * a->vx;
            a->y += dt * a->vy;
            a->z += dt * a->vz;
        }
    }
    return (word)(bodies[0].x * 1e6);
}

// Integers and floats in vectors: about 16 instructions.
static word sse(uint64_t turns) {
    __m128i a = _mm_set_epi32(1, 2, 3, 4), b = _mm_set1_epi32(0x01234567);
    __m128 f = _mm_set_ps(1.5f, 2.5f, 3.5f, 4.5f);
    const __m128 scale = _mm_set1_ps(0.999f), one = _mm_set1_ps(1.0f);
    for (word n = (word)turns; n; n--) {
        a = _mm_add_epi32(a, b);
        b = _mm_xor_si128(b, _mm_slli_epi32(a, 5));
        b = _mm_add_epi16(b, _mm_mullo_epi16(a, b));
        a = _mm_unpacklo_epi16(a, _mm_shuffle_epi32(b, 0x4e));
        a = _mm_sub_epi32(a, _mm_cmpgt_epi32(b, a));
        f = _mm_add_ps(_mm_mul_ps(f, scale), one);
        __m128i i = _mm_cvttps_epi32(f);
        b = _mm_add_epi32(b, i);
        f = _mm_min_ps(f, _mm_cvtepi32_ps(_mm_srli_epi32(i, 1)));
        f = _mm_sub_ps(_mm_shuffle_ps(f, f, 0x39), one);
    }
    a = _mm_add_epi32(a, _mm_castps_si128(f));
    return (word)_mm_cvtsi128_si32(_mm_xor_si128(a, b));
}

const struct bench math[] = {{"muldiv", muldiv, 0, 0}, {"nbody", nbody, 0, 0}, {"sse", sse, 0, 0}, {0, 0, 0, 0}};
