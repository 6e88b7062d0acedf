/*
 * hash.c: the seed of include/base/hash.h.
 *
 * Threads: chosen before the first is started, read by all.
 */
#include "base/hash.h"

#include <sys/random.h>

#include "base/assert.h"

uint64_t hash_seed;

void hash_seed_choose(void)
{
    BUG_ON(getrandom(&hash_seed, sizeof(hash_seed), 0) != sizeof(hash_seed));
}
