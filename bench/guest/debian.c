// Programs of an installed Debian. They read files of bench/debian and of this directory, which are at FILES.

#include "bench.h"
#include <stdio.h>
#include <string.h>

#define FILES "/mnt/"
#define OBJECT "/tmp/bench.o"
#define COMPILE(file) "gcc -O2 -std=gnu11 -c -o " OBJECT " " FILES "src/" file " && sha256sum < " OBJECT " && "
#define TABLE "/tmp/bench.db"

// The shell's command line of one pass through each.
static const char *const lines[][2] = {
    {"python-start", "python3 -c 'print(6 * 7)'"},
    {"python-compute", "python3 " FILES "compute.py"},
    {"gcc-compile", COMPILE("main.c") COMPILE("cold.c") COMPILE("math.c") COMPILE("memory.c") "rm " OBJECT},
    {"sqlite", "sqlite3 " TABLE " < " FILES "data.sql && rm " TABLE},
    {"xz", "head -c 1500000 /usr/bin/git | xz -6 -c | sha256sum"},
};

// Prints the mean time of pass 1, 2, 3 to 4, 5 to 8, ..., under the number of the last one where there are several.
static void go_through(const char *name, const char *command, unsigned passes) {
    for (unsigned done = 0; done < passes;) {
        unsigned begin = done, end = range_end(done, passes);
        word checksum = 0;
        uint64_t start = now_ns();
        for (; done < end; done++) checksum = run_line(command);
        double ns = (double)(now_ns() - start) / (double)(end - begin);
        char row[40];
        snprintf(row, sizeof row, passes > 1 ? "%s/%u" : "%s", name, end);
        result(row, ns, end - begin, checksum);
    }
}

static void passes(const char *name, unsigned passes) {
    for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strcmp(lines[i][0], name) == 0) go_through(name, lines[i][1], passes);
}

const struct bench debian[] = {
    {"python-start", 0, passes, 8}, {"python-compute", 0, passes, 2}, {"gcc-compile", 0, passes, 2},
    {"sqlite", 0, passes, 2},       {"xz", 0, passes, 2},             {0, 0, 0, 0},
};
