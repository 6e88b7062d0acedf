/*
 * blocks.h: small objects of any size that any thread may free, in pages that go back to the system.
 *
 * For what each session has one or two of and what leaves with it: the session itself, its places in the
 * routing index. They cost what they need, to 8 bytes (malloc adds 8 and rounds to 16), and when a burst of them has
 * gone, so has its memory. Everything else is better off with base/mem.h.
 */
#ifndef RUNTIME_BLOCKS_H
#define RUNTIME_BLOCKS_H

#include <stddef.h>

#include "base/err.h"

#define BLOCKS_BYTES_MAX 512u /* larger ones come from base/mem.h */

/* `bytes` (> 0) of zeroes, aligned to 8. Counted as in base/mem.h, by 32 KiB for many of about the same size. NULL: no
   memory. Any thread. */
void *blocks_alloc(size_t bytes) MUST_USE;
/* `bytes` as when it was got. NULL is fine. Any thread. */
void blocks_free(void *block, size_t bytes);
/* Ends the program when an invariant is broken; for tests, while nobody else is at it. */
void blocks_check(void);

#endif
