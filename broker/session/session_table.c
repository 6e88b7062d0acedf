/*
 * session_table.c: see session_table.h. Linear probing, at most 3/4 full; removal shifts back. When 5/16 are left, a
 * table of half the size replaces it, so that it does not keep the memory of a fleet that has gone.
 */
#include "session/session_table.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/hash.h"
#include "runtime/pages.h"

#define SHARDS 64u
#define SHARD_CAP_MIN 16u

struct entry {
    uint32_t slot; /* 0: free */
    uint32_t hash;
};

struct shard {
    _Alignas(64) pthread_mutex_t mutex;
    struct entry *entries;
    uint32_t mask, count;
};

struct session_table {
    struct slots *slots;
    struct shard shards[SHARDS];
};

static size_t shard_bytes(uint32_t cap)
{
    return (size_t)cap * sizeof(struct entry);
}

struct session_table *session_table_new(struct slots *slots)
{
    struct session_table *table = aligned_alloc(64, sizeof(*table));
    BUG_ON(!table);
    memset(table, 0, sizeof(*table));
    table->slots = slots;
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&table->shards[i].mutex, NULL);
        table->shards[i].entries = pages_or_mem_zalloc(shard_bytes(SHARD_CAP_MIN));
        BUG_ON(!table->shards[i].entries);
        table->shards[i].mask = SHARD_CAP_MIN - 1;
    }
    return table;
}

void session_table_free(struct session_table *table)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&table->shards[i].mutex);
        pages_or_mem_free(table->shards[i].entries, shard_bytes(table->shards[i].mask + 1));
    }
    free(table);
}

static struct shard *shard_of(struct session_table *table, uint64_t hash)
{
    return &table->shards[hash >> 58];
}

/* The entry of this id, or the free one where it would go. */
static struct entry *shard_find(struct session_table *table, struct shard *shard, uint32_t hash,
                                struct slice id)
{
    for (uint32_t at = hash & shard->mask;; at = (at + 1) & shard->mask) {
        struct entry *entry = &shard->entries[at];
        if (entry->slot == 0)
            return entry;
        if (entry->hash != hash)
            continue;
        const struct session *session = slot_of(table->slots, entry->slot)->object;
        if (slice_eq(session_id(session), id))
            return entry;
    }
}

static enum err shard_resize(struct shard *shard, uint32_t cap)
{
    struct entry *entries = pages_or_mem_zalloc(shard_bytes(cap));
    if (!entries)
        return ERR_NOMEM;
    for (uint32_t i = 0; i <= shard->mask; i++) {
        if (shard->entries[i].slot == 0)
            continue;
        uint32_t at = shard->entries[i].hash & (cap - 1);
        while (entries[at].slot)
            at = (at + 1) & (cap - 1);
        entries[at] = shard->entries[i];
    }
    pages_or_mem_free(shard->entries, shard_bytes(shard->mask + 1));
    shard->entries = entries;
    shard->mask = cap - 1;
    return ERR_OK;
}

static enum err shard_make_room(struct shard *shard)
{
    uint32_t cap = shard->mask + 1;
    return shard->count < cap / 4 * 3 ? ERR_OK : shard_resize(shard, cap * 2);
}

/* Without memory it stays as it is. */
static void shard_shrink(struct shard *shard)
{
    uint32_t cap = shard->mask + 1;
    if (cap > SHARD_CAP_MIN && shard->count <= cap / 16 * 5)
        (void)shard_resize(shard, cap / 2);
}

static struct session_ref ref_of(struct session_table *table, uint32_t id)
{
    struct slot *slot = slot_of(table->slots, id);
    return (struct session_ref){
        .slot = id,
        .generation = atomic_load_explicit(&slot->generation, memory_order_acquire),
        .owner = atomic_load_explicit(&slot->owner, memory_order_acquire),
    };
}

struct session_ref session_table_find(struct session_table *table, struct slice id)
{
    uint64_t hash = hash_bytes(id);
    struct shard *shard = shard_of(table, hash);
    struct session_ref ref = {0};
    pthread_mutex_lock(&shard->mutex);
    struct entry *entry = shard_find(table, shard, (uint32_t)hash, id);
    if (entry->slot)
        ref = ref_of(table, entry->slot);
    pthread_mutex_unlock(&shard->mutex);
    return ref;
}

enum err session_table_insert(struct session_table *table, struct session *fresh, bool replace,
                              struct session_ref *old)
{
    uint64_t hash = hash_bytes(session_id(fresh));
    struct shard *shard = shard_of(table, hash);
    *old = (struct session_ref){0};
    pthread_mutex_lock(&shard->mutex);
    enum err err = shard_make_room(shard);
    if (!err) {
        struct entry *entry = shard_find(table, shard, (uint32_t)hash, session_id(fresh));
        if (entry->slot)
            *old = ref_of(table, entry->slot);
        if (entry->slot && !replace) {
            err = ERR_EXISTS;
        } else {
            shard->count += entry->slot == 0;
            *entry = (struct entry){.slot = fresh->slot, .hash = (uint32_t)hash};
        }
    }
    pthread_mutex_unlock(&shard->mutex);
    return err;
}

static void shard_delete(struct shard *shard, struct entry *entry)
{
    uint32_t hole = (uint32_t)(entry - shard->entries), mask = shard->mask;
    for (uint32_t at = (hole + 1) & mask; shard->entries[at].slot; at = (at + 1) & mask) {
        uint32_t home = shard->entries[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            shard->entries[hole] = shard->entries[at];
            hole = at;
        }
    }
    shard->entries[hole] = (struct entry){0};
    shard->count--;
}

bool session_table_remove(struct session_table *table, struct session *session)
{
    uint64_t hash = hash_bytes(session_id(session));
    struct shard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->mutex);
    struct entry *entry = shard_find(table, shard, (uint32_t)hash, session_id(session));
    bool found = entry->slot == session->slot;
    if (found) {
        shard_delete(shard, entry);
        shard_shrink(shard);
    }
    pthread_mutex_unlock(&shard->mutex);
    return found;
}

uint64_t session_table_count(struct session_table *table)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&table->shards[i].mutex);
        count += table->shards[i].count;
        pthread_mutex_unlock(&table->shards[i].mutex);
    }
    return count;
}

void session_table_check(struct session_table *table)
{
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct shard *shard = &table->shards[s];
        uint32_t count = 0;
        for (uint32_t i = 0; i <= shard->mask; i++) {
            if (shard->entries[i].slot == 0)
                continue;
            const struct session *session = slot_of(table->slots, shard->entries[i].slot)->object;
            BUG_ON(shard_find(table, shard, shard->entries[i].hash, session_id(session)) !=
                   &shard->entries[i]);
            count++;
        }
        BUG_ON(count != shard->count || count > (shard->mask + 1) / 4 * 3);
    }
}
