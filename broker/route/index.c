/*
 * index.c: subscriptions come and go. index_types.h has the drawing of nodes and keys.
 *
 * A filter's node is found run by run; what is missing is made, and unlinked again when nobody
 * needs it: a node lives as long as it has subscribers, share groups or children.
 *
 * Invariants (index_check): every node is in the table of the shard of its topmost node; a parent's
 * counts are those of its children; no node is unused.
 *
 * Threads: one mutex per shard; order of locks: shard, then the table of groups. What readers meet
 * is complete before it is linked. Cost: one hash of the filter, one look-up per '+', O(1) to
 * remove.
 */
#include <sys/random.h>

#include "route/index_private.h"
#include "runtime/blocks.h"

/* --- paths --- */

bool index_path_init(const struct index *index, struct index_path *path, struct slice text)
{
    const uint8_t *at = text.ptr, *end = text.ptr + text.len;
    path->text = text;
    path->sums[0] = 0;
    for (uint32_t level = 0; level < TOPIC_LEVELS_MAX; level++) {
        path->start[level] = (uint32_t)(at - text.ptr);
        const uint8_t *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
        const uint8_t *stop = slash ? slash : end;
        path->sums[level + 1] = path->sums[level] * INDEX_RADIX +
                                XXH3_64bits_withSeed(at, (size_t)(stop - at), index->seed);
        if (!slash) {
            path->levels = level + 1;
            path->start[level + 1] = (uint32_t)text.len + 1;
            return true;
        }
        at = slash + 1;
    }
    return false;
}

/* The kind of node that a run from level `from` on leads to; *to becomes the level after the run.
 */
static uint8_t path_next_run(const struct index_path *path, uint32_t from, uint32_t *to)
{
    for (uint32_t level = from; level < path->levels; level++) {
        struct slice text = index_path_level(path, level);
        if (text.len != 1 || (text.ptr[0] != '+' && text.ptr[0] != '#'))
            continue;
        *to = level;
        return text.ptr[0] == '+' ? INDEX_PLUS : INDEX_HASH;
    }
    *to = path->levels;
    return INDEX_EXACT;
}

/* --- the whole --- */

static enum err index_init_shards(struct index *index)
{
    for (uint32_t i = 0; i < index->shard_count; i++) {
        struct index_shard *shard = &index->shards[i];
        shard->index = index;
        pthread_mutex_init(&shard->mutex, NULL);
        if (index_table_init(&shard->table))
            return ERR_NOMEM;
    }
    return ERR_OK;
}

struct index *index_new(uint32_t shards, struct slots *slots, uint32_t reactors)
{
    BUG_ON(shards == 0 || shards & (shards - 1) || shards > 1u << 16);
    struct index *index = mem_must_zalloc(sizeof(*index));
    index->shards_memory = mem_must_zalloc(shards * sizeof(struct index_shard) + 63);
    index->shards = (void *)(((uintptr_t)index->shards_memory + 63) & ~(uintptr_t)63);
    index->shard_count = shards;
    index->shard_shift = 32 - (uint32_t)__builtin_ctz(shards);
    index->slots = slots;
    index->reactors = reactors;
    /* Unknown to clients, so that nobody can prepare topics that all fall into one bucket. */
    BUG_ON(getrandom(&index->seed, sizeof(index->seed), 0) != sizeof(index->seed));
    index->powers[0] = 1;
    for (uint32_t i = 1; i <= TOPIC_LEVELS_MAX; i++)
        index->powers[i] = index->powers[i - 1] * INDEX_RADIX;
    index_groups_init(index);
    BUG_ON(index_init_shards(index));
    return index;
}

static void node_free_visit(struct index_node *node, void *ctx)
{
    index_list_free(index_node_word(node));
    index_node_free(ctx, node);
}

void index_free(struct index *index)
{
    if (!index)
        return;
    for (uint32_t i = 0; i < index->shard_count; i++) {
        struct index_shard *shard = &index->shards[i];
        BUG_ON(shard->limbo.me); /* epoch_drain() comes first */
        index_table_walk(&shard->table, node_free_visit, index);
        index_table_fini(&shard->table);
        pthread_mutex_destroy(&shard->mutex);
    }
    index_groups_fini(index);
    mem_free(index->shards_memory);
    mem_free(index);
}

/* --- counting children by depth --- */

static struct index_depth *depth_of(struct index *index, const struct index_node *parent,
                                    uint32_t levels)
{
    if (!parent)
        return &index->depths[levels];
    struct index_depths *depths =
        atomic_load_explicit(&index_branch_of(parent)->depths, memory_order_relaxed);
    return depths && levels < depths->count ? &depths->at[levels] : NULL;
}

static size_t depths_bytes(uint32_t count)
{
    return sizeof(struct index_depths) + count * sizeof(struct index_depth);
}

static void depths_free(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    mem_free(CONTAINER_OF(item, struct index_depths, item));
}

/* Makes sure that `parent` can count hash and plus children of so many levels. */
static enum err depths_reserve(struct index_writer *w, struct index_node *parent, uint32_t levels)
{
    if (depth_of(w->index, parent, levels))
        return ERR_OK;
    struct index_branch *branch = index_branch_of(parent);
    struct index_depths *old = atomic_load_explicit(&branch->depths, memory_order_relaxed);
    struct index_depths *depths = index_alloc(w, depths_bytes(levels + 1));
    if (!depths)
        return ERR_NOMEM;
    depths->count = levels + 1;
    for (uint32_t i = 0; old && i < old->count; i++) {
        atomic_store_explicit(&depths->at[i].hash, old->at[i].hash, memory_order_relaxed);
        atomic_store_explicit(&depths->at[i].plus, old->at[i].plus, memory_order_relaxed);
        depths->at[i].visits = old->at[i].visits;
    }
    atomic_store_explicit(&branch->depths, depths, memory_order_release);
    if (old) {
        w->shard->bytes -= depths_bytes(old->count);
        epoch_defer(w->me, &old->item, depths_free);
    }
    return ERR_OK;
}

/* Counts a node in (`sign` 1) or out (-1) at its parent. */
static void parent_count(struct index *index, const struct index_node *node, int sign)
{
    struct index_node *parent = index_node_parent(node);
    uint32_t by = (uint32_t)sign;
    if (node->kind & INDEX_SHARE)
        return;
    if (parent)
        index_branch_of(parent)->children += by;
    else
        index_sketch_count(index, node, sign);
    if (node->kind & INDEX_EXACT) {
        if (parent)
            atomic_fetch_add_explicit(&index_branch_of(parent)->exact, by, memory_order_release);
        return;
    }
    struct index_depth *depth = depth_of(index, parent, index_node_levels(node));
    _Atomic uint32_t *count = node->kind & INDEX_HASH ? &depth->hash : &depth->plus;
    uint32_t before = atomic_fetch_add_explicit(count, by, memory_order_release);
    if (parent && node->kind & INDEX_PLUS && before + by == 0)
        depth->visits = 0;
}

/* --- how much a publish can be made to look at --- */

/* At most so many look-ups below a plus node, when its plus child of `levels` costs `visits`. */
static uint32_t branch_visits(const struct index_branch *branch, uint32_t levels, uint32_t visits)
{
    struct index_depths *depths = atomic_load_explicit(&branch->depths, memory_order_relaxed);
    uint32_t sum = atomic_load_explicit(&branch->exact, memory_order_relaxed) > 0;
    for (uint32_t i = 0; depths && i < depths->count; i++) {
        const struct index_depth *depth = &depths->at[i];
        sum += atomic_load_explicit(&depth->hash, memory_order_relaxed) > 0;
        if (!atomic_load_explicit(&depth->plus, memory_order_relaxed))
            continue;
        sum += 1 + (i == levels && visits > depth->visits ? visits : depth->visits);
    }
    return sum;
}

/*
 * Carries the cost of `node` up to its topmost node and returns what that one costs now. A topic
 * meets, at each plus node, one child per depth at most, and the heaviest one bounds the others. So
 * a client that subscribes to every combination of {a, +} or to thousands of long tails makes this
 * sum grow, and is told so, before a publish would take milliseconds. The bound is kept when the
 * heaviest child goes and falls back when the last one of its depth does. Filters with one '+' add a
 * look-up for each depth at most, and are always taken: nobody loses them by what others subscribe to.
 */
static uint32_t visits_carry(struct index_node *node, bool commit)
{
    uint32_t visits = node->kind & INDEX_PLUS ? branch_visits(index_branch_of(node), 0, 0) : 0;
    for (struct index_node *parent; (parent = index_node_parent(node)); node = parent) {
        struct index_branch *branch = index_branch_of(parent);
        uint32_t levels = node->kind & INDEX_PLUS ? index_node_levels(node) : TOPIC_LEVELS_MAX + 1;
        struct index_depth *depth = node->kind & INDEX_PLUS ? depth_of(NULL, parent, levels) : NULL;
        if (commit && depth && depth->visits < visits)
            depth->visits = visits;
        visits = branch_visits(branch, levels, visits);
    }
    return visits;
}

static bool index_visits_fit(struct index_node *node)
{
    const struct index_node *top = node;
    while (index_node_parent(top))
        top = index_node_parent(top);
    uint32_t most = INDEX_VISITS_SPARE + TOPIC_LEVELS_MAX - index_node_levels(top);
    if (visits_carry(node, false) > most)
        return false;
    visits_carry(node, true);
    return true;
}

/* --- nodes --- */

/* A node for the key, not linked anywhere yet. */
static struct index_node *node_new(struct index_writer *w, const struct index_key *key)
{
    uint8_t kind = key->kinds;
    kind |= key->parent ? INDEX_NESTED : 0;
    kind |= key->levels == 0 ? INDEX_NO_LEVEL : 0;
    size_t prefix = index_kind_prefix_bytes(kind);
    size_t bytes = prefix + offsetof(struct index_node, key) + key->text.len;
    char *memory = blocks_alloc(bytes);
    if (!memory)
        return NULL;
    w->shard->bytes += bytes;
    struct index_node *node = (struct index_node *)(memory + prefix);
    node->key_bytes = (uint16_t)key->text.len;
    node->kind = kind;
    if (key->parent)
        CONTAINER_OF(node, struct index_nested, node)->parent = (struct index_node *)key->parent;
    if (key->text.len)
        memcpy(node->key, key->text.ptr, key->text.len);
    return node;
}

static void node_discard(struct index_writer *w, struct index_node *node)
{
    w->shard->bytes -= index_node_bytes(node);
    blocks_free(index_node_memory(node), index_node_bytes(node));
}

static void group_link(struct index_group *group)
{
    struct index_node *parent = group->nested.parent;
    struct index_group *first = atomic_load_explicit(&parent->groups, memory_order_relaxed);
    atomic_store_explicit(&group->sibling, first, memory_order_relaxed);
    if (first)
        first->previous = group;
    atomic_store_explicit(&parent->groups, group, memory_order_release);
}

static void group_unlink(struct index_group *group)
{
    struct index_group *next = atomic_load_explicit(&group->sibling, memory_order_relaxed);
    struct index_group *_Atomic *link =
        group->previous ? &group->previous->sibling : &group->nested.parent->groups;
    atomic_store_explicit(link, next, memory_order_release);
    if (next)
        next->previous = group->previous;
}

/* What has to be there before the node is linked: all that can fail. */
static enum err node_prepare(struct index_writer *w, struct index_node *node)
{
    struct index_node *parent = index_node_parent(node);
    if (node->kind & INDEX_SHARE)
        return index_group_publish(w->index, index_group_of(node));
    if (parent && node->kind & (INDEX_HASH | INDEX_PLUS))
        return depths_reserve(w, parent, index_node_levels(node));
    return ERR_OK;
}

static enum err node_make(struct index_writer *w, const struct index_key *key,
                          struct index_node **out)
{
    struct index_node *node = node_new(w, key);
    if (!node)
        return ERR_NOMEM;
    enum err err = node_prepare(w, node);
    if (err) {
        node_discard(w, node);
        return err;
    }
    index_table_insert(&w->shard->table, node, key->hash);
    parent_count(w->index, node, 1);
    if (node->kind & INDEX_SHARE)
        group_link(index_group_of(node));
    w->shard->nodes++;
    *out = node;
    return ERR_OK;
}

static bool node_is_unused(const struct index_node *node)
{
    return index_node_word(node) == 0 &&
           !atomic_load_explicit(&node->groups, memory_order_relaxed) &&
           !(node->kind & INDEX_PLUS && index_branch_of(node)->children);
}

static void node_unlink(struct index_writer *w, struct index_node *node)
{
    if (node->kind & INDEX_SHARE) {
        group_unlink(index_group_of(node));
        index_group_hide(w->index, index_group_of(node));
    }
    parent_count(w->index, node, -1);
    index_table_remove(&w->shard->table, node);
    w->shard->nodes--;
    index_limbo_add(w, node);
}

/* Unlinks the node if nobody needs it, then its parent likewise, and so on. */
static void node_prune(struct index_writer *w, struct index_node *node)
{
    while (node && node_is_unused(node)) {
        struct index_node *parent = index_node_parent(node);
        node_unlink(w, node);
        node = parent;
    }
}

static enum err node_find_or_make(struct index_writer *w, const struct index_key *key,
                                  struct index_node **out, bool *made)
{
    struct index_found found;
    index_table_find(&w->shard->table, key, &found);
    struct index_node *node = key->kinds & INDEX_EXACT  ? found.exact
                              : key->kinds & INDEX_HASH ? found.hash
                              : key->kinds & INDEX_PLUS ? found.plus
                                                        : found.share;
    if (node) {
        *out = node;
        return ERR_OK;
    }
    *made = true;
    return node_make(w, key, out);
}

/* The node of a filter, made as far as it is missing; on an error nothing is left behind. */
static enum err filter_node(struct index_writer *w, const struct index_path *path,
                            struct index_node **out)
{
    struct index_node *node = NULL;
    bool made = false;
    uint8_t kind;
    uint32_t from = 0, to, pluses = 0;
    do {
        kind = path_next_run(path, from, &to);
        pluses += kind == INDEX_PLUS;
        struct index_key key = index_path_key(w->index, path, from, to, node, kind);
        enum err err = node_find_or_make(w, &key, &node, &made);
        if (err) {
            node_prune(w, node); /* the last one that was there */
            return err;
        }
        from = to + 1;
    } while (kind == INDEX_PLUS && from < path->levels);
    *out = node;
    if (!made || pluses <= 1 || index_visits_fit(node))
        return ERR_OK;
    node_prune(w, node);
    return ERR_LIMIT;
}

static enum err share_node(struct index_writer *w, struct slice name, struct index_node **node)
{
    uint64_t hash = XXH3_64bits_withSeed(name.ptr, name.len, w->index->seed);
    struct index_key key = {
        .text = name,
        .parent = *node,
        .hash = (uint32_t)index_mix(hash ^ (uintptr_t)*node * INDEX_RADIX),
        .levels = 1,
        .kinds = INDEX_SHARE,
    };
    bool made = false;
    enum err err = node_find_or_make(w, &key, node, &made);
    if (err)
        node_prune(w, *node);
    return err;
}

/* --- the door --- */

static void shard_lock(struct index_writer *w, struct index *index, struct epoch_participant *me,
                       uint32_t hash)
{
    *w = (struct index_writer){.index = index, .shard = index_shard_of(index, hash), .me = me};
    pthread_mutex_lock(&w->shard->mutex);
}

/* What was looked up before this holds no more. */
static void shard_unlock(struct index_writer *w)
{
    atomic_fetch_add_explicit(&w->index->changes, 1, memory_order_acq_rel);
    pthread_mutex_unlock(&w->shard->mutex);
}

static enum err add_locked(struct index_writer *w, const struct index_path *path,
                           const struct topic_filter *filter, index_subscriber subscriber,
                           struct index_place *place)
{
    struct index_node *node;
    enum err err = filter_node(w, path, &node);
    if (!err && filter->is_shared)
        err = share_node(w, filter->share, &node);
    if (err)
        return err;
    err = index_list_add(w, &node->subscribers, subscriber, &place->position);
    if (err) {
        node_prune(w, node);
        return err;
    }
    place->node = node;
    place->group = filter->is_shared ? index_group_of(node)->id : 0;
    w->shard->subscriptions++;
    w->shard->shared_subscriptions += filter->is_shared;
    return ERR_OK;
}

enum err index_add(struct index *index, struct epoch_participant *me,
                   const struct topic_filter *filter, index_subscriber subscriber,
                   struct index_place *place)
{
    BUG_ON(subscriber == 0 || subscriber & INDEX_WORD_TAGGED);
    struct index_path path;
    if (!index_path_init(index, &path, filter->filter))
        return ERR_LIMIT;
    uint32_t to;
    uint8_t kind = path_next_run(&path, 0, &to);
    struct index_writer w;
    shard_lock(&w, index, me, index_path_key(index, &path, 0, to, NULL, kind).hash);
    enum err err = add_locked(&w, &path, filter, subscriber, place);
    shard_unlock(&w);
    return err;
}

static uint32_t topmost_hash(const struct index_node *node)
{
    for (const struct index_node *parent; (parent = index_node_parent(node)); node = parent)
        ;
    return index_bits_reversed(node->order);
}

void index_update(struct index *index, const struct index_place *place, index_subscriber subscriber)
{
    struct index_writer w;
    shard_lock(&w, index, NULL, topmost_hash(place->node));
    index_list_set(&place->node->subscribers, place->position, subscriber);
    shard_unlock(&w);
}

void index_remove(struct index *index, struct epoch_participant *me,
                  const struct index_place *place)
{
    struct index_writer w;
    shard_lock(&w, index, me, topmost_hash(place->node));
    index_list_remove(&w, &place->node->subscribers, place->position);
    w.shard->subscriptions--;
    w.shard->shared_subscriptions -= place->group != 0;
    node_prune(&w, place->node);
    shard_unlock(&w);
}
