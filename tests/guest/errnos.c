/* What the system calls on files say, as text: `errnos DIR` works in a new directory in DIR. The same text is expected of every
 * file system that is POSIX's; tmpfs's is the reference. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *error(int e) { return e ? strerrorname_np(e) : "0"; }

/* The call, as it is written here, and its errno. */
#define IS(call)                                                      \
  do {                                                                \
    errno = 0;                                                        \
    long result = (long)(call);                                       \
    printf("%s = %s\n", #call, result == -1 ? error(errno) : "done"); \
  } while (0)
/* .. and its value. */
#define VALUE(call)                                                                   \
  do {                                                                                \
    errno = 0;                                                                        \
    long result = (long)(call);                                                       \
    printf("%s = %ld %s\n", #call, result, result == -1 ? error(errno) : "");         \
  } while (0)

static void show(const char *path) {
  struct stat s;
  if (lstat(path, &s)) {
    printf("%s: %s\n", path, error(errno));
    return;
  }
  long size = S_ISDIR(s.st_mode) ? 0 : (long)s.st_size;
  printf("%s: mode %o nlink %lu uid %u gid %u size %ld rdev %lx\n", path, s.st_mode, (unsigned long)s.st_nlink, s.st_uid,
         s.st_gid, size, (unsigned long)s.st_rdev);
}

static int make(const char *path, const char *text) {
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
  if (fd < 0) return -1;
  long n = write(fd, text, strlen(text));
  close(fd);
  return n == (long)strlen(text) ? 0 : -1;
}

static void contents(const char *path) {
  char text[100] = "";
  int fd = open(path, O_RDONLY);
  long n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  printf("%s holds %ld \"%s\"\n", path, n, n < 0 ? "" : text);
  close(fd);
}

static long entries(const char *path) {
  DIR *dir = opendir(path);
  long n = 0;
  while (dir && readdir(dir)) n++;
  if (dir) closedir(dir);
  return n;
}

static void names(void) {
  static char longest[256], longer[257];
  memset(longest, 'n', 255);
  memset(longer, 'n', 256);
  IS(mkdir("d", 0755));
  IS(mkdir("d", 0755));
  IS(mkdir("missing/d", 0755));
  IS(make("f", "text"));
  IS(mkdir("f/d", 0755));
  IS(mkdir("f", 0755));
  IS(make(longest, "long"));
  IS(make(longer, "longer"));
  IS(unlink(longest));
  IS(open("f", O_CREAT | O_EXCL | O_RDWR, 0644));
  IS(open("d", O_RDWR));
  IS(open("d", O_CREAT | O_RDWR, 0644));
  IS(open("f", O_DIRECTORY));
  IS(open("missing", O_RDONLY));
  IS(open("f/x", O_RDONLY));
  IS(rmdir("f"));
  IS(unlink("d"));
  IS(rmdir("missing"));
  IS(unlink("missing"));
  IS(mkdir("d/sub", 0700));
  IS(rmdir("d"));
  IS(rmdir("d/."));
  IS(rmdir("d/sub/.."));
  show("d");
  IS(rmdir("d/sub"));
  show("d");
  IS(mkdir("with\377byte and space", 0755));
  VALUE(entries("."));
  IS(rmdir("with\377byte and space"));
}

static void links(void) {
  IS(symlink("f", "s"));
  IS(symlink("f", "s"));
  IS(symlink("nowhere", "dangling"));
  IS(symlink("", "empty"));
  IS(symlink("loop", "loop"));
  show("s");
  contents("s");
  IS(open("dangling", O_RDONLY));
  IS(open("loop", O_RDONLY));
  IS(open("s", O_RDONLY | O_NOFOLLOW));
  IS(open("s", O_CREAT | O_EXCL | O_RDWR, 0644));
  char target[20] = "";
  VALUE(readlink("s", target, 19));
  puts(target);
  IS(readlink("f", target, 19));
  IS(link("f", "h"));
  show("f");
  show("h");
  IS(link("f", "h"));
  IS(link("missing", "h2"));
  IS(link("d", "dh"));
  IS(link("s", "sh"));
  show("sh");
  IS(unlink("f"));
  show("h");
  contents("h");
  IS(rename("h", "f"));
  IS(unlink("sh"));
  IS(unlink("loop"));
  IS(unlink("dangling"));
  IS(mkfifo("fifo", 0640));
  show("fifo");
  IS(mknod("null", S_IFCHR | 0600, makedev(1, 3)));
  show("null");
  IS(mknod("big", S_IFBLK | 0600, makedev(300, 70000)));
  show("big");
  IS(mknod("socket", S_IFSOCK | 0600, 0));
  show("socket");
  IS(open("null", O_RDWR));
  IS(unlink("fifo"));
  IS(unlink("null"));
  IS(unlink("big"));
  IS(unlink("socket"));
}

static void renames(void) {
  IS(mkdir("a", 0755));
  IS(mkdir("a/b", 0755));
  IS(mkdir("empty", 0755));
  IS(make("g", "other"));
  IS(rename("a", "a/b/c"));
  IS(rename("a/b", "a"));
  IS(rename("f", "a"));
  IS(rename("a", "f"));
  IS(rename("empty", "a"));
  IS(rename("a", "empty"));
  show("empty");
  IS(rename("missing", "x"));
  IS(rename("f", "missing/x"));
  IS(rename("f", "g/x"));
  IS(rename("f", "g"));
  contents("g");
  show("f");
  IS(link("g", "f"));
  IS(rename("f", "g"));
  show("f");
  show("g");
  IS(rename("empty/b", "b"));
  show("empty");
  show("b");
  IS(rename("b", "."));
  IS(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE));
  IS(unlink("g"));
  IS(rmdir("empty"));
  IS(rmdir("b"));
}

static void open_files(void) {
  char text[20] = "";
  int fd;
  IS(make("u", "unlinked"));
  IS(fd = open("u", O_RDWR));
  IS(unlink("u"));
  struct stat s;
  IS(fstat(fd, &s));
  printf("nlink %lu size %ld\n", (unsigned long)s.st_nlink, (long)s.st_size);
  VALUE(pread(fd, text, 19, 2));
  puts(text);
  VALUE(pwrite(fd, "more", 4, 8));
  IS(ftruncate(fd, 5));
  IS(fchmod(fd, 0600));
  IS(fstat(fd, &s));
  printf("mode %o size %ld\n", s.st_mode, (long)s.st_size);
  IS(close(fd));

  IS(fd = open("f", O_RDONLY));
  IS(rename("f", "moved"));
  IS(make("f", "new"));
  VALUE(read(fd, text, 19));
  IS(write(fd, "x", 1));
  IS(close(fd));
  IS(fd = open("f", O_WRONLY));
  IS(read(fd, text, 1));
  IS(close(fd));

  IS(fd = open("f", O_WRONLY | O_APPEND));
  VALUE(pwrite(fd, "++", 2, 0));
  VALUE(write(fd, "--", 2));
  IS(close(fd));
  contents("f");
  IS(fd = open("f", O_RDWR | O_TRUNC));
  show("f");
  VALUE(pwrite(fd, "end", 3, 100000));
  show("f");
  memset(text, 'x', 19);
  VALUE(pread(fd, text, 10, 50000));
  printf("%d %d\n", text[0], text[9]);
  VALUE(pread(fd, text, 10, 99998));
  VALUE(pread(fd, text, 10, 100003));
  IS(ftruncate(fd, -1));
  IS(fsync(fd));
  IS(fdatasync(fd));
  IS(close(fd));
  IS(truncate("d", 0));
  IS(truncate("missing", 0));
  IS(fd = open("d", O_RDONLY | O_DIRECTORY));
  IS(read(fd, text, 1));
  IS(fsync(fd));
  IS(mkdirat(fd, "gone", 0755));
  int gone;
  IS(gone = openat(fd, "gone", O_RDONLY | O_DIRECTORY));
  IS(unlinkat(fd, "gone", AT_REMOVEDIR));
  IS(openat(gone, "x", O_CREAT | O_RDWR, 0644));
  IS(mkdirat(gone, "x", 0755));
  VALUE(fstat(gone, &s));
  printf("nlink %lu\n", (unsigned long)s.st_nlink);
  IS(close(gone));
  IS(close(fd));
}

static void attributes(void) {
  IS(chmod("f", 06755));
  show("f");
  IS(chown("f", 1, 2));
  show("f");
  IS(chmod("f", 02755));
  IS(chown("f", -1, 3));
  show("f");
  IS(chown("f", 0, 0));
  IS(lchown("s", 5, 6));
  show("s");
  IS(chmod("d", 02775));
  IS(chown("d", 0, 7));
  IS(mkdir("d/inherits", 0755));
  show("d/inherits");
  IS(make("d/file", ""));
  show("d/file");
  IS(unlink("d/file"));
  IS(rmdir("d/inherits"));
  struct timespec times[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
  IS(utimensat(AT_FDCWD, "f", times, 0));
  struct stat s;
  IS(stat("f", &s));
  printf("%ld.%ld %ld.%ld\n", (long)s.st_atim.tv_sec, s.st_atim.tv_nsec, (long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_sec = -5;
  IS(utimensat(AT_FDCWD, "f", times, 0));
  IS(stat("f", &s));
  printf("%ld %ld\n", (long)s.st_atim.tv_sec, (long)s.st_mtim.tv_sec);
  long before = s.st_ctim.tv_sec * 1000000000L + s.st_ctim.tv_nsec;
  usleep(20000);
  IS(chmod("f", 0644));
  IS(stat("f", &s));
  printf("ctime goes on: %d\n", s.st_ctim.tv_sec * 1000000000L + s.st_ctim.tv_nsec > before);
  umask(027);
  IS(mkdir("masked", 0777));
  show("masked");
  IS(rmdir("masked"));
  umask(0);
  IS(mkdir("open", 0777));
  show("open");
  IS(rmdir("open"));
  umask(022);
  struct statfs fs;
  IS(statfs(".", &fs));
  printf("namelen %ld\n", (long)fs.f_namelen);
}

static void xattrs(void) {
  char value[100] = "";
  IS(getxattr("f", "user.none", value, 100));
  IS(setxattr("f", "user.one", "value", 5, 0));
  IS(setxattr("f", "user.one", "again", 5, XATTR_CREATE));
  IS(setxattr("f", "user.two", "again", 5, XATTR_REPLACE));
  IS(setxattr("f", "user.two", "zwei", 4, XATTR_CREATE));
  VALUE(getxattr("f", "user.one", value, 100));
  puts(value);
  VALUE(getxattr("f", "user.one", 0, 0));
  IS(getxattr("f", "user.one", value, 2));
  IS(removexattr("f", "user.two"));
  IS(removexattr("f", "user.two"));
  IS(setxattr("f", "user.empty", "", 0, 0));
  VALUE(getxattr("f", "user.empty", value, 100));
  VALUE(listxattr("f", value, 100));
  IS(setxattr("d", "user.dir", "x", 1, 0));
  IS(removexattr("d", "user.dir"));
  IS(lsetxattr("s", "user.link", "x", 1, 0));
  IS(setxattr("f", "trusted.t", "x", 1, 0));
  VALUE(getxattr("f", "trusted.t", value, 100));
  IS(removexattr("f", "trusted.t"));
  IS(removexattr("f", "user.empty"));
  IS(removexattr("f", "user.one"));
}

static void locks(void) {
  int fd, other;
  IS(fd = open("f", O_RDWR));
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
  IS(fcntl(fd, F_SETLK, &lock));
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    struct flock want = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
    IS(fcntl(fd, F_SETLK, &want));
    IS(fcntl(fd, F_GETLK, &want));
    printf("type %d start %ld length %ld\n", want.l_type, (long)want.l_start, (long)want.l_len);
    want = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
    IS(fcntl(fd, F_SETLK, &want));
    fflush(stdout);
    _exit(0);
  }
  waitpid(child, 0, 0);
  lock.l_type = F_UNLCK;
  IS(fcntl(fd, F_SETLK, &lock));
  IS(flock(fd, LOCK_EX | LOCK_NB));
  IS(other = open("f", O_RDWR));
  IS(flock(other, LOCK_EX | LOCK_NB));
  IS(flock(fd, LOCK_UN));
  IS(flock(other, LOCK_EX | LOCK_NB));
  IS(close(other));
  IS(close(fd));
}

static void maps(void) {
  int fd;
  IS(make("m", "mapped file"));
  IS(fd = open("m", O_RDWR));
  char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  printf("%s\n", p == MAP_FAILED ? error(errno) : p);
  IS(close(fd));
  IS(unlink("m"));
}

/* Other users: what the kernel decides by the attributes it is told. */
static void users(void) {
  IS(make("private", "secret"));
  IS(chmod("private", 0600));
  IS(mkdir("sticky", 01777));
  IS(chmod("sticky", 01777));
  IS(make("sticky/f", ""));
  IS(chmod(".", 0755));
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    IS(setgid(100));
    IS(setuid(100));
    IS(open("private", O_RDONLY));
    IS(unlink("private"));
    IS(open("x", O_CREAT | O_RDWR, 0644));
    IS(unlink("sticky/f"));
    IS(make("sticky/mine", "mine"));
    show("sticky/mine");
    IS(chmod("private", 0644));
    IS(chown("sticky/mine", 0, 0));
    IS(unlink("sticky/mine"));
    fflush(stdout);
    _exit(0);
  }
  waitpid(child, 0, 0);
  IS(unlink("private"));
  IS(unlink("sticky/f"));
  IS(rmdir("sticky"));
}

/* Entries are removed while they are read, and none is left out. */
static void many(void) {
  enum { N = 1000 };
  char name[40];
  IS(mkdir("many", 0755));
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "many/%d-%.*s", i, i % 20, "12345678901234567890");
    if (make(name, name)) printf("%s: %s\n", name, error(errno));
  }
  VALUE(entries("many"));
  DIR *dir = opendir("many");
  struct dirent *entry;
  int removed = 0, wrong = 0;
  while ((entry = readdir(dir))) {
    if (entry->d_name[0] == '.') continue;
    if (entry->d_type != DT_REG) wrong++;
    snprintf(name, sizeof name, "many/%.30s", entry->d_name);
    if (unlink(name) == 0) removed++;
  }
  printf("removed %d, of another type %d\n", removed, wrong);
  rewinddir(dir);
  closedir(dir);
  VALUE(entries("many"));
  IS(rmdir("many"));
}

int main(int argc, char **argv) {
  if (argc != 2 || chdir(argv[1]) || mkdir("errnos", 0755) || chdir("errnos")) {
    fprintf(stderr, "usage: errnos DIR\n%s\n", error(errno));
    return 1;
  }
  umask(022);
  names();
  links();
  renames();
  open_files();
  attributes();
  xattrs();
  locks();
  maps();
  users();
  many();
  VALUE(entries("."));
  return 0;
}
