/* assert.h: checks for bugs, kept in release builds. Never used for what a peer or the system can
 * cause. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Ends the program with file, line and the condition when `condition` holds: the program is wrong.
 */
#define BUG_ON(condition)                                                                  \
    do {                                                                                   \
        if (UNLIKELY(condition)) {                                                         \
            fprintf(stderr, "dunlin: bug at %s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
