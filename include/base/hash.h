/*
 * hash.h: the one hash of the program: xxHash3, 64 bits, with a seed of the process, so that nobody can
 * choose client ids, topics or filters that fall on one another in our tables. What has the same bytes
 * has the same hash for as long as the process runs, on any thread, and another one after a restart.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/slice.h"

extern uint64_t hash_seed; /* 0 until hash_seed_choose() */

/* Takes a seed that nobody can guess. Once, before anything is hashed and any thread is started. */
void hash_seed_choose(void);

static inline uint64_t hash_bytes(struct slice bytes)
{
    return XXH3_64bits_withSeed(bytes.ptr ? bytes.ptr : (const uint8_t *)"", bytes.len, hash_seed);
}

/* Of a handle or another number that we gave out: nobody else chooses those, so there is no seed. */
static inline uint32_t hash_number(uint32_t number)
{
    uint32_t hash = number * 0x9E3779B1u;
    return hash ^ hash >> 15;
}

#endif
