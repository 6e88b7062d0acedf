/*
 * pages.h: runs of pages straight from the system, which get back to it when they are not needed any more.
 *
 * What comes and goes with a fleet (connections, sessions, places in the routing index, buffers) lives in such runs, so
 * that the memory of a burst does not stay. malloc keeps what lies below anything that is still in use.
 */
#ifndef RUNTIME_PAGES_H
#define RUNTIME_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define PAGES_BYTES_MIN 4096u
#define PAGES_BYTES_MAX (256u * 1024u)

/* A run of at least `bytes` (1 to PAGES_BYTES_MAX), aligned to the next power of two. What is in it is undefined, and
   pages that are never touched cost nothing. NULL: no memory. Not counted in base/mem.h: who makes objects of it
   does that. Any thread; no call to the system but for one in 16 MiB. */
void *pages_alloc(size_t bytes) MUST_USE;
/* `bytes` as when it was got. Any thread; no call to the system. */
void pages_free(void *run, size_t bytes);

/* Now and then, by one thread: of the memory of free pages, half of what nobody has needed since the last time is to go
   back to the system. */
void pages_trim_begin(void);
/* Gives a piece of that back, with one call to the system for at most 2 MiB. False: there is none left. */
bool pages_trim(void);

/* For buffers and tables that come and go: a run of pages where it is at least one, else (or above PAGES_BYTES_MAX)
   of base/mem.h; counted as there. What is in it is undefined. NULL: no memory. Any thread. */
void *pages_or_mem_alloc(size_t bytes) MUST_USE;
/* The same, zeroed. */
void *pages_or_mem_zalloc(size_t bytes) MUST_USE;
/* `bytes` as when it was got. NULL is fine. Any thread. */
void pages_or_mem_free(void *ptr, size_t bytes);

/* Pages that are in use, and free ones that still have memory; for tests. */
struct pages_stats {
    size_t used, kept;
};
struct pages_stats pages_stats(void);
/* Ends the program when an invariant is broken; for tests, while nobody else is at it. */
void pages_check(void);

#endif
