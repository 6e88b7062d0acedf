/*
 * queue.h: messages waiting for a session: a first-in first-out list of references in small blocks.
 *
 * Blocks of 15 entries: nothing is ever moved or copied, so a million queued messages cost no
 * reactor a pause. Owned by the session's reactor. Cost: 32 bytes an entry, one allocation for 15.
 */
#ifndef SESSION_QUEUE_H
#define SESSION_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "route/message.h"

/* One message on its way to one session. Owns a reference to the message. */
struct delivery {
    struct message *message;
    uint32_t subscription_id; /* 0: none */
    uint32_t group;           /* id of the share group it came by, 0: none */
    uint8_t qos;              /* to be delivered with */
    uint8_t flags;            /* DELIVERY_* */
    struct delivery_ids *ids; /* more subscription ids (merged copies), or NULL; owned */
};

#define DELIVERY_RETAIN 0x01u

/* Subscription ids of a copy that several filters asked for. */
struct delivery_ids {
    uint32_t count;
    uint32_t ids[];
};

/* Drops the reference and the ids. */
void delivery_fini(struct delivery *delivery);

struct queue_block;

struct queue {
    struct queue_block *first, *last;
    uint32_t count;
    uint32_t shared;   /* of them came by a share group */
    uint32_t popped;   /* from the head, ever, modulo 2^32 */
    uint16_t first_at; /* index of the head in the first block */
    uint16_t last_end; /* entries used in the last block */
    uint64_t bytes;    /* of the messages */
};

/* A place in a queue, from which entries may be taken out. All zero is the head. It stays good when
   others push and pop; of two at once only one may take. */
struct queue_cursor {
    struct queue_block *before, *block; /* good while one that was passed is still in */
    uint32_t at;
    uint32_t passed; /* entries before it */
    uint32_t popped; /* the queue's, when they were counted */
};

/* Takes the delivery over; ERR_NOMEM leaves it with the caller. */
enum err queue_push_take(struct queue *queue, const struct delivery *delivery) MUST_USE;
/* The head, or NULL. Valid until the next pop. */
struct delivery *queue_peek(struct queue *queue);
/* Moves the head to *out (the caller owns it now); false when empty. */
bool queue_pop(struct queue *queue, struct delivery *out);
/* Drops up to `budget` entries; true when it is empty. */
bool queue_clear(struct queue *queue, uint32_t budget);
/* The entry at the cursor, which may be moved there from a place that was taken; NULL: the end. */
struct delivery *queue_cursor_peek(struct queue *queue, struct queue_cursor *cursor);
/* Leaves that entry and goes on to the next. */
void queue_cursor_pass(struct queue_cursor *cursor);
/* Moves that entry to *out (the caller owns it now) and goes on to the next. */
void queue_cursor_take(struct queue *queue, struct queue_cursor *cursor, struct delivery *out);
void queue_check(const struct queue *queue);

#endif
