/* base.c: see base.h. */
#include "bench/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void bench_fail(const char *format, ...)
{
    va_list args;
    fputs(isatty(STDERR_FILENO) ? "\r\x1b[Kdunlin-bench: " : "dunlin-bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    /* Other threads go on meanwhile: nothing is freed, and no handlers are run. */
    _exit(1);
}

void *bench_zalloc(size_t count, size_t bytes)
{
    void *ptr = calloc(count ? count : 1, bytes);
    if (!ptr)
        bench_fail("no memory for %zu times %zu bytes", count, bytes);
    return ptr;
}

uint64_t bench_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

void bench_flush(void)
{
    if (fflush(stdout) || ferror(stdout))
        bench_fail("standard output cannot be written: %s", strerror(errno));
}
