/*
 * table.h: an intrusive hash table that grows a bucket at a time.
 *
 *   buckets in use: 6                 0     1   | 2     3     4     5
 *                                     split already       not yet: hash & 3
 *
 * Linear hashing: each node added splits one bucket into two, so no call moves more than a chain,
 * however many nodes there are. Adding cannot fail: without memory for more buckets the chains get
 * longer. The first few buckets stand in the table itself. Bits of the hash must be as good as
 * random; nodes with the same hash stand together.
 *
 * Owner: whoever has the table; no threads. Cost: O(1); 16 bytes a node and 8 to 16 for its bucket.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define TABLE_FEW 4u

struct table_node {
    struct table_node *next;
    uint32_t hash;
};

/* All zero is an empty table. */
struct table {
    struct table_node **many; /* NULL: `few` are enough */
    uint32_t cap;             /* of `many` */
    uint32_t used;            /* buckets in use; 0 means 1 */
    uint32_t count;           /* nodes */
    struct table_node *few[TABLE_FEW];
};

/* One less than the power of two that is next at or above `used`: who is beyond the end is still
   where half of that says. */
static inline uint32_t table_mask(const struct table *table)
{
    return table->used > 1 ? (1u << (32 - __builtin_clz(table->used - 1))) - 1 : 0;
}

static inline struct table_node **table_bucket(struct table *table, uint32_t hash)
{
    uint32_t mask = table_mask(table), at = hash & mask;
    if (at && at >= table->used)
        at &= mask >> 1;
    return &(table->many ? table->many : table->few)[at];
}

static inline bool table_reserve(struct table *table)
{
    uint32_t cap = table->many ? table->cap : TABLE_FEW;
    if (table->used < cap)
        return true;
    struct table_node **many = mem_realloc(table->many, 2 * cap * sizeof(struct table_node *));
    if (!many)
        return false;
    if (!table->many)
        memcpy(many, table->few, sizeof(table->few));
    table->many = many;
    table->cap = 2 * cap;
    return true;
}

/* One bucket more: takes over from the one that had its nodes as well. */
static inline void table_split(struct table *table)
{
    table->used += table->used == 0;
    if (!table_reserve(table))
        return;
    struct table_node **buckets = table->many ? table->many : table->few;
    uint32_t fresh = table->used++, mask = table_mask(table);
    struct table_node **from = &buckets[fresh & (mask >> 1)], **to = &buckets[fresh];
    while (*from) {
        struct table_node *node = *from;
        if ((node->hash & mask) == fresh) {
            *from = node->next;
            *to = node;
            to = &node->next;
        } else {
            from = &node->next;
        }
    }
    *to = NULL;
}

static inline void table_add(struct table *table, struct table_node *node, uint32_t hash)
{
    if (++table->count > table->used)
        table_split(table);
    struct table_node **bucket = table_bucket(table, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
}

static inline struct table_node *table_skip_others(struct table_node *node, uint32_t hash)
{
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

/* The first node with this hash, and the next one; NULL: there is none. */
static inline struct table_node *table_find(struct table *table, uint32_t hash)
{
    return table->count ? table_skip_others(*table_bucket(table, hash), hash) : NULL;
}

static inline struct table_node *table_find_next(struct table_node *node)
{
    return table_skip_others(node->next, node->hash);
}

/* The node must be there. */
static inline void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **at = table_bucket(table, node->hash);
    while (*at != node) {
        BUG_ON(!*at);
        at = &(*at)->next;
    }
    *at = node->next;
    table->count--;
}

/* Frees the buckets; the nodes are somebody else's. It is empty then. */
static inline void table_fini(struct table *table)
{
    mem_free(table->many);
    memset(table, 0, sizeof(*table));
}

/* Ends the program when an invariant is broken. */
static inline void table_check(struct table *table)
{
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < table->used; i++) {
        struct table_node **bucket = &(table->many ? table->many : table->few)[i];
        for (const struct table_node *node = *bucket; node; node = node->next, nodes++)
            BUG_ON(table_bucket(table, node->hash) != bucket);
    }
    BUG_ON(nodes != table->count);
}

#endif
