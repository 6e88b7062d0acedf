/* slice.h: a borrowed run of bytes. A slice never owns; it lives as long as what it points into. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *ptr;
    size_t len;
};

#define SLICE_LIT(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct slice slice_of(const void *ptr, size_t len)
{
    return (struct slice){.ptr = ptr, .len = len};
}

static inline struct slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* Bytewise order, shorter first on equal prefixes: <0, 0, >0 as memcmp. */
static inline int slice_cmp(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    if (order)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

/* The slice without its first `count` bytes; `count` is at most its length. */
static inline struct slice slice_skip(struct slice s, size_t count)
{
    return slice_of(s.ptr + count, s.len - count);
}

/* Printf helper: printf("%.*s", SLICE_ARG(s)) */
#define SLICE_ARG(s) (int)(s).len, (const char *)((s).ptr ? (s).ptr : (const uint8_t *)"")

#endif
