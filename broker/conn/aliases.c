/*
 * aliases.c: see aliases.h. Arrays of copied topics, by alias; outgoing ones are found by their hash
 * in an open-addressing table of aliases that is at most half full. First come, first served: a topic
 * keeps its alias.
 *
 * Cost: O(1), but for the message that makes a side grow: 4.4 ms for the last doubling, to 65,535.
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
    uint16_t *places; /* [mask + 1], outgoing only: aliases by hash; 0: free */
    uint32_t mask;
};

struct aliases {
    struct alias_side in, out;
};

static void side_free(struct alias_side *side)
{
    for (uint32_t i = 0; i < side->cap; i++)
        mem_free(side->items[i].topic);
    mem_free(side->items);
    mem_free(side->places);
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

/* Where the alias of a topic is, or would be. */
static uint16_t *side_find(struct alias_side *side, uint64_t hash, struct slice topic)
{
    for (uint32_t at = (uint32_t)hash & side->mask;; at = (at + 1) & side->mask) {
        uint16_t *place = &side->places[at];
        if (!*place)
            return place;
        const struct alias *alias = &side->items[*place - 1];
        if (alias->hash == hash && slice_eq(slice_of(alias->topic, alias->len), topic))
            return place;
    }
}

/* Room for one alias more, and for all of them twice in the table. */
static bool out_make_room(struct alias_side *out, uint32_t max)
{
    if (!side_make_room(out, out->used, max))
        return false;
    uint32_t mask = out->mask ? out->mask : 7;
    while (mask < 2 * out->cap)
        mask = 2 * mask + 1;
    if (mask == out->mask)
        return true;
    uint16_t *places = mem_zalloc((mask + 1) * sizeof(*places));
    if (!places)
        return false;
    mem_free(out->places);
    out->places = places;
    out->mask = mask;
    for (uint32_t i = 0; i < out->used; i++) {
        uint32_t at = (uint32_t)out->items[i].hash & mask;
        while (places[at])
            at = (at + 1) & mask;
        places[at] = (uint16_t)(i + 1);
    }
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
    uint16_t known = out->places ? *side_find(out, hash, topic) : 0;
    *is_known = known != 0;
    if (known)
        return known;
    if (out->used == max || !out_make_room(out, max) || !alias_set(&out->items[out->used], topic))
        return 0;
    out->used++;
    return *side_find(out, hash, topic) = (uint16_t)out->used;
}

void aliases_out_undo(struct aliases *aliases)
{
    struct alias_side *out = &aliases->out;
    const struct alias *last = &out->items[out->used - 1];
    /* Nothing came behind it, so no other's way leads over its place. */
    *side_find(out, last->hash, slice_of(last->topic, last->len)) = 0;
    out->used--;
}
