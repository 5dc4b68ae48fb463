/* Preloaded into a process (LD_PRELOAD), records what it does to the files below one directory, with content.

   RECORDER_ROOT is the directory (its real path), RECORDER_LOG the log, which lies elsewhere. A record is a header and
   two strings: a path below the root, and the bytes written or a second path. Each is written after its call, and both
   under one lock of all threads and processes: the log is in the order in which things happened.

   What cannot be recorded ends the process: a shared mapping that may be written, or a call that nobody here makes.
   `recording.py` compiles this, and reads the log. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CREATE = 1, MKDIR, WRITE, TRUNCATE, SYNC, SYNC_DIRECTORY, LINK, RENAME, UNLINK };
struct header {
    unsigned kind, path_bytes, content_bytes, unused;
    unsigned long long inode;
    long long offset; /* of a write; the size that a truncate leaves */
};
_Static_assert(sizeof(long) == 8, "offsets are passed to the kernel as one long");

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static pid_t log_owner;

static void die(const char *what, const char *path) {
    dprintf(2, "recorder: cannot record %s of %s: %s\n", what, path, strerror(errno));
    abort();
}

static void lock(void) {
    pthread_mutex_lock(&mutex);
    if (log_owner != getpid()) { /* a forked child shares the lock of an inherited descriptor: it needs its own */
        const char *path = getenv("RECORDER_LOG");
        log_fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
        if (log_fd < 0) die("in the log", path ? path : "(RECORDER_LOG is not set)");
        log_owner = getpid();
    }
    if (flock(log_fd, LOCK_EX)) die("under lock", "the log");
}

static void unlock(void) {
    int error = errno;
    flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = error;
}

static void record(enum kind kind, const struct stat *status, long long offset, const char *path, const void *content,
                   size_t size) {
    struct header header = {kind, strlen(path), size, 0, status ? status->st_ino : 0, offset};
    struct iovec parts[] = {
        {&header, sizeof header}, {(void *)path, header.path_bytes}, {(void *)content, header.content_bytes}};
    ssize_t whole = sizeof header + header.path_bytes + header.content_bytes;
    if (syscall(SYS_writev, log_fd, parts, 3) != whole) die("in the log", path);
}

/* Return what follows the root in a real path (a lone "/" for the root itself), or NULL outside of it. */
static const char *below(const char *path) {
    const char *root = getenv("RECORDER_ROOT");
    size_t size = root ? strlen(root) : 0;
    if (!size || strncmp(path, root, size) || (path[size] && path[size] != '/')) return NULL;
    return path[size] ? path + size : "/";
}

static const char *path_of(int fd, char buffer[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = fd < 0 ? -1 : readlink(link, buffer, PATH_MAX - 1);
    if (size < 0) return NULL;
    buffer[size] = 0;
    return below(buffer);
}

/* The same of a name, which need not exist; its directory is made real. */
static const char *path_at(int directory, const char *name, char buffer[PATH_MAX]) {
    char joined[PATH_MAX], parent[PATH_MAX], link[64], base[PATH_MAX] = ".";
    int error = errno;
    if (!getenv("RECORDER_ROOT")) return NULL;
    if (name[0] != '/' && directory != AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t size = readlink(link, base, PATH_MAX - 1);
        if (size < 0) return NULL;
        base[size] = 0;
    }
    if (snprintf(joined, PATH_MAX, "%s%s%s", name[0] == '/' ? "" : base, name[0] == '/' ? "" : "/", name) >= PATH_MAX)
        return NULL;
    for (size_t end = strlen(joined); end > 1 && joined[end - 1] == '/'; end--) joined[end - 1] = 0;
    char *slash = strrchr(joined, '/');
    *slash = 0;
    const char *real = realpath(slash == joined ? "/" : joined, parent);
    errno = error;
    if (!real || snprintf(buffer, PATH_MAX, "%s/%s", parent, slash + 1) >= PATH_MAX) return NULL;
    return below(buffer);
}

/* Record what a call has just put at an offset; -1 is "before the file position". */
static ssize_t wrote(int fd, const char *path, ssize_t size, off_t offset) {
    struct stat status;
    int error = errno, again = -1;
    char link[64], *content = size > 0 ? malloc(size) : NULL;
    if (size > 0) { /* read back: it is the same for a buffer, several, and a copy within the kernel */
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        again = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - size;
        if (again < 0 || fstat(fd, &status) || pread(again, content, size, offset) != size) die("a write", path);
        record(WRITE, &status, offset, path, content, size);
        close(again);
    }
    free(content);
    errno = error;
    return size;
}

#define WRITE_CALL(fd, offset, call)                         \
    char buffer[PATH_MAX];                                   \
    const char *path = path_of(fd, buffer);                  \
    if (!path) return call;                                  \
    lock();                                                  \
    ssize_t size = wrote(fd, path, call, offset);            \
    unlock();                                                \
    return size;

ssize_t write(int fd, const void *content, size_t n) { WRITE_CALL(fd, -1, syscall(SYS_write, fd, content, n)) }
ssize_t writev(int fd, const struct iovec *parts, int n) { WRITE_CALL(fd, -1, syscall(SYS_writev, fd, parts, n)) }
ssize_t pwrite(int fd, const void *content, size_t n, off_t offset) {
    WRITE_CALL(fd, offset, syscall(SYS_pwrite64, fd, content, n, offset))
}
ssize_t pwritev2(int fd, const struct iovec *parts, int n, off_t offset, int flags) {
    WRITE_CALL(fd, offset, syscall(SYS_pwritev2, fd, parts, n, offset, 0, flags))
}
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) { return pwritev2(fd, parts, n, offset, 0); }
ssize_t sendfile(int fd, int from, off_t *offset, size_t n) {
    WRITE_CALL(fd, -1, syscall(SYS_sendfile, fd, from, offset, n))
}
ssize_t copy_file_range(int from, off_t *from_offset, int fd, off_t *offset, size_t n, unsigned flags) {
    off_t begin = offset ? *offset : -1;
    WRITE_CALL(fd, begin, syscall(SYS_copy_file_range, from, from_offset, fd, offset, n, flags))
}

static int open_at(int directory, const char *name, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    struct stat status;
    int nameless = (flags & O_TMPFILE) == O_TMPFILE;
    const char *path = nameless || flags & (O_CREAT | O_TRUNC) ? path_at(directory, name, buffer) : NULL;
    if (!path) return syscall(SYS_openat, directory, name, flags, mode);
    if (nameless) die("a file without a name", path);
    lock();
    int existed = !stat(buffer, &status);
    int fd = syscall(SYS_openat, directory, name, flags, mode);
    if (fd >= 0 && fstat(fd, &status)) die("an open", path);
    if (fd >= 0 && (!existed || flags & O_TRUNC)) record(existed ? TRUNCATE : CREATE, &status, 0, path, NULL, 0);
    unlock();
    return fd;
}

#define OPEN_CALL(directory, name, flags)                                                 \
    mode_t mode = 0;                                                                      \
    va_list rest;                                                                         \
    va_start(rest, flags);                                                                \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) mode = va_arg(rest, mode_t); \
    va_end(rest);                                                                         \
    return open_at(directory, name, flags, mode);

int openat(int directory, const char *name, int flags, ...) { OPEN_CALL(directory, name, flags) }
int open(const char *name, int flags, ...) { OPEN_CALL(AT_FDCWD, name, flags) }
int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int __open_2(const char *name, int flags) { return open_at(AT_FDCWD, name, flags, 0); }
int __openat_2(int directory, const char *name, int flags) { return open_at(directory, name, flags, 0); }

/* A call that changes a file and returns 0: record what became of its size, or that it was synced. */
static int sized(int fd, int result, const char *path) {
    struct stat status;
    if (!result && !fstat(fd, &status)) record(TRUNCATE, &status, status.st_size, path, NULL, 0);
    return result;
}

static int synced(int fd, int result, const char *path) {
    struct stat status;
    if (!result && !fstat(fd, &status))
        record(S_ISDIR(status.st_mode) ? SYNC_DIRECTORY : SYNC, &status, 0, path, NULL, 0);
    return result;
}

#define FILE_CALL(became, fd, call)          \
    char buffer[PATH_MAX];                   \
    const char *path = path_of(fd, buffer);  \
    if (!path) return call;                  \
    lock();                                  \
    int result = became(fd, call, path);     \
    unlock();                                \
    return result;

int fsync(int fd) { FILE_CALL(synced, fd, syscall(SYS_fsync, fd)) }
int fdatasync(int fd) { FILE_CALL(synced, fd, syscall(SYS_fdatasync, fd)) }
int ftruncate(int fd, off_t size) { FILE_CALL(sized, fd, syscall(SYS_ftruncate, fd, size)) }
int fallocate(int fd, int mode, off_t offset, off_t size) {
    char name[PATH_MAX];
    if (mode & ~FALLOC_FL_KEEP_SIZE && path_of(fd, name)) die("a fallocate other than an allocation", name);
    FILE_CALL(sized, fd, syscall(SYS_fallocate, fd, mode, offset, size))
}
int posix_fallocate(int fd, off_t offset, off_t size) { return fallocate(fd, 0, offset, size) ? errno : 0; }
int truncate(const char *name, off_t size) {
    int fd = open(name, O_WRONLY | O_CLOEXEC), result = fd < 0 ? -1 : ftruncate(fd, size), error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return result;
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
    const char *old = path_at(from_directory, from, from_buffer), *new = path_at(to_directory, to, to_buffer);
    struct stat status;
    if (!old && !new) return syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
    if (!old || !new || flags) die("a link from or to elsewhere", old ? old : new);
    lock();
    int result = syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
    if (!result && !stat(to_buffer, &status)) record(LINK, &status, 0, old, new, strlen(new));
    unlock();
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags) {
    char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
    const char *old = path_at(from_directory, from, from_buffer), *new = path_at(to_directory, to, to_buffer);
    struct stat status, target;
    if (!old && !new) return syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
    if (!old || !new || flags & ~RENAME_NOREPLACE) die("a rename other than from here to here", old ? old : new);
    lock();
    int there = !stat(from_buffer, &status);
    int same = there && !stat(to_buffer, &target) && status.st_ino == target.st_ino; /* then it does nothing */
    if (there && S_ISDIR(status.st_mode)) die("the rename of a directory", old);
    int result = syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
    if (!result && !same) record(RENAME, &status, 0, old, new, strlen(new));
    unlock();
    return result;
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    return renameat2(from_directory, from, to_directory, to, 0);
}

#define NAME_CALL(kind, directory, name, call)                     \
    char buffer[PATH_MAX];                                         \
    const char *path = path_at(directory, name, buffer);           \
    if (!path) return call;                                        \
    lock();                                                        \
    int result = call;                                             \
    if (!result) record(kind, NULL, 0, path, NULL, 0);             \
    unlock();                                                      \
    return result;

int unlinkat(int directory, const char *name, int flags) {
    NAME_CALL(UNLINK, directory, name, syscall(SYS_unlinkat, directory, name, flags))
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int mkdirat(int directory, const char *name, mode_t mode) {
    NAME_CALL(MKDIR, directory, name, syscall(SYS_mkdirat, directory, name, mode))
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
int symlinkat(const char *target, int directory, const char *name) {
    char buffer[PATH_MAX];
    const char *path = path_at(directory, name, buffer);
    if (path) die("a symbolic link", path);
    return syscall(SYS_symlinkat, target, directory, name);
}
int symlink(const char *target, const char *name) { return symlinkat(target, AT_FDCWD, name); }

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    char buffer[PATH_MAX];
    const char *path = flags & MAP_SHARED ? path_of(fd, buffer) : NULL;
    /* mprotect could make it writable later, wherever the descriptor is */
    if (path && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) die("a shared mapping", path);
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

/* The names of the same for 64-bit offsets, which are the only ones here. */
#define ALIAS(name) __attribute__((alias(#name)))
int open64(const char *, int, ...) ALIAS(open);
int openat64(int, const char *, int, ...) ALIAS(openat);
int creat64(const char *, mode_t) ALIAS(creat);
int __open64_2(const char *, int) ALIAS(__open_2);
int __openat64_2(int, const char *, int) ALIAS(__openat_2);
ssize_t pwrite64(int, const void *, size_t, off_t) ALIAS(pwrite);
ssize_t pwritev64(int, const struct iovec *, int, off_t) ALIAS(pwritev);
ssize_t pwritev64v2(int, const struct iovec *, int, off_t, int) ALIAS(pwritev2);
ssize_t sendfile64(int, int, off_t *, size_t) ALIAS(sendfile);
int ftruncate64(int, off_t) ALIAS(ftruncate);
int truncate64(const char *, off_t) ALIAS(truncate);
int fallocate64(int, int, off_t, off_t) ALIAS(fallocate);
int posix_fallocate64(int, off_t, off_t) ALIAS(posix_fallocate);
void *mmap64(void *, size_t, int, int, int, off_t) ALIAS(mmap);
