/*
 * spread.c: see spread.h.
 *
 *   matches   of one turn, taken over as they are; whom they mean is written down at once, since a
 *             slot may be somebody else's in a later turn
 *   parts     with merging: the matches dealt out by session, so that each part can be merged by
 *             itself; counted, dealt out and merged in slices
 *
 * Cost in the publisher's turn: a look at the slot of each match (docs/OPERATIONS.md, limits).
 */
#include "conn/spread.h"

#include "base/mem.h"
#include "conn/attach.h"
#include "conn/merge.h"
#include "conn/moving.h"
#include "conn/publish.h"

#define SPREAD_SLICE (SPREAD_TARGETS / 8) /* deliveries */
#define SPREAD_DEAL_SLICE 2048u           /* matches counted or dealt out */
#define SPREAD_PART 512u                  /* matches in a part, about */

/* How far the matches are dealt out. */
struct parts {
    struct index_match *items;
    uint32_t *generations; /* [most], of the part at hand */
    struct merge *merge;   /* of the part at hand */
    uint32_t counted, dealt;
    uint32_t part, count, most; /* next one; how many, a power of two; the largest */
    uint32_t ends[];            /* [count]: while they are dealt out, where the next one goes */
};

struct spread {
    struct job job;
    struct worker *worker;
    struct list link; /* in the worker's list of those with a publisher */
    struct connection_ref by;
    struct moves moves;             /* of the publisher's session, that wait for the end */
    struct publication publication; /* of a message: owns a reference */
    struct index_matches matches;   /* their `extra` is the generation of who is meant */
    struct parts *parts;            /* NULL: copies stay separate */
    uint32_t publisher_slot;
    uint32_t at, end; /* what is being delivered */
};

static uint32_t part_of(const struct parts *parts, const struct index_match *match)
{
    uint32_t hash = index_subscriber_slot(match->subscriber) * 0x9E3779B1u;
    return (hash >> 16) & (parts->count - 1);
}

static void parts_free(struct parts *parts)
{
    if (!parts)
        return;
    mem_free(parts->items);
    mem_free(parts->generations);
    merge_free(parts->merge);
    mem_free(parts);
}

/* NULL without memory. */
static struct parts *parts_new(uint32_t matches)
{
    uint32_t count = 1;
    while (count < matches / SPREAD_PART && count < 32768)
        count *= 2;
    struct parts *parts = mem_zalloc(sizeof(*parts) + count * sizeof(uint32_t));
    if (!parts)
        return NULL;
    parts->count = count;
    parts->items = mem_alloc(matches * sizeof(*parts->items));
    if (parts->items)
        return parts;
    parts_free(parts);
    return NULL;
}

/* All are counted: ends[] become starts. False without memory. */
static bool parts_lay_out(struct parts *parts)
{
    uint32_t start = 0;
    for (uint32_t i = 0; i < parts->count; i++) {
        uint32_t in_part = parts->ends[i];
        parts->most = in_part > parts->most ? in_part : parts->most;
        parts->ends[i] = start;
        start += in_part;
    }
    parts->generations = mem_alloc(parts->most * sizeof(*parts->generations));
    return parts->generations != NULL;
}

static uint32_t slice_end(uint32_t at, uint32_t slice, uint32_t end)
{
    return end - at < slice ? end : at + slice;
}

/* One slice of counting or dealing out; true when that is done. */
static bool spread_deal(struct spread *spread)
{
    struct parts *parts = spread->parts;
    const struct index_matches *matches = &spread->matches;
    if (parts->dealt == matches->count)
        return true;
    if (parts->counted < matches->count) {
        uint32_t end = slice_end(parts->counted, SPREAD_DEAL_SLICE, matches->count);
        for (; parts->counted < end; parts->counted++)
            parts->ends[part_of(parts, &matches->items[parts->counted])]++;
        if (end == matches->count && !parts_lay_out(parts)) {
            parts_free(parts);
            spread->parts = NULL;
            spread->end = matches->count;
        }
        return false;
    }
    uint32_t end = slice_end(parts->dealt, SPREAD_DEAL_SLICE, matches->count);
    for (; parts->dealt < end; parts->dealt++) {
        const struct index_match *match = &matches->items[parts->dealt];
        parts->items[parts->ends[part_of(parts, match)]++] = *match;
    }
    return false;
}

/* Merges the next part. False: there is none. */
static bool spread_next_part(struct spread *spread)
{
    struct parts *parts = spread->parts;
    if (parts->part == parts->count)
        return false;
    uint32_t start = parts->part ? parts->ends[parts->part - 1] : 0;
    struct index_matches part = {.items = parts->items + start,
                                 .count = parts->ends[parts->part++] - start};
    merge_free(parts->merge);
    parts->merge = merge_matches(&part, spread->publisher_slot, parts->generations);
    spread->at = start;
    spread->end = start + part.count;
    return true;
}

static void spread_deliver_parts(struct spread *spread)
{
    struct parts *parts = spread->parts;
    uint32_t start = parts->part > 1 ? parts->ends[parts->part - 2] : 0;
    uint32_t end = slice_end(spread->at, SPREAD_SLICE, spread->end);
    publish_slice(spread->worker, &spread->publication, parts->items + spread->at,
                  parts->generations + (spread->at - start), end - spread->at, parts->merge);
    spread->at = end;
}

static void spread_deliver(struct spread *spread)
{
    uint32_t generations[SPREAD_SLICE];
    uint32_t end = slice_end(spread->at, SPREAD_SLICE, spread->end);
    struct index_match *items = spread->matches.items + spread->at;
    for (uint32_t i = 0; i < end - spread->at; i++) {
        generations[i] = items[i].extra;
        items[i].extra = 0;
    }
    publish_slice(spread->worker, &spread->publication, items, generations, end - spread->at, NULL);
    spread->at = end;
}

/* What is being spread here of what a client published; NULL: nothing. */
static struct spread *spread_of(struct worker *worker, const struct session *session)
{
    if (LIKELY(list_is_empty(&worker->spreads)))
        return NULL;
    uint64_t publisher = hash_bytes(session_id(session));
    for (struct list *at = worker->spreads.next; at != &worker->spreads; at = at->next) {
        struct spread *spread = CONTAINER_OF(at, struct spread, link);
        if (publication_publisher(&spread->publication) == publisher)
            return spread;
    }
    return NULL;
}

void spread_go_behind(struct worker *worker, struct connection *connection)
{
    struct spread *spread = spread_of(worker, connection->session);
    if (!spread)
        return;
    spread->by = (struct connection_ref){connection->handle, connection->generation};
    connection_hold(worker, connection, HOLD_SPREAD);
}

bool spread_delays_move(struct worker *worker, const struct session *session, struct move *move)
{
    struct spread *spread = spread_of(worker, session);
    if (spread)
        moving_delay(&spread->moves, move);
    return spread != NULL;
}

bool spread_has_moves(struct worker *worker, const struct session *session)
{
    const struct spread *spread = spread_of(worker, session);
    return spread && spread->moves.first;
}

void spread_init(struct worker *worker)
{
    list_init(&worker->spreads);
}

/* The room of the matches goes back: the next wide publication finds its pages there. */
static void spread_free(struct spread *spread)
{
    struct worker *worker = spread->worker;
    struct connection *by = connection_find(worker, spread->by.handle, spread->by.generation);
    list_unlink(&spread->link);
    moving_post_delayed(worker, &spread->moves);
    if (by)
        connection_unhold(worker, by, HOLD_SPREAD);
    if (!spread->by.handle)
        attach_spread_is_over(worker);
    publication_fini(&spread->publication);
    parts_free(spread->parts);
    if (worker->matches.cap < spread->matches.cap) {
        index_matches_fini(&worker->matches);
        worker->matches = spread->matches;
        worker->matches.count = 0;
    } else {
        index_matches_fini(&spread->matches);
    }
    mem_free(spread);
}

/* One slice. */
static bool spread_run(struct reactor *reactor, struct job *job)
{
    struct spread *spread = CONTAINER_OF(job, struct spread, job);
    (void)reactor;
    if (spread->parts && !spread_deal(spread))
        return false;
    spread->worker->publish_serial++; /* forms that others left in the cache since are not ours */
    if (spread->parts && spread->at == spread->end && spread_next_part(spread))
        return false;
    if (spread->parts)
        spread_deliver_parts(spread);
    else
        spread_deliver(spread);
    bool has_more =
        spread->at < spread->end || (spread->parts && spread->parts->part < spread->parts->count);
    if (!has_more)
        spread_free(spread);
    return !has_more;
}

bool spread_start(struct worker *worker, struct connection *by, struct publication *publication,
                  bool is_merging)
{
    struct message *message = publication_message(publication);
    struct spread *spread = message ? mem_zalloc(sizeof(*spread)) : NULL;
    if (!spread)
        return false;
    spread->job.run = spread_run;
    spread->worker = worker;
    list_init(&spread->link);
    spread->publication = publication_of_message(message);
    spread->matches = worker->matches;
    spread->end = spread->matches.count;
    worker->matches = (struct index_matches){0};
    worker->matches_wide_tick = worker->reactor->now_tick;
    for (uint32_t i = 0; i < spread->matches.count; i++)
        spread->matches.items[i].extra = publish_generation(worker, &spread->matches.items[i]);
    if (is_merging)
        spread->parts = parts_new(spread->matches.count);
    if (spread->parts)
        spread->end = 0;
    if (by) {
        spread->publisher_slot = by->session->slot;
        spread->by = (struct connection_ref){by->handle, by->generation};
        list_push_back(&worker->spreads, &spread->link);
        connection_hold(worker, by, HOLD_SPREAD);
    } else {
        worker->spreads_without_publisher++;
    }
    reactor_job_add(worker->reactor, &spread->job);
    return true;
}
