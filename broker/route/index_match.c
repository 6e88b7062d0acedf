/*
 * index_match.c: who gets a message with this topic.
 *
 *   topic a/b/c, filters that exist:      exact   hash at depth 1   plus at depth 1
 *   look-ups:   "a/b/c" {exact}           "a" {hash, plus}     and no others: no filter branches
 * off below each plus node that was found: the same again with the rest of the topic, "c"
 *
 * All runs of levels are hashed from one sum per level, so a look-up costs its two cache misses and
 * little else; those of the topmost look-ups are taken together by prefetching. The walk keeps one
 * frame per plus node on the way down: at most one per level of the topic.
 *
 * Threads: any participant of the epoch domain, no locks, nothing written but `matches` and the
 * reactor's own cursors of share groups. Cost: see docs/decisions/0001-prefix-index.md; for
 * a topic of n levels less than 330 * n look-ups, whatever has been subscribed.
 */
#include "route/index_private.h"
#include "route/index_recent.h"

#define MATCHES_CAP_FIRST 64u

/* One match on its way. */
struct index_walk {
    struct index *index;
    struct index_path path;
    const struct index_query *query;
    struct index_matches *matches;
    enum err err;
    uint32_t looked_up;
    bool has_groups; /* one at least: chooses anew each time */
};

/* A plus node whose '+' took level - 1 of the topic; depths below `depth` are done. */
struct index_frame {
    const struct index_node *node;
    const struct index_shard *shard;
    uint32_t level, depth;
};

void index_matches_fini(struct index_matches *matches)
{
    mem_free(matches->items);
    *matches = (struct index_matches){0};
}

enum err index_matches_reserve(struct index_matches *matches, uint32_t count)
{
    if (matches->cap - matches->count >= count)
        return ERR_OK;
    uint32_t cap = matches->cap ? matches->cap : MATCHES_CAP_FIRST;
    while (cap - matches->count < count)
        cap *= 2;
    struct index_match *items = mem_realloc(matches->items, cap * sizeof(*items));
    if (!items)
        return ERR_NOMEM;
    matches->items = items;
    matches->cap = cap;
    return ERR_OK;
}

static void walk_take_group(struct index_walk *walk, struct index_group *group)
{
    struct index_matches *matches = walk->matches;
    if (index_matches_reserve(matches, 1)) {
        walk->err = ERR_NOMEM;
        return;
    }
    struct index_match *match = &matches->items[matches->count];
    if (index_group_pick(walk->index, group, walk->path.text, walk->query, match)) {
        matches->count++;
        matches->lists++;
    } else {
        matches->dropped_groups++;
    }
}

/* The filter of this node matches. */
static void walk_take(struct index_walk *walk, const struct index_node *node)
{
    if (!node)
        return;
    uint32_t before = walk->matches->count;
    if (index_list_collect(index_node_word(node), walk->matches))
        walk->err = ERR_NOMEM;
    walk->matches->lists += walk->matches->count > before;
    struct index_group *group = atomic_load_explicit(&node->groups, memory_order_acquire);
    if (UNLIKELY(walk->query->levels_min))
        return;
    walk->has_groups |= group != NULL;
    for (; UNLIKELY(group != NULL);
         group = atomic_load_explicit(&group->sibling, memory_order_acquire)) {
        walk_take_group(walk, group);
        walk->looked_up++;
    }
}

static inline uint8_t depth_kinds(const struct index_depth *depth)
{
    uint8_t kinds = 0;
    if (atomic_load_explicit(&depth->hash, memory_order_acquire))
        kinds |= INDEX_HASH;
    if (atomic_load_explicit(&depth->plus, memory_order_acquire))
        kinds |= INDEX_PLUS;
    return kinds;
}

/* What may exist at frame->depth, having skipped to it; false when there is nothing more. */
static bool frame_next_kinds(struct index_frame *frame, uint32_t left, uint8_t *kinds)
{
    const struct index_branch *branch = index_branch_of(frame->node);
    const struct index_depths *depths = atomic_load_explicit(&branch->depths, memory_order_acquire);
    uint32_t count = depths ? depths->count : 0;
    for (; frame->depth <= left; frame->depth++) {
        if (frame->depth >= count)
            frame->depth = left;
        *kinds = frame->depth < count ? depth_kinds(&depths->at[frame->depth]) : 0;
        if (frame->depth == left) {
            *kinds &= (uint8_t)~INDEX_PLUS;
            if (left && atomic_load_explicit(&branch->exact, memory_order_acquire))
                *kinds |= INDEX_EXACT;
        }
        if (*kinds)
            return true;
    }
    return false;
}

/* Takes what matches below a plus node up to the next plus child, which becomes *child. */
static bool frame_advance(struct index_walk *walk, struct index_frame *frame,
                          struct index_frame *child)
{
    const struct index_path *path = &walk->path;
    uint8_t kinds;
    while (frame_next_kinds(frame, path->levels - frame->level, &kinds)) {
        uint32_t to = frame->level + frame->depth++;
        struct index_key key =
            index_path_key(walk->index, path, frame->level, to, frame->node, kinds);
        struct index_found found;
        index_table_find(&frame->shard->table, &key, &found);
        walk->looked_up++;
        walk_take(walk, found.exact);
        walk_take(walk, found.hash);
        if (found.plus) {
            *child = (struct index_frame){found.plus, frame->shard, to + 1, 0};
            return true;
        }
    }
    return false;
}

/* All that matches at and below a plus node whose '+' takes `level` of the topic. */
static void walk_branch(struct index_walk *walk, const struct index_shard *shard,
                        const struct index_node *plus, uint32_t level)
{
    struct index_frame frames[TOPIC_LEVELS_MAX + 1];
    uint32_t top = 0;
    frames[0] = (struct index_frame){plus, shard, level + 1, 0};
    if (frames[0].level == walk->path.levels)
        walk_take(walk, plus);
    for (;;) {
        if (frame_advance(walk, &frames[top], &frames[top + 1])) {
            top++;
            if (frames[top].level == walk->path.levels)
                walk_take(walk, frames[top].node);
        } else if (top-- == 0) {
            return;
        }
    }
}

/* The look-ups at the top, as keys: the whole topic first, then each depth that is in use. */
static uint32_t walk_top_keys(const struct index_walk *walk, struct index_key *keys)
{
    const struct index_path *path = &walk->path;
    const struct index_depth *depths = walk->index->depths;
    uint32_t count = 0;
    uint8_t kinds = INDEX_EXACT | (depth_kinds(&depths[path->levels]) & INDEX_HASH);
    keys[count++] = index_path_key(walk->index, path, 0, path->levels, NULL, kinds);
    /* A wildcard in the first level does not match "$..." [MQTT-4.7.2-1]. */
    uint32_t first = path->text.len && path->text.ptr[0] == '$';
    if (first < walk->query->levels_min)
        first = walk->query->levels_min;
    for (uint32_t i = first; i < path->levels; i++) {
        kinds = depth_kinds(&depths[i]);
        if (kinds)
            keys[count++] = index_path_key(walk->index, path, 0, i, NULL, kinds);
    }
    return count;
}

/* Fetches buckets, then the first nodes, of all look-ups at once: their misses overlap. */
static void walk_prefetch(const struct index_walk *walk, const struct index_key *keys,
                          uint32_t count)
{
    const _Atomic uint64_t *buckets[TOPIC_LEVELS_MAX + 1];
    for (uint32_t i = 0; i < count; i++) {
        const struct index_shard *shard = index_shard_of(walk->index, keys[i].hash);
        buckets[i] = index_table_bucket(&shard->table, keys[i].hash);
        __builtin_prefetch((const void *)buckets[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t link = atomic_load_explicit(buckets[i], memory_order_acquire);
        __builtin_prefetch((const void *)(uintptr_t)link);
    }
}

/* Everything from the top; false: the topic has too many levels. */
static bool walk_topic(struct index_walk *walk, struct slice topic)
{
    struct index_key keys[TOPIC_LEVELS_MAX + 1];
    if (!index_path_init(walk->index, &walk->path, topic))
        return false;
    uint32_t count = walk_top_keys(walk, keys);
    if (count > 1)
        walk_prefetch(walk, keys, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct index_shard *shard = index_shard_of(walk->index, keys[i].hash);
        struct index_found found;
        index_table_find(&shard->table, &keys[i], &found);
        walk_take(walk, found.exact);
        walk_take(walk, found.hash);
        if (found.plus)
            walk_branch(walk, shard, found.plus, keys[i].levels);
    }
    walk->looked_up += count;
    return true;
}

__attribute__((noinline)) static enum err match_anew(struct index *index, struct slice topic,
                                                     const struct index_query *query,
                                                     struct index_matches *matches,
                                                     const struct index_recent_key *recent)
{
    struct index_walk walk; /* not as a compound: that would clear all of its path, 2.4 KB */
    walk.index = index;
    walk.query = query;
    walk.matches = matches;
    walk.err = ERR_OK;
    walk.looked_up = 0;
    walk.has_groups = false;
    if (!walk_topic(&walk, topic))
        return ERR_LIMIT;
    matches->looked_up = walk.looked_up;
    if (recent && !walk.err && !walk.has_groups)
        index_recent_put(recent, topic, matches);
    return walk.err;
}

enum err index_match(struct index *index, struct slice topic, const struct index_query *query,
                     struct index_matches *matches)
{
    struct index_recent_key key;
    matches->count = matches->lists = matches->dropped_groups = matches->looked_up = 0;
    if (!query->recent || query->levels_min)
        return match_anew(index, topic, query, matches, NULL);
    if (index_recent_get(query->recent, index, topic, matches, &key))
        return ERR_OK;
    return match_anew(index, topic, query, matches, &key);
}
