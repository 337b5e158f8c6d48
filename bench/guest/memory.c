// Loads, stores, and the C library's and the processor's way of moving many bytes.

#include "bench.h"
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, SMALL = 16 << 10, BIG = 64 << 20, COPY = 64 << 10, STRING = 4096 };

static uint8_t *map(size_t size) {
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    madvise(p, size, MADV_NOHUGEPAGE); // pages of 4 KiB, wherever it runs
    memset(p, 1, size);                // pages of its own, not the page of zeros
    return p;
}

// A load and a store, anywhere in 16 KiB.
static word small(uint64_t turns) {
    static word *words;
    if (!words) words = (word *)map(SMALL);
    memset(words, 1, SMALL);
    const word mask = SMALL / sizeof(word) - 1;
    word sum = 0, at = 0;
    for (word n = (word)turns; n; n--) {
        at = (at + 37) & mask;
        sum += words[at];
        words[(at + 5) & mask] = sum;
    }
    return sum;
}

// A load in another page each time, through 64 MiB.
static word pages(uint64_t turns) {
    static uint8_t *bytes;
    if (!bytes) bytes = map(BIG);
    word sum = 0, at = 0;
    for (word n = (word)turns; n; n--) {
        sum += *(volatile word *)(bytes + at);
        at = (at + PAGE + 64) & (BIG - 1); // + 64: all sets of the caches
    }
    return sum;
}

static uint8_t *from, *to;
static void buffers(void) {
    if (from) return;
    from = map(COPY);
    to = map(COPY);
    from[STRING - 1] = 0;
}

// The C library's memcpy of 64 KiB.
static word copy(uint64_t turns) {
    buffers();
    memset(from, 1, COPY);
    for (uint64_t n = 0; n < turns; n++) {
        memcpy(to, from, COPY);
        from[n & (COPY / 2 - 1)]++;
        asm volatile("" ::: "memory");
    }
    return to[1];
}

// 4 KiB.
static word rep_movsb(uint64_t turns) {
    buffers();
    for (uint64_t n = 0; n < turns; n++) {
        void *s = from, *d = to;
        size_t count = STRING;
        asm volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(count)::"memory");
    }
    return to[1];
}

static word rep_stosb(uint64_t turns) {
    buffers();
    for (uint64_t n = 0; n < turns; n++) {
        void *d = to;
        size_t count = STRING;
        asm volatile("rep stosb" : "+D"(d), "+c"(count) : "a"((int)n) : "memory");
    }
    return to[1];
}

// The C library's strlen of 4095 characters.
static word string_length(uint64_t turns) {
    buffers();
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        const char *s = (const char *)from;
        OPAQUE(s);
        sum += strlen(s);
    }
    return sum;
}

const struct bench memory[] = {
    {"load-store", small, 0, 0},      {"tlb-miss", pages, 0, 0},       {"memcpy", copy, 0, 0},
    {"rep-movsb", rep_movsb, 0, 0}, {"rep-stosb", rep_stosb, 0, 0}, {"strlen", string_length, 0, 0},
    {0, 0, 0, 0},
};
