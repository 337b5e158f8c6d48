// Integer code that stays in a handful of blocks.

#include "bench.h"

// One block of 8 instructions, and nothing else.
static word block(uint64_t turns) {
    word x = 1, y = 2, n = (word)turns;
    asm volatile("1: add %[y], %[x]\n"
                 "rol $5, %[x]\n"
                 "lea 7(%[x],%[y],2), %[y]\n"
                 "xor %[x], %[y]\n"
                 "sub $3, %[x]\n"
                 "and %[y], %[x]\n"
                 "dec %[n]\n"
                 "jnz 1b"
                 : [x] "+r"(x), [y] "+r"(y), [n] "+r"(n)
                 :
                 : "cc");
    return x ^ y;
}

// xorshift (Marsaglia, 2003) in the width of registers: its bits decide the branches, so that they cannot be foretold.
static inline word next(word x) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

// Two ways of different code, one of them taken each turn.
static word blocks2(uint64_t turns) {
    word x = 88172645, sum = 0;
    for (word n = (word)turns; n; n--) {
        x = next(x);
        if (x & 1) {
            sum += x;
            OPAQUE(sum); // or the compiler computes both and selects
        } else {
            sum ^= n;
            OPAQUE(sum);
        }
    }
    return sum;
}

// Four ways, two branches a turn.
static word blocks4(uint64_t turns) {
    word x = 88172645, sum = 0;
    for (word n = (word)turns; n; n--) {
        x = next(x);
        if (x & 1) {
            if (x & 2) {
                sum += x;
                OPAQUE(sum);
            } else {
                sum ^= n;
                OPAQUE(sum);
            }
        } else {
            if (x & 4) {
                sum -= x;
                OPAQUE(sum);
            } else {
                sum = (sum << 3) + 1;
                OPAQUE(sum);
            }
        }
    }
    return sum;
}

static OUT_OF_LINE word callee(word x) { return x * 5 + 1; }

// A call and its return.
static word call(uint64_t turns) {
    word x = 1;
    for (word n = (word)turns; n; n--) x = callee(x);
    return x;
}

static OUT_OF_LINE word fib(word n) {
    if (n < 2) return n;
    word a = fib(n - 1);
    word b = fib(n - 2);
    OPAQUE(b); // or the second call becomes a jump
    return a + b;
}

// Recursion: 3,193 calls.
static word fib16(uint64_t turns) {
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) sum += fib(16);
    return sum;
}

#define TARGET(n, e) \
    static OUT_OF_LINE word target##n(word x) { return e; }
TARGET(0, x + 1)
TARGET(1, x ^ 0x55)
TARGET(2, x * 3)
TARGET(3, x - 7)
TARGET(4, ~x)
TARGET(5, (x << 1) + 1)
TARGET(6, x + (x >> 3))
TARGET(7, -x)
TARGET(8, x ^ (x << 5))
TARGET(9, x | 9)
TARGET(10, x * 5)
TARGET(11, x - (x >> 1))
TARGET(12, x + 12)
TARGET(13, x ^ 13)
TARGET(14, (x >> 1) + 3)
TARGET(15, x * 9)
static word (*const targets[16])(word) = {target0,  target1,  target2,  target3, target4,  target5,
                                          target6,  target7,  target8,  target9, target10, target11,
                                          target12, target13, target14, target15};

// A call through a table of 16, in an order that does not repeat.
static word indirect(uint64_t turns) {
    word x = 88172645, sum = 0;
    for (word n = (word)turns; n; n--) {
        x = next(x);
        sum = targets[x & 15](sum);
    }
    return sum;
}

const struct bench hot[] = {
    {"block", block, 0, 0},         {"blocks2", blocks2, 0, 0},   {"blocks4", blocks4, 0, 0},
    {"call", call, 0, 0},           {"fib", fib16, 0, 0},     {"indirect", indirect, 0, 0},
    {0, 0, 0, 0},
};
