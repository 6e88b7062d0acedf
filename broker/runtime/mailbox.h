/*
 * mailbox.h: how reactors talk: records appended to a batch per receiver, handed over once per
 * turn.
 *
 *   sender, during its turn   outbox[to]  [hdr|payload][hdr|payload]...   own memory, no atomics
 *   end of its turn           one compare-and-swap onto the receiver's inbox,
 *                             and one eventfd write if the receiver sleeps
 *   receiver, each turn       takes the whole inbox with one exchange, runs it in order of posting
 *
 * Records from one sender to one receiver arrive in the order in which they were posted. Nothing
 * leaves before mailbox_flush(), so a sender may post records that refer to an object first and add
 * the references for all of them after that.
 * What a sender may have waiting at a receiver is bounded by how it is used: when
 * mailbox_is_congested(), the reactor stops reading from clients that publish.
 */
#ifndef RUNTIME_MAILBOX_H
#define RUNTIME_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define MAIL_BATCH_BYTES \
    65536u /* a batch grows by blocks of up to this size; larger records get their own */
#define MAIL_BLOCK_SIZES 3u
#define MAIL_CONGESTED_BYTES (4u << 20) /* waiting at one receiver */

struct reactor;
struct reactor_group;

struct mail_record {
    uint32_t bytes; /* of the payload; the record takes 8 + bytes rounded up to 8 */
    uint16_t type;  /* the app's */
    uint16_t unused;
};

struct mail_block;

/* Where others put mail for a reactor: one cache line for mail, one for blocks that come home. No
   other part of a reactor is written by others. */
struct inbox {
    _Alignas(64) struct mail_block *_Atomic first; /* newest first */
    _Atomic uint64_t waiting_bytes;                /* memory handed over and not yet run */
    _Atomic bool is_asleep;
    int wake_fd;
    _Alignas(64) struct mail_block *_Atomic returned; /* blocks that receivers give back */
};

struct outbox;

/* The reactor's own side of the mail: nobody else looks at it. */
struct mail {
    struct outbox *outboxes;              /* one for each reactor of the group */
    struct outbox *dirty;                 /* those with something to hand over */
    struct mail_block *rest, **rest_last; /* taken from the inbox and not yet run, oldest first */
    struct mail_block *idle[MAIL_BLOCK_SIZES]; /* blocks for the next batches */
    uint32_t idle_count[MAIL_BLOCK_SIZES];
    bool is_congested; /* an outbox alone holds more than MAIL_CONGESTED_BYTES */
    int64_t budget;    /* bytes of records that may still be run in this call of mailbox_run() */
};

/* Room for a record's payload of `bytes` (8-aligned), to be filled at once; it leaves at the end of
   the turn, or at the next mailbox_flush. `to` may be the sender itself: it runs in the next
   mailbox stage. NULL when there is no memory. On the sender's thread. */
void *mailbox_post(struct reactor *from, uint16_t to, uint16_t type, uint32_t bytes);
/* The payload of the record posted last to `to`, if it has not left yet, is of `type` and can be made
   `more` bytes longer where it is; else NULL. On the sender's thread. */
void *mailbox_last(struct reactor *from, uint16_t to, uint16_t type, uint32_t more);
/* Makes the record that mailbox_last() gave `more` bytes longer; they are to be filled at once. */
void mailbox_lengthen(struct reactor *from, uint16_t to, uint32_t more);
/* Hands a copy of one record over at once, from a thread that is not a reactor (storage, signals).
   Any thread; records of one thread keep their order. ERR_NOMEM: nothing was sent. */
enum err mailbox_send(struct reactor_group *group, uint16_t to, uint16_t type, const void *payload,
                      uint32_t bytes) MUST_USE;
/* Hands every outbox over. Called by the reactor at the end of its turn. */
void mailbox_flush(struct reactor *from);
/* Runs what has arrived. Called by the reactor. Returns records run. At most about `budget_bytes`
   per call, the rest waits. What handlers post to their own reactor runs in the next call. */
uint32_t mailbox_run(struct reactor *reactor, uint64_t budget_bytes);
/* For handlers: the record at hand took as much time as so many bytes of others more. */
void mailbox_charge(struct reactor *reactor, uint32_t bytes);
/* True while some receiver of the group has more than MAIL_CONGESTED_BYTES waiting, or is about to
   get them from here. Two loads. */
bool mailbox_is_congested(const struct reactor *from);

/* For reactor.c. */

/* Opens the eventfd and makes the outboxes. ERR_IO with errno. */
enum err mailbox_init(struct reactor *reactor) MUST_USE;
/* Drops what was not run, without running it. */
void mailbox_fini(struct reactor *reactor);
/* Mail is there to be run. */
bool mailbox_has_mail(const struct reactor *reactor);
/* From here on senders write the eventfd. False: mail is there, do not sleep. */
bool mailbox_fall_asleep(struct reactor *reactor);
void mailbox_wake_up(struct reactor *reactor);

#endif
