/* Makes calls of the C library fail on files with certain suffixes. It is preloaded into a service under test.

   $INJECTED_FAULTS is a folder. As long as it contains a file named after a call, that call fails as the file says:

       <errno> <suffix of the file name> <first byte> <last byte> <once>

   `once` is 1 for a single failure, in the first process that makes the call. With an errno of 0, the call creates the
   file `<call>.hung` and hangs as long as it exists. The file `clock` contains the seconds to add to the time of day. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

static long control(const char *call, char *path, char *text, size_t size) {
    const char *folder = getenv("INJECTED_FAULTS");
    if (!folder) return -1;
    snprintf(path, 512, "%s/%s", folder, call);
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    long got = syscall(SYS_read, fd, text, size - 1);
    syscall(SYS_close, fd);
    if (got > 0) text[got] = 0;
    return got > 0 ? 0 : -1;
}

static int fails(const char *call, const char *name, long long first, long long last) {
    char path[512], text[256], end[128];
    int error, once, saved = errno;
    long long from, to;
    size_t length = strlen(name);
    if (control(call, path, text, sizeof text) == 0 &&
        sscanf(text, "%d %127s %lld %lld %d", &error, end, &from, &to, &once) == 5 && length >= strlen(end) &&
        strcmp(name + length - strlen(end), end) == 0 && first <= to && from <= last &&
        (!once || syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0)) {
        if (error) {
            errno = error;
            return 1;
        }
        char hung[520];
        snprintf(hung, sizeof hung, "%s.hung", path);
        syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, hung, O_CREAT | O_WRONLY, 0600));
        while (syscall(SYS_faccessat, AT_FDCWD, hung, F_OK) == 0)
            syscall(SYS_nanosleep, &(struct timespec){0, 5000000}, NULL);
    }
    errno = saved;
    return 0;
}

static int fails_on(const char *call, int fd, long long first, long long last) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return fails(call, name, first, last);
}

int fdatasync(int fd) {
    return fails_on("fdatasync", fd, 0, 0) ? -1 : REAL("fdatasync", int (*)(int))(fd);
}

int fsync(int fd) {
    return fails_on("fsync", fd, 0, 0) ? -1 : REAL("fsync", int (*)(int))(fd);
}

ssize_t pread64(int fd, void *buffer, size_t size, off64_t offset) {
    if (fails_on("pread", fd, offset, offset + (long long)size - 1)) return -1;
    return REAL("pread64", ssize_t(*)(int, void *, size_t, off64_t))(fd, buffer, size, offset);
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset) { return pread64(fd, buffer, size, offset); }

ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t offset) {
    if (fails_on("pwrite", fd, offset, offset + (long long)size - 1)) {
        if (size < 1024) return -1;
        size /= 2; /* a full disk writes as much as fits */
    }
    return REAL("pwrite64", ssize_t(*)(int, const void *, size_t, off64_t))(fd, buffer, size, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset) { return pwrite64(fd, buffer, size, offset); }

int open64(const char *name, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    if (fails("open", name, 0, 0)) return -1;
    return REAL("open64", int (*)(const char *, int, int))(name, flags, mode);
}

int open(const char *name, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    return open64(name, flags, mode);
}

static long long clock_offset(void) {
    char path[512], text[256];
    int saved = errno;
    long long seconds = control("clock", path, text, sizeof text) == 0 ? atoll(text) : 0;
    errno = saved;
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL("clock_gettime", int (*)(clockid_t, struct timespec *))(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += clock_offset();
    return result;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
