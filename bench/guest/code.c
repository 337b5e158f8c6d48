// Programs that write code, as just-in-time compilers do; and atomics.

#include "bench.h"
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, FRESH = 1 << 20 };

static uint8_t *map(size_t size) {
    uint8_t *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    memset(p, 0xcc, size);
    return p;
}

// mov $n, %eax; add $7, %eax; rol $3, %eax; ret
static void write_function(uint8_t *at, uint32_t n) {
    static const uint8_t rest[] = {0x83, 0xc0, 7, 0xc1, 0xc0, 3, 0xc3};
    at[0] = 0xb8;
    memcpy(at + 1, &n, 4);
    memcpy(at + 5, rest, sizeof rest);
    asm volatile("" ::: "memory");
}

static inline word run(uint8_t *function) {
    word (*f)(void) = (word (*)(void))function;
    OPAQUE(f);
    return f();
}

// One function written anew, and called.
static word rewrite(uint64_t turns) {
    static uint8_t *page;
    if (!page) page = map(PAGE);
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        write_function(page, (uint32_t)n);
        sum += run(page);
    }
    return sum;
}

// A function written where none was for long, through 1 MiB, and called three times.
static word fresh(uint64_t turns) {
    static uint8_t *pages;
    if (!pages) pages = map(FRESH);
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        uint8_t *at = pages + (n * 32) % FRESH;
        write_function(at, (uint32_t)n);
        sum += run(at) + run(at) + run(at);
    }
    return sum;
}

// A function that stays as it is, beside data that are written each turn: in its page, not near it.
static word beside(uint64_t turns) {
    static uint8_t *page;
    if (!page) {
        page = map(PAGE);
        write_function(page, 1);
    }
    volatile word *data = (volatile word *)(page + 2048);
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        *data = sum;
        sum += run(page) + (word)n;
    }
    return sum + *data;
}

static word lock_xadd(uint64_t turns) {
    word counter = 0, sum = 0;
    for (word n = (word)turns; n; n--) {
        word add = n;
        asm volatile("lock xadd %[add], %[counter]" : [add] "+r"(add), [counter] "+m"(counter)::"cc");
        sum ^= add;
    }
    return sum;
}

const struct bench code[] = {
    {"code-rewrite", rewrite, 0, 0}, {"code-fresh", fresh, 0, 0},
    {"code-beside-data", beside, 0, 0}, {"xadd", lock_xadd, 0, 0}, {0, 0, 0, 0},
};
