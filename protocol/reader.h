/*
 * reader.h: reading fields from a run of bytes without ever passing its end.
 *
 * Every function either reads the whole field and moves on, or fails and leaves the reader where it
 * was or somewhere before the end; after a failure the reader is not used again. Slices point into
 * the bytes. The encodings are those of section 1.5. Cost: a comparison per field.
 */
#ifndef PROTOCOL_READER_H
#define PROTOCOL_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/slice.h"
#include "mqtt/utf8.h"
#include "protocol/faults.h"

#define READER_VARINT_BYTES_MAX 4

struct reader {
    const uint8_t *at, *end;
};

static inline struct reader reader_of(struct slice bytes)
{
    static const uint8_t nothing[1];
    const uint8_t *at = bytes.ptr ? bytes.ptr : nothing; /* no arithmetic on NULL */
    return (struct reader){.at = at, .end = at + bytes.len};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline struct slice reader_rest(const struct reader *r)
{
    return slice_of(r->at, reader_left(r));
}

static inline bool reader_u8(struct reader *r, uint8_t *out)
{
    if (UNLIKELY(reader_left(r) < 1))
        return false;
    *out = *r->at++;
    return true;
}

static inline bool reader_u16(struct reader *r, uint16_t *out)
{
    if (UNLIKELY(reader_left(r) < 2))
        return false;
    *out = (uint16_t)(r->at[0] << 8 | r->at[1]);
    r->at += 2;
    return true;
}

static inline bool reader_u32(struct reader *r, uint32_t *out)
{
    if (UNLIKELY(reader_left(r) < 4))
        return false;
    *out = (uint32_t)r->at[0] << 24 | (uint32_t)r->at[1] << 16 | (uint32_t)r->at[2] << 8 | r->at[3];
    r->at += 4;
    return true;
}

/* Binary Data: a two byte length and so many bytes. */
static inline bool reader_binary(struct reader *r, struct slice *out)
{
    uint16_t len;
    if (UNLIKELY(!reader_u16(r, &len) || reader_left(r) < len))
        return false;
    *out = slice_of(r->at, len);
    r->at += len;
    return true;
}

/* UTF-8 Encoded String. NULL or the fault. */
static inline const struct fault *reader_string(struct reader *r, struct slice *out)
{
    if (UNLIKELY(!reader_binary(r, out)))
        return &fault_cut_short;
    return LIKELY(utf8_is_valid(*out)) ? NULL : &fault_not_utf8;
}

/* A packet identifier, which is never 0. NULL or the fault. */
static inline const struct fault *reader_packet_id(struct reader *r, uint16_t *out)
{
    if (UNLIKELY(!reader_u16(r, out)))
        return &fault_cut_short;
    return LIKELY(*out != 0) ? NULL : &fault_packet_id_zero;
}

/* Variable Byte Integer: 7 bits a byte, least significant first. NULL or the fault. */
static inline const struct fault *reader_varint(struct reader *r, uint32_t *out)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < READER_VARINT_BYTES_MAX; i++) {
        uint8_t byte;
        if (UNLIKELY(!reader_u8(r, &byte)))
            return &fault_cut_short;
        value |= (uint32_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return LIKELY(byte != 0 || i == 0) ? NULL : &fault_varint_padded;
        }
    }
    return &fault_varint_long;
}

/* A property length and the block that it measures, not looked into. NULL or the fault. */
static inline const struct fault *reader_property_block(struct reader *r, struct slice *out)
{
    uint32_t len;
    const struct fault *fault = reader_varint(r, &len);
    if (UNLIKELY(fault != NULL))
        return fault;
    if (UNLIKELY(reader_left(r) < len))
        return &fault_property_length;
    *out = slice_of(r->at, len);
    r->at += len;
    return NULL;
}

#endif
