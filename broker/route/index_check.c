/*
 * index_check.c: counting what is in the index, and finding what is wrong with it.
 *
 * The sketch answers "may anybody be subscribed below $SYS/broker/...?" without a look at any
 * filter: counters of hashed prefixes, of up to three levels, of the filters that begin with '$'.
 * Two prefixes that share a cell can make it say yes too often; it never says no wrongly.
 *
 * Threads: the sketch is written under any shard's mutex and read without; index_stats() takes the
 * mutexes one after the other; index_check() wants no writer at work.
 */
#include "route/index_private.h"

uint32_t index_node_levels(const struct index_node *node)
{
    return node->kind & INDEX_NO_LEVEL ? 0 : topic_level_count(index_node_key(node));
}

/* --- the sketch --- */

static uint32_t sketch_cell(const struct index *index, struct slice prefix)
{
    return XXH3_64bits_withSeed(prefix.ptr, prefix.len, index->seed) % INDEX_SKETCH_CELLS;
}

/* The first levels of `text`, at most INDEX_SKETCH_LEVELS of them, as prefixes: one more level
 * each. Returns how many. */
static uint32_t sketch_prefixes(struct slice text, struct slice prefixes[INDEX_SKETCH_LEVELS])
{
    uint32_t count = 0;
    for (size_t i = 0; i <= text.len && count < INDEX_SKETCH_LEVELS; i++)
        if (i == text.len || text.ptr[i] == '/')
            prefixes[count++] = slice_of(text.ptr, i);
    return count;
}

void index_sketch_count(struct index *index, const struct index_node *node, int sign)
{
    struct index_sketch *sketch = &index->sketch;
    struct slice text = index_node_key(node);
    atomic_fetch_add_explicit(&sketch->nodes, (uint32_t)sign, memory_order_release);
    if (text.len == 0 || text.ptr[0] != '$')
        return;
    struct slice prefixes[INDEX_SKETCH_LEVELS];
    uint32_t count = sketch_prefixes(text, prefixes), cell = 0;
    for (uint32_t i = 0; i < count; i++) {
        cell = sketch_cell(index, prefixes[i]);
        atomic_fetch_add_explicit(&sketch->below[cell], (uint32_t)sign, memory_order_release);
    }
    if (!(node->kind & INDEX_EXACT) && prefixes[count - 1].len == text.len)
        atomic_fetch_add_explicit(&sketch->covers[cell], (uint32_t)sign, memory_order_release);
}

bool index_has_below(struct index *index, struct slice prefix)
{
    const struct index_sketch *sketch = &index->sketch;
    if (prefix.len == 0 || prefix.ptr[0] != '$')
        return atomic_load_explicit(&sketch->nodes, memory_order_acquire) > 0;
    struct slice prefixes[INDEX_SKETCH_LEVELS];
    uint32_t count = sketch_prefixes(prefix, prefixes), cell = 0;
    for (uint32_t i = 0; i < count; i++) {
        cell = sketch_cell(index, prefixes[i]);
        if (atomic_load_explicit(&sketch->covers[cell], memory_order_acquire))
            return true;
    }
    return atomic_load_explicit(&sketch->below[cell], memory_order_acquire) > 0;
}

/* --- statistics --- */

void index_stats(struct index *index, struct index_stats *stats)
{
    *stats = (struct index_stats){0};
    for (uint32_t i = 0; i < index->shard_count; i++) {
        struct index_shard *shard = &index->shards[i];
        pthread_mutex_lock(&shard->mutex);
        stats->subscriptions += shard->subscriptions;
        stats->shared_subscriptions += shard->shared_subscriptions;
        stats->nodes += shard->nodes;
        stats->bytes += shard->bytes + index_table_bytes(&shard->table);
        pthread_mutex_unlock(&shard->mutex);
    }
}

/* --- checking --- */

/* What a walk over a shard counts, to be compared with what the shard says. */
struct check {
    struct index *index;
    struct index_shard *shard;
    uint64_t subscriptions, shared, nodes;
    uint32_t hash[TOPIC_LEVELS_MAX + 1], plus[TOPIC_LEVELS_MAX + 1]; /* without parent */
    struct index_node *parent; /* children of this one are being counted, */
    uint32_t children, exact;
    uint32_t child_hash[TOPIC_LEVELS_MAX + 1], child_plus[TOPIC_LEVELS_MAX + 1];
};

static void check_groups(struct index *index, const struct index_node *node)
{
    struct index_group *previous = NULL;
    struct index_group *group = atomic_load_explicit(&node->groups, memory_order_relaxed);
    for (; group; group = atomic_load_explicit(&group->sibling, memory_order_relaxed)) {
        BUG_ON(group->previous != previous);
        BUG_ON(group->nested.parent != node);
        BUG_ON(index_group_resolve(index, group->id) != group);
        previous = group;
    }
}

static void check_child(struct index_node *node, void *ctx)
{
    struct check *check = ctx;
    if (node->kind & INDEX_SHARE || index_node_parent(node) != check->parent)
        return;
    check->children++;
    check->exact += (node->kind & INDEX_EXACT) != 0;
    check->child_hash[index_node_levels(node)] += (node->kind & INDEX_HASH) != 0;
    check->child_plus[index_node_levels(node)] += (node->kind & INDEX_PLUS) != 0;
}

/* Counts the children of a plus node by a walk over the whole shard: for small ones only. */
static void check_branch(struct check *check, struct index_node *node)
{
    struct index_branch *branch = index_branch_of(node);
    struct index_depths *depths = atomic_load_explicit(&branch->depths, memory_order_relaxed);
    check->parent = node;
    check->children = check->exact = 0;
    memset(check->child_hash, 0, sizeof(check->child_hash));
    memset(check->child_plus, 0, sizeof(check->child_plus));
    index_table_walk(&check->shard->table, check_child, check);
    BUG_ON(check->children != branch->children || check->exact != branch->exact);
    for (uint32_t i = 0; i <= TOPIC_LEVELS_MAX; i++) {
        bool is_counted = depths && i < depths->count;
        BUG_ON(check->child_hash[i] != (is_counted ? depths->at[i].hash : 0));
        BUG_ON(check->child_plus[i] != (is_counted ? depths->at[i].plus : 0));
    }
}

#define CHECK_BRANCH_NODES_MAX 2000u

static void check_node(struct index_node *node, void *ctx)
{
    struct check *check = ctx;
    const struct index_node *parent = index_node_parent(node), *top = node;
    uint32_t subscribers = index_list_check(index_node_word(node));
    uint32_t levels = index_node_levels(node);
    while (index_node_parent(top))
        top = index_node_parent(top);
    BUG_ON(index_shard_of(check->index, index_bits_reversed(top->order)) != check->shard);
    BUG_ON(!subscribers && !atomic_load_explicit(&node->groups, memory_order_relaxed) &&
           !(node->kind & INDEX_PLUS && index_branch_of(node)->children));
    check->subscriptions += subscribers;
    check->nodes++;
    if (node->kind & INDEX_SHARE) {
        check->shared += subscribers;
        return;
    }
    BUG_ON(parent && !(parent->kind & INDEX_PLUS));
    check->hash[levels] += !parent && node->kind & INDEX_HASH;
    check->plus[levels] += !parent && node->kind & INDEX_PLUS;
    check_groups(check->index, node);
    if (node->kind & INDEX_PLUS && check->shard->nodes <= CHECK_BRANCH_NODES_MAX)
        check_branch(check, node);
}

void index_check(struct index *index)
{
    struct check check = {.index = index};
    for (uint32_t i = 0; i < index->shard_count; i++) {
        struct index_shard *shard = check.shard = &index->shards[i];
        check.subscriptions = check.shared = check.nodes = 0;
        pthread_mutex_lock(&shard->mutex);
        index_table_walk(&shard->table, check_node, &check);
        BUG_ON(check.subscriptions != shard->subscriptions);
        BUG_ON(check.shared != shard->shared_subscriptions);
        BUG_ON(check.nodes != shard->nodes);
        pthread_mutex_unlock(&shard->mutex);
    }
    for (uint32_t i = 0; i <= TOPIC_LEVELS_MAX; i++) {
        BUG_ON(check.hash[i] != index->depths[i].hash);
        BUG_ON(check.plus[i] != index->depths[i].plus);
    }
}
