/* base.h: what every file of the load tool may use: clock, memory, how it ends. */
#ifndef BENCH_BASE_H
#define BENCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND_NS 1000000000ull

/* Prints to stderr and ends the program with status 1; from any thread. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Writes what is printed to stdout; ends the program when it cannot be. */
void bench_flush(void);
/* Zeroed memory; ends the program when there is none. */
void *bench_zalloc(size_t count, size_t bytes);
/* Monotonic. */
uint64_t bench_clock_ns(void);

#endif
