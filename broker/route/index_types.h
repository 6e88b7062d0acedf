/*
 * index_types.h: how the index is laid out. Only index*.c includes it, through index_private.h.
 *
 * A filter is cut at its '+' into runs of literal levels. Each run, with what follows it, is one
 * node; all nodes of a shard stand in one hash table, keyed by (the '+' before it, the run):
 *
 *   fleet/7/temp        [exact "fleet/7/temp"]
 *   fleet/7/#           [hash  "fleet/7"]
 *   fleet/+/temp        [plus  "fleet"] <---- [exact "temp"]           arrows: parent
 *   fleet/+/a/+/b/#     [plus  "fleet"] <---- [plus "a"] <---- [hash "b"]
 *   +/7/temp            [plus  ""     ] <---- [exact "7/temp"]
 *   $share/g/fleet/#    [hash  "fleet"] <---- [share "g"]
 *
 * A node without parent picks its shard by its hash; all below it are in the same shard, so one
 * mutex guards a whole branch. `depths` of a plus node, and of the index for nodes without parent,
 * count at which lengths of run a hash or plus node exists, so that a match looks for nothing else.
 */
#ifndef ROUTE_INDEX_TYPES_H
#define ROUTE_INDEX_TYPES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "route/index.h"

/* Look-ups that one plus node without parent may cost a publish, beside one for each level below
 * it; see index_visits_fit(). */
#define INDEX_VISITS_SPARE 128u

#define INDEX_EXACT 0x01u    /* the filter ends after the run */
#define INDEX_HASH 0x02u     /* the run, then '#' */
#define INDEX_PLUS 0x04u     /* the run, then '+'; more may follow */
#define INDEX_SHARE 0x08u    /* a share group of the parent's filter; the key is its name */
#define INDEX_KINDS 0x0Fu    /* mask */
#define INDEX_NESTED 0x10u   /* has a parent: a struct index_nested around it at least */
#define INDEX_NO_LEVEL 0x20u /* the run has no level; one empty level has an empty key too */

struct index_node {
    _Atomic uint64_t next;        /* in its hash table: INDEX_LINK_* */
    _Atomic uint64_t subscribers; /* 0, one subscriber, or INDEX_WORD_TAGGED | pointer */
    struct index_group *_Atomic groups;
    uint32_t order; /* its hash with the bits reversed: place in the table's list */
    uint16_t key_bytes;
    uint8_t kind; /* one of the four, and flags */
    uint8_t key[];
};

struct index_nested {
    struct index_node *parent;
    struct index_node node;
};

/* How many hash and plus nodes begin with a run of so many levels. */
struct index_depth {
    _Atomic uint32_t hash, plus;
    uint32_t visits; /* at least what the heaviest plus node costs; written under the mutex */
};

struct index_depths {
    struct epoch_item item;
    uint32_t count;
    struct index_depth at[];
};

/* Around a plus node. */
struct index_branch {
    struct index_depths *_Atomic depths; /* NULL while there are exact children only */
    _Atomic uint32_t exact;              /* exact children */
    uint32_t children;                   /* of all kinds, share groups left out */
    struct index_nested nested;
};

/* Around a share node. */
struct index_group {
    struct index_group *_Atomic sibling; /* the next group of the same filter */
    struct index_group *previous;        /* writers only */
    uint32_t id;
    struct index_nested nested;
};

/* subscribers: INDEX_WORD_TAGGED, an address, and in its low bits what is there. */
#define INDEX_WORD_TAGGED (1ull << 63)
#define INDEX_WORD_CHUNK 0u
#define INDEX_WORD_LIST 1u
#define INDEX_WORD_LIMBO 2u /* of an unlinked node: the next in limbo; reads as empty */

static inline uint32_t index_word_kind(uint64_t word)
{
    return (uint32_t)word & 3u;
}

static inline void *index_word_ptr(uint64_t word)
{
    return (void *)(uintptr_t)(word & ~(INDEX_WORD_TAGGED | 3u));
}

#define INDEX_CHUNK_PLACES 64u

/* Up to 64 subscribers whose places never move. */
struct index_chunk {
    union {
        struct epoch_item item; /* once unlinked */
        struct {
            struct index_chunk *room_next, *room_previous;
        };
    };
    uint32_t number; /* in the directory */
    uint32_t cap;    /* 4 to 64; below 64 only while it is the only one */
    _Atomic uint64_t used;
    _Atomic uint64_t words[];
};

struct index_directory {
    struct epoch_item item;
    uint32_t cap;
    _Atomic uint32_t end; /* chunks from here on are NULL */
    struct index_chunk *_Atomic chunks[];
};

/* More than 64 subscribers of one filter. */
struct index_list {
    struct epoch_item item;
    struct index_directory *_Atomic directory;
    struct index_chunk *room; /* chunks with a free place */
    uint32_t count;
    uint32_t hole; /* no directory entry below this is NULL */
};

#define INDEX_SEGMENTS_MAX 28u
#define INDEX_SEGMENT_FIRST \
    16u /* buckets of segments 0 and 1; each later one is twice the last \
         */

/* index_table.c says how it works. */
struct index_table {
    _Atomic uint64_t state; /* buckets; in the upper half how often their number has changed */
    uint32_t nodes;
    uint32_t peak; /* the most buckets since index_table_trim_begin() */
    _Atomic uint64_t *_Atomic segments[INDEX_SEGMENTS_MAX];
};

/* Unlinked nodes on their way to be freed, without allocating anything. */
struct index_limbo {
    struct epoch_item item;
    struct epoch_participant *me;           /* whose queue the item is in; NULL: in none */
    struct index_node *gathering, *waiting; /* linked through `subscribers` */
};

struct index_shard {
    _Alignas(64) struct index_table table; /* what readers read */
    _Alignas(64) pthread_mutex_t mutex;
    struct index *index;
    struct index_limbo limbo;
    uint64_t subscriptions, shared_subscriptions, nodes, bytes;
};

#define INDEX_GROUP_CHUNKS_MAX 4096u

/* index_share.c says how it works. */
struct index_group_table {
    pthread_mutex_t mutex;
    uint32_t end;                               /* numbers ever used are below */
    uint32_t free_first, free_last, free_count; /* oldest first */
    struct index_group_chunk *_Atomic chunks[INDEX_GROUP_CHUNKS_MAX];
};

#define INDEX_SKETCH_CELLS 1024u
#define INDEX_SKETCH_LEVELS 3u

/* Which "$..." prefixes have subscriptions; see index_has_below(). */
struct index_sketch {
    _Atomic uint32_t below[INDEX_SKETCH_CELLS];  /* filters that begin with these levels */
    _Atomic uint32_t covers[INDEX_SKETCH_CELLS]; /* these levels, then a wildcard */
    _Atomic uint32_t nodes;
};

struct index {
    struct index_shard *shards;
    uint32_t shard_shift; /* shard = hash >> shard_shift */
    uint32_t shard_count;
    uint64_t seed;
    uint64_t powers[TOPIC_LEVELS_MAX + 1]; /* of INDEX_RADIX */
    struct slots *slots;
    uint32_t reactors;
    void *shards_memory;
    char padding_before[64];  /* by itself in its cache line, wherever calloc puts the whole */
    _Atomic uint64_t changes; /* subscriptions added, changed, removed: index_recent.h */
    char padding_behind[64];  /* what follows is written when filters come and go */
    struct index_depth depths[TOPIC_LEVELS_MAX + 1];
    struct index_sketch sketch;
    struct index_group_table groups;
};

/* Who changes a shard: its mutex is held. */
struct index_writer {
    struct index *index;
    struct index_shard *shard;
    struct epoch_participant *me;
};

static inline void *index_alloc(struct index_writer *w, size_t bytes)
{
    void *ptr = mem_zalloc(bytes);
    if (ptr)
        w->shard->bytes += bytes;
    return ptr;
}

#endif
