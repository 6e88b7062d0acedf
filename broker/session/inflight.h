/*
 * inflight.h: QoS 1 and 2 messages sent to a client and not yet fully acknowledged.
 *
 * A table whose place is packet id modulo capacity; ids are given out in turn and one whose place
 * is taken is passed over, so finding and removing are O(1) whatever the order of acknowledgements,
 * and adding is while some places are free (with thousands in flight and few free it looks at all). What was sent first is known by a sequence number, for retransmission in order
 * [MQTT-4.4.0-1] [MQTT-4.6.0-1].
 *
 * Owned by the session's reactor. 40 bytes an entry, capacity grows by doubling from 4 up to
 * 65,536.
 */
#ifndef SESSION_INFLIGHT_H
#define SESSION_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "session/queue.h"

enum inflight_state {
    INFLIGHT_FREE = 0,
    INFLIGHT_AWAIT_PUBACK,
    INFLIGHT_AWAIT_PUBREC,
    INFLIGHT_AWAIT_PUBCOMP, /* PUBREL is out; the message is not needed any more */
};

struct inflight_entry {
    struct delivery delivery; /* message NULL once PUBREC came */
    uint32_t sequence;
    uint16_t packet_id;
    uint8_t state : 6;   /* enum inflight_state */
    bool is_sent : 1;    /* on this connection: false after a reconnect until it is sent again */
    bool is_counted : 1; /* its PUBLISH went out on this connection: one of `published` */
};

struct inflight {
    struct inflight_entry *entries; /* [mask + 1], NULL while empty */
    uint32_t mask;
    uint32_t count;
    uint32_t published; /* entries whose PUBLISH went out on this connection: what Receive Maximum
                           counts [MQTT-3.3.4-9]; a PUBREL that is sent again does not */
    uint32_t next_sequence;
    uint32_t shared; /* entries of a share group that await PUBACK */
    uint16_t last_id;
    uint64_t bytes; /* of the messages */
};

/* It came by a share group, and another member may still have it instead. */
static inline bool inflight_is_shared(const struct inflight_entry *entry)
{
    return entry->state == INFLIGHT_AWAIT_PUBACK && entry->delivery.group;
}

/* Takes the delivery over and gives it a free packet id, 1 to 65,535 [MQTT-2.2.1-4]. NULL: no
   memory, or all ids are in use; the caller keeps the delivery. The pointer is valid until the next
   add. */
struct inflight_entry *inflight_add_take(struct inflight *inflight,
                                         const struct delivery *delivery);
/* The entry of an id, or NULL. */
struct inflight_entry *inflight_find(struct inflight *inflight, uint16_t packet_id);
/* The PUBLISH of the entry goes out on the present connection. */
void inflight_count_published(struct inflight *inflight, struct inflight_entry *entry);
/* A new connection: nothing has gone out on it. */
void inflight_forget_sent(struct inflight *inflight);
/* PUBREC came: lets the message go, keeps the id. */
void inflight_release_message(struct inflight *inflight, struct inflight_entry *entry);
/* Ends an entry; frees the table when it was the last and the table is large. */
void inflight_remove(struct inflight *inflight, struct inflight_entry *entry);
/* Allocates and fills an array of packet ids in order of sending; *count entries. NULL when empty
 * or no memory. */
uint16_t *inflight_in_order(const struct inflight *inflight, uint32_t *count);
/* Drops all. */
void inflight_clear(struct inflight *inflight);
void inflight_check(const struct inflight *inflight);

#endif
