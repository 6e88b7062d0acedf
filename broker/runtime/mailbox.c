/*
 * mailbox.c: how reactors talk.
 *
 *   outbox[to]:   newest -> ... -> oldest -> NULL                        (sender's, blocks of
 * records) hand-over:    oldest.next = inbox.first; inbox.first = newest        (compare-and-swap)
 *   inbox:        newest of the last sender -> ... -> oldest of the first sender
 *   mail.rest:    the inbox, taken with one exchange and turned round    (receiver's)
 *
 * A block that was run goes into the receiver's own small cache, for its next batches; when that is
 * full, as with traffic in one direction only, home to the reactor that made it.
 *
 * No wake-up is lost: the receiver says "asleep" and then looks at the inbox, the sender hands over
 * and then looks at "asleep"; with sequentially consistent accesses one of them sees the other.
 *
 * Invariants: waiting_bytes of an inbox is the memory of the blocks handed over and not yet run,
 * used or not; group->congested counts the inboxes above MAIL_CONGESTED_BYTES: whoever takes an
 * inbox across the mark, up or down, counts. Threads: outboxes, rest and idle blocks belong to the
 * reactor; struct inbox to everyone. Cost: a record is its bytes; a hand-over two atomics on the
 * receiver's line, a third and a system call if it sleeps. tests/bench/bench_mailbox.c.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "runtime/mailbox.h"
#include "runtime/reactor.h"

/* A batch begins with a small block, since most have a few records, and grows by larger ones. */
static const struct {
    uint32_t bytes, idle_max;
} block_sizes[MAIL_BLOCK_SIZES] = {{2048, 64}, {16384, 32}, {MAIL_BATCH_BYTES, 16}};

struct mail_block {
    struct mail_block *next;
    uint32_t used, run; /* bytes of records: appended, already run */
    uint64_t bytes;     /* with this head */
    uint16_t size;      /* in block_sizes; MAIL_BLOCK_SIZES: none of them */
    uint16_t home;      /* the reactor that made it */
    uint32_t unused;
    uint8_t records[];
};
_Static_assert(sizeof(struct mail_block) % 8 == 0, "records are 8-aligned");
_Static_assert(sizeof(struct mail_record) == 8, "payloads are 8-aligned");

struct outbox {
    struct mail_block *newest, *oldest; /* NULL: nothing to hand over */
    struct outbox *next_dirty;
    struct mail_record *last; /* of the newest block */
    uint64_t bytes;
};

/* ---- blocks ---- */

static uint64_t record_bytes(uint32_t payload_bytes)
{
    return sizeof(struct mail_record) + (((uint64_t)payload_bytes + 7) & ~(uint64_t)7);
}

static struct mail_block *block_new(uint64_t bytes, uint32_t size, uint16_t home)
{
    struct mail_block *block = mem_alloc(bytes);
    if (block)
        *block = (struct mail_block){.bytes = bytes, .size = (uint16_t)size, .home = home};
    return block;
}

static uint64_t block_room(const struct mail_block *block)
{
    return block->bytes - sizeof *block - block->used;
}

static void idle_push(struct mail *mail, struct mail_block *block)
{
    block->next = mail->idle[block->size];
    mail->idle[block->size] = block;
    mail->idle_count[block->size]++;
}

static struct mail_block *idle_pop(struct mail *mail, uint32_t size)
{
    struct mail_block *block = mail->idle[size];
    mail->idle[size] = block->next;
    mail->idle_count[size]--;
    return block;
}

/* Takes home what receivers gave back. */
static void take_returned(struct reactor *reactor)
{
    if (!atomic_load_explicit(&reactor->inbox.returned, memory_order_relaxed))
        return;
    struct mail_block *block =
        atomic_exchange_explicit(&reactor->inbox.returned, NULL, memory_order_acquire);
    while (block) {
        struct mail_block *next = block->next;
        idle_push(&reactor->mail, block);
        block = next;
    }
}

/* Once a turn: blocks come home, and those above what is worth keeping are freed. */
static void trim_idle(struct reactor *reactor)
{
    take_returned(reactor);
    for (uint32_t size = 0; size < MAIL_BLOCK_SIZES; size++) {
        while (reactor->mail.idle_count[size] > block_sizes[size].idle_max)
            mem_free(idle_pop(&reactor->mail, size));
    }
}

/* A block for a record, of a size one above that of the batch's newest block if there is one, or
   made to measure; NULL when there is no memory. */
static struct mail_block *block_get(struct reactor *reactor, const struct mail_block *newest,
                                    uint64_t record)
{
    uint64_t bytes = sizeof(struct mail_block) + record;
    uint32_t size = newest ? newest->size + 1u : 0;
    if (size >= MAIL_BLOCK_SIZES)
        size = MAIL_BLOCK_SIZES - 1;
    while (size < MAIL_BLOCK_SIZES && block_sizes[size].bytes < bytes)
        size++;
    if (size == MAIL_BLOCK_SIZES)
        return block_new(bytes, size, reactor->index);
    if (!reactor->mail.idle[size])
        take_returned(reactor);
    if (!reactor->mail.idle[size])
        return block_new(block_sizes[size].bytes, size, reactor->index);
    struct mail_block *block = idle_pop(&reactor->mail, size);
    block->used = block->run = 0;
    block->next = NULL;
    return block;
}

/* Keeps a block that was run, or sends it home: threads that free what another one allocates over
   and over spend ten times as long in malloc's locks. */
static void block_put(struct reactor *reactor, struct mail_block *block)
{
    if (block->size == MAIL_BLOCK_SIZES) {
        mem_free(block);
        return;
    }
    struct mail *mail = &reactor->mail;
    if (block->home == reactor->index ||
        mail->idle_count[block->size] < block_sizes[block->size].idle_max) {
        idle_push(mail, block);
        return;
    }
    struct mail_block *_Atomic *returned = &reactor->group->reactors[block->home].inbox.returned;
    block->next = atomic_load_explicit(returned, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(returned, &block->next, block,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

static void blocks_free(struct mail_block *block)
{
    while (block) {
        struct mail_block *next = block->next;
        mem_free(block);
        block = next;
    }
}

static void *block_append(struct mail_block *block, uint16_t type, uint32_t bytes)
{
    struct mail_record *record = (struct mail_record *)(block->records + block->used);
    *record = (struct mail_record){.bytes = bytes, .type = type};
    block->used += (uint32_t)record_bytes(bytes);
    return record + 1;
}

/* ---- sending ---- */

/* The newest block of the outbox, with room for `record` bytes; NULL when there is no memory. */
static struct mail_block *outbox_room(struct reactor *from, struct outbox *outbox, uint64_t record)
{
    struct mail *mail = &from->mail;
    struct mail_block *newest = outbox->newest;
    if (newest && block_room(newest) >= record)
        return newest;
    struct mail_block *block = block_get(from, newest, record);
    if (!block)
        return NULL;
    outbox->bytes += block->bytes;
    if (outbox->bytes > MAIL_CONGESTED_BYTES)
        mail->is_congested = true;
    if (!newest) {
        outbox->oldest = block;
        outbox->next_dirty = mail->dirty;
        mail->dirty = outbox;
    }
    block->next = newest;
    outbox->newest = block;
    return block;
}

void *mailbox_post(struct reactor *from, uint16_t to, uint16_t type, uint32_t bytes)
{
    BUG_ON(to >= from->group->count || type >= REACTOR_MAIL_TYPES_MAX);
    struct outbox *outbox = &from->mail.outboxes[to];
    uint64_t taken = record_bytes(bytes);
    struct mail_block *block = taken <= UINT32_MAX ? outbox_room(from, outbox, taken) : NULL;
    if (!block)
        return NULL;
    outbox->last = (struct mail_record *)(block->records + block->used);
    return block_append(block, type, bytes);
}

void *mailbox_last(struct reactor *from, uint16_t to, uint16_t type, uint32_t more)
{
    BUG_ON(to >= from->group->count);
    const struct outbox *outbox = &from->mail.outboxes[to];
    struct mail_record *last = outbox->last;
    if (!last || last->type != type || record_bytes(more) > block_room(outbox->newest))
        return NULL;
    return last + 1;
}

void mailbox_lengthen(struct reactor *from, uint16_t to, uint32_t more)
{
    struct outbox *outbox = &from->mail.outboxes[to];
    struct mail_record *last = outbox->last;
    outbox->newest->used -= (uint32_t)record_bytes(last->bytes);
    last->bytes += more;
    outbox->newest->used += (uint32_t)record_bytes(last->bytes);
}

/* Adds to what waits at an inbox, or takes off (`bytes` negative). */
static void inbox_count(struct reactor_group *group, struct inbox *inbox, int64_t bytes)
{
    uint64_t before =
        atomic_fetch_add_explicit(&inbox->waiting_bytes, (uint64_t)bytes, memory_order_relaxed);
    bool was = before > MAIL_CONGESTED_BYTES, is = before + (uint64_t)bytes > MAIL_CONGESTED_BYTES;
    if (was != is)
        atomic_fetch_add_explicit(&group->congested, is ? 1 : -1, memory_order_relaxed);
}

static void inbox_wake(struct inbox *inbox)
{
    if (!atomic_load_explicit(&inbox->is_asleep, memory_order_seq_cst) ||
        !atomic_exchange_explicit(&inbox->is_asleep, false, memory_order_seq_cst))
        return;
    uint64_t one = 1;
    ssize_t written = write(inbox->wake_fd, &one, sizeof one);
    (void)written; /* fails only when 2^64 - 1 wake-ups wait */
}

/* Hands over a chain of blocks, linked newest to oldest. */
static void inbox_push(struct reactor *to, struct mail_block *newest, struct mail_block *oldest,
                       uint64_t bytes)
{
    struct inbox *inbox = &to->inbox;
    inbox_count(to->group, inbox, (int64_t)bytes);
    struct mail_block *first = atomic_load_explicit(&inbox->first, memory_order_relaxed);
    do {
        oldest->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&inbox->first, &first, newest,
                                                    memory_order_seq_cst, memory_order_relaxed));
    inbox_wake(inbox);
}

void mailbox_flush(struct reactor *from)
{
    struct mail *mail = &from->mail;
    mail->is_congested = false;
    while (mail->dirty) {
        struct outbox *outbox = mail->dirty;
        mail->dirty = outbox->next_dirty;
        struct outbox full = *outbox;
        *outbox = (struct outbox){0};
        struct reactor *to = &from->group->reactors[outbox - mail->outboxes];
        inbox_push(to, full.newest, full.oldest, full.bytes);
    }
}

enum err mailbox_send(struct reactor_group *group, uint16_t to, uint16_t type, const void *payload,
                      uint32_t bytes)
{
    BUG_ON(to >= group->count || type >= REACTOR_MAIL_TYPES_MAX);
    uint64_t taken = record_bytes(bytes);
    struct mail_block *block =
        taken <= UINT32_MAX ? block_new(sizeof *block + taken, MAIL_BLOCK_SIZES, to) : NULL;
    if (!block)
        return ERR_NOMEM;
    void *room = block_append(block, type, bytes);
    if (bytes)
        memcpy(room, payload, bytes);
    inbox_push(&group->reactors[to], block, block, block->bytes);
    return ERR_OK;
}

bool mailbox_is_congested(const struct reactor *from)
{
    return from->mail.is_congested ||
           atomic_load_explicit(&from->group->congested, memory_order_relaxed) > 0;
}

/* ---- receiving ---- */

/* Takes the inbox and puts it, oldest first, behind what was left. */
static void inbox_take(struct reactor *reactor)
{
    struct mail *mail = &reactor->mail;
    if (!atomic_load_explicit(&reactor->inbox.first, memory_order_relaxed))
        return;
    struct mail_block *block =
        atomic_exchange_explicit(&reactor->inbox.first, NULL, memory_order_acquire);
    struct mail_block *oldest_first = NULL, *last = block;
    while (block) {
        struct mail_block *next = block->next;
        block->next = oldest_first;
        oldest_first = block;
        block = next;
    }
    *mail->rest_last = oldest_first;
    mail->rest_last = &last->next;
}

/* Runs records of a block until it is through or the budget is used; returns how many. */
static uint32_t block_run(struct reactor *reactor, struct mail_block *block)
{
    struct mail *mail = &reactor->mail;
    uint32_t count = 0;
    for (; block->run < block->used && mail->budget > 0; count++) {
        struct mail_record *record = (struct mail_record *)(block->records + block->run);
        block->run += (uint32_t)record_bytes(record->bytes);
        mail->budget -= (int64_t)record_bytes(record->bytes);
        mail_handler handler = reactor->group->mail_handlers[record->type];
        BUG_ON(!handler);
        handler(reactor, record + 1, record->bytes);
    }
    return count;
}

void mailbox_charge(struct reactor *reactor, uint32_t bytes)
{
    reactor->mail.budget -= bytes;
}

uint32_t mailbox_run(struct reactor *reactor, uint64_t budget_bytes)
{
    struct mail *mail = &reactor->mail;
    mail->budget = budget_bytes > INT64_MAX ? INT64_MAX : (int64_t)budget_bytes;
    uint32_t count = 0;
    inbox_take(reactor);
    while (mail->rest && mail->budget > 0) {
        struct mail_block *block = mail->rest;
        count += block_run(reactor, block);
        if (block->run < block->used)
            break;
        mail->rest = block->next;
        if (!mail->rest)
            mail->rest_last = &mail->rest;
        inbox_count(reactor->group, &reactor->inbox, -(int64_t)block->bytes);
        block_put(reactor, block);
    }
    trim_idle(reactor);
    if (count)
        metric_add(reactor->metrics, METRIC_MAIL_RECORDS, count);
    return count;
}

bool mailbox_has_mail(const struct reactor *reactor)
{
    return reactor->mail.rest || atomic_load_explicit(&reactor->inbox.first, memory_order_seq_cst);
}

bool mailbox_fall_asleep(struct reactor *reactor)
{
    atomic_store_explicit(&reactor->inbox.is_asleep, true, memory_order_seq_cst);
    if (!mailbox_has_mail(reactor))
        return true;
    mailbox_wake_up(reactor);
    return false;
}

void mailbox_wake_up(struct reactor *reactor)
{
    atomic_store_explicit(&reactor->inbox.is_asleep, false, memory_order_relaxed);
}

/* ---- life ---- */

enum err mailbox_init(struct reactor *reactor)
{
    reactor->inbox.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (reactor->inbox.wake_fd < 0)
        return ERR_IO;
    reactor->mail.outboxes =
        mem_must_zalloc(reactor->group->count * sizeof *reactor->mail.outboxes);
    reactor->mail.rest_last = &reactor->mail.rest;
    return ERR_OK;
}

void mailbox_fini(struct reactor *reactor)
{
    struct mail *mail = &reactor->mail;
    for (struct outbox *outbox = mail->dirty; outbox; outbox = outbox->next_dirty)
        blocks_free(outbox->newest);
    blocks_free(mail->rest);
    for (uint32_t size = 0; size < MAIL_BLOCK_SIZES; size++)
        blocks_free(mail->idle[size]);
    blocks_free(atomic_load_explicit(&reactor->inbox.returned, memory_order_acquire));
    blocks_free(atomic_load_explicit(&reactor->inbox.first, memory_order_acquire));
    mem_free(mail->outboxes);
    close(reactor->inbox.wake_fd);
    *mail = (struct mail){0};
}
