/* testing.h: what the tests of the load tool share: cmocka, and none of the broker. */
#ifndef TESTS_UNIT_BENCH_TESTING_H
#define TESTS_UNIT_BENCH_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A seeded generator: the same numbers on every machine. */
static inline uint32_t test_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
