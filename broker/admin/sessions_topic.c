/*
 * sessions_topic.c: see sessions_topic.h.
 */
#include "admin/sessions_topic.h"

static const char hex_digits[] = "0123456789ABCDEF";

enum sessions_filter sessions_filter_parse(struct slice filter, struct slice *level)
{
    if (!slice_starts_with(filter, SLICE_LIT(SESSIONS_TOPIC_PREFIX)))
        return SESSIONS_NONE;
    struct slice rest = slice_skip(filter, sizeof(SESSIONS_TOPIC_PREFIX) - 1);
    const uint8_t *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
    *level = slice_of(rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len);
    if (slash && !slice_eq(slice_skip(rest, level->len), SLICE_LIT("/#")))
        return SESSIONS_NONE;
    if (slice_eq(*level, SLICE_LIT("#")) || slice_eq(*level, SLICE_LIT("+")))
        return SESSIONS_ALL;
    return level->len ? SESSIONS_ONE : SESSIONS_NONE;
}

/* The second byte of the control characters U+0080 to U+009F counts as one, too. */
static bool is_encoded(struct slice id, size_t i)
{
    uint8_t c = id.ptr[i];
    if (c < 0x20 || c == 0x7F || c == '%' || c == '+' || c == '#' || c == '/')
        return true;
    if (c == 0xC2)
        return i + 1 < id.len && id.ptr[i + 1] < 0xA0;
    return (c & 0xC0) == 0x80 && c < 0xA0 && i > 0 && id.ptr[i - 1] == 0xC2;
}

uint32_t sessions_topic_make(struct slice id, uint8_t *buffer, uint32_t cap)
{
    struct slice prefix = SLICE_LIT(SESSIONS_TOPIC_PREFIX);
    uint32_t bytes = (uint32_t)prefix.len;
    if (cap < bytes)
        return 0;
    memcpy(buffer, prefix.ptr, prefix.len);
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.ptr[i];
        if (bytes + 3 > cap)
            return 0;
        if (!is_encoded(id, i)) {
            buffer[bytes++] = c;
            continue;
        }
        buffer[bytes++] = '%';
        buffer[bytes++] = (uint8_t)hex_digits[c >> 4];
        buffer[bytes++] = (uint8_t)hex_digits[c & 15];
    }
    return bytes;
}

static int hex_value(uint8_t c)
{
    const char *at = c ? strchr(hex_digits, c) : NULL;
    return at ? (int)(at - hex_digits) : -1;
}

/* True when exactly those bytes of the level are encoded that must be. */
static bool is_as_made(struct slice level, struct slice id)
{
    size_t at = 0;
    for (size_t i = 0; i < id.len; i++) {
        bool is_percent = level.ptr[at] == '%';
        if (is_percent != is_encoded(id, i))
            return false;
        at += is_percent ? 3 : 1;
    }
    return true;
}

bool sessions_topic_decode(struct slice level, uint8_t *buffer, uint32_t *bytes)
{
    uint32_t len = 0;
    for (size_t i = 0; i < level.len; i++) {
        if (level.ptr[i] != '%') {
            buffer[len++] = level.ptr[i];
            continue;
        }
        int high = i + 2 < level.len ? hex_value(level.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex_value(level.ptr[i + 2]) : -1;
        if (low < 0)
            return false;
        buffer[len++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *bytes = len;
    return is_as_made(level, slice_of(buffer, len));
}
