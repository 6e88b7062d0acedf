/*
 * index_place.c: from a place back to the filter that was subscribed.
 *
 * The text of a filter is nowhere kept in one piece; it is put together from the keys of the nodes
 * from the topmost one down: run, '+', run, '+', ... with slashes between.
 *
 * Threads: the owner of a subscription there, which keeps all its nodes alive; keys and parents
 * never change, so no lock. Cost: the length of the filter.
 */
#include "route/index_private.h"

/* Text that is written, or compared when `expected` is set. */
struct piece_sink {
    uint8_t *buffer;
    uint32_t cap, bytes;
    struct slice expected; /* what is left of it */
    bool is_comparing, differs;
};

static void sink_put(struct piece_sink *sink, struct slice piece)
{
    if (sink->is_comparing) {
        sink->differs = sink->differs || !slice_starts_with(sink->expected, piece);
        if (!sink->differs)
            sink->expected = slice_skip(sink->expected, piece.len);
        return;
    }
    if (piece.len && sink->bytes + piece.len <= sink->cap)
        memcpy(sink->buffer + sink->bytes, piece.ptr, piece.len);
    sink->bytes += (uint32_t)piece.len;
}

/* One or more levels, after a slash unless they are the first. */
static void sink_put_levels(struct piece_sink *sink, struct slice levels, bool *is_first)
{
    if (!*is_first)
        sink_put(sink, SLICE_LIT("/"));
    *is_first = false;
    sink_put(sink, levels);
}

/* The filter of a node that is not a share group's. */
static void sink_put_filter(struct piece_sink *sink, const struct index_node *node)
{
    const struct index_node *chain[TOPIC_LEVELS_MAX + 1];
    uint32_t count = 0;
    for (; node; node = index_node_parent(node))
        chain[count++] = node;
    bool is_first = true;
    while (count-- > 0) {
        node = chain[count];
        if (!(node->kind & INDEX_NO_LEVEL))
            sink_put_levels(sink, index_node_key(node), &is_first);
        if (node->kind & INDEX_PLUS)
            sink_put_levels(sink, SLICE_LIT("+"), &is_first);
        if (node->kind & INDEX_HASH)
            sink_put_levels(sink, SLICE_LIT("#"), &is_first);
    }
}

uint32_t index_place_filter(const struct index_place *place, uint8_t *buffer, uint32_t cap)
{
    struct piece_sink sink = {.buffer = buffer, .cap = cap};
    const struct index_node *node = place->node;
    if (place->group) {
        sink_put(&sink, SLICE_LIT("$share/"));
        sink_put(&sink, index_node_key(node));
        sink_put(&sink, SLICE_LIT("/"));
        node = index_node_parent(node);
    }
    sink_put_filter(&sink, node);
    return sink.bytes;
}

index_subscriber index_place_subscriber(const struct index_place *place)
{
    uint32_t position = place->position;
    index_subscriber subscriber = 0;
    index_list_next(index_node_word(place->node), &position, &subscriber);
    return subscriber;
}

bool index_place_is(const struct index_place *place, const struct topic_filter *filter)
{
    const struct index_node *node = place->node;
    if (filter->is_shared != (place->group != 0))
        return false;
    if (place->group) {
        if (!slice_eq(index_node_key(node), filter->share))
            return false;
        node = index_node_parent(node);
    }
    if (node->kind == INDEX_EXACT)
        return slice_eq(index_node_key(node), filter->filter);
    if (node->key_bytes > filter->filter.len)
        return false;
    struct piece_sink sink = {.expected = filter->filter, .is_comparing = true};
    sink_put_filter(&sink, node);
    return !sink.differs && sink.expected.len == 0;
}
