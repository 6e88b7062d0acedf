/*
 * json.h: writes JSON into a buffer that grows up to a limit. Commas come by themselves.
 *
 *   json_open(&json, '{'); json_key(&json, "count"); json_number(&json, 3); json_close(&json, '}');
 *
 * When the limit is reached, or memory is out, nothing more is written and `is_full` stays set: it
 * is looked at once, at the end. Owned by one thread.
 */
#ifndef ADMIN_JSON_H
#define ADMIN_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct json {
    uint8_t *bytes;
    uint32_t len, cap, cap_max;
    bool is_full;
    bool needs_comma; /* before the next key or value */
};

void json_init(struct json *json, uint32_t bytes_max);
void json_fini(struct json *json);
/* Empties it; gives memory back when it is more than `keep` bytes. */
void json_reset(struct json *json, uint32_t keep);

/* '{' or '[', and '}' or ']'. */
void json_open(struct json *json, char bracket);
void json_close(struct json *json, char bracket);
void json_key(struct json *json, const char *name);
/* Valid UTF-8; quotes, backslashes and control characters are escaped. */
void json_string(struct json *json, struct slice text);
void json_number(struct json *json, uint64_t number);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);
/* A value that is JSON already. */
void json_value(struct json *json, struct slice value);
/* Bytes as they are, outside of any JSON. */
void json_raw(struct json *json, struct slice bytes);
/* A string for people: printf. At most 1 KiB. */
void json_format(struct json *json, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Back to an earlier length, at which a value (or nothing) had just ended. */
void json_rewind(struct json *json, uint32_t len, bool needs_comma);

static inline struct slice json_text(const struct json *json)
{
    return slice_of(json->bytes, json->len);
}

#endif
