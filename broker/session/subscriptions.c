/*
 * subscriptions.c: see subscriptions.h.
 *
 * The hash is open addressing with linear probing over indexes; removal shifts back, so there are no
 * tombstones. At most half full. Arrays double, and halve when a quarter is used.
 *
 *   items   [0 1 2 3 | 4 5 6 7]      a table of another size is filled a few items at a time, so that
 *            \__ in the table  \__ still in table->older       a million filters hold no reactor:
 *            items below table->moved are found in the one, the others in the other
 *
 * Each addition and removal moves MOVED_PER_STEP items, and at least half as many additions or a
 * quarter as many removals as there are items lie between two changes of size, so there is never a
 * third table.
 */
#include "session/subscriptions.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define SUBSCRIPTIONS_TABLE_FROM 16u
#define MOVED_PER_STEP 8u

struct subscriptions_table {
    struct subscriptions_table *older; /* NULL once all have moved */
    uint32_t moved;                    /* items below are in cells, the others in older's */
    uint32_t mask;
    uint32_t cells[]; /* [mask + 1] of index + 1, 0: free */
};

static struct subscriptions_table *table_new(uint32_t cap)
{
    struct subscriptions_table *table =
        mem_zalloc(sizeof(*table) + (size_t)cap * 2 * sizeof(table->cells[0]));
    if (table)
        table->mask = cap * 2 - 1;
    return table;
}

static void table_free(struct subscriptions_table *table)
{
    if (table)
        mem_free(table->older);
    mem_free(table);
}

/* The table that knows the item of this index. */
static struct subscriptions_table *table_of(struct subscriptions *subs, uint32_t index)
{
    struct subscriptions_table *table = subs->many.table;
    return table->older && index >= table->moved ? table->older : table;
}

static void table_insert(struct subscriptions_table *table, const struct subscription *items,
                         uint32_t index)
{
    uint32_t at = items[index].filter_hash & table->mask;
    while (table->cells[at])
        at = (at + 1) & table->mask;
    table->cells[at] = index + 1;
}

static uint32_t *table_cell_of(struct subscriptions_table *table, const struct subscription *items,
                               uint32_t index)
{
    uint32_t at = items[index].filter_hash & table->mask;
    while (table->cells[at] != index + 1) {
        BUG_ON(table->cells[at] == 0);
        at = (at + 1) & table->mask;
    }
    return &table->cells[at];
}

static void table_delete(struct subscriptions_table *table, const struct subscription *items,
                         uint32_t index)
{
    uint32_t mask = table->mask, *cells = table->cells;
    uint32_t hole = (uint32_t)(table_cell_of(table, items, index) - cells);
    for (uint32_t at = (hole + 1) & mask; cells[at]; at = (at + 1) & mask) {
        uint32_t home = items[cells[at] - 1].filter_hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            cells[hole] = cells[at];
            hole = at;
        }
    }
    cells[hole] = 0;
}

/* Moves some items on into the table of the present size. */
static void table_move_some(struct subscriptions *subs)
{
    struct subscriptions_table *table = subs->many.table;
    for (uint32_t i = 0; table->older && i < MOVED_PER_STEP; i++) {
        if (table->moved < subs->count) {
            table_delete(table->older, subs->many.items, table->moved);
            table_insert(table, subs->many.items, table->moved);
            table->moved++;
        } else {
            mem_free(table->older);
            table->older = NULL;
        }
    }
}

/* A table for so many items begins to replace the present one, if any. */
static bool table_replace(struct subscriptions *subs, uint32_t cap)
{
    struct subscriptions_table *table = table_new(cap);
    if (!table)
        return false;
    BUG_ON(subs->many.table && subs->many.table->older);
    table->older = subs->many.table;
    subs->many.table = table;
    if (table->older)
        return true;
    for (uint32_t i = 0; i < subs->count; i++) /* the first: 16 */
        table_insert(table, subs->many.items, i);
    return true;
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
    if (cap > SUBSCRIPTIONS_TABLE_FROM && !table_replace(subs, cap))
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
        table_insert(table_of(subs, subs->count), subs->many.items, subs->count);
    subs->count++;
    if (subs->many.table)
        table_move_some(subs);
    return ERR_OK;
}

/* *at: places probed so far, those of the older table after FIND_OLDER. */
#define FIND_OLDER 0x80000000u

static struct subscription *find_in_table(struct subscriptions *subs, uint32_t filter_hash,
                                          uint32_t *at)
{
    const struct subscriptions_table *newer = subs->many.table;
    for (;;) {
        const struct subscriptions_table *table = *at & FIND_OLDER ? newer->older : newer;
        if (!table)
            return NULL;
        uint32_t index = table->cells[(filter_hash + (*at)++) & table->mask];
        if (index && subs->many.items[index - 1].filter_hash == filter_hash)
            return &subs->many.items[index - 1];
        if (index == 0 && table != newer)
            return NULL;
        if (index == 0)
            *at = FIND_OLDER;
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
    if (!subs->is_many || cap < SUBSCRIPTIONS_TABLE_FROM || subs->count > cap / 2 ||
        subs->many.table->older)
        return;
    if (cap == SUBSCRIPTIONS_TABLE_FROM) {
        table_free(subs->many.table);
        subs->many.table = NULL;
    } else if (!table_replace(subs, cap)) {
        return;
    }
    subs->many.cap = cap;
    struct subscription *items = mem_realloc(subs->many.items, cap * sizeof(*items));
    if (items)
        subs->many.items = items;
}

/* Takes an item out of its table, and gives the last one, which takes its place, its index. */
static void table_remove(struct subscriptions *subs, uint32_t index, uint32_t last)
{
    struct subscription *items = subs->many.items;
    struct subscriptions_table *from = table_of(subs, last), *to = table_of(subs, index);
    table_delete(to, items, index);
    if (index == last)
        return;
    if (from == to) {
        *table_cell_of(from, items, last) = index + 1;
        return;
    }
    table_delete(from, items, last);
    items[index] = items[last];
    table_insert(to, items, index);
}

void subscriptions_remove(struct subscriptions *subs, struct subscription *item)
{
    struct subscription *items = subscriptions_items(subs);
    uint32_t index = (uint32_t)(item - items), last = subs->count - 1;
    bool has_table = subs->is_many && subs->many.table;
    if (has_table)
        table_remove(subs, index, last);
    if (index != last)
        items[index] = items[last];
    subs->count = last;
    if (has_table) {
        if (subs->many.table->moved > last)
            subs->many.table->moved = last;
        table_move_some(subs);
    }
    if (subs->count == 0)
        subscriptions_fini(subs);
    else
        subscriptions_shrink(subs);
}

void subscriptions_fini(struct subscriptions *subs)
{
    if (subs->is_many) {
        mem_free(subs->many.items);
        table_free(subs->many.table);
    }
    memset(subs, 0, sizeof(*subs));
}

static uint64_t table_bytes(const struct subscriptions_table *table)
{
    return table ? sizeof(*table) + ((uint64_t)table->mask + 1) * sizeof(table->cells[0]) : 0;
}

uint64_t subscriptions_bytes(const struct subscriptions *subs)
{
    if (!subs->is_many)
        return 0;
    uint64_t bytes = subs->many.cap * sizeof(struct subscription) + table_bytes(subs->many.table);
    return bytes + (subs->many.table ? table_bytes(subs->many.table->older) : 0);
}

/* Items from..to-1, and no others, are reached from where their hash begins, over places taken. */
static void check_table(const struct subscriptions_table *table, const struct subscription *items,
                        uint32_t from, uint32_t to)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i <= table->mask; i++)
        taken += table->cells[i] != 0;
    BUG_ON(taken != to - from || taken * 2 > table->mask + 1);
    for (uint32_t i = from; i < to; i++) {
        uint32_t at = items[i].filter_hash & table->mask;
        for (; table->cells[at] != i + 1; at = (at + 1) & table->mask)
            BUG_ON(table->cells[at] == 0);
    }
}

static void check_tables(const struct subscriptions *subs)
{
    const struct subscriptions_table *table = subs->many.table;
    uint32_t moved = table->older ? table->moved : subs->count;
    BUG_ON(moved > subs->count);
    check_table(table, subs->many.items, 0, moved);
    if (table->older)
        check_table(table->older, subs->many.items, moved, subs->count);
}

void subscriptions_check(const struct subscriptions *subs)
{
    if (!subs->is_many) {
        BUG_ON(subs->count > 1);
        return;
    }
    BUG_ON(subs->count == 0 || subs->count > subs->many.cap);
    if (subs->many.table)
        check_tables(subs);
    else
        BUG_ON(subs->many.cap > SUBSCRIPTIONS_TABLE_FROM);
}
