/*
 * writer.h: putting fields where there is known to be room. Each function returns the end of what
 * it wrote. Encoders compute the size first, so that nothing here needs to check.
 */
#ifndef PROTOCOL_WRITER_H
#define PROTOCOL_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

#define WRITER_VARINT_MAX 268435455u

/* Bytes of a Variable Byte Integer; 5 for what does not fit in one, so that sums show it. */
static inline uint32_t varint_bytes(uint32_t value)
{
    return 1u + (value > 0x7F) + (value > 0x3FFF) + (value > 0x1FFFFF) +
           (value > WRITER_VARINT_MAX);
}

static inline uint8_t *put_u8(uint8_t *dst, uint8_t value)
{
    *dst = value;
    return dst + 1;
}

static inline uint8_t *put_u16(uint8_t *dst, uint16_t value)
{
    dst[0] = (uint8_t)(value >> 8);
    dst[1] = (uint8_t)value;
    return dst + 2;
}

static inline uint8_t *put_u32(uint8_t *dst, uint32_t value)
{
    uint32_t big_endian = __builtin_bswap32(value);
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        big_endian = value;
    memcpy(dst, &big_endian, 4);
    return dst + 4;
}

static inline uint8_t *put_varint(uint8_t *dst, uint32_t value)
{
    for (; value > 0x7F; value >>= 7)
        *dst++ = (uint8_t)(value | 0x80);
    *dst++ = (uint8_t)value;
    return dst;
}

static inline uint8_t *put_bytes(uint8_t *dst, struct slice bytes)
{
    if (bytes.len)
        memcpy(dst, bytes.ptr, bytes.len);
    return dst + bytes.len;
}

/* A two byte length and the bytes; the caller has made sure of at most 65,535. */
static inline uint8_t *put_binary(uint8_t *dst, struct slice bytes)
{
    return put_bytes(put_u16(dst, (uint16_t)bytes.len), bytes);
}

#endif
