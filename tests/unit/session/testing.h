/* testing.h: what the tests of sessions share: cmocka, a seeded generator, messages. */
#ifndef TESTS_UNIT_SESSION_TESTING_H
#define TESTS_UNIT_SESSION_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "route/message.h"
#include "session/queue.h"

/* xorshift64*: the same sequence everywhere for a seed that is not 0. */
static inline uint32_t random_next(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)(*seed * 2685821657736338717ull >> 32);
}

static inline uint32_t random_below(uint64_t *seed, uint32_t limit)
{
    return random_next(seed) % limit;
}

/* A message whose payload is `number`; the caller owns the one reference. */
static inline struct message *message_numbered(uint32_t number)
{
    struct publication publication = {
        .topic = SLICE_LIT("t"),
        .payload = slice_of(&number, sizeof(number)),
    };
    struct message *message = publication_message(&publication);
    assert_non_null(message);
    return message;
}

static inline uint32_t message_number(const struct message *message)
{
    uint32_t number;
    memcpy(&number, message_payload(message).ptr, sizeof(number));
    return number;
}

/* A delivery of a message of its own. */
static inline struct delivery delivery_numbered(uint32_t number, uint8_t qos)
{
    return (struct delivery){.message = message_numbered(number), .qos = qos};
}

#endif
