/* testing.h: what the tests of the runtime share: cmocka, a seeded generator. */
#ifndef TESTS_UNIT_RUNTIME_TESTING_H
#define TESTS_UNIT_RUNTIME_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"

/* xorshift64*: the same sequence everywhere for a seed that is not 0. */
static inline uint32_t random_next(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)(*seed * 2685821657736338717ull >> 32);
}

static inline uint32_t random_below(uint64_t *seed, uint32_t limit)
{
    return random_next(seed) % limit;
}

#endif
