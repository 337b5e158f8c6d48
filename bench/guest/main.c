// Benchmarks that run in the guest: `bench NAME[:PASSES]..`, `bench all`, `bench list`, `bench check`.
//
// Each benchmark runs in a process of its own and prints
//     begin NAME
//     NAME NS_PER_OP OPS CHECKSUM         one or more lines
//     end NAME NS
// by the guest's CLOCK_MONOTONIC. The two marker lines are for whoever reads the console with a clock of his own: NS is
// the guest's time between them.

#include "bench.h"
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

// A measurement is at least this long, and what is measured has run at least for so long before.
enum { LONG_ENOUGH_NS = 300 * 1000 * 1000, WARM_NS = 1000 * 1000 * 1000 };

static const struct bench *const families[] = {hot, memory, math, cold, os, code, programs, debian};
enum { FAMILIES = sizeof families / sizeof *families };

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// One line on the console, by one write, so that nothing gets between.
static void line(const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (write(STDOUT_FILENO, text, (size_t)length) != length) exit(1);
}

void result(const char *name, double ns_per_op, uint64_t ops, word checksum) {
    line("%s %.3f %llu %lx\n", name, ns_per_op, (unsigned long long)ops, checksum);
}

void measure(const char *name, body_fn body) {
    body(1); // sets up what it works on
    uint64_t begin = now_ns();
    uint64_t turns = 1;
    for (;;) {
        uint64_t start = now_ns();
        word checksum = body(turns);
        uint64_t ns = now_ns() - start;
        if (ns < LONG_ENOUGH_NS) {
            turns *= 2;
        } else if (start - begin >= WARM_NS) {
            result(name, (double)ns / (double)turns, turns, checksum);
            return;
        }
    }
}

unsigned range_end(unsigned done, unsigned passes) {
    unsigned end = done ? 2 * done : 1;
    return end < passes ? end : passes;
}

void die(const char *what) {
    line("error %s: %s\n", what, strerror(errno));
    _exit(1);
}

static const struct bench *find(const char *name, size_t length) {
    for (int f = 0; f < FAMILIES; f++)
        for (const struct bench *b = families[f]; b->name; b++)
            if (strlen(b->name) == length && memcmp(b->name, name, length) == 0) return b;
    return NULL;
}

// Markers go out before what follows is timed: a console holds back what it is given.
static void marker(const char *text, const char *name, uint64_t ns) {
    if (ns) line("%s %s %llu\n", text, name, (unsigned long long)ns);
    else line("%s %s\n", text, name);
    tcdrain(STDOUT_FILENO);
}

// In a process of its own, so that nothing is left behind of it. What `n` counts is for `what` to say.
static void in_child(void (*what)(const struct bench *, unsigned), const struct bench *b, unsigned n) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        what(b, n);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child) die("waitpid");
    if (status != 0) line("failed %s %x\n", b->name, status);
}

static void go(const struct bench *b, unsigned passes) {
    if (b->body) measure(b->name, b->body);
    else b->whole(b->name, passes);
}

static void run(const struct bench *b, unsigned passes) {
    marker("begin", b->name, 0);
    uint64_t start = now_ns();
    in_child(go, b, passes);
    marker("end", b->name, now_ns() - start);
}

// Where time is short there are fewer turns, or others before them: what is computed may depend on nothing but their number.
static void compute_twice(const struct bench *b, unsigned ms) {
    uint64_t turns = 1, start;
    word first;
    do {
        turns *= 2;
        start = now_ns();
        first = b->body(turns);
    } while (now_ns() - start < ms * 1000000ull);
    if (b->body(turns) != first) line("error %s computed something else the second time\n", b->name);
}

static void check(void) {
    for (int f = 0; f < FAMILIES; f++)
        for (const struct bench *b = families[f]; b->name; b++)
            if (b->body) in_child(compute_twice, b, 10);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        line("usage: bench NAME[:PASSES].. | all | list | check\n");
        return 2;
    }
    if (strcmp(argv[1], "list") == 0 || strcmp(argv[1], "all") == 0) {
        bool list = argv[1][0] == 'l';
        for (int f = 0; f < FAMILIES; f++) {
            if (families[f] == debian && !list && access("/usr/bin/gcc", X_OK) != 0) continue;
            for (const struct bench *b = families[f]; b->name; b++)
                if (list) line("%s\n", b->name);
                else run(b, b->passes);
        }
        return 0;
    }
    int status = 0;
    for (int i = 1; i < argc; i++) {
        size_t length = strcspn(argv[i], ":");
        const struct bench *b = find(argv[i], length);
        if (strcmp(argv[i], "check") == 0) {
            check();
        } else if (b) {
            run(b, argv[i][length] ? (unsigned)atoi(argv[i] + length + 1) : b->passes);
        } else {
            line("error no benchmark %s\n", argv[i]);
            status = 2;
        }
    }
    return status;
}
