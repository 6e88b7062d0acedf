/*
 * inflight.c: see inflight.h.
 *
 * Invariant: before an entry is added count <= mask, also at the full 65,536 places, where id 0 is
 * never used: so a free place exists among the next mask + 1 ids. Two ids in the table never share a place, so doubling
 * cannot collide either.
 */
#include "session/inflight.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define INFLIGHT_CAP_MIN 4u
#define INFLIGHT_CAP_MAX 65536u

static bool inflight_resize(struct inflight *inflight, uint32_t cap)
{
    struct inflight_entry *entries = mem_zalloc(cap * sizeof(*entries));
    if (!entries)
        return false;
    for (uint32_t i = 0; inflight->entries && i <= inflight->mask; i++) {
        struct inflight_entry *entry = &inflight->entries[i];
        if (entry->state != INFLIGHT_FREE)
            entries[entry->packet_id & (cap - 1)] = *entry;
    }
    mem_free(inflight->entries);
    inflight->entries = entries;
    inflight->mask = cap - 1;
    return true;
}

/* Room for one more entry: doubles when all places are taken. */
static bool inflight_make_room(struct inflight *inflight)
{
    if (!inflight->entries)
        return inflight_resize(inflight, INFLIGHT_CAP_MIN);
    uint32_t cap = inflight->mask + 1;
    if (cap == INFLIGHT_CAP_MAX)
        return inflight->count < INFLIGHT_CAP_MAX - 1;
    if (inflight->count < cap)
        return true;
    return inflight_resize(inflight, cap * 2);
}

struct inflight_entry *inflight_add_take(struct inflight *inflight, const struct delivery *delivery)
{
    if (!inflight_make_room(inflight))
        return NULL;
    uint16_t id = inflight->last_id;
    struct inflight_entry *entry;
    do {
        id = id == UINT16_MAX ? 1 : (uint16_t)(id + 1);
        entry = &inflight->entries[id & inflight->mask];
    } while (entry->state != INFLIGHT_FREE);
    inflight->last_id = id;
    *entry = (struct inflight_entry){
        .delivery = *delivery,
        .sequence = inflight->next_sequence++,
        .packet_id = id,
        .state = delivery->qos == 1 ? INFLIGHT_AWAIT_PUBACK : INFLIGHT_AWAIT_PUBREC,
    };
    inflight->count++;
    inflight->shared += inflight_is_shared(entry);
    inflight->bytes += delivery->message->payload_bytes;
    return entry;
}

struct inflight_entry *inflight_find(struct inflight *inflight, uint16_t packet_id)
{
    if (!inflight->entries)
        return NULL;
    struct inflight_entry *entry = &inflight->entries[packet_id & inflight->mask];
    return entry->state != INFLIGHT_FREE && entry->packet_id == packet_id ? entry : NULL;
}

void inflight_count_published(struct inflight *inflight, struct inflight_entry *entry)
{
    inflight->published += !entry->is_counted;
    entry->is_counted = true;
}

void inflight_forget_sent(struct inflight *inflight)
{
    for (uint32_t i = 0; inflight->entries && i <= inflight->mask; i++)
        inflight->entries[i].is_sent = inflight->entries[i].is_counted = false;
    inflight->published = 0;
}

void inflight_release_message(struct inflight *inflight, struct inflight_entry *entry)
{
    if (!entry->delivery.message)
        return;
    inflight->bytes -= entry->delivery.message->payload_bytes;
    delivery_fini(&entry->delivery);
}

void inflight_remove(struct inflight *inflight, struct inflight_entry *entry)
{
    inflight_release_message(inflight, entry);
    inflight->published -= entry->is_counted;
    inflight->shared -= inflight_is_shared(entry);
    entry->state = INFLIGHT_FREE;
    inflight->count--;
    if (inflight->count == 0 && inflight->mask >= 64)
        inflight_clear(inflight);
}

struct inflight_order {
    uint32_t age;
    uint16_t packet_id;
};

static int inflight_older_first(const void *a, const void *b)
{
    const struct inflight_order *x = a, *y = b;
    return x->age > y->age ? -1 : x->age < y->age;
}

uint16_t *inflight_in_order(const struct inflight *inflight, uint32_t *count)
{
    *count = 0;
    if (inflight->count == 0)
        return NULL;
    struct inflight_order *order = mem_alloc(inflight->count * sizeof(*order));
    uint16_t *ids = mem_alloc(inflight->count * sizeof(*ids));
    if (!order || !ids) {
        mem_free(order);
        mem_free(ids);
        return NULL;
    }
    for (uint32_t i = 0; i <= inflight->mask; i++) {
        const struct inflight_entry *entry = &inflight->entries[i];
        if (entry->state != INFLIGHT_FREE)
            order[(*count)++] = (struct inflight_order){inflight->next_sequence - entry->sequence,
                                                        entry->packet_id};
    }
    qsort(order, *count, sizeof(*order), inflight_older_first);
    for (uint32_t i = 0; i < *count; i++)
        ids[i] = order[i].packet_id;
    mem_free(order);
    return ids;
}

void inflight_clear(struct inflight *inflight)
{
    for (uint32_t i = 0; inflight->entries && i <= inflight->mask; i++) {
        struct inflight_entry *entry = &inflight->entries[i];
        if (entry->state != INFLIGHT_FREE && entry->delivery.message)
            delivery_fini(&entry->delivery);
    }
    mem_free(inflight->entries);
    inflight->entries = NULL;
    inflight->mask = inflight->count = inflight->published = inflight->shared = 0;
    inflight->bytes = 0;
}

void inflight_check(const struct inflight *inflight)
{
    uint32_t count = 0, published = 0, shared = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; inflight->entries && i <= inflight->mask; i++) {
        const struct inflight_entry *entry = &inflight->entries[i];
        if (entry->state == INFLIGHT_FREE)
            continue;
        BUG_ON((entry->packet_id & inflight->mask) != i || entry->packet_id == 0);
        BUG_ON(!entry->delivery.message && entry->state != INFLIGHT_AWAIT_PUBCOMP);
        bytes += entry->delivery.message ? entry->delivery.message->payload_bytes : 0;
        count++;
        published += entry->is_counted;
        shared += inflight_is_shared(entry);
    }
    BUG_ON(published != inflight->published || shared != inflight->shared);
    BUG_ON(count != inflight->count || bytes != inflight->bytes);
}
