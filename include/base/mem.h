/*
 * mem.h: counted heap memory.
 *
 * Everything that a peer can make grow is allocated here, so that `memory_limit` is a real ceiling:
 * each thread counts privately and settles with one shared counter every 64 KiB, so the sum is
 * exact to 64 KiB a thread and costs no shared write per message. Any thread may free what another
 * allocated.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Allocates `bytes` (> 0), not zeroed. NULL when there is no memory: peer-sized callers must cope.
 */
void *mem_alloc(size_t bytes);
/* The same, zeroed. */
void *mem_zalloc(size_t bytes);
/* Grows or shrinks; NULL leaves the old block as it was. `ptr` may be NULL. */
void *mem_realloc(void *ptr, size_t bytes);
/* Frees; NULL is fine. */
void mem_free(void *ptr);
/* As mem_zalloc, but ends the program when there is no memory: for start-up. */
void *mem_must_zalloc(size_t bytes);

/* Bytes allocated through this header by all threads together, exact to 64 KiB a thread. Any
 * thread. */
size_t mem_used_bytes(void);
/* The largest mem_used_bytes() seen at a settling. */
size_t mem_used_bytes_max(void);
/* Counts memory got in another way (pools of pages); `bytes` may be negative. */
void mem_count(int64_t bytes);

#endif
