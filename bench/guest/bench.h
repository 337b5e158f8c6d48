// What the families of benchmarks share.
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

// The registers' width: the i386 build does the same with 32 bits.
typedef unsigned long word;

// Not inlined, not cloned, not analysed: a call in the source is a call in the machine code.
#define OUT_OF_LINE __attribute__((noipa))

// The compiler knows nothing about `x` after this, and must have it in a register here.
#define OPAQUE(x) asm volatile("" : "+r"(x))

// Does `turns` operations and returns something that depends on all of them, and on nothing that was done before.
typedef word (*body_fn)(uint64_t turns);

// Nanoseconds of CLOCK_MONOTONIC.
uint64_t now_ns(void);

// Prints a line of results.
void result(const char *name, double ns_per_op, uint64_t ops, word checksum);

// Doubles the turns until they take long enough to be timed, goes on until all is warm, and prints what the last run was.
void measure(const char *name, body_fn body);

// Ends the program with a message and `errno`.
void die(const char *what) __attribute__((noreturn));

// The last pass of the range of passes after `done`: 1, 2, 3 to 4, 5 to 8, and so on.
unsigned range_end(unsigned done, unsigned passes);

// Runs a command line of the shell, which must succeed; returns a checksum of what it prints.
word run_line(const char *line);

// A benchmark by name: either `body`, to be measured, or `whole`, which prints its own results. `passes` is how many
// times `whole` goes through its work, for those that count.
struct bench {
    const char *name;
    body_fn body;
    void (*whole)(const char *name, unsigned passes);
    unsigned passes;
};

// The families, each ended by an entry without a name. `debian` needs an installed Debian, the others no file.
extern const struct bench hot[], memory[], math[], cold[], os[], code[], programs[], debian[];

#endif
