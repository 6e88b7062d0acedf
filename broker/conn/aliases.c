/*
 * aliases.c: see aliases.h. Arrays of copied topics; outgoing ones are found by hash in a linear
 * scan, which is the quickest for the usual 10 and takes a microsecond for 1,000: who sets
 * max_topic_alias_broker to 65,535 pays for it. First come, first served: a topic keeps its alias.
 */
#include "conn/aliases.h"

#include "base/hash.h"
#include "base/mem.h"

struct alias {
    uint64_t hash;
    uint32_t len;
    uint8_t *topic; /* owned; NULL: free */
};

struct alias_side {
    struct alias *items; /* [cap] */
    uint32_t cap, used;
};

struct aliases {
    struct alias_side in, out;
};

static void side_free(struct alias_side *side)
{
    for (uint32_t i = 0; i < side->cap; i++)
        mem_free(side->items[i].topic);
    mem_free(side->items);
}

void aliases_free(struct aliases *aliases)
{
    if (!aliases)
        return;
    side_free(&aliases->in);
    side_free(&aliases->out);
    mem_free(aliases);
}

static struct aliases *aliases_get(struct aliases **aliases)
{
    if (!*aliases)
        *aliases = mem_zalloc(sizeof(**aliases));
    return *aliases;
}

/* Room for index `at`, grown by doubling up to max. */
static bool side_make_room(struct alias_side *side, uint32_t at, uint32_t max)
{
    if (at < side->cap)
        return true;
    uint32_t cap = side->cap ? side->cap : 4;
    while (cap <= at)
        cap *= 2;
    if (cap > max)
        cap = max;
    struct alias *items = mem_realloc(side->items, cap * sizeof(*items));
    if (!items)
        return false;
    memset(items + side->cap, 0, (cap - side->cap) * sizeof(*items));
    side->items = items;
    side->cap = cap;
    return true;
}

static bool alias_set(struct alias *alias, struct slice topic)
{
    uint8_t *copy = mem_alloc(topic.len ? topic.len : 1);
    if (!copy)
        return false;
    memcpy(copy, topic.ptr, topic.len);
    mem_free(alias->topic);
    *alias = (struct alias){.hash = hash_bytes(topic), .len = (uint32_t)topic.len, .topic = copy};
    return true;
}

enum err aliases_set_in(struct aliases **aliases, uint16_t alias, uint16_t max, struct slice topic)
{
    struct aliases *all = aliases_get(aliases);
    if (!all || !side_make_room(&all->in, alias - 1u, max) ||
        !alias_set(&all->in.items[alias - 1], topic))
        return ERR_NOMEM;
    return ERR_OK;
}

bool aliases_get_in(const struct aliases *aliases, uint16_t alias, struct slice *topic)
{
    if (!aliases || alias > aliases->in.cap || !aliases->in.items[alias - 1].topic)
        return false;
    *topic = slice_of(aliases->in.items[alias - 1].topic, aliases->in.items[alias - 1].len);
    return true;
}

uint16_t aliases_out(struct aliases **aliases, uint16_t max, struct slice topic, bool *is_known)
{
    struct aliases *all = aliases_get(aliases);
    *is_known = false;
    if (!all)
        return 0;
    struct alias_side *out = &all->out;
    uint64_t hash = hash_bytes(topic);
    for (uint32_t i = 0; i < out->used; i++) {
        struct alias *alias = &out->items[i];
        if (alias->hash == hash && slice_eq(slice_of(alias->topic, alias->len), topic)) {
            *is_known = true;
            return (uint16_t)(i + 1);
        }
    }
    if (out->used == max || !side_make_room(out, out->used, max) ||
        !alias_set(&out->items[out->used], topic))
        return 0;
    return (uint16_t)++out->used;
}

void aliases_out_undo(struct aliases *aliases)
{
    aliases->out.used--;
}
