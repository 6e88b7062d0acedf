/*
 * clock.h: the one clock. Monotonic; wall time never decides anything.
 *
 * Tests turn it: clock_turn_ms() moves it forward in process, and a running broker started with
 * DUNLIN_TEST_CLOCK=FILE adds the 64-bit count of milliseconds it finds in that mapped file.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

extern _Atomic int64_t
    *clock_turned_ms; /* how far tests have turned the clock; points at 0 at first */

/* Nanoseconds of the real monotonic clock, for measuring only; tests do not turn it. */
static inline uint64_t clock_real_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* What clock_now_ms() gave when clock_real_ns() gave `real_ns`, if the clock was not turned since. */
static inline uint64_t clock_ms_at(uint64_t real_ns)
{
    return real_ns / 1000000 +
           (uint64_t)atomic_load_explicit(clock_turned_ms, memory_order_relaxed);
}

/* Milliseconds since an arbitrary start, never going back. Any thread. */
static inline uint64_t clock_now_ms(void)
{
    return clock_ms_at(clock_real_ns());
}

/* Turns the clock forward by `ms`. For tests. */
static inline void clock_turn_ms(int64_t ms)
{
    atomic_fetch_add_explicit(clock_turned_ms, ms, memory_order_relaxed);
}

#endif
