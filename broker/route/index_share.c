/*
 * index_share.c: share groups: ids that others can keep, and who of a group takes a message.
 *
 *   id = generation (12 bits) | number (20)      chunks[number / 256] -> groups[number % 256]
 *                                                                      + cursors of each reactor
 *
 * A session keeps the id of the group that chose it for as long as a message is unacknowledged, so
 * an id must not come to mean another group soon: a number is used again after a grace period, with
 * the next generation, and only when SHARE_NUMBERS_RESTING others are free too.
 *
 * Choosing goes round the members from the asking reactor's own cursor and takes the first that is
 * ready; on the way it remembers the next best. It looks at SHARE_PROBES_MAX members at most and
 * goes on there the next time, so a group of a million sleepers does not hold a reactor; the member
 * that took the last message is asked again before anyone worse is taken.
 *
 *   round robin   from the one after the last         ready, then busy, then offline (QoS > 0;
 *                                                      those granted QoS 0 last: they would miss it)
 *   sticky        from the last itself                 as above
 *   hash          from the topic's own place           connected, then offline (QoS > 0): a topic
 *                                                      stays with its member while that is busy
 *
 * Threads: ids under the table's mutex, resolved without locks; a cursor is written by its reactor
 * only. Cost: one look at a slot when the first one asked is ready.
 */
#include "route/index_private.h"
#include "runtime/config.h"

#define SHARE_PER_CHUNK 256u
#define SHARE_NUMBERS_MAX (SHARE_PER_CHUNK * INDEX_GROUP_CHUNKS_MAX)
#define SHARE_NUMBERS_RESTING 256u
#define SHARE_PROBES_MAX 1024u
#define SHARE_NUMBER_BITS 20u

/* A cell of the table: a group's address, or SHARE_FREE with what a free number remembers. */
#define SHARE_FREE 1u

_Static_assert(SHARE_NUMBERS_MAX == 1u << SHARE_NUMBER_BITS, "numbers fill their bits");

/* Where one reactor is in one group. */
struct share_cursor {
    uint32_t next; /* where to begin */
    uint32_t last; /* who took the last message */
};

/* A reactor's cursors; padded so that no other reactor's share a cache line with them. */
struct share_cursors {
    struct share_cursor at[SHARE_PER_CHUNK];
    char padding[64];
};

struct index_group_chunk {
    _Atomic uint64_t groups[SHARE_PER_CHUNK];
    char padding[64];
    struct share_cursors reactors[];
};

static inline uint64_t cell_free(uint32_t generation, uint32_t next)
{
    return (uint64_t)generation << 32 | (uint64_t)next << 1 | SHARE_FREE;
}

static inline uint32_t cell_generation(uint64_t cell)
{
    return (uint32_t)(cell >> 32) & 0xFFFu;
}

static inline uint32_t cell_next(uint64_t cell)
{
    return (uint32_t)cell >> 1;
}

static inline uint32_t id_number(uint32_t id)
{
    return id & (SHARE_NUMBERS_MAX - 1);
}

static struct index_group_chunk *chunk_of(struct index *index, uint32_t number)
{
    return atomic_load_explicit(&index->groups.chunks[number / SHARE_PER_CHUNK],
                                memory_order_acquire);
}

static _Atomic uint64_t *cell_of(struct index *index, uint32_t number)
{
    return &chunk_of(index, number)->groups[number % SHARE_PER_CHUNK];
}

void index_groups_init(struct index *index)
{
    pthread_mutex_init(&index->groups.mutex, NULL);
    index->groups.end = 1; /* 0 is no group */
}

void index_groups_fini(struct index *index)
{
    for (uint32_t i = 0; i < INDEX_GROUP_CHUNKS_MAX; i++)
        mem_free(atomic_load_explicit(&index->groups.chunks[i], memory_order_relaxed));
    pthread_mutex_destroy(&index->groups.mutex);
}

/* --- ids --- */

static enum err chunk_reserve(struct index *index, uint32_t number)
{
    struct index_group_chunk *_Atomic *link = &index->groups.chunks[number / SHARE_PER_CHUNK];
    if (atomic_load_explicit(link, memory_order_relaxed))
        return ERR_OK;
    struct index_group_chunk *chunk =
        mem_zalloc(sizeof(*chunk) + index->reactors * sizeof(struct share_cursors));
    if (!chunk)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < SHARE_PER_CHUNK; i++)
        atomic_store_explicit(&chunk->groups[i], cell_free(0, 0), memory_order_relaxed);
    atomic_store_explicit(link, chunk, memory_order_release);
    return ERR_OK;
}

/* A number and its generation; the mutex is held. */
static enum err number_take(struct index *index, uint32_t *number)
{
    struct index_group_table *table = &index->groups;
    bool is_full = table->end == SHARE_NUMBERS_MAX;
    if (table->free_count > SHARE_NUMBERS_RESTING || (is_full && table->free_count)) {
        *number = table->free_first;
        table->free_first = cell_next(*cell_of(index, *number));
        table->free_count--;
        return ERR_OK;
    }
    if (is_full)
        return ERR_LIMIT;
    enum err err = chunk_reserve(index, table->end);
    if (!err)
        *number = table->end++;
    return err;
}

enum err index_group_publish(struct index *index, struct index_group *group)
{
    uint32_t number;
    pthread_mutex_lock(&index->groups.mutex);
    enum err err = number_take(index, &number);
    if (!err) {
        _Atomic uint64_t *cell = cell_of(index, number);
        group->id = cell_generation(*cell) << SHARE_NUMBER_BITS | number;
        atomic_store_explicit(cell, (uint64_t)(uintptr_t)group, memory_order_release);
    }
    pthread_mutex_unlock(&index->groups.mutex);
    return err;
}

void index_group_hide(struct index *index, struct index_group *group)
{
    uint64_t free_cell = cell_free((group->id >> SHARE_NUMBER_BITS) + 1, 0);
    atomic_store_explicit(cell_of(index, id_number(group->id)), free_cell, memory_order_release);
}

void index_group_release(struct index *index, struct index_group *group)
{
    struct index_group_table *table = &index->groups;
    uint32_t number = id_number(group->id);
    pthread_mutex_lock(&table->mutex);
    if (table->free_count++ == 0) {
        table->free_first = number;
    } else {
        _Atomic uint64_t *last = cell_of(index, table->free_last);
        atomic_store_explicit(last, cell_free(cell_generation(*last), number),
                              memory_order_release);
    }
    table->free_last = number;
    pthread_mutex_unlock(&table->mutex);
}

struct index_group *index_group_resolve(struct index *index, uint32_t id)
{
    if (id_number(id) == 0 || !chunk_of(index, id_number(id)))
        return NULL;
    uint64_t cell = atomic_load_explicit(cell_of(index, id_number(id)), memory_order_acquire);
    struct index_group *group = cell & SHARE_FREE ? NULL : (void *)(uintptr_t)cell;
    return group && group->id == id ? group : NULL;
}

/* --- choosing --- */

/* How good a member is, 0: not at all. */
enum share_rank { RANK_NONE, RANK_OFFLINE_QOS0, RANK_OFFLINE, RANK_BUSY, RANK_READY };

struct share_choice {
    const struct index_query *query;
    struct slots *slots;
    index_subscriber best;
    uint32_t position;
    enum share_rank rank;
};

static enum share_rank member_rank(const struct share_choice *choice, index_subscriber member)
{
    const struct index_query *query = choice->query;
    uint32_t id = index_subscriber_slot(member);
    if (id == query->not_slot)
        return RANK_NONE;
    uint8_t ready = atomic_load_explicit(&slot_of(choice->slots, id)->ready, memory_order_relaxed);
    if (ready == SLOT_READY)
        return RANK_READY;
    if (ready == SLOT_ENDED || query->only_ready)
        return RANK_NONE;
    if (ready == SLOT_BUSY)
        return query->share_policy == SHARE_HASH_TOPIC ? RANK_READY : RANK_BUSY;
    if (!query->is_kept)
        return RANK_NONE;
    return index_subscriber_qos(member) > 0 ? RANK_OFFLINE : RANK_OFFLINE_QOS0;
}

/* Asks one member; true when there can be no better one. */
static bool choice_ask(struct share_choice *choice, uint32_t position, index_subscriber member)
{
    enum share_rank rank = member_rank(choice, member);
    if (rank > choice->rank) {
        choice->rank = rank;
        choice->best = member;
        choice->position = position;
    }
    return rank == RANK_READY;
}

/* Asks the members in from..to-1 until one is ready or *probes is used up. Returns where it
 * stopped. */
static uint32_t choice_ask_range(struct share_choice *choice, uint64_t word, uint32_t from,
                                 uint32_t to, uint32_t *probes)
{
    index_subscriber member;
    while (*probes > 0 && from < to && index_list_next(word, &from, &member) && from < to) {
        --*probes;
        if (choice_ask(choice, from, member)) {
            *probes = 0;
            return from;
        }
        from++;
    }
    return from;
}

static uint32_t share_start(const struct share_cursor *cursor, const struct index_query *query,
                            struct slice topic, uint32_t end)
{
    uint32_t start = cursor->next;
    if (query->share_policy == SHARE_STICKY)
        start = cursor->last;
    if (query->share_policy == SHARE_HASH_TOPIC)
        start = (uint32_t)(hash_bytes(topic) % end);
    return start < end ? start : 0;
}

bool index_group_pick(struct index *index, struct index_group *group, struct slice topic,
                      const struct index_query *query, struct index_match *match)
{
    uint64_t word = index_node_word(&group->nested.node);
    uint32_t end = index_list_end(word);
    if (end == 0)
        return false;
    uint32_t number = id_number(group->id);
    struct share_cursor *cursor =
        &chunk_of(index, number)->reactors[query->reactor].at[number % SHARE_PER_CHUNK];
    struct share_choice choice = {.query = query, .slots = index->slots};
    uint32_t start = share_start(cursor, query, topic, end);
    uint32_t probes = SHARE_PROBES_MAX;
    uint32_t stop = choice_ask_range(&choice, word, start, end, &probes);
    if (probes > 0)
        stop = choice_ask_range(&choice, word, 0, start, &probes);
    bool is_ready = choice.rank == RANK_READY;
    uint32_t last = cursor->last;
    index_subscriber member;
    if (!is_ready && index_list_next(word, &last, &member))
        choice_ask(&choice, last, member);
    cursor->next = is_ready || end <= SHARE_PROBES_MAX ? choice.position + 1 : stop;
    if (choice.rank == RANK_NONE)
        return false;
    cursor->last = choice.position;
    *match = (struct index_match){.subscriber = choice.best, .group = group->id};
    return true;
}

bool index_group_choose(struct index *index, uint32_t id, struct slice topic,
                        const struct index_query *query, struct index_match *match)
{
    struct index_group *group = index_group_resolve(index, id);
    return group && index_group_pick(index, group, topic, query, match);
}
