// Code that runs for the first time, the second, ... up to warm.

#include "bench.h"
#include <stdio.h>
#include <stdlib.h>

// cold.S
extern const word cold_2k[], cold_50k[];

enum { MAX_SETS = 5, MAX_RANGES = 16 };

// Calls each of `count` functions once.
static word visit(const word *functions, unsigned count, word x) {
    static uint8_t data[512];
    for (unsigned i = 0; i < count; i++)
        asm volatile("call *%[f]" : "+a"(x) : [f] "r"(functions[i]), "d"(data) : "ecx", "memory", "cc");
    return x;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Goes through `sets` sets of `count` functions, each for itself. Prints the mean time of a function in pass 1, in pass 2,
// in the passes 3 to 4, 5 to 8, ..., under the number of the last pass: of all sets, the median, since a short time is
// easily spoiled by what else goes on.
static void go_through(const char *name, const word *functions, unsigned count, unsigned sets, unsigned passes) {
    // the pages of the program are read in before, and mapped: that is not what is to be seen
    unsigned all = sets * count;
    volatile const uint8_t *first = (const uint8_t *)functions[0], *last = (const uint8_t *)functions[all - 1];
    for (volatile const uint8_t *p = first; p <= last; p += 4096) (void)*p;
    for (unsigned i = 0; i < all; i++) (void)((volatile const word *)functions)[i];

    static uint64_t ns[MAX_RANGES][MAX_SETS];
    word x = 1;
    for (unsigned set = 0; set < sets; set++) {
        for (unsigned done = 0, range = 0; done < passes && range < MAX_RANGES; range++) {
            unsigned end = range_end(done, passes);
            uint64_t start = now_ns();
            for (; done < end; done++) x = visit(functions + set * count, count, x);
            ns[range][set] = now_ns() - start;
        }
    }
    for (unsigned done = 0, range = 0; done < passes && range < MAX_RANGES; range++) {
        unsigned end = range_end(done, passes), ops = (end - done) * count;
        qsort(ns[range], sets, sizeof **ns, by_value);
        char line[40];
        snprintf(line, sizeof line, "%s/%u", name, end);
        result(line, (double)ns[range][sets / 2] / (double)ops, ops, x);
        done = end;
    }
}

static void two_thousand(const char *name, unsigned passes) { go_through(name, cold_2k, 2000, MAX_SETS, passes); }
static void fifty_thousand(const char *name, unsigned passes) { go_through(name, cold_50k, 50000, 1, passes); }

const struct bench cold[] = {
    {"cold-2k", 0, two_thousand, 1024},
    {"cold-50k", 0, fifty_thousand, 64},
    {0, 0, 0, 0},
};
