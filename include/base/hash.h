/* hash.h: the one hash of the program: xxHash3, 64 bits. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/slice.h"

static inline uint64_t hash_bytes(struct slice bytes)
{
    return XXH3_64bits(bytes.ptr ? bytes.ptr : (const uint8_t *)"", bytes.len);
}

#endif
