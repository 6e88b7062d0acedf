/*
 * testing.h: what the tests of protocol/ share: putting bytes together, handing them over in memory
 * of exactly their size (so that a sanitizer sees a read past the end), and cutting them anywhere.
 */
#ifndef TESTS_PROTOCOL_TESTING_H
#define TESTS_PROTOCOL_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/slice.h"
#include "mqtt/reason.h"

/* Bytes that grow; zero-initialised, freed with bytes_fini. */
struct bytes {
    uint8_t *data;
    size_t len, room;
};

static inline void bytes_fini(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

static inline void add_raw(struct bytes *b, const void *data, size_t len)
{
    if (b->len + len > b->room) {
        b->room = (b->len + len) * 2 + 16;
        b->data = realloc(b->data, b->room);
        assert_non_null(b->data);
    }
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}

static inline void add_u8(struct bytes *b, uint8_t value)
{
    add_raw(b, &value, 1);
}

static inline void add_u16(struct bytes *b, uint16_t value)
{
    add_u8(b, (uint8_t)(value >> 8));
    add_u8(b, (uint8_t)value);
}

static inline void add_u32(struct bytes *b, uint32_t value)
{
    add_u16(b, (uint16_t)(value >> 16));
    add_u16(b, (uint16_t)value);
}

static inline void add_varint(struct bytes *b, uint32_t value)
{
    do {
        uint8_t digit = value % 128;
        value /= 128;
        add_u8(b, value ? digit | 128 : digit);
    } while (value);
}

static inline void add_binary(struct bytes *b, const void *data, size_t len)
{
    add_u16(b, (uint16_t)len);
    add_raw(b, data, len);
}

static inline void add_text(struct bytes *b, const char *text)
{
    add_binary(b, text, strlen(text));
}

/* A length as varint and the other bytes: a property block. */
static inline void add_block(struct bytes *b, const struct bytes *block)
{
    add_varint(b, (uint32_t)block->len);
    add_raw(b, block->data, block->len);
}

static inline struct slice slice_of_bytes(const struct bytes *b)
{
    return slice_of(b->data, b->len);
}

/* A copy in a block of exactly its size; free(). One byte for nothing, so that it is never NULL. */
static inline uint8_t *exact_copy(struct slice s)
{
    uint8_t *copy = malloc(s.len ? s.len : 1);
    assert_non_null(copy);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    return copy;
}

typedef const struct fault *decode_fn(struct slice body, void *context);

/* Decodes the body from memory of exactly its size. */
static inline const struct fault *decode_exact(struct slice body, decode_fn *decode, void *context)
{
    uint8_t *copy = exact_copy(body);
    const struct fault *fault = decode(slice_of(copy, body.len), context);
    free(copy);
    return fault;
}

/* Decodes every proper beginning of the body; returns how many of them were accepted. */
static inline size_t count_accepted_cuts(struct slice body, decode_fn *decode, void *context)
{
    size_t accepted = 0;
    for (size_t len = 0; len < body.len; len++)
        accepted += decode_exact(slice_of(body.ptr, len), decode, context) == NULL;
    return accepted;
}

static inline void expect_fault(const struct fault *fault, uint8_t reason, const char *clause)
{
    assert_non_null(fault);
    assert_string_equal(fault->clause, clause);
    assert_int_equal(fault->reason, reason);
    assert_true(fault->text && fault->text[0]);
}

static inline void expect_reason(const struct fault *fault, uint8_t reason)
{
    assert_non_null(fault);
    assert_int_equal(fault->reason, reason);
}

static inline void expect_slice(struct slice got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr ? got.ptr : (const uint8_t *)"", want, got.len);
}

/* A small repeatable generator. */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
