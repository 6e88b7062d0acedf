/*
 * queue.c: see queue.h.
 *
 *   first -> [. . 2 3 4 ... 14] -> [15 ... 29] -> [30 31 . . .] <- last
 *                 ^ first_at                            ^ last_end
 *
 * Invariant: an empty queue has no blocks.
 */
#include "session/queue.h"

#include "base/assert.h"
#include "base/mem.h"

#define QUEUE_BLOCK_ENTRIES 15u

struct queue_block {
    struct queue_block *next;
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
    queue->count++;
    queue->bytes += delivery->message->payload_bytes;
    return ERR_OK;
}

struct delivery *queue_peek(struct queue *queue)
{
    return queue->count ? &queue->first->entries[queue->first_at] : NULL;
}

static void queue_drop_first_block(struct queue *queue)
{
    struct queue_block *block = queue->first;
    queue->first = block->next;
    queue->first_at = 0;
    if (!queue->first)
        queue->last = NULL;
    mem_free(block);
}

bool queue_pop(struct queue *queue, struct delivery *out)
{
    struct delivery *head = queue_peek(queue);
    if (!head)
        return false;
    *out = *head;
    queue->bytes -= out->message->payload_bytes;
    queue->count--;
    queue->first_at++;
    if (queue->first_at == QUEUE_BLOCK_ENTRIES || queue->count == 0)
        queue_drop_first_block(queue);
    return true;
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
    uint32_t entries = 0;
    uint64_t bytes = 0;
    for (struct queue_block *block = queue->first; block; block = block->next) {
        uint32_t from = block == queue->first ? queue->first_at : 0;
        uint32_t end = block == queue->last ? queue->last_end : QUEUE_BLOCK_ENTRIES;
        for (uint32_t i = from; i < end; i++, entries++)
            bytes += block->entries[i].message->payload_bytes;
        BUG_ON(!block->next && block != queue->last);
    }
    BUG_ON(entries != queue->count || bytes != queue->bytes);
    BUG_ON((queue->count == 0) != (queue->first == NULL));
}
