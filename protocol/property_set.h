/*
 * property_set.h: a property block checked and taken apart in one pass, for the decoders; and
 * single properties written, for the encoders.
 *
 * A set has one place per identifier. Nothing is cleared beforehand: `seen` says which places mean
 * anything, so a block of two properties touches two places.
 */
#ifndef PROTOCOL_PROPERTY_SET_H
#define PROTOCOL_PROPERTY_SET_H

#include "mqtt/property.h"

#define PROPERTY_ID_LIMIT (PROPERTY_SHARED_AVAILABLE + 1)

struct property_set {
    uint64_t seen; /* bit n: of[n] was in the block */
    struct property of[PROPERTY_ID_LIMIT];
};

/* Checks the block as property_check does, and leaves its values in *set; of a repeated property
   the last one. NULL or the fault, after which *set is undefined. */
const struct fault *property_set_read(struct slice block_bytes, uint8_t block,
                                      struct property_set *set);

static inline bool property_set_has(const struct property_set *set, uint8_t id)
{
    return set->seen >> id & 1;
}

static inline uint32_t property_set_number(const struct property_set *set, uint8_t id,
                                           uint32_t if_absent)
{
    return property_set_has(set, id) ? set->of[id].number : if_absent;
}

static inline struct slice property_set_bytes(const struct property_set *set, uint8_t id)
{
    return property_set_has(set, id) ? set->of[id].bytes : (struct slice){0};
}

/* Size of one property on the wire, its identifier included. 0 when it cannot be written, because a
   string is longer than 65,535 bytes or the number too large for its type. */
size_t property_bytes(const struct property *property);
/* Writes it; returns the end of what was written. */
uint8_t *property_write(uint8_t *dst, const struct property *property);

#endif
