/*
 * index_limbo.c: unlinked nodes wait here until nobody can be reading them.
 *
 *   remove -> gathering -> (item deferred) waiting -> (grace period over) freed, gathering -> ...
 *
 * A node has no room for an epoch_item: 24 bytes on top of 56. But once unlinked its subscribers'
 * word is free for a link that readers take for "nobody", and one item per shard serves all that
 * were gathered. So removing allocates nothing and cannot fail. What the table itself has no use for any more goes
 * with them.
 *
 * Threads: under the shard's mutex. Cost: O(1) a node; at most LIMBO_FREE_MAX are freed in one go.
 */
#include "route/index_private.h"
#include "runtime/blocks.h"

#define LIMBO_FREE_MAX 1024u

static struct index_node *limbo_next(const struct index_node *node)
{
    return index_word_ptr(atomic_load_explicit(&node->subscribers, memory_order_relaxed));
}

void index_node_free(struct index *index, struct index_node *node)
{
    if (node->kind & INDEX_PLUS)
        mem_free(atomic_load_explicit(&index_branch_of(node)->depths, memory_order_relaxed));
    if (node->kind & INDEX_SHARE)
        index_group_release(index, index_group_of(node));
    blocks_free(index_node_memory(node), index_node_bytes(node));
}

static void limbo_run(struct epoch_item *item, void *ctx);

static void limbo_defer(struct index_limbo *limbo, struct epoch_participant *me)
{
    index_table_trim_begin(&CONTAINER_OF(limbo, struct index_shard, limbo)->table);
    limbo->me = me;
    limbo->waiting = limbo->gathering;
    limbo->gathering = NULL;
    epoch_defer(me, &limbo->item, limbo_run);
}

/* Takes up to LIMBO_FREE_MAX nodes off those whose grace period is over. */
static struct index_node *limbo_take(struct index_shard *shard)
{
    struct index_limbo *limbo = &shard->limbo;
    struct index_node *first = limbo->waiting, *last = first;
    for (uint32_t i = 1; last && i < LIMBO_FREE_MAX && limbo_next(last); i++)
        last = limbo_next(last);
    if (last) {
        limbo->waiting = limbo_next(last);
        atomic_store_explicit(&last->subscribers, INDEX_WORD_TAGGED | INDEX_WORD_LIMBO,
                              memory_order_relaxed);
    }
    return first;
}

static void limbo_run(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    struct index_limbo *limbo = CONTAINER_OF(item, struct index_limbo, item);
    struct index_shard *shard = CONTAINER_OF(limbo, struct index_shard, limbo);
    struct index_segments segments;
    pthread_mutex_lock(&shard->mutex);
    index_table_trim(&shard->table, &segments);
    struct index_node *node = limbo_take(shard);
    struct epoch_participant *me = limbo->me;
    if (limbo->waiting)
        epoch_defer(me, &limbo->item, limbo_run);
    else if (limbo->gathering)
        limbo_defer(limbo, me);
    else
        limbo->me = NULL;
    pthread_mutex_unlock(&shard->mutex);
    index_segments_free(&segments);
    while (node) {
        struct index_node *next = limbo_next(node);
        index_node_free(shard->index, node);
        node = next;
    }
}

void index_limbo_add(struct index_writer *w, struct index_node *node)
{
    struct index_limbo *limbo = &w->shard->limbo;
    uint64_t link = (uint64_t)(uintptr_t)limbo->gathering;
    w->shard->bytes -= index_node_bytes(node);
    atomic_store_explicit(&node->subscribers, INDEX_WORD_TAGGED | link | INDEX_WORD_LIMBO,
                          memory_order_release);
    limbo->gathering = node;
    if (!limbo->me)
        limbo_defer(limbo, w->me);
}
