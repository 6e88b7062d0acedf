/*
 * index_private.h: what the files of the index call of each other, and how a topic becomes keys. The layout is drawn in
 * index_types.h. Only index*.c includes it.
 */
#ifndef ROUTE_INDEX_PRIVATE_H
#define ROUTE_INDEX_PRIVATE_H

#include "route/index_types.h"

/* A topic or filter cut into levels, with the hash of any run of levels in O(1). */
struct index_path {
    struct slice text;
    uint32_t levels;
    uint32_t start[TOPIC_LEVELS_MAX + 1]; /* of each level; [levels] is length + 1 */
    uint64_t sums[TOPIC_LEVELS_MAX + 1];
};

#define INDEX_RADIX 0x9E3779B97F4A7C15ull

/* Cuts and hashes each level once. False when there are more than TOPIC_LEVELS_MAX. */
bool index_path_init(const struct index *index, struct index_path *path, struct slice text);

/* Levels from..to-1 with the slashes between them. */
static inline struct slice index_path_run(const struct index_path *path, uint32_t from, uint32_t to)
{
    if (from == to)
        return slice_of(path->text.ptr, 0);
    return slice_of(path->text.ptr + path->start[from], path->start[to] - path->start[from] - 1);
}

static inline struct slice index_path_level(const struct index_path *path, uint32_t level)
{
    return index_path_run(path, level, level + 1);
}

/* What is looked for. */
struct index_key {
    struct slice text;
    const struct index_node *parent;
    uint32_t hash;
    uint32_t levels;
    uint8_t kinds; /* those wanted */
};

static inline uint64_t index_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93ull;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93ull;
    return x ^ x >> 32;
}

/* The key of levels from..to-1 below `parent` (NULL: none). */
static inline struct index_key index_path_key(const struct index *index,
                                              const struct index_path *path, uint32_t from,
                                              uint32_t to, const struct index_node *parent,
                                              uint8_t kinds)
{
    uint64_t sum = path->sums[to] - path->sums[from] * index->powers[to - from];
    uint64_t salt = parent ? (uintptr_t)parent * INDEX_RADIX : index->seed;
    return (struct index_key){
        .text = index_path_run(path, from, to),
        .parent = parent,
        .hash = (uint32_t)index_mix(sum ^ salt),
        .kinds = kinds,
        .levels = to - from,
    };
}

static inline uint32_t index_bits_reversed(uint32_t x)
{
    x = __builtin_bswap32(x);
    x = (x & 0x0F0F0F0Fu) << 4 | (x >> 4 & 0x0F0F0F0Fu);
    x = (x & 0x33333333u) << 2 | (x >> 2 & 0x33333333u);
    return (x & 0x55555555u) << 1 | (x >> 1 & 0x55555555u);
}

static inline struct index_shard *index_shard_of(struct index *index, uint32_t hash)
{
    return &index->shards[(uint64_t)hash >> index->shard_shift];
}

static inline struct slice index_node_key(const struct index_node *node)
{
    return slice_of(node->key, node->key_bytes);
}

static inline struct index_node *index_node_parent(const struct index_node *node)
{
    return node->kind & INDEX_NESTED ? CONTAINER_OF(node, struct index_nested, node)->parent : NULL;
}

static inline struct index_branch *index_branch_of(const struct index_node *node)
{
    return CONTAINER_OF(node, struct index_branch, nested.node);
}

static inline struct index_group *index_group_of(const struct index_node *node)
{
    return CONTAINER_OF(node, struct index_group, nested.node);
}

/* Bytes before a node in its allocation; the kind with its flags says what it is embedded in. */
static inline size_t index_kind_prefix_bytes(uint8_t kind)
{
    if (kind & INDEX_PLUS)
        return offsetof(struct index_branch, nested.node);
    if (kind & INDEX_SHARE)
        return offsetof(struct index_group, nested.node);
    return kind & INDEX_NESTED ? offsetof(struct index_nested, node) : 0;
}

static inline void *index_node_memory(struct index_node *node)
{
    return (char *)node - index_kind_prefix_bytes(node->kind);
}

static inline size_t index_node_bytes(const struct index_node *node)
{
    return index_kind_prefix_bytes(node->kind) + offsetof(struct index_node, key) + node->key_bytes;
}

static inline uint64_t index_node_word(const struct index_node *node)
{
    return atomic_load_explicit(&node->subscribers, memory_order_acquire);
}

/* index_table.c */
struct index_found {
    struct index_node *exact, *hash, *plus, *share;
};

enum err index_table_init(struct index_table *table) MUST_USE;
void index_table_fini(struct index_table *table);
/* Lock-free. Of each wanted kind the node with this key, or NULL. */
void index_table_find(const struct index_table *table, const struct index_key *key,
                      struct index_found *found);
/* Where a look-up begins; for prefetching. */
const _Atomic uint64_t *index_table_bucket(const struct index_table *table, uint32_t hash);
void index_table_insert(struct index_table *table, struct index_node *node, uint32_t hash);
void index_table_remove(struct index_table *table, struct index_node *node);
/* Under the mutex: remembers the most buckets that there are from now on. When a grace period is over, nobody can know of
   more than that, and index_table_trim() takes out what lies above, for index_segments_free() without the mutex. To begin
   earlier than necessary only makes it too many. */
void index_table_trim_begin(struct index_table *table);
struct index_segments {
    uint32_t from, to;
    void *words[INDEX_SEGMENTS_MAX];
};
void index_table_trim(struct index_table *table, struct index_segments *segments);
void index_segments_free(const struct index_segments *segments);
/* Calls `visit` for each node, in the order of the list, and checks the list. */
void index_table_walk(const struct index_table *table,
                      void (*visit)(struct index_node *node, void *ctx), void *ctx);
size_t index_table_bytes(const struct index_table *table);

/* index_subscribers.c: `word` is the `subscribers` of a node. */
enum err index_list_add(struct index_writer *w, _Atomic uint64_t *word, index_subscriber subscriber,
                        uint32_t *position) MUST_USE;
void index_list_set(_Atomic uint64_t *word, uint32_t position, index_subscriber subscriber);
void index_list_remove(struct index_writer *w, _Atomic uint64_t *word, uint32_t position);
/* Lock-free: the first subscriber at *position or later; *position becomes its own. */
bool index_list_next(uint64_t word, uint32_t *position, index_subscriber *subscriber);
/* Positions in use are below this. */
uint32_t index_list_end(uint64_t word);
/* Checks a list and returns how many are in it. */
uint32_t index_list_check(uint64_t word);
/* Frees what a word owns at once. */
void index_list_free(uint64_t word);

/* Lock-free: all subscribers of a word. ERR_NOMEM: those that fitted. */
enum err index_list_collect(uint64_t word, struct index_matches *matches) MUST_USE;

/* index_match.c: room for `count` more. */
enum err index_matches_reserve(struct index_matches *matches, uint32_t count) MUST_USE;

/* index_share.c */
void index_groups_init(struct index *index);
void index_groups_fini(struct index *index);
/* Gives the group an id that can be resolved from now on. */
enum err index_group_publish(struct index *index, struct index_group *group) MUST_USE;
/* The id resolves no more. */
void index_group_hide(struct index *index, struct index_group *group);
/* After a grace period: the id's number may be used again. */
void index_group_release(struct index *index, struct index_group *group);
/* The group of an id, or NULL. Lock-free. */
struct index_group *index_group_resolve(struct index *index, uint32_t id);
bool index_group_pick(struct index *index, struct index_group *group, struct slice topic,
                      const struct index_query *query, struct index_match *match);

/* index_check.c: counts a node without parent in or out (`sign` is 1 or -1). */
void index_sketch_count(struct index *index, const struct index_node *node, int sign);
/* Levels of the run in a node's key. */
uint32_t index_node_levels(const struct index_node *node);

/* index_limbo.c */
void index_limbo_add(struct index_writer *w, struct index_node *node);
void index_node_free(struct index *index, struct index_node *node);

#endif
