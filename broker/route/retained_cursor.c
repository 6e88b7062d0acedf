/*
 * retained_cursor.c: going through all retained messages that match a filter, a slice at a time.
 *
 * A cursor remembers the shard it is in and the last topic it looked at there, nothing that could
 * dangle. The first call of a turn seeks behind that topic; those that follow go on from the node
 * itself, which the visit knows, for nothing is freed within a turn. A node that was unlinked
 * meanwhile no longer sees what comes behind it change: then it is the topic again.
 *
 * Topics stand in byte order, not in order of levels ('!' to '.' sort before '/'):
 *
 *   filter a/b/#:   a/b     matches, the parent
 *                   a/b!    lies between: seek a/b/
 *                   a/b/c   matches
 *                   a/b0    behind everything with a/b/: end
 *   filter a/+/c:   a/x/b   seek a/x/c
 *                   a/x/d   nothing more below a/x/: seek a/x0 ('0' comes after '/')
 *
 * So from a topic that does not match follows the least one that could (judge()). Seeking costs
 * about as much as ten steps, so the cursor first steps CURSOR_STEPS times and seeks when it is not
 * there.
 *
 * Threads: a cursor belongs to one reactor; it reads shards without locks. Cost: O(log n) a turn,
 * and one count of the budget for each node looked at.
 */
#include "route/retained_private.h"

#define CURSOR_STEPS 8u
#define CURSOR_SEEK_COST 8u /* in nodes */
#define CURSOR_TOPIC_CAP 64u
#define NO_PLUS SIZE_MAX

struct retained_cursor {
    uint32_t shard;          /* among those of the store */
    bool is_one_shard;       /* both of the first levels are literal */
    bool is_inside, is_done; /* inside: `topic` is the last one looked at in this shard */
    uint32_t filter_bytes;
    uint32_t literal_bytes; /* before the first wildcard, without the slash */
    uint32_t prefix_bytes;  /* with it; 0 when there is no wildcard */
    uint32_t topic_bytes, topic_cap;
    uint8_t *topic;
    uint8_t filter[];
};

/* In a filter that was checked a wildcard is a level of its own. */
static inline bool is_wildcard_at(struct slice filter, size_t start)
{
    return start < filter.len && (filter.ptr[start] == '+' || filter.ptr[start] == '#');
}

static inline struct slice level_at(struct slice text, size_t start)
{
    const uint8_t *at = text.ptr + start;
    const uint8_t *slash = start < text.len ? memchr(at, '/', text.len - start) : NULL;
    return slice_of(at, slash ? (size_t)(slash - at) : text.len - start);
}

struct retained_cursor *retained_cursor_new(struct slice filter)
{
    struct retained_cursor *cursor = mem_zalloc(sizeof(*cursor) + filter.len);
    if (!cursor)
        return NULL;
    cursor->filter_bytes = (uint32_t)filter.len;
    memcpy(cursor->filter, filter.ptr, filter.len);
    uint32_t levels = 0;
    size_t start = 0;
    for (; start <= filter.len && !is_wildcard_at(filter, start); levels++)
        start += level_at(filter, start).len + 1;
    cursor->literal_bytes = start ? (uint32_t)start - 1 : 0;
    cursor->prefix_bytes = start <= filter.len ? (uint32_t)start : 0;
    cursor->is_one_shard = levels >= 2 || start > filter.len;
    return cursor;
}

void retained_cursor_free(struct retained_cursor *cursor)
{
    if (!cursor)
        return;
    mem_free(cursor->topic);
    mem_free(cursor);
}

/* --- judging a topic --- */

enum verdict {
    VERDICT_MATCH,
    VERDICT_STEP, /* the next one might */
    VERDICT_SEEK, /* none before the target can */
    VERDICT_END,  /* none behind it can */
};

static enum verdict seek(struct retained_target *target, struct slice a, struct slice b,
                         struct slice c)
{
    *target = (struct retained_target){.pieces = {a, b, c}};
    return VERDICT_SEEK;
}

/* Everything that begins like the topic up to a '+' is done: on behind it, or the end when there is
 * no '+'. */
static enum verdict seek_behind(struct retained_target *target, struct slice topic, size_t plus_end)
{
    if (plus_end == NO_PLUS)
        return VERDICT_END;
    return seek(target, slice_of(topic.ptr, plus_end), SLICE_LIT("0"), slice_of("", 0));
}

/* At `start` the topic has another level than the filter's literal one. */
static enum verdict judge_literal(struct slice topic, size_t start, size_t plus_end,
                                  struct slice level, bool is_last, struct retained_target *target)
{
    struct slice head = slice_of(topic.ptr, start);
    if (slice_cmp(slice_skip(topic, start), level) < 0)
        return seek(target, head, level, slice_of("", 0));
    enum verdict verdict = seek(target, head, level, SLICE_LIT("/"));
    if (!is_last && retained_is_before(topic, target))
        return verdict;
    return seek_behind(target, topic, plus_end);
}

/* Does the topic match, and if not, where might be the next that does? */
static enum verdict judge(const struct retained_cursor *cursor, struct slice topic,
                          struct retained_target *target)
{
    struct slice filter = slice_of(cursor->filter, cursor->filter_bytes);
    /* Nearly every topic that is looked at has the prefix, and need not be taken apart there. */
    struct slice prefix = slice_of(cursor->filter, cursor->prefix_bytes);
    size_t f = slice_starts_with(topic, prefix) ? prefix.len : 0, t = f, plus_end = NO_PLUS;
    if (topic.len && topic.ptr[0] == '$' && is_wildcard_at(filter, 0))
        return seek(target, SLICE_LIT("%"), slice_of("", 0), slice_of("", 0)); /* '$' + 1 */
    for (;;) {
        bool is_wildcard = is_wildcard_at(filter, f);
        if (is_wildcard && filter.ptr[f] == '#')
            return VERDICT_MATCH;
        struct slice want = is_wildcard ? slice_of(filter.ptr + f, 1) : level_at(filter, f);
        struct slice have = level_at(topic, t);
        bool is_last = f + want.len == filter.len;
        if (is_wildcard)
            plus_end = t + have.len;
        else if (!slice_eq(want, have))
            return judge_literal(topic, t, plus_end, want, is_last, target);
        f += want.len + 1;
        t += have.len + 1;
        if (t > topic.len) /* no more levels: "a/#" matches "a" too */
            return is_last || (filter.len == f + 1 && filter.ptr[f] == '#') ? VERDICT_MATCH
                                                                            : VERDICT_STEP;
        if (is_last)
            return seek_behind(target, topic, plus_end);
    }
}

/* --- walking --- */

static struct retained_shard *cursor_shard(struct retained *retained,
                                           struct retained_cursor *cursor)
{
    if (cursor->is_one_shard && !cursor->is_inside) {
        struct slice filter = slice_of(cursor->filter, cursor->filter_bytes);
        cursor->shard = (uint32_t)(retained_shard_of(retained, filter) - retained->shards);
    }
    return &retained->shards[cursor->shard];
}

/* Where this call begins: behind the last topic, or at the first that can match. */
static struct retained_node *cursor_begin(struct retained_shard *shard,
                                          const struct retained_cursor *cursor,
                                          const struct retained_visit *visit)
{
    struct retained_target target = {.pieces = {slice_of(cursor->filter, cursor->literal_bytes)}};
    if (cursor->is_inside) {
        if (visit->cursor == cursor &&
            !atomic_load_explicit(&visit->node->is_gone, memory_order_acquire))
            return retained_link(visit->node->next);
        target.pieces[0] = slice_of(cursor->topic, cursor->topic_bytes);
        target.is_after = true;
    }
    return retained_seek(shard, &target);
}

/* Remembers the node as looked at. False when there is no memory for its topic. */
static bool cursor_remember(struct retained_cursor *cursor, struct retained_visit *visit,
                            struct retained_node *node)
{
    if (node->topic_bytes > cursor->topic_cap) {
        uint32_t cap =
            node->topic_bytes < CURSOR_TOPIC_CAP ? CURSOR_TOPIC_CAP : node->topic_bytes * 2u;
        uint8_t *grown = mem_realloc(cursor->topic, cap);
        if (!grown)
            return false;
        cursor->topic = grown;
        cursor->topic_cap = cap;
    }
    struct slice topic = retained_node_topic(node);
    memcpy(cursor->topic, topic.ptr, topic.len);
    cursor->topic_bytes = (uint32_t)topic.len;
    cursor->is_inside = true;
    visit->cursor = cursor;
    visit->node = node;
    return true;
}

static void budget_spend(uint32_t *budget, uint32_t cost)
{
    *budget -= *budget < cost ? *budget : cost;
}

/* From a node on to the target: some steps, then a leap. */
static struct retained_node *cursor_leap(struct retained_shard *shard, struct retained_node *node,
                                         const struct retained_target *target, uint32_t *budget)
{
    for (uint32_t i = 0; i < CURSOR_STEPS; i++) {
        node = retained_link(node->next);
        if (!node || !retained_is_before(retained_node_topic(node), target))
            return node;
        budget_spend(budget, 1);
    }
    budget_spend(budget, CURSOR_SEEK_COST);
    return retained_seek(shard, target);
}

/* The next match in this shard: the node; its message, or NULL, at the end of the shard or of
 * the budget. The node last looked at is *seen. */
static struct message *shard_next(struct retained_shard *shard,
                                  const struct retained_cursor *cursor,
                                  struct retained_visit *visit, struct retained_node **seen,
                                  bool *is_end)
{
    struct retained_node *node = cursor_begin(shard, cursor, visit);
    *seen = NULL;
    while (node && visit->nodes > 0) {
        struct retained_target target;
        enum verdict verdict = judge(cursor, retained_node_topic(node), &target);
        if (verdict == VERDICT_END)
            break;
        budget_spend(&visit->nodes, 1);
        *seen = node;
        struct message *message = retained_node_message(node);
        if (verdict == VERDICT_MATCH &&
            !retained_is_expired(message->expires_tick, visit->now_tick))
            return message;
        node = verdict == VERDICT_SEEK ? cursor_leap(shard, node, &target, &visit->nodes)
                                       : retained_link(node->next);
    }
    *is_end = !node || visit->nodes > 0;
    return NULL;
}

static void cursor_leave_shard(struct retained *retained, struct retained_cursor *cursor)
{
    cursor->is_inside = false;
    cursor->is_done = cursor->is_one_shard || ++cursor->shard == retained->shard_count;
}

enum retained_step retained_cursor_next(struct retained *retained, struct retained_cursor *cursor,
                                        struct retained_visit *visit, struct message **message)
{
    while (!cursor->is_done) {
        struct retained_node *seen;
        bool is_end = false;
        if (visit->nodes == 0)
            return RETAINED_AGAIN;
        struct message *found =
            shard_next(cursor_shard(retained, cursor), cursor, visit, &seen, &is_end);
        if (!is_end && seen && !cursor_remember(cursor, visit, seen)) {
            visit->nodes = 0; /* no memory: the same slice again, later */
            return RETAINED_AGAIN;
        }
        if (found) {
            *message = message_ref(found);
            return RETAINED_MESSAGE;
        }
        if (is_end) {
            budget_spend(&visit->nodes, 1);
            cursor_leave_shard(retained, cursor);
        }
    }
    return RETAINED_END;
}
