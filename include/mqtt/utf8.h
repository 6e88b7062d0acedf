/* utf8.h: strings as MQTT defines them (section 1.5.4). */
#ifndef MQTT_UTF8_H
#define MQTT_UTF8_H

#include <stdbool.h>

#include "base/slice.h"

/* True for well-formed UTF-8 without U+0000, surrogates and overlong forms [MQTT-1.5.4-1]
   [MQTT-1.5.4-2]. Control characters and non-characters are accepted (the standard leaves it open).
   Fast on ASCII. */
bool utf8_is_valid(struct slice text);

#endif
