/*
 * json.c: see json.h. Cost: a copy; runs of plain characters are copied at once.
 */
#include "admin/json.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

#define CAP_FIRST 1024u

void json_init(struct json *json, uint32_t bytes_max)
{
    *json = (struct json){.cap_max = bytes_max};
}

void json_fini(struct json *json)
{
    mem_free(json->bytes);
    *json = (struct json){0};
}

void json_reset(struct json *json, uint32_t keep)
{
    json->len = 0;
    json->is_full = json->needs_comma = false;
    if (json->cap <= keep)
        return;
    mem_free(json->bytes);
    json->bytes = NULL;
    json->cap = 0;
}

/* True when `bytes` more fit. */
static bool make_room(struct json *json, size_t bytes)
{
    size_t needed = json->len + bytes, cap = json->cap ? json->cap : CAP_FIRST;
    if (json->is_full)
        return false;
    if (needed <= json->cap)
        return true;
    while (cap < needed)
        cap *= 2;
    if (cap > json->cap_max)
        cap = json->cap_max;
    uint8_t *grown = needed <= cap ? mem_realloc(json->bytes, cap) : NULL;
    if (!grown) {
        json->is_full = true;
        return false;
    }
    json->bytes = grown;
    json->cap = (uint32_t)cap;
    return true;
}

void json_raw(struct json *json, struct slice bytes)
{
    if (bytes.len == 0 || !make_room(json, bytes.len))
        return;
    memcpy(json->bytes + json->len, bytes.ptr, bytes.len);
    json->len += (uint32_t)bytes.len;
}

static void put(struct json *json, char c)
{
    json_raw(json, slice_of(&c, 1));
}

static void put_comma(struct json *json)
{
    if (json->needs_comma)
        put(json, ',');
    json->needs_comma = true;
}

void json_open(struct json *json, char bracket)
{
    put_comma(json);
    put(json, bracket);
    json->needs_comma = false;
}

void json_close(struct json *json, char bracket)
{
    put(json, bracket);
    json->needs_comma = true;
}

void json_key(struct json *json, const char *name)
{
    json_string(json, slice_str(name));
    put(json, ':');
    json->needs_comma = false;
}

static void put_escaped(struct json *json, uint8_t c)
{
    char text[8];
    if (c == '"' || c == '\\')
        snprintf(text, sizeof(text), "\\%c", c);
    else
        snprintf(text, sizeof(text), "\\u%04x", c);
    json_raw(json, slice_str(text));
}

void json_string(struct json *json, struct slice text)
{
    put_comma(json);
    put(json, '"');
    size_t plain = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F)
            continue;
        json_raw(json, slice_of(text.ptr + plain, i - plain));
        put_escaped(json, c);
        plain = i + 1;
    }
    json_raw(json, slice_of(text.ptr + plain, text.len - plain));
    put(json, '"');
}

void json_number(struct json *json, uint64_t number)
{
    char text[24];
    char *at = text + sizeof(text);
    do {
        *--at = (char)('0' + number % 10);
    } while ((number /= 10) != 0);
    json_value(json, slice_of(at, (size_t)(text + sizeof(text) - at)));
}

void json_bool(struct json *json, bool value)
{
    json_value(json, value ? SLICE_LIT("true") : SLICE_LIT("false"));
}

void json_null(struct json *json)
{
    json_value(json, SLICE_LIT("null"));
}

void json_value(struct json *json, struct slice value)
{
    put_comma(json);
    json_raw(json, value);
}

void json_format(struct json *json, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (bytes >= (int)sizeof(text)) {
        bytes = sizeof(text) - 1;
        while (text[bytes - 1] & 0x80) /* not in the middle of a character */
            bytes--;
    }
    json_string(json, slice_of(text, (size_t)(bytes > 0 ? bytes : 0)));
}

void json_rewind(struct json *json, uint32_t len, bool needs_comma)
{
    json->len = len;
    json->is_full = false;
    json->needs_comma = needs_comma;
}
