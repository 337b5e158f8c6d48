/* Random writes on a disk, and whether what is read is what was written.
 *
 * `blocks verify DISK OPERATIONS [SEED]`: writes, zeroes, discards and flushes, buffered and direct, at random places; all of it is
 * read again, past the kernel's cache too.
 * `blocks write DISK ROUND [SEED]`: goes on behind round ROUND, for ever: some writes, a flush, and then a line with the round's
 * number. The disk was zeros before round 1.
 * `blocks state DISK ROUND [SEED]`: ROUND is the last line that was seen. Prints which round's end the disk is as of: that one or
 * one of the next two, whose lines may have been under way. Anything else is an error.
 *
 * What a sector holds follows from the seed, its number and its stamp: a sector that is lost, torn, stale or in another's place
 * shows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SECTOR = 512, LONGEST = 2048, ZEROS = 0, ANY = 0xffffffff, WRITES = 12 };

static const char *path;
static uint64_t sectors, seed = 1, state;
static uint32_t *stamps; /* of each sector */
static unsigned char *buffer, *expected;

static void fail(const char *what) {
  fprintf(stderr, "blocks: %s: %s: %s\n", path, what, errno ? strerror(errno) : "differs");
  exit(1);
}

/* SplitMix64 */
static uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

static uint64_t below(uint64_t n) { return mix(state++) % n; }

static void fill(unsigned char *to, uint64_t sector, uint32_t stamp) {
  uint64_t key = mix(seed << 48 ^ sector << 32 ^ stamp);
  for (int i = 0; i < SECTOR / 8; i++) {
    uint64_t word = stamp == ZEROS ? 0 : mix(key + i);
    memcpy(to + 8 * i, &word, 8);
  }
}

static int is(const unsigned char *at, uint64_t sector, uint32_t stamp) {
  fill(expected, sector, stamp);
  return !memcmp(at, expected, SECTOR);
}

static int open_disk(int flags) {
  int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0) fail("open");
  return fd;
}

/* A run of sectors: whole pages of them, or as it comes. */
static uint64_t choose(uint64_t *count) {
  static const uint64_t lengths[] = {1, 2, 7, 8, 8, 64, 255, 256, LONGEST};
  uint64_t align = below(2) ? 8 : 1;
  *count = lengths[below(sizeof lengths / sizeof *lengths)];
  if (align == 8) *count = (*count + 7) / 8 * 8;
  uint64_t first = below(sectors) / align * align;
  if (*count > sectors - first) *count = sectors - first;
  return first;
}

static void put(int fd, uint64_t first, uint64_t count, uint32_t stamp) {
  for (uint64_t i = 0; i < count; i++) fill(buffer + i * SECTOR, first + i, stamp);
  errno = 0;
  if (pwrite(fd, buffer, count * SECTOR, first * SECTOR) != (ssize_t)(count * SECTOR)) fail("write");
}

static void check(int fd, uint64_t first, uint64_t count) {
  errno = 0;
  if (pread(fd, buffer, count * SECTOR, first * SECTOR) != (ssize_t)(count * SECTOR)) fail("read");
  for (uint64_t i = 0; i < count; i++) {
    uint32_t *stamp = &stamps[first + i];
    const unsigned char *at = buffer + i * SECTOR;
    /* a sector that was discarded is as it was or zeros, and stays so */
    if (*stamp == ANY) {
      if (is(at, first + i, ZEROS)) *stamp = ZEROS;
      continue;
    }
    if (!is(at, first + i, *stamp)) {
      fprintf(stderr, "blocks: %s: sector %ju is not as of write %u (seed %ju)\n", path, (uintmax_t)(first + i), *stamp,
              (uintmax_t)seed);
      exit(1);
    }
  }
}

static void drop_caches(void) {
  int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (fd < 0 || write(fd, "3", 1) != 1) fail("drop_caches");
  close(fd);
}

static void check_all(int fd) {
  for (uint64_t at = 0; at < sectors; at += LONGEST) check(fd, at, sectors - at < LONGEST ? sectors - at : LONGEST);
}

static void verify(uint64_t operations) {
  int fds[2] = {open_disk(O_RDWR), open_disk(O_RDWR | O_DIRECT)};
  check_all(fds[0]); /* what was there is zeros */
  for (uint32_t n = 1; n <= operations; n++) {
    uint64_t count, first = choose(&count), range[2] = {first * SECTOR, count * SECTOR};
    int direct = below(2);
    /* no page of the cache may be written over what is written past it */
    if (direct && fsync(fds[0])) fail("fsync");
    switch (below(10)) {
      case 0:
        if (ioctl(fds[0], BLKZEROOUT, range)) fail("BLKZEROOUT");
        for (uint64_t i = 0; i < count; i++) stamps[first + i] = ZEROS;
        break;
      case 1:
        if (ioctl(fds[0], BLKDISCARD, range)) fail("BLKDISCARD");
        for (uint64_t i = 0; i < count; i++) stamps[first + i] = ANY;
        break;
      case 2:
        if (fsync(fds[direct])) fail("fsync");
        break;
      case 3: case 4: case 5:
        check(fds[direct], first, count);
        break;
      default:
        put(fds[direct], first, count, n);
        for (uint64_t i = 0; i < count; i++) stamps[first + i] = n;
    }
  }
  if (fsync(fds[0])) fail("fsync");
  check_all(fds[1]);
  drop_caches();
  check_all(fds[0]);
  printf("no difference\n");
}

/* The writes of a round: on the disk, or only noted. */
static void round_of(int fd, uint32_t number) {
  state = mix(seed ^ (uint64_t)number << 20);
  for (int i = 0; i < WRITES; i++) {
    uint64_t count, first = choose(&count);
    if (count > 256) count = 256;
    if (fd >= 0) put(fd, first, count, number);
    for (uint64_t n = 0; n < count; n++) stamps[first + n] = number;
  }
}

static void write_rounds(uint32_t number) {
  int fd = open_disk(O_RDWR);
  for (;;) {
    round_of(fd, ++number);
    if (fsync(fd)) fail("fsync");
    printf("round %u\n", number);
    fflush(stdout);
  }
}

/* The first sector that is not as of the rounds so far; the number of sectors if all are. */
static uint64_t first_other(int fd) {
  for (uint64_t at = 0; at < sectors; at++) {
    errno = 0;
    if (at % LONGEST == 0 && pread(fd, buffer, LONGEST * SECTOR, at * SECTOR) <= 0) fail("read");
    if (!is(buffer + at % LONGEST * SECTOR, at, stamps[at])) return at;
  }
  return sectors;
}

static void find_state(uint32_t number) {
  int fd = open_disk(O_RDONLY);
  uint64_t others[3];
  for (uint32_t n = 0; n <= number + 2; n++) {
    if (n > 0) round_of(-1, n);
    if (n < number) continue;
    others[n - number] = first_other(fd);
    if (others[n - number] == sectors) {
      printf("as of round %u\n", n);
      return;
    }
  }
  printf("sectors %ju, %ju and %ju are not as of rounds %u to %u\n", (uintmax_t)others[0], (uintmax_t)others[1],
         (uintmax_t)others[2], number, number + 2);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: blocks verify|write|state DISK NUMBER [SEED]\n");
    return 1;
  }
  path = argv[2];
  uint64_t number = strtoull(argv[3], NULL, 10), bytes;
  if (argc == 5) seed = strtoull(argv[4], NULL, 10);
  state = mix(seed);
  int fd = open_disk(O_RDONLY);
  if (ioctl(fd, BLKGETSIZE64, &bytes)) fail("not a disk");
  close(fd);
  sectors = bytes / SECTOR;
  stamps = calloc(sectors, sizeof *stamps);
  if (!stamps || posix_memalign((void **)&buffer, 4096, LONGEST * SECTOR) ||
      posix_memalign((void **)&expected, 4096, SECTOR))
    fail("memory");
  if (!strcmp(argv[1], "verify")) verify(number);
  else if (!strcmp(argv[1], "write")) write_rounds(number);
  else if (!strcmp(argv[1], "state")) find_state(number);
  else return 1;
  return 0;
}
