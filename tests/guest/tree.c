/* `tree DIR N` makes N directories of 100 files each under DIR, always the same ones: most small, one large, with a few links. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t state = 0x9e3779b97f4a7c15;

/* xorshift64* */
static uint64_t next(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1d;
}

static void fail(const char *what) {
  fprintf(stderr, "tree: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void file(const char *name, uint64_t bytes) {
  FILE *f = fopen(name, "w");
  if (!f) fail(name);
  for (uint64_t i = 0; i < bytes; i++) putc((int)(next() >> 56), f);
  if (fclose(f)) fail(name);
}

int main(int argc, char **argv) {
  char name[64], other[64];
  if (argc != 3 || chdir(argv[1])) {
    fprintf(stderr, "usage: tree DIR N\n");
    return 1;
  }
  for (int d = 0; d < atoi(argv[2]); d++) {
    snprintf(name, sizeof name, "dir-%d", d % 10);
    if (mkdir(name, 0755) && errno != EEXIST) fail(name);
    snprintf(name, sizeof name, "dir-%d/sub-%d", d % 10, d);
    if (mkdir(name, 0755)) fail(name);
    for (int i = 0; i < 100; i++) {
      snprintf(name, sizeof name, "dir-%d/sub-%d/file-%d", d % 10, d, i);
      file(name, next() % 8 ? next() % 1024 : next() % 8192);
      if (chmod(name, 0600 | (next() & 0111))) fail(name);
    }
    snprintf(other, sizeof other, "dir-%d/sub-%d/link", d % 10, d);
    if (link(name, other)) fail(other);
    snprintf(other, sizeof other, "dir-%d/sub-%d/symlink", d % 10, d);
    if (symlink("file-1", other)) fail(other);
  }
  file("large", 5000001);
  return 0;
}
