/*
 * index_table.c: a hash table that grows by one bucket at a time while others read it.
 *
 * All nodes of a table stand in one list, in the order of their hash with its bits reversed. A
 * bucket is a word in that list, a signpost from which a look-up starts walking:
 *
 *   bucket 0 ----> a ----> bucket 2 ----> b ----> c ----> bucket 1 ----> d ----> bucket 3 ----> end
 *   reversed hash: 00..    01000..        01..    01..    1000..         10..    1100..
 *
 * Since the bits are reversed, a new bucket splits the stretch of an old one just where it has to:
 * nodes never move, nothing is copied, and a reader that starts at the old signpost still finds
 * everything (split-ordered lists of Shalev and Shavit, 2006; with one writer at a time no compare
 * and swap is needed). Buckets are made in ascending order, two for each node that is added, so no
 * growth takes longer than any other insertion, bar the zeroing of a fresh segment.
 *
 * When most nodes have gone, buckets are taken out in descending order, a few for each node that is removed. A reader
 * who knows more of them still finds everything from a signpost that is not in the list any more. The state of the
 * table says how many there are and changes with each, so that a reader notices also one that came and went. The segments
 * they were in go once no reader can know of them: with the nodes in limbo (index_limbo.c).
 *
 *   link:  address of a node | address of a bucket + 1 | 1: end of the list
 *   segments: 16, 16, 32, 64, ... buckets; they never move
 *
 * Threads: look-ups from any participant of the epoch domain; insert and remove under the shard's
 * mutex; what was removed keeps its link until a grace period is over.
 * Cost: a look-up touches the bucket and 1.25 nodes on average.
 */
#include "route/index_private.h"
#include "runtime/pages.h"

/* With 1 M entries that miss the caches, two buckets a node cost 326 ns a look-up, one 410 ns. */
#define TABLE_BUCKETS_PER_NODE 2u
#define TABLE_BUCKETS_KEPT 3u /* for each node, when nodes go */

#define LINK_BUCKET 1u
#define LINK_END 1u /* a bucket at address 0 */

static inline uint32_t top_bit(uint32_t x)
{
    return 1u << (31 - __builtin_clz(x));
}

static inline uint64_t link_load(const _Atomic uint64_t *link)
{
    return atomic_load_explicit(link, memory_order_acquire);
}

static inline void link_store(_Atomic uint64_t *link, uint64_t value)
{
    atomic_store_explicit(link, value, memory_order_release);
}

static inline struct index_node *link_node(uint64_t link)
{
    return (struct index_node *)(uintptr_t)link;
}

static inline _Atomic uint64_t *link_bucket(uint64_t link)
{
    return (_Atomic uint64_t *)(uintptr_t)(link - LINK_BUCKET);
}

/* Segment 0 holds buckets 0 to 15, segment k > 0 those from 8 * 2^k to 16 * 2^k - 1. */
static inline uint32_t segment_of(uint32_t bucket)
{
    return bucket < INDEX_SEGMENT_FIRST ? 0 : 28 - (uint32_t)__builtin_clz(bucket);
}

static inline uint32_t segment_buckets(uint32_t segment)
{
    return segment ? INDEX_SEGMENT_FIRST << (segment - 1) : INDEX_SEGMENT_FIRST;
}

static inline _Atomic uint64_t *bucket_at(const struct index_table *table, uint32_t bucket)
{
    uint32_t segment = segment_of(bucket);
    _Atomic uint64_t *words = atomic_load_explicit(&table->segments[segment], memory_order_acquire);
    return words + (segment ? bucket - segment_buckets(segment) : bucket);
}

static inline uint64_t state_load(const struct index_table *table)
{
    return atomic_load_explicit(&table->state, memory_order_acquire);
}

static inline uint32_t state_buckets(uint64_t state)
{
    return (uint32_t)state;
}

static inline uint32_t buckets_now(const struct index_table *table)
{
    return state_buckets(atomic_load_explicit(&table->state, memory_order_relaxed));
}

/* Under the mutex. */
static void buckets_set(struct index_table *table, uint32_t buckets)
{
    uint64_t changes = (atomic_load_explicit(&table->state, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&table->state, changes << 32 | buckets, memory_order_release);
    if (buckets > table->peak)
        table->peak = buckets;
}

/* The bucket in whose stretch a hash falls when there are `buckets` of them. */
static inline uint32_t bucket_for(uint32_t hash, uint32_t buckets)
{
    uint32_t top = top_bit(buckets); /* a power of two, at most `buckets` */
    uint32_t bucket = hash & (top | (top - 1));
    return bucket < buckets ? bucket : bucket - top;
}

/* ---- segments ---- */

static size_t segment_bytes(uint32_t segment)
{
    return segment_buckets(segment) * sizeof(_Atomic uint64_t);
}

/* The segment for one more bucket; false when there is no memory: then it is done another time. */
static bool segment_reserve(struct index_table *table, uint32_t bucket)
{
    uint32_t segment = segment_of(bucket);
    if (segment >= INDEX_SEGMENTS_MAX)
        return false;
    if (atomic_load_explicit(&table->segments[segment], memory_order_relaxed))
        return true;
    _Atomic uint64_t *words = pages_or_mem_zalloc(segment_bytes(segment));
    atomic_store_explicit(&table->segments[segment], words, memory_order_release);
    return words != NULL;
}

void index_table_trim_begin(struct index_table *table)
{
    table->peak = buckets_now(table);
}

void index_table_trim(struct index_table *table, struct index_segments *segments)
{
    segments->from = segments->to = segment_of(table->peak - 1) + 1;
    for (uint32_t i = segments->from; i < INDEX_SEGMENTS_MAX; i++) {
        segments->words[i] = atomic_load_explicit(&table->segments[i], memory_order_relaxed);
        if (!segments->words[i])
            return;
        atomic_store_explicit(&table->segments[i], NULL, memory_order_relaxed);
        segments->to = i + 1;
    }
}

void index_segments_free(const struct index_segments *segments)
{
    for (uint32_t i = segments->from; i < segments->to; i++)
        pages_or_mem_free(segments->words[i], segment_bytes(i));
}

enum err index_table_init(struct index_table *table)
{
    if (!segment_reserve(table, 0))
        return ERR_NOMEM;
    link_store(bucket_at(table, 0), LINK_END);
    buckets_set(table, 1);
    return ERR_OK;
}

void index_table_fini(struct index_table *table)
{
    for (uint32_t i = 0; i < INDEX_SEGMENTS_MAX; i++)
        pages_or_mem_free(atomic_load_explicit(&table->segments[i], memory_order_relaxed),
                          segment_bytes(i));
}

/* ---- nodes ---- */

const _Atomic uint64_t *index_table_bucket(const struct index_table *table, uint32_t hash)
{
    return bucket_at(table, bucket_for(hash, state_buckets(state_load(table))));
}

static inline bool node_is(const struct index_node *node, const struct index_key *key)
{
    return node->kind & key->kinds && index_node_parent(node) == key->parent &&
           !(node->kind & INDEX_NO_LEVEL) == (key->levels > 0) &&
           slice_eq(index_node_key(node), key->text);
}

static void found_put(struct index_found *found, struct index_node *node)
{
    if (node->kind & INDEX_EXACT)
        found->exact = node;
    else if (node->kind & INDEX_HASH)
        found->hash = node;
    else if (node->kind & INDEX_PLUS)
        found->plus = node;
    else
        found->share = node;
}

void index_table_find(const struct index_table *table, const struct index_key *key,
                      struct index_found *found)
{
    *found = (struct index_found){0};
    uint32_t order = index_bits_reversed(key->hash);
    uint64_t state = state_load(table);
    uint64_t link = link_load(bucket_at(table, bucket_for(key->hash, state_buckets(state))));
    uint8_t missing = key->kinds;
    for (;;) {
        if (link & LINK_BUCKET) {
            /* The next bucket ends the stretch, unless it was made while we walked. */
            if (link == LINK_END || state == state_load(table))
                return;
            link = link_load(link_bucket(link));
            continue;
        }
        struct index_node *node = link_node(link);
        __builtin_prefetch(node->key + key->text.len); /* may stand in the next cache line */
        if (node->order > order)
            return;
        if (node->order == order && node_is(node, key)) {
            found_put(found, node);
            missing &= (uint8_t)~node->kind;
            if (!missing)
                return;
        }
        link = link_load(&node->next);
    }
}

/* The link before which a node of this order goes: the last of the stretch that begins at `link`
 * and has a smaller order. Under the mutex. */
static _Atomic uint64_t *link_before(_Atomic uint64_t *link, uint32_t order)
{
    for (;;) {
        uint64_t next = link_load(link);
        if (next & LINK_BUCKET || link_node(next)->order >= order)
            return link;
        link = &link_node(next)->next;
    }
}

/* Puts up one more signpost, in the stretch of its parent: the bucket without its top bit. */
static void table_grow(struct index_table *table)
{
    uint32_t fresh = buckets_now(table);
    if (!segment_reserve(table, fresh))
        return;
    _Atomic uint64_t *word = bucket_at(table, fresh);
    _Atomic uint64_t *before =
        link_before(bucket_at(table, fresh - top_bit(fresh)), index_bits_reversed(fresh));
    link_store(word, link_load(before));
    /* Counted before it can be met, so that a reader who meets it knows that it is new. */
    buckets_set(table, fresh + 1);
    link_store(before, (uint64_t)(uintptr_t)word | LINK_BUCKET);
}

/* Takes the last signpost out of its parent's stretch. */
static void table_shrink(struct index_table *table)
{
    uint32_t last = buckets_now(table) - 1;
    _Atomic uint64_t *word = bucket_at(table, last);
    _Atomic uint64_t *before =
        link_before(bucket_at(table, last - top_bit(last)), index_bits_reversed(last));
    BUG_ON(link_load(before) != ((uint64_t)(uintptr_t)word | LINK_BUCKET));
    link_store(before, link_load(word));
    /* Not counted any more only when it can not be met: who knows of one less does not stop there. */
    buckets_set(table, last);
}

void index_table_insert(struct index_table *table, struct index_node *node, uint32_t hash)
{
    table->nodes++;
    for (uint32_t i = 0; i < TABLE_BUCKETS_PER_NODE; i++)
        if (buckets_now(table) < table->nodes * TABLE_BUCKETS_PER_NODE)
            table_grow(table);
    node->order = index_bits_reversed(hash);
    _Atomic uint64_t *before =
        link_before(bucket_at(table, bucket_for(hash, buckets_now(table))), node->order);
    atomic_store_explicit(&node->next, link_load(before), memory_order_relaxed);
    link_store(before, (uint64_t)(uintptr_t)node);
}

void index_table_remove(struct index_table *table, struct index_node *node)
{
    uint32_t hash = index_bits_reversed(node->order);
    _Atomic uint64_t *link = bucket_at(table, bucket_for(hash, buckets_now(table)));
    while (link_load(link) != (uint64_t)(uintptr_t)node) {
        BUG_ON(link_load(link) & LINK_BUCKET);
        link = &link_node(link_load(link))->next;
    }
    link_store(link, link_load(&node->next));
    table->nodes--;
    for (uint32_t i = 0; i <= TABLE_BUCKETS_KEPT; i++)
        if (buckets_now(table) > INDEX_SEGMENT_FIRST &&
            buckets_now(table) > table->nodes * TABLE_BUCKETS_KEPT)
            table_shrink(table);
}

void index_table_walk(const struct index_table *table,
                      void (*visit)(struct index_node *node, void *ctx), void *ctx)
{
    uint32_t nodes = 0, buckets = 1, order = 0;
    uint64_t link = link_load(bucket_at(table, 0));
    while (link != LINK_END) {
        if (link & LINK_BUCKET) {
            buckets++;
            link = link_load(link_bucket(link));
            continue;
        }
        struct index_node *node = link_node(link);
        link = link_load(&node->next);
        BUG_ON(node->order < order);
        order = node->order;
        nodes++;
        visit(node, ctx);
    }
    BUG_ON(nodes != table->nodes);
    BUG_ON(buckets != buckets_now(table));
}

size_t index_table_bytes(const struct index_table *table)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < INDEX_SEGMENTS_MAX; i++)
        if (atomic_load_explicit(&table->segments[i], memory_order_relaxed))
            bytes += segment_bytes(i);
    return bytes;
}
