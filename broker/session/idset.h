/*
 * idset.h: packet ids of QoS 2 messages received and not yet released [MQTT-4.3.3-10].
 *
 * A small array up to 32 ids, a bitmap of 8 KiB above; nothing while empty. Owned by the session's
 * reactor.
 */
#ifndef SESSION_IDSET_H
#define SESSION_IDSET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define IDSET_SMALL_MAX 32u

struct idset {
    uint16_t *ids;    /* [cap] while small, NULL when empty or a bitmap */
    uint64_t *bitmap; /* [1024], NULL while small */
    uint32_t count, cap;
};

bool idset_has(const struct idset *set, uint16_t id);
/* Adds an id that is not there. */
enum err idset_add(struct idset *set, uint16_t id) MUST_USE;
/* False when it was not there. */
bool idset_remove(struct idset *set, uint16_t id);
void idset_clear(struct idset *set);
/* Ends the program when an invariant is broken. */
void idset_check(const struct idset *set);

#endif
