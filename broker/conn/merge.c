/*
 * merge.c: see merge.h. Sorts by session; runs of one session become one item. Cost: n log n for n
 * matches, only when more than one filter matched.
 */
#include "conn/merge.h"

#include <stdlib.h>

#include "base/mem.h"

struct merge {
    uint32_t count;
    struct delivery_ids *ids[];
};

static int by_session(const void *a, const void *b)
{
    const struct index_match *x = a, *y = b;
    uint32_t slot_x = index_subscriber_slot(x->subscriber),
             slot_y = index_subscriber_slot(y->subscriber);
    if (slot_x != slot_y)
        return slot_x < slot_y ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static struct delivery_ids *ids_of_run(const struct index_match *items, uint32_t count)
{
    struct delivery_ids *ids = mem_alloc(sizeof(*ids) + count * sizeof(uint32_t));
    if (!ids)
        return NULL;
    ids->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = index_subscriber_id(items[i].subscriber);
        if (id && items[i].group == 0)
            ids->ids[ids->count++] = id;
    }
    return ids;
}

/* One word for a run of the same session: the highest QoS, retain as published if any says so, no
 * local only if all. */
static index_subscriber merged_subscriber(const struct index_match *items, uint32_t count)
{
    uint8_t qos = 0;
    bool no_local = true, as_published = false;
    for (uint32_t i = 0; i < count; i++) {
        index_subscriber s = items[i].subscriber;
        qos = index_subscriber_qos(s) > qos ? index_subscriber_qos(s) : qos;
        no_local = no_local && index_subscriber_no_local(s);
        as_published = as_published || index_subscriber_retain_as_published(s);
    }
    return index_subscriber_make(index_subscriber_slot(items[0].subscriber), 0, qos, no_local,
                                 as_published);
}

static uint32_t run_length(const struct index_match *items, uint32_t count)
{
    uint32_t n = 1;
    uint32_t slot = index_subscriber_slot(items[0].subscriber);
    while (items[0].group == 0 && n < count && items[n].group == 0 &&
           index_subscriber_slot(items[n].subscriber) == slot)
        n++;
    return n;
}

/* Takes out what No Local keeps from its own publisher: it must not lend its QoS and id to others. */
static void drop_own(struct index_matches *matches, uint32_t publisher_slot)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < matches->count; i++) {
        index_subscriber s = matches->items[i].subscriber;
        bool is_own = index_subscriber_no_local(s) && index_subscriber_slot(s) == publisher_slot;
        matches->items[out] = matches->items[i];
        out += !is_own;
    }
    matches->count = out;
}

struct merge *merge_matches(struct index_matches *matches, uint32_t publisher_slot,
                            uint32_t *generations)
{
    struct merge *merge = mem_alloc(sizeof(*merge) + matches->count * sizeof(merge->ids[0]));
    if (merge) {
        merge->count = 0;
        drop_own(matches, publisher_slot);
        qsort(matches->items, matches->count, sizeof(matches->items[0]), by_session);
    }
    uint32_t out = 0;
    for (uint32_t i = 0; i < matches->count;) {
        struct index_match item = matches->items[i];
        uint32_t run = merge ? run_length(matches->items + i, matches->count - i) : 1;
        struct delivery_ids *ids = run > 1 ? ids_of_run(matches->items + i, run) : NULL;
        if (generations)
            generations[out] = item.extra;
        item.extra = 0;
        if (ids) {
            item.subscriber = merged_subscriber(matches->items + i, run);
            merge->ids[merge->count++] = ids;
            item.extra = merge->count;
        }
        i += ids ? run : 1;
        matches->items[out++] = item;
    }
    matches->count = out;
    return merge;
}

const struct delivery_ids *merge_ids(const struct merge *merge, uint32_t extra)
{
    return merge && extra ? merge->ids[extra - 1] : NULL;
}

void merge_free(struct merge *merge)
{
    for (uint32_t i = 0; merge && i < merge->count; i++)
        mem_free(merge->ids[i]);
    mem_free(merge);
}
