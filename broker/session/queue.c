/*
 * queue.c: see queue.h.
 *
 *   first -> [. . 2 3 4 ... 14] -> [15 ... 29] -> [30 31 . . .] <- last
 *                 ^ first_at                            ^ last_end
 *
 * An entry that was taken out of the middle leaves a hole (no message), which is passed over; a
 * block of nothing but holes is unlinked.
 *
 * Invariants: an empty queue has no blocks; every block has an entry; the head is not a hole.
 */
#include "session/queue.h"

#include "base/assert.h"
#include "base/mem.h"

#define QUEUE_BLOCK_ENTRIES 15u

struct queue_block {
    struct queue_block *next;
    uint32_t live; /* entries that are neither popped nor holes */
    struct delivery entries[QUEUE_BLOCK_ENTRIES];
};

void delivery_fini(struct delivery *delivery)
{
    message_unref(delivery->message, 1);
    mem_free(delivery->ids);
    delivery->message = NULL;
    delivery->ids = NULL;
}

static enum err queue_add_block(struct queue *queue)
{
    struct queue_block *block = mem_alloc(sizeof(*block));
    if (!block)
        return ERR_NOMEM;
    block->next = NULL;
    block->live = 0;
    if (queue->last)
        queue->last->next = block;
    else
        queue->first = block, queue->first_at = 0;
    queue->last = block;
    queue->last_end = 0;
    return ERR_OK;
}

enum err queue_push_take(struct queue *queue, const struct delivery *delivery)
{
    if (!queue->last || queue->last_end == QUEUE_BLOCK_ENTRIES) {
        enum err err = queue_add_block(queue);
        if (err)
            return err;
    }
    queue->last->entries[queue->last_end++] = *delivery;
    queue->last->live++;
    queue->count++;
    queue->shared += delivery->group != 0;
    queue->bytes += delivery->message->payload_bytes;
    return ERR_OK;
}

struct delivery *queue_peek(struct queue *queue)
{
    return queue->count ? &queue->first->entries[queue->first_at] : NULL;
}

/* Takes a block off that holds nothing any more. `before`: NULL when it is the first. */
static void queue_drop_block(struct queue *queue, struct queue_block *before,
                             struct queue_block *block)
{
    if (before) {
        before->next = block->next;
    } else {
        queue->first = block->next;
        queue->first_at = 0;
    }
    if (queue->last == block) {
        queue->last = before;
        queue->last_end = QUEUE_BLOCK_ENTRIES; /* blocks are filled before another is made */
    }
    mem_free(block);
}

/* Moves an entry out of its block, and leaves a hole. */
static void queue_take(struct queue *queue, struct queue_block *block, uint32_t at,
                       struct delivery *out)
{
    *out = block->entries[at];
    block->entries[at].message = NULL;
    block->live--;
    queue->count--;
    queue->shared -= out->group != 0;
    queue->bytes -= out->message->payload_bytes;
}

/* The first block has an entry, if there is any: the head is the first that is no hole. */
static void queue_settle_head(struct queue *queue)
{
    while (queue->first && !queue->first->entries[queue->first_at].message)
        queue->first_at++;
}

bool queue_pop(struct queue *queue, struct delivery *out)
{
    if (queue->count == 0)
        return false;
    queue_take(queue, queue->first, queue->first_at, out);
    queue->popped++;
    if (queue->first->live == 0)
        queue_drop_block(queue, NULL, queue->first);
    queue_settle_head(queue);
    return true;
}

struct delivery *queue_cursor_peek(struct queue *queue, struct queue_cursor *cursor)
{
    uint32_t popped = queue->popped - cursor->popped;
    cursor->popped = queue->popped;
    if (popped >= cursor->passed)
        *cursor = (struct queue_cursor){
            .block = queue->first, .at = queue->first_at, .popped = queue->popped};
    else
        cursor->passed -= popped;
    while (cursor->block) {
        struct queue_block *block = cursor->block;
        uint32_t end = block == queue->last ? queue->last_end : QUEUE_BLOCK_ENTRIES;
        while (cursor->at < end && !block->entries[cursor->at].message)
            cursor->at++;
        if (cursor->at < end)
            return &block->entries[cursor->at];
        if (!block->next)
            return NULL;
        cursor->before = block;
        cursor->block = block->next;
        cursor->at = 0;
    }
    return NULL;
}

void queue_cursor_pass(struct queue_cursor *cursor)
{
    cursor->at++;
    cursor->passed++;
}

void queue_cursor_take(struct queue *queue, struct queue_cursor *cursor, struct delivery *out)
{
    struct queue_block *block = cursor->block, *next = block->next;
    struct queue_block *before = block == queue->first ? NULL : cursor->before;
    queue_take(queue, block, cursor->at++, out);
    if (block->live == 0) {
        cursor->block = next ? next : before;
        cursor->at = next ? 0 : QUEUE_BLOCK_ENTRIES;
        queue_drop_block(queue, before, block);
    }
    queue_settle_head(queue);
}

bool queue_clear(struct queue *queue, uint32_t budget)
{
    struct delivery delivery;
    while (budget-- && queue_pop(queue, &delivery))
        delivery_fini(&delivery);
    return queue->count == 0;
}

void queue_check(const struct queue *queue)
{
    uint32_t entries = 0, shared = 0;
    uint64_t bytes = 0;
    for (struct queue_block *block = queue->first; block; block = block->next) {
        uint32_t from = block == queue->first ? queue->first_at : 0, live = 0;
        uint32_t end = block == queue->last ? queue->last_end : QUEUE_BLOCK_ENTRIES;
        for (uint32_t i = from; i < end; i++) {
            const struct delivery *delivery = &block->entries[i];
            live += delivery->message != NULL;
            shared += delivery->message && delivery->group;
            bytes += delivery->message ? delivery->message->payload_bytes : 0;
        }
        BUG_ON(live == 0 || live != block->live);
        BUG_ON(!block->next && block != queue->last);
        entries += live;
    }
    BUG_ON(entries != queue->count || shared != queue->shared || bytes != queue->bytes);
    BUG_ON((queue->count == 0) != (queue->first == NULL));
    BUG_ON(queue->first && !queue->first->entries[queue->first_at].message);
}
