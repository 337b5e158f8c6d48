// What costs an operating system's way.

#include "bench.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static word system_call(uint64_t turns) {
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) sum += (word)syscall(SYS_getppid);
    return sum;
}

enum { PAGE = 4096 };

static volatile uint8_t *map(size_t size) {
    volatile uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

// A page touched for the first time: a fault, and a page of zeros. 64 are mapped at once, and unmapped.
static word page_fault(uint64_t turns) {
    enum { PAGES = 64 };
    word sum = 0;
    for (uint64_t n = 0; n < turns; n += PAGES) {
        volatile uint8_t *p = map(PAGES * PAGE);
        for (unsigned i = 0; i < PAGES && n + i < turns; i++) sum += ++p[i * PAGE];
        munmap((void *)p, PAGES * PAGE);
    }
    return sum;
}

// A page mapped, touched and unmapped.
static word map_unmap(uint64_t turns) {
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        volatile uint8_t *p = map(PAGE);
        sum += ++*p;
        munmap((void *)p, PAGE);
    }
    return sum;
}

// A process that becomes the smallest static program there is, and its end.
static word fork_exec(uint64_t turns) {
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        pid_t child = fork();
        if (child == 0) {
            execl("/bin/bench-nothing", "bench-nothing", (char *)NULL);
            _exit(1);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) die("/bin/bench-nothing");
        sum++;
    }
    return sum;
}

// A byte to another process and back.
static word ping_pong(uint64_t turns) {
    int there[2], back[2];
    if (pipe(there) || pipe(back)) die("pipe");
    pid_t child = fork();
    char byte = 1;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            if (write(back[1], &byte, 1) != 1) _exit(1);
        _exit(0);
    }
    word sum = 0;
    for (uint64_t n = 0; n < turns; n++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) die("ping-pong");
        sum += (word)byte;
    }
    close(there[0]), close(there[1]), close(back[0]), close(back[1]);
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) die("the other process");
    return sum;
}

static volatile word signals;
static void handler(int signal) { signals += (word)signal; }

// A signal sent to oneself, its handler, and the return from it.
static word signal_return(uint64_t turns) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    pid_t self = getpid();
    signals = 0;
    for (uint64_t n = 0; n < turns; n++) kill(self, SIGUSR1);
    return signals;
}

const struct bench os[] = {
    {"syscall", system_call, 0, 0}, {"page-fault", page_fault, 0, 0}, {"mmap", map_unmap, 0, 0}, {"fork-exec", fork_exec, 0, 0},
    {"pipe", ping_pong, 0, 0},      {"signal", signal_return, 0, 0},  {0, 0, 0, 0},
};
