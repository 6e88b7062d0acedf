/*
 * subscriptions.c: see subscriptions.h. The hash is open addressing with linear probing over
 * indexes; removal shifts back, so there are no tombstones. At most half full. Arrays double, and
 * halve when a quarter is used.
 */
#include "session/subscriptions.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define SUBSCRIPTIONS_TABLE_FROM 16u

static uint32_t mask_of(const struct subscriptions *subs)
{
    return subs->many.cap * 2 - 1;
}

static void table_insert(struct subscriptions *subs, uint32_t index)
{
    uint32_t at = subs->many.items[index].filter_hash & mask_of(subs);
    while (subs->many.table[at])
        at = (at + 1) & mask_of(subs);
    subs->many.table[at] = index + 1;
}

static bool table_build(struct subscriptions *subs, uint32_t cap)
{
    uint32_t *table = mem_zalloc(cap * 2 * sizeof(*table));
    if (!table)
        return false;
    mem_free(subs->many.table);
    subs->many.table = table;
    subs->many.cap = cap;
    for (uint32_t i = 0; i < subs->count; i++)
        table_insert(subs, i);
    return true;
}

static uint32_t table_place_of(struct subscriptions *subs, uint32_t index)
{
    uint32_t at = subs->many.items[index].filter_hash & mask_of(subs);
    while (subs->many.table[at] != index + 1) {
        BUG_ON(subs->many.table[at] == 0);
        at = (at + 1) & mask_of(subs);
    }
    return at;
}

static void table_delete_at(struct subscriptions *subs, uint32_t hole)
{
    uint32_t mask = mask_of(subs), *table = subs->many.table;
    for (uint32_t at = (hole + 1) & mask; table[at]; at = (at + 1) & mask) {
        uint32_t home = subs->many.items[table[at] - 1].filter_hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            table[hole] = table[at];
            hole = at;
        }
    }
    table[hole] = 0;
}

static enum err subscriptions_make_room(struct subscriptions *subs)
{
    if (!subs->is_many) {
        struct subscription *items = mem_alloc(4 * sizeof(*items));
        if (!items)
            return ERR_NOMEM;
        items[0] = subs->one;
        subs->many.items = items;
        subs->many.table = NULL;
        subs->many.cap = 4;
        subs->is_many = true;
        return ERR_OK;
    }
    if (subs->count < subs->many.cap)
        return ERR_OK;
    uint32_t cap = subs->many.cap * 2;
    struct subscription *items = mem_realloc(subs->many.items, cap * sizeof(*items));
    if (!items)
        return ERR_NOMEM;
    subs->many.items = items;
    if (cap > SUBSCRIPTIONS_TABLE_FROM && !table_build(subs, cap))
        return ERR_NOMEM;
    subs->many.cap = cap;
    return ERR_OK;
}

enum err subscriptions_add(struct subscriptions *subs, const struct subscription *item)
{
    if (subs->count == 0 && !subs->is_many) {
        subs->one = *item;
        subs->count = 1;
        return ERR_OK;
    }
    enum err err = subscriptions_make_room(subs);
    if (err)
        return err;
    subs->many.items[subs->count] = *item;
    if (subs->many.table)
        table_insert(subs, subs->count);
    subs->count++;
    return ERR_OK;
}

static struct subscription *find_in_table(struct subscriptions *subs, uint32_t filter_hash,
                                          uint32_t *at)
{
    /* *at: places probed so far */
    for (;;) {
        uint32_t index = subs->many.table[(filter_hash + (*at)++) & mask_of(subs)];
        if (index == 0)
            return NULL;
        if (subs->many.items[index - 1].filter_hash == filter_hash)
            return &subs->many.items[index - 1];
    }
}

struct subscription *subscriptions_find(struct subscriptions *subs, uint32_t filter_hash,
                                        uint32_t *at)
{
    if (subs->is_many && subs->many.table)
        return find_in_table(subs, filter_hash, at);
    struct subscription *items = subscriptions_items(subs);
    while (*at < subs->count) {
        struct subscription *item = &items[(*at)++];
        if (item->filter_hash == filter_hash)
            return item;
    }
    return NULL;
}

/* Three quarters free: gives half of the memory back, if there is any to do it with. */
static void subscriptions_shrink(struct subscriptions *subs)
{
    uint32_t cap = subs->many.cap / 2;
    if (!subs->is_many || cap < SUBSCRIPTIONS_TABLE_FROM || subs->count > cap / 2)
        return;
    if (cap == SUBSCRIPTIONS_TABLE_FROM) {
        mem_free(subs->many.table);
        subs->many.table = NULL;
    } else if (!table_build(subs, cap)) {
        return;
    }
    subs->many.cap = cap;
    struct subscription *items = mem_realloc(subs->many.items, cap * sizeof(*items));
    if (items)
        subs->many.items = items;
}

void subscriptions_remove(struct subscriptions *subs, struct subscription *item)
{
    struct subscription *items = subscriptions_items(subs);
    uint32_t index = (uint32_t)(item - items), last = subs->count - 1;
    bool has_table = subs->is_many && subs->many.table;
    if (has_table) {
        table_delete_at(subs, table_place_of(subs, index));
        if (index != last)
            subs->many.table[table_place_of(subs, last)] = index + 1;
    }
    if (index != last)
        items[index] = items[last];
    subs->count = last;
    if (subs->count == 0)
        subscriptions_fini(subs);
    else
        subscriptions_shrink(subs);
}

void subscriptions_fini(struct subscriptions *subs)
{
    if (subs->is_many) {
        mem_free(subs->many.items);
        mem_free(subs->many.table);
    }
    memset(subs, 0, sizeof(*subs));
}

uint64_t subscriptions_bytes(const struct subscriptions *subs)
{
    if (!subs->is_many)
        return 0;
    uint64_t table = subs->many.table ? ((uint64_t)mask_of(subs) + 1) * sizeof(uint32_t) : 0;
    return subs->many.cap * sizeof(struct subscription) + table;
}

/* Every item is reached from where its hash begins, over places that are taken. */
static void check_table(const struct subscriptions *subs)
{
    uint32_t mask = mask_of(subs), taken = 0;
    for (uint32_t i = 0; i <= mask; i++) {
        BUG_ON(subs->many.table[i] > subs->count);
        taken += subs->many.table[i] != 0;
    }
    BUG_ON(taken != subs->count || taken * 2 > mask + 1);
    for (uint32_t i = 0; i < subs->count; i++) {
        uint32_t at = subs->many.items[i].filter_hash & mask;
        for (; subs->many.table[at] != i + 1; at = (at + 1) & mask)
            BUG_ON(subs->many.table[at] == 0);
    }
}

void subscriptions_check(const struct subscriptions *subs)
{
    if (!subs->is_many) {
        BUG_ON(subs->count > 1);
        return;
    }
    BUG_ON(subs->count == 0 || subs->count > subs->many.cap);
    if (subs->many.table)
        check_table(subs);
    else
        BUG_ON(subs->many.cap > SUBSCRIPTIONS_TABLE_FROM);
}
