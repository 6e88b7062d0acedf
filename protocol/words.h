/*
 * words.h: looking at eight bytes at a time.
 *
 * A word is eight bytes of text loaded as they stand; the tests below say whether any of them has a
 * property, which is all that a fast path needs: the slow path finds out where. No byte outside
 * [p, p + 8) is read. Any thread.
 */
#ifndef PROTOCOL_WORDS_H
#define PROTOCOL_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define WORD_BYTES 8
#define WORD_OF(byte) (0x0101010101010101u * (uint64_t)(uint8_t)(byte))
#define WORD_HIGH_BITS WORD_OF(0x80)

static inline uint64_t word_load(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

/* The word of the last `count` (1 to 7) bytes before `end`, filled up with the byte `filler`. */
static inline uint64_t word_load_few(const uint8_t *p, size_t count, uint8_t filler)
{
    uint64_t word = WORD_OF(filler);
    if (count >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + count - 4, 4);
        return (uint64_t)high << 32 | low;
    }
    uint8_t *bytes = (uint8_t *)&word;
    bytes[0] = p[0];
    bytes[1] = p[count >> 1];
    bytes[2] = p[count - 1];
    return word;
}

/* True when all eight bytes are 0x01 to 0x7F. Exact: below 0x80 a borrow can only start at a 0. */
static inline bool word_is_ascii_text(uint64_t word)
{
    return ((word | (word - WORD_OF(1))) & WORD_HIGH_BITS) == 0;
}

static inline bool word_has_zero(uint64_t word)
{
    return ((word - WORD_OF(1)) & ~word & WORD_HIGH_BITS) != 0;
}

/* True when a byte is '+' (0x2B) or '#' (0x23): they differ in one bit, so one test finds both. */
static inline bool word_has_wildcard(uint64_t word)
{
    return word_has_zero((word & WORD_OF(~('+' ^ '#'))) ^ WORD_OF('+' & '#'));
}

#endif
