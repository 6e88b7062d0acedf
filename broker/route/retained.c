/*
 * retained.c: the last message with RETAIN 1 of each topic.
 *
 *   shard 0:  level 2  first -----------------------------> "b/1/x" ----------> NULL
 *             level 1  first ---------> "a/7/t" ----------> "b/1/x" ----------> NULL
 *             level 0  first -> "a/2" -> "a/7/t" -> "a/7/u" -> "b/1/x" -> "c" -> NULL
 *
 * A skip list per shard, in byte order of topics. Setting a topic that is there swaps the pointer
 * to its message and nothing else; the old message is let go after a grace period, so a reader may
 * take a reference of what it found at any time in its turn. A node that was unlinked keeps its
 * links and its message until a grace period is over: a reader on it walks on.
 *
 * Invariants (retained_check): each level is in order and part of the one below; every node has a
 * message with its topic; counts are right.
 *
 * Threads: readers lock-free; writers under the shard's mutex. Cost: O(log n) for each operation;
 * a node is 24 bytes, 8 for each of its 1.33 levels, and the topic.
 */
#include "mqtt/topic.h"
#include "route/retained_private.h"

#define RETAINED_FREE_MAX 1024u /* nodes freed in one go */

struct retained *retained_new(uint32_t shards)
{
    BUG_ON(shards == 0 || shards & (shards - 1));
    struct retained *retained = mem_must_zalloc(sizeof(*retained));
    retained->shards_memory = mem_must_zalloc(shards * sizeof(struct retained_shard) + 63);
    retained->shards = (void *)(((uintptr_t)retained->shards_memory + 63) & ~(uintptr_t)63);
    retained->shard_count = shards;
    for (uint32_t i = 0; i < shards; i++) {
        pthread_mutex_init(&retained->shards[i].mutex, NULL);
        retained->shards[i].random = 0x9E3779B97F4A7C15u + i;
    }
    return retained;
}

static void node_free(struct retained_node *node)
{
    message_unref(retained_node_message(node), 1);
    mem_free(node);
}

void retained_free(struct retained *retained)
{
    for (uint32_t i = 0; retained && i < retained->shard_count; i++) {
        struct retained_shard *shard = &retained->shards[i];
        BUG_ON(shard->freer); /* epoch_drain() comes first */
        for (struct retained_node *next, *node = retained_link(shard->first); node; node = next) {
            next = retained_link(node->next);
            node_free(node);
        }
        pthread_mutex_destroy(&shard->mutex);
    }
    if (!retained)
        return;
    mem_free(retained->sweep_topic);
    mem_free(retained->shards_memory);
    mem_free(retained);
}

struct retained_shard *retained_shard_of(struct retained *retained, struct slice topic)
{
    size_t len = 0;
    for (uint32_t slashes = 0; len < topic.len; len++)
        if (topic.ptr[len] == '/' && ++slashes == 2)
            break;
    uint64_t hash = hash_bytes(slice_of(topic.ptr, len));
    return &retained->shards[hash & (retained->shard_count - 1)];
}

/* --- finding --- */

/* Goes to the target, from above. `before`, if not NULL, gets the last node before it on each level
 * (NULL: the shard itself). */
static struct retained_node *shard_seek(struct retained_shard *shard,
                                        const struct retained_target *target,
                                        struct retained_node **before)
{
    struct retained_node *node = NULL, *next = NULL, *known = NULL;
    for (uint32_t level = RETAINED_HEIGHT_MAX; level-- > 0;) {
        for (;;) {
            next = retained_link(&retained_links(shard, node)[level]);
            /* A node that was too far on the level above is too far here. */
            if (!next || next == known || !retained_is_before(retained_node_topic(next), target))
                break;
            node = next;
        }
        known = next;
        if (before)
            before[level] = node;
    }
    return next;
}

struct retained_node *retained_seek(struct retained_shard *shard,
                                    const struct retained_target *target)
{
    return shard_seek(shard, target, NULL);
}

static struct retained_node *shard_find(struct retained_shard *shard, struct slice topic,
                                        struct retained_node **before)
{
    struct retained_target target = {.pieces = {topic}};
    struct retained_node *node = shard_seek(shard, &target, before);
    return node && slice_eq(retained_node_topic(node), topic) ? node : NULL;
}

struct message *retained_get(struct retained *retained, struct slice topic, uint32_t now_tick)
{
    struct retained_node *node = shard_find(retained_shard_of(retained, topic), topic, NULL);
    if (!node)
        return NULL;
    struct message *message = retained_node_message(node);
    return retained_is_expired(message->expires_tick, now_tick) ? NULL : message_ref(message);
}

/* --- letting go --- */

struct retained_old {
    struct epoch_item item;
    struct message *message;
};

static void old_run(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    struct retained_old *old = CONTAINER_OF(item, struct retained_old, item);
    message_unref(old->message, 1);
    mem_free(old);
}

static void limbo_run(struct epoch_item *item, void *ctx);

static void limbo_defer(struct retained_shard *shard, struct epoch_participant *me)
{
    shard->freer = me;
    shard->waiting = shard->gathering;
    shard->gathering = NULL;
    epoch_defer(me, &shard->item, limbo_run);
}

/* Takes up to RETAINED_FREE_MAX off those whose grace period is over. */
static struct retained_node *limbo_take(struct retained_shard *shard)
{
    struct retained_node *first = shard->waiting, *last = first;
    for (uint32_t i = 1; last && i < RETAINED_FREE_MAX && last->limbo; i++)
        last = last->limbo;
    if (last) {
        shard->waiting = last->limbo;
        last->limbo = NULL;
    }
    return first;
}

static void limbo_run(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    struct retained_shard *shard = CONTAINER_OF(item, struct retained_shard, item);
    pthread_mutex_lock(&shard->mutex);
    struct retained_node *node = limbo_take(shard);
    struct epoch_participant *me = shard->freer;
    if (shard->waiting)
        epoch_defer(me, &shard->item, limbo_run);
    else if (shard->gathering)
        limbo_defer(shard, me);
    else
        shard->freer = NULL;
    pthread_mutex_unlock(&shard->mutex);
    for (struct retained_node *next; node; node = next) {
        next = node->limbo;
        node_free(node);
    }
}

/* --- changing, under the mutex --- */

static size_t node_bytes(const struct retained_node *node)
{
    return sizeof(*node) + node->height * sizeof(node->next[0]) + node->topic_bytes;
}

static void shard_count_message(struct retained_shard *shard, const struct message *message,
                                int64_t sign)
{
    shard->messages += (uint64_t)sign;
    shard->expiring += message->expires_tick ? (uint64_t)sign : 0;
    shard->payload_bytes += (uint64_t)(sign * message->payload_bytes);
    shard->bytes += (uint64_t)(sign * message_bytes(message));
}

/* 1 in three of four cases, 2 in three of the next sixteenth, and so on. */
static uint8_t shard_random_height(struct retained_shard *shard)
{
    shard->random ^= shard->random << 13;
    shard->random ^= shard->random >> 7;
    shard->random ^= shard->random << 17;
    uint32_t pairs = (uint32_t)__builtin_ctzll(shard->random | 1ull << 62) / 2;
    return (uint8_t)(1 + (pairs < RETAINED_HEIGHT_MAX ? pairs : RETAINED_HEIGHT_MAX - 1));
}

static enum err shard_insert(struct retained_shard *shard, struct retained_node **before,
                             struct message *message)
{
    uint8_t height = shard_random_height(shard);
    struct retained_node *node =
        mem_alloc(sizeof(*node) + height * sizeof(node->next[0]) + message->topic_bytes);
    if (!node)
        return ERR_NOMEM;
    node->height = height;
    node->topic_bytes = message->topic_bytes;
    node->expires_tick = message->expires_tick;
    node->limbo = NULL;
    atomic_init(&node->is_gone, false);
    memcpy(node->next + height, message->bytes, message->topic_bytes);
    atomic_store_explicit(&node->message, message_ref(message), memory_order_relaxed);
    for (uint32_t i = 0; i < height; i++)
        atomic_store_explicit(&node->next[i], retained_link(&retained_links(shard, before[i])[i]),
                              memory_order_relaxed);
    for (uint32_t i = 0; i < height; i++)
        atomic_store_explicit(&retained_links(shard, before[i])[i], node, memory_order_release);
    shard->bytes += node_bytes(node);
    shard_count_message(shard, message, 1);
    return ERR_OK;
}

static enum err shard_replace(struct retained_shard *shard, struct epoch_participant *me,
                              struct retained_node *node, struct message *message)
{
    struct retained_old *old = mem_alloc(sizeof(*old));
    if (!old)
        return ERR_NOMEM;
    old->message = retained_node_message(node);
    node->expires_tick = message->expires_tick;
    shard_count_message(shard, old->message, -1);
    shard_count_message(shard, message, 1);
    atomic_store_explicit(&node->message, message_ref(message), memory_order_release);
    epoch_defer(me, &old->item, old_run);
    return ERR_OK;
}

static void shard_unlink(struct retained_shard *shard, struct epoch_participant *me,
                         struct retained_node **before, struct retained_node *node)
{
    for (uint32_t i = node->height; i-- > 0;)
        atomic_store_explicit(&retained_links(shard, before[i])[i], retained_link(&node->next[i]),
                              memory_order_release);
    atomic_store_explicit(&node->is_gone, true, memory_order_release);
    shard->bytes -= node_bytes(node);
    shard_count_message(shard, retained_node_message(node), -1);
    node->limbo = shard->gathering;
    shard->gathering = node;
    if (!shard->freer)
        limbo_defer(shard, me);
}

enum err retained_set(struct retained *retained, struct epoch_participant *me,
                      struct message *message)
{
    struct slice topic = message_topic(message);
    struct retained_shard *shard = retained_shard_of(retained, topic);
    struct retained_node *before[RETAINED_HEIGHT_MAX];
    pthread_mutex_lock(&shard->mutex);
    struct retained_node *node = shard_find(shard, topic, before);
    enum err err =
        node ? shard_replace(shard, me, node, message) : shard_insert(shard, before, message);
    pthread_mutex_unlock(&shard->mutex);
    return err;
}

bool retained_clear(struct retained *retained, struct epoch_participant *me, struct slice topic)
{
    struct retained_shard *shard = retained_shard_of(retained, topic);
    struct retained_node *before[RETAINED_HEIGHT_MAX];
    pthread_mutex_lock(&shard->mutex);
    struct retained_node *node = shard_find(shard, topic, before);
    if (node)
        shard_unlink(shard, me, before, node);
    pthread_mutex_unlock(&shard->mutex);
    return node != NULL;
}

/* --- sweeping --- */

/* Remembers where to go on. Without memory the shard is begun again next time. */
static void sweep_remember(struct retained *retained, struct slice topic)
{
    retained->sweep_topic_bytes = 0;
    if (topic.len > retained->sweep_topic_cap) {
        uint8_t *grown = mem_realloc(retained->sweep_topic, topic.len * 2);
        if (!grown)
            return;
        retained->sweep_topic = grown;
        retained->sweep_topic_cap = (uint32_t)topic.len * 2;
    }
    memcpy(retained->sweep_topic, topic.ptr, topic.len);
    retained->sweep_topic_bytes = (uint32_t)topic.len;
}

/* Goes on in the present shard, under its mutex; true when it came to its end. */
static bool sweep_shard(struct retained *retained, struct retained_shard *shard,
                        struct epoch_participant *me, uint32_t now_tick, uint32_t *budget,
                        uint32_t *removed)
{
    struct retained_node *before[RETAINED_HEIGHT_MAX];
    struct retained_target target = {
        .pieces = {slice_of(retained->sweep_topic, retained->sweep_topic_bytes)},
        .is_after = true,
    };
    struct retained_node *last = NULL, *node = shard_seek(shard, &target, before);
    for (; node && *budget > 0; node = retained_link(node->next)) {
        --*budget;
        last = node;
        if (!retained_is_expired(node->expires_tick, now_tick))
            continue;
        shard_find(shard, retained_node_topic(node), before);
        shard_unlink(shard, me, before, node);
        ++*removed;
    }
    if (node)
        sweep_remember(retained, retained_node_topic(last));
    return node == NULL;
}

uint32_t retained_sweep(struct retained *retained, struct epoch_participant *me, uint32_t now_tick,
                        uint32_t budget)
{
    uint32_t removed = 0;
    for (uint32_t i = 0; i < retained->shard_count && budget > 0; i++) {
        struct retained_shard *shard = &retained->shards[retained->sweep_shard];
        pthread_mutex_lock(&shard->mutex);
        bool is_done =
            shard->expiring == 0 || sweep_shard(retained, shard, me, now_tick, &budget, &removed);
        pthread_mutex_unlock(&shard->mutex);
        if (!is_done)
            break;
        retained->sweep_topic_bytes = 0;
        retained->sweep_shard = (retained->sweep_shard + 1) & (retained->shard_count - 1);
    }
    return removed;
}

/* --- counting and checking --- */

void retained_stats(struct retained *retained, struct retained_stats *stats)
{
    *stats = (struct retained_stats){0};
    for (uint32_t i = 0; i < retained->shard_count; i++) {
        struct retained_shard *shard = &retained->shards[i];
        pthread_mutex_lock(&shard->mutex);
        stats->messages += shard->messages;
        stats->payload_bytes += shard->payload_bytes;
        stats->bytes += shard->bytes;
        pthread_mutex_unlock(&shard->mutex);
    }
}

/* One level: in order, and its nodes high enough. Returns how many there are. */
static uint64_t check_level(struct retained_shard *shard, uint32_t level)
{
    uint64_t count = 0;
    struct retained_node *previous = NULL, *node = retained_link(&shard->first[level]);
    for (; node; previous = node, node = retained_link(&node->next[level])) {
        BUG_ON(node->height <= level);
        BUG_ON(previous &&
               slice_cmp(retained_node_topic(previous), retained_node_topic(node)) >= 0);
        count++;
    }
    return count;
}

static void check_shard(struct retained *retained, struct retained_shard *shard)
{
    uint64_t payload_bytes = 0, bytes = 0, expiring = 0, heights[RETAINED_HEIGHT_MAX + 1] = {0};
    for (struct retained_node *node = retained_link(shard->first); node;
         node = retained_link(node->next)) {
        struct message *message = retained_node_message(node);
        BUG_ON(!slice_eq(message_topic(message), retained_node_topic(node)));
        BUG_ON(retained_shard_of(retained, retained_node_topic(node)) != shard);
        BUG_ON(message->expires_tick != node->expires_tick);
        expiring += message->expires_tick != 0;
        payload_bytes += message->payload_bytes;
        bytes += message_bytes(message) + node_bytes(node);
        for (uint32_t i = 0; i < node->height; i++)
            heights[i]++;
    }
    BUG_ON(heights[0] != shard->messages || expiring != shard->expiring);
    BUG_ON(payload_bytes != shard->payload_bytes || bytes != shard->bytes);
    for (uint32_t i = 0; i < RETAINED_HEIGHT_MAX; i++)
        BUG_ON(check_level(shard, i) != heights[i]);
}

void retained_check(struct retained *retained)
{
    for (uint32_t i = 0; i < retained->shard_count; i++) {
        pthread_mutex_lock(&retained->shards[i].mutex);
        check_shard(retained, &retained->shards[i]);
        pthread_mutex_unlock(&retained->shards[i].mutex);
    }
}
