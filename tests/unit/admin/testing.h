/* testing.h: what the tests of admin share. */
#ifndef TESTS_UNIT_ADMIN_TESTING_H
#define TESTS_UNIT_ADMIN_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/slice.h"

static inline void assert_slice(struct slice got, const char *expected)
{
    assert_int_equal(got.len, strlen(expected));
    assert_memory_equal(got.ptr, expected, got.len);
}

#endif
