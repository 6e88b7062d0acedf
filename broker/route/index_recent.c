/*
 * index_recent.c: see index_recent.h.
 */
#include "route/index_recent.h"

#include "base/mem.h"
#include "route/index_private.h"

#define RECENT_ENTRIES 256u /* a power of two */
#define RECENT_MATCHES 4u
#define RECENT_TOPIC_MAX 108u

struct index_recent_entry {
    uint64_t changes;     /* of the index, when it was looked up */
    uint32_t tag;         /* of the topic that is kept */
    uint32_t other;       /* of the one that came last, would fall on this of two, and was not */
    uint16_t topic_bytes; /* 0: none is kept */
    uint8_t count, lists;
    uint8_t topic[RECENT_TOPIC_MAX];
    _Alignas(8) struct index_match items[RECENT_MATCHES];
};

_Static_assert(sizeof(struct index_recent_entry) == 192, "three cache lines");

void index_recent_fini(struct index_recent *recent)
{
    mem_free(recent->entries);
    *recent = (struct index_recent){0};
}

static uint64_t load_u64(const uint8_t *at)
{
    uint64_t x;
    memcpy(&x, at, sizeof(x));
    return x;
}

/* Four words spread over the topic: what tells the topics of a fleet apart is seldom in its first
   bytes. Collisions cost a look-up, no more, so there is no seed. */
static uint32_t topic_tag(struct slice topic)
{
    uint64_t x = topic.len;
    if (topic.len < sizeof(x)) {
        for (size_t i = 0; i < topic.len; i++)
            x = x << 8 | topic.ptr[i];
    } else {
        size_t step = (topic.len - sizeof(x)) / 4;
        x = (x ^ load_u64(topic.ptr + step)) * INDEX_RADIX;
        x = (x ^ x >> 32 ^ load_u64(topic.ptr + 2 * step)) * INDEX_RADIX;
        x = (x ^ x >> 32 ^ load_u64(topic.ptr + 3 * step)) * INDEX_RADIX;
        x = (x ^ x >> 32 ^ load_u64(topic.ptr + topic.len - sizeof(x)));
    }
    x = (x ^ x >> 32) * INDEX_RADIX; /* the last bytes are high ones, and must reach the low bits */
    return (uint32_t)(x >> 32);
}

static bool entry_answers(const struct index_recent_entry *entry,
                          const struct index_recent_key *key, struct slice topic)
{
    return entry->tag == key->tag && entry->changes == key->changes &&
           entry->topic_bytes == topic.len && memcmp(entry->topic, topic.ptr, topic.len) == 0;
}

/* The first of the two places for a topic with this tag. NULL: no memory for any. */
static struct index_recent_entry *recent_places(struct index_recent *recent, uint32_t tag)
{
    if (UNLIKELY(!recent->entries)) {
        recent->entries = mem_zalloc(RECENT_ENTRIES * sizeof(*recent->entries));
        if (!recent->entries)
            return NULL;
    }
    return &recent->entries[tag % RECENT_ENTRIES & ~1u];
}

/* The place of two that a topic takes: its own or an empty one, or, when it came before and no other
   since, one whose answer no longer holds, else what its tag says. NULL: none. */
static struct index_recent_entry *recent_victim(struct index_recent_entry *places,
                                                const struct index_recent_key *key)
{
    for (int i = 0; i < 2; i++) {
        if (places[i].tag == key->tag || places[i].topic_bytes == 0)
            return &places[i];
    }
    struct index_recent_entry *mine = &places[key->tag & 1], *other = &places[~key->tag & 1];
    if (mine->other != key->tag)
        return NULL;
    return mine->changes == key->changes && other->changes != key->changes ? other : mine;
}

bool index_recent_get(struct index_recent *recent, const struct index *index, struct slice topic,
                      struct index_matches *matches, struct index_recent_key *key)
{
    key->entry = NULL;
    if (topic.len > RECENT_TOPIC_MAX)
        return false;
    key->changes = atomic_load_explicit(&index->changes, memory_order_acquire);
    key->tag = topic_tag(topic);
    struct index_recent_entry *places = recent_places(recent, key->tag), *entry = places;
    if (!entry)
        return false;
    if (!entry_answers(entry, key, topic) && !entry_answers(++entry, key, topic)) {
        key->entry = recent_victim(places, key);
        places[key->tag & 1].other = key->tag;
        return false;
    }
    if (UNLIKELY(matches->cap < RECENT_MATCHES) && index_matches_reserve(matches, RECENT_MATCHES))
        return false;
    matches->count = entry->count;
    matches->lists = entry->lists;
    memcpy(matches->items, entry->items, sizeof(entry->items));
    return true;
}

void index_recent_put(const struct index_recent_key *key, struct slice topic,
                      const struct index_matches *matches)
{
    struct index_recent_entry *entry = key->entry;
    if (!entry || matches->count > RECENT_MATCHES)
        return;
    entry->changes = key->changes;
    entry->tag = key->tag;
    entry->topic_bytes = (uint16_t)topic.len;
    entry->count = (uint8_t)matches->count;
    entry->lists = (uint8_t)matches->lists;
    memcpy(entry->topic, topic.ptr, topic.len);
    if (matches->count)
        memcpy(entry->items, matches->items, matches->count * sizeof(entry->items[0]));
}
