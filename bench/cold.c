// Code that runs for the first time, the second, ... up to warm.

#include "bench.h"
#include <stdio.h>

// cold.S
extern const word cold_2k[], cold_50k[];

// Calls each of `count` functions once.
static word visit(const word *functions, unsigned count, word x) {
    static uint8_t data[512];
    for (unsigned i = 0; i < count; i++)
        asm volatile("call *%[f]" : "+a"(x) : [f] "r"(functions[i]), "d"(data) : "ecx", "memory", "cc");
    return x;
}

// Prints pass 1, pass 2, and then the mean of the passes 3 to 4, 5 to 8, and so on, under the number of the last.
static void passes(const char *name, const word *functions, unsigned count, unsigned passes) {
    // the pages of the program are read in before, and mapped: that is not what is to be seen
    volatile const uint8_t *first = (const uint8_t *)functions[0], *last = (const uint8_t *)functions[count - 1];
    word x = 1;
    for (volatile const uint8_t *p = first; p <= last; p += 4096) (void)*p;
    for (unsigned i = 0; i < count; i++) (void)((volatile const word *)functions)[i];

    unsigned done = 0;
    for (unsigned until = 1; done < passes; until = until * 2 < passes ? until * 2 : passes) {
        unsigned more = until - done;
        uint64_t start = now_ns();
        for (unsigned i = 0; i < more; i++) x = visit(functions, count, x);
        uint64_t ns = now_ns() - start;
        done = until;
        char line[40];
        snprintf(line, sizeof line, "%s/%u", name, done);
        uint64_t ops = (uint64_t)more * count;
        result(line, (double)ns / (double)ops, ops, x);
    }
}

static void two_thousand(const char *name, unsigned n) { passes(name, cold_2k, 2000, n); }
static void fifty_thousand(const char *name, unsigned n) { passes(name, cold_50k, 50000, n); }

const struct bench cold[] = {
    {"cold-2k", 0, two_thousand, 1024},
    {"cold-50k", 0, fifty_thousand, 64},
    {0, 0, 0, 0},
};
