/* utf8.h: strings as MQTT defines them (section 1.5.4). */
#ifndef MQTT_UTF8_H
#define MQTT_UTF8_H

#include <stdbool.h>

#include "base/slice.h"

/* True for well-formed UTF-8 without U+0000, surrogates and overlong forms [MQTT-1.5.4-1]
   [MQTT-1.5.4-2]. Control characters and non-characters are accepted (the standard leaves it open).
   Fast on ASCII. */
bool utf8_is_valid(struct slice text);

/* The text, cut between characters where it has more bytes than that. */
static inline struct slice utf8_cut(struct slice text, size_t bytes_max)
{
    if (text.len <= bytes_max)
        return text;
    while (bytes_max && (text.ptr[bytes_max] & 0xC0) == 0x80)
        bytes_max--;
    return slice_of(text.ptr, bytes_max);
}

#endif
