/*
 * index_subscribers.c: who subscribed to one filter, as few bytes as there are subscribers.
 *
 *   none   0
 *   1      the subscriber itself, in place
 *   2-64   chunk:  used 0110...  | words 0..cap-1 |            cap doubles by copying: 4 to 64
 *   more   list -> directory -> [chunk 0][chunk 1][NULL][chunk 3]      64 places each
 *
 * A place is a number (64 * chunk + place in it) and never changes, so whoever subscribed removes
 * itself in O(1). Chunks with a free place are linked, so adding is O(1) too; an empty chunk is
 * freed and its place in the directory used again; a list that has many stays one until it is
 * empty. What readers meet is published with release and freed after a grace period; a place may be
 * empty though its bit in `used` is set, for a reader that comes while it is removed.
 *
 * Threads: add, set, remove under the shard's mutex; next and end by any participant of the epoch
 * domain. Cost per subscriber: 8 bytes alone, 13 among many; O(1).
 */
#include "route/index_private.h"

static inline uint64_t word_of(const void *ptr, uint32_t kind)
{
    return INDEX_WORD_TAGGED | (uint64_t)(uintptr_t)ptr | kind;
}

static inline void word_store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static inline uint64_t word_load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static size_t chunk_bytes(uint32_t cap)
{
    return sizeof(struct index_chunk) + cap * sizeof(uint64_t);
}

static size_t directory_bytes(uint32_t cap)
{
    return sizeof(struct index_directory) + cap * sizeof(struct index_chunk *);
}

static void item_free(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    mem_free(item); /* the item is the first member of all that is retired here */
}

static void retire(struct index_writer *w, struct epoch_item *item, size_t bytes)
{
    w->shard->bytes -= bytes;
    epoch_defer(w->me, item, item_free);
}

static struct index_chunk *chunk_new(struct index_writer *w, uint32_t cap, uint32_t number)
{
    struct index_chunk *chunk = index_alloc(w, chunk_bytes(cap));
    if (!chunk)
        return NULL;
    chunk->cap = cap;
    chunk->number = number;
    return chunk;
}

static inline uint64_t chunk_all(const struct index_chunk *chunk)
{
    return chunk->cap == INDEX_CHUNK_PLACES ? UINT64_MAX : (1ull << chunk->cap) - 1;
}

static uint32_t chunk_put(struct index_chunk *chunk, index_subscriber subscriber)
{
    uint64_t used = word_load(&chunk->used);
    uint32_t place = (uint32_t)__builtin_ctzll(~used);
    word_store(&chunk->words[place], subscriber);
    word_store(&chunk->used, used | 1ull << place);
    return chunk->number * INDEX_CHUNK_PLACES + place;
}

static void chunk_take(struct index_chunk *chunk, uint32_t place)
{
    uint64_t used = word_load(&chunk->used);
    BUG_ON(!(used >> place & 1));
    word_store(&chunk->used, used & ~(1ull << place));
    word_store(&chunk->words[place], 0);
}

/* A copy with room for `cap`, where everyone has the place they had. */
static struct index_chunk *chunk_grown(struct index_writer *w, struct index_chunk *chunk,
                                       uint32_t cap)
{
    struct index_chunk *grown = chunk_new(w, cap, 0);
    if (!grown)
        return NULL;
    for (uint32_t i = 0; i < chunk->cap; i++)
        atomic_store_explicit(&grown->words[i], word_load(&chunk->words[i]), memory_order_relaxed);
    atomic_store_explicit(&grown->used, word_load(&chunk->used), memory_order_relaxed);
    return grown;
}

/* --- the linked chunks with room --- */

static void room_push(struct index_list *list, struct index_chunk *chunk)
{
    chunk->room_previous = NULL;
    chunk->room_next = list->room;
    if (list->room)
        list->room->room_previous = chunk;
    list->room = chunk;
}

static void room_unlink(struct index_list *list, struct index_chunk *chunk)
{
    if (chunk->room_previous)
        chunk->room_previous->room_next = chunk->room_next;
    else
        list->room = chunk->room_next;
    if (chunk->room_next)
        chunk->room_next->room_previous = chunk->room_previous;
}

/* --- the directory --- */

static inline struct index_directory *list_directory(const struct index_list *list)
{
    return atomic_load_explicit(&list->directory, memory_order_acquire);
}

static inline struct index_chunk *directory_chunk(const struct index_directory *dir, uint32_t i)
{
    return atomic_load_explicit(&dir->chunks[i], memory_order_acquire);
}

static inline uint32_t directory_end(const struct index_directory *dir)
{
    return atomic_load_explicit(&dir->end, memory_order_acquire);
}

static struct index_directory *directory_new(struct index_writer *w, uint32_t cap)
{
    struct index_directory *dir = index_alloc(w, directory_bytes(cap));
    if (dir)
        dir->cap = cap;
    return dir;
}

static enum err directory_grow(struct index_writer *w, struct index_list *list)
{
    struct index_directory *old = list_directory(list);
    struct index_directory *dir = directory_new(w, old->cap * 2);
    if (!dir)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < old->cap; i++)
        atomic_store_explicit(&dir->chunks[i], directory_chunk(old, i), memory_order_relaxed);
    atomic_store_explicit(&dir->end, directory_end(old), memory_order_relaxed);
    atomic_store_explicit(&list->directory, dir, memory_order_release);
    retire(w, &old->item, directory_bytes(old->cap));
    return ERR_OK;
}

/* The lowest free number for a chunk; the directory has room for it then. */
static enum err list_find_hole(struct index_writer *w, struct index_list *list, uint32_t *number)
{
    struct index_directory *dir = list_directory(list);
    uint32_t end = directory_end(dir);
    uint32_t hole = list->hole;
    while (hole < end && directory_chunk(dir, hole))
        hole++;
    list->hole = *number = hole;
    return hole < dir->cap ? ERR_OK : directory_grow(w, list);
}

static enum err list_add_chunk(struct index_writer *w, struct index_list *list)
{
    uint32_t number;
    enum err err = list_find_hole(w, list, &number);
    if (err)
        return err;
    struct index_chunk *chunk = chunk_new(w, INDEX_CHUNK_PLACES, number);
    if (!chunk)
        return ERR_NOMEM;
    struct index_directory *dir = list_directory(list);
    atomic_store_explicit(&dir->chunks[number], chunk, memory_order_release);
    if (number >= directory_end(dir))
        atomic_store_explicit(&dir->end, number + 1, memory_order_release);
    room_push(list, chunk);
    return ERR_OK;
}

static void list_drop_chunk(struct index_writer *w, struct index_list *list,
                            struct index_chunk *chunk)
{
    struct index_directory *dir = list_directory(list);
    room_unlink(list, chunk);
    atomic_store_explicit(&dir->chunks[chunk->number], NULL, memory_order_release);
    if (chunk->number < list->hole)
        list->hole = chunk->number;
    uint32_t end = directory_end(dir);
    while (end > 0 && !directory_chunk(dir, end - 1))
        end--;
    atomic_store_explicit(&dir->end, end, memory_order_release);
    retire(w, &chunk->item, chunk_bytes(chunk->cap));
}

/* --- adding --- */

static enum err list_put(struct index_writer *w, struct index_list *list,
                         index_subscriber subscriber, uint32_t *position)
{
    if (!list->room) {
        enum err err = list_add_chunk(w, list);
        if (err)
            return err;
    }
    struct index_chunk *chunk = list->room;
    *position = chunk_put(chunk, subscriber);
    if (word_load(&chunk->used) == UINT64_MAX)
        room_unlink(list, chunk);
    list->count++;
    return ERR_OK;
}

/* The second subscriber: the first one moves out of the word into a chunk, to place 0. */
static enum err put_second(struct index_writer *w, _Atomic uint64_t *word,
                           index_subscriber subscriber, uint32_t *position)
{
    struct index_chunk *chunk = chunk_new(w, 4, 0);
    if (!chunk)
        return ERR_NOMEM;
    chunk_put(chunk, word_load(word));
    *position = chunk_put(chunk, subscriber);
    word_store(word, word_of(chunk, INDEX_WORD_CHUNK));
    return ERR_OK;
}

/* The 65th: the full chunk becomes the first of a list. */
static enum err put_in_new_list(struct index_writer *w, _Atomic uint64_t *word,
                                struct index_chunk *chunk, index_subscriber subscriber,
                                uint32_t *position)
{
    struct index_list *list = index_alloc(w, sizeof(*list));
    struct index_directory *dir = list ? directory_new(w, 4) : NULL;
    if (dir) {
        atomic_store_explicit(&dir->chunks[0], chunk, memory_order_relaxed);
        atomic_store_explicit(&dir->end, 1, memory_order_relaxed);
        atomic_store_explicit(&list->directory, dir, memory_order_relaxed);
        list->count = INDEX_CHUNK_PLACES;
        if (list_put(w, list, subscriber, position) == ERR_OK) {
            word_store(word, word_of(list, INDEX_WORD_LIST));
            return ERR_OK;
        }
        dir = list_directory(list);
        w->shard->bytes -= directory_bytes(dir->cap);
        mem_free(dir);
    }
    if (list)
        w->shard->bytes -= sizeof(*list);
    mem_free(list);
    return ERR_NOMEM;
}

static enum err put_in_chunk(struct index_writer *w, _Atomic uint64_t *word,
                             struct index_chunk *chunk, index_subscriber subscriber,
                             uint32_t *position)
{
    if (word_load(&chunk->used) != chunk_all(chunk)) {
        *position = chunk_put(chunk, subscriber);
        return ERR_OK;
    }
    if (chunk->cap == INDEX_CHUNK_PLACES)
        return put_in_new_list(w, word, chunk, subscriber, position);
    struct index_chunk *grown = chunk_grown(w, chunk, chunk->cap * 2);
    if (!grown)
        return ERR_NOMEM;
    *position = chunk_put(grown, subscriber);
    word_store(word, word_of(grown, INDEX_WORD_CHUNK));
    retire(w, &chunk->item, chunk_bytes(chunk->cap));
    return ERR_OK;
}

enum err index_list_add(struct index_writer *w, _Atomic uint64_t *word, index_subscriber subscriber,
                        uint32_t *position)
{
    uint64_t value = word_load(word);
    if (value == 0) {
        *position = 0;
        word_store(word, subscriber);
        return ERR_OK;
    }
    if (!(value & INDEX_WORD_TAGGED))
        return put_second(w, word, subscriber, position);
    if (index_word_kind(value) == INDEX_WORD_CHUNK)
        return put_in_chunk(w, word, index_word_ptr(value), subscriber, position);
    return list_put(w, index_word_ptr(value), subscriber, position);
}

/* --- changing and removing --- */

static struct index_chunk *word_chunk(uint64_t value, uint32_t number)
{
    if (index_word_kind(value) == INDEX_WORD_CHUNK)
        return index_word_ptr(value);
    struct index_list *list = index_word_ptr(value);
    return directory_chunk(list_directory(list), number);
}

void index_list_set(_Atomic uint64_t *word, uint32_t position, index_subscriber subscriber)
{
    uint64_t value = word_load(word);
    if (value & INDEX_WORD_TAGGED) {
        struct index_chunk *chunk = word_chunk(value, position / INDEX_CHUNK_PLACES);
        word = &chunk->words[position % INDEX_CHUNK_PLACES];
    }
    BUG_ON(index_subscriber_slot(word_load(word)) != index_subscriber_slot(subscriber));
    word_store(word, subscriber);
}

static void list_remove(struct index_writer *w, _Atomic uint64_t *word, struct index_list *list,
                        uint32_t position)
{
    struct index_directory *dir = list_directory(list);
    struct index_chunk *chunk = directory_chunk(dir, position / INDEX_CHUNK_PLACES);
    bool was_full = word_load(&chunk->used) == UINT64_MAX;
    chunk_take(chunk, position % INDEX_CHUNK_PLACES);
    if (was_full)
        room_push(list, chunk);
    if (!word_load(&chunk->used))
        list_drop_chunk(w, list, chunk);
    if (--list->count > 0)
        return;
    word_store(word, 0);
    retire(w, &dir->item, directory_bytes(dir->cap));
    retire(w, &list->item, sizeof(*list));
}

void index_list_remove(struct index_writer *w, _Atomic uint64_t *word, uint32_t position)
{
    uint64_t value = word_load(word);
    BUG_ON(value == 0);
    if (!(value & INDEX_WORD_TAGGED)) {
        word_store(word, 0);
        return;
    }
    if (index_word_kind(value) == INDEX_WORD_LIST) {
        list_remove(w, word, index_word_ptr(value), position);
        return;
    }
    struct index_chunk *chunk = index_word_ptr(value);
    chunk_take(chunk, position);
    if (word_load(&chunk->used))
        return;
    word_store(word, 0);
    retire(w, &chunk->item, chunk_bytes(chunk->cap));
}

/* --- reading --- */

/* The first subscriber in a chunk at `place` or later; false when there is none. */
static bool chunk_next(const struct index_chunk *chunk, uint32_t place, uint32_t *position,
                       index_subscriber *subscriber)
{
    uint64_t left = word_load(&chunk->used) & UINT64_MAX << place;
    for (; left; left &= left - 1) {
        place = (uint32_t)__builtin_ctzll(left);
        *subscriber = word_load(&chunk->words[place]);
        if (!*subscriber)
            continue;
        *position = chunk->number * INDEX_CHUNK_PLACES + place;
        return true;
    }
    return false;
}

static bool list_next(const struct index_list *list, uint32_t *position,
                      index_subscriber *subscriber)
{
    const struct index_directory *dir = list_directory(list);
    uint32_t place = *position % INDEX_CHUNK_PLACES;
    uint32_t end = directory_end(dir);
    for (uint32_t i = *position / INDEX_CHUNK_PLACES; i < end; i++, place = 0) {
        const struct index_chunk *chunk = directory_chunk(dir, i);
        if (i + 1 < end)
            __builtin_prefetch(directory_chunk(dir, i + 1));
        if (chunk && chunk_next(chunk, place, position, subscriber))
            return true;
    }
    return false;
}

bool index_list_next(uint64_t word, uint32_t *position, index_subscriber *subscriber)
{
    if (!(word & INDEX_WORD_TAGGED)) {
        *subscriber = word;
        return word != 0 && *position == 0;
    }
    if (index_word_kind(word) == INDEX_WORD_LIST)
        return list_next(index_word_ptr(word), position, subscriber);
    return index_word_kind(word) == INDEX_WORD_CHUNK && *position < INDEX_CHUNK_PLACES &&
           chunk_next(index_word_ptr(word), *position, position, subscriber);
}

static enum err chunk_collect(const struct index_chunk *chunk, struct index_matches *matches)
{
    if (index_matches_reserve(matches, INDEX_CHUNK_PLACES))
        return ERR_NOMEM;
    struct index_match *match = matches->items + matches->count;
    for (uint64_t left = word_load(&chunk->used); left; left &= left - 1) {
        index_subscriber subscriber = word_load(&chunk->words[__builtin_ctzll(left)]);
        *match = (struct index_match){.subscriber = subscriber};
        match += subscriber != 0;
    }
    matches->count = (uint32_t)(match - matches->items);
    return ERR_OK;
}

static enum err list_collect(const struct index_list *list, struct index_matches *matches)
{
    const struct index_directory *dir = list_directory(list);
    uint32_t end = directory_end(dir);
    for (uint32_t i = 0; i < end; i++) {
        const struct index_chunk *chunk = directory_chunk(dir, i);
        if (i + 1 < end)
            __builtin_prefetch(directory_chunk(dir, i + 1));
        if (chunk && chunk_collect(chunk, matches))
            return ERR_NOMEM;
    }
    return ERR_OK;
}

enum err index_list_collect(uint64_t word, struct index_matches *matches)
{
    if (word & INDEX_WORD_TAGGED) {
        if (index_word_kind(word) == INDEX_WORD_LIST)
            return list_collect(index_word_ptr(word), matches);
        return index_word_kind(word) == INDEX_WORD_CHUNK
                   ? chunk_collect(index_word_ptr(word), matches)
                   : ERR_OK;
    }
    if (!word)
        return ERR_OK;
    if (index_matches_reserve(matches, 1))
        return ERR_NOMEM;
    matches->items[matches->count++] = (struct index_match){.subscriber = word};
    return ERR_OK;
}

uint32_t index_list_end(uint64_t word)
{
    if (!(word & INDEX_WORD_TAGGED))
        return word != 0;
    if (index_word_kind(word) == INDEX_WORD_LIST) {
        const struct index_list *list = index_word_ptr(word);
        return directory_end(list_directory(list)) * INDEX_CHUNK_PLACES;
    }
    if (index_word_kind(word) != INDEX_WORD_CHUNK)
        return 0;
    uint64_t used = word_load(&((const struct index_chunk *)index_word_ptr(word))->used);
    return used ? 64 - (uint32_t)__builtin_clzll(used) : 0;
}

/* --- checking and the end --- */

static uint32_t chunk_check(const struct index_chunk *chunk)
{
    uint64_t used = word_load(&chunk->used);
    BUG_ON(used & ~chunk_all(chunk));
    BUG_ON(!used);
    for (uint32_t i = 0; i < chunk->cap; i++)
        BUG_ON((word_load(&chunk->words[i]) != 0) != (used >> i & 1));
    return (uint32_t)__builtin_popcountll(used);
}

static uint32_t list_check(const struct index_list *list)
{
    const struct index_directory *dir = list_directory(list);
    uint32_t count = 0, with_room = 0, linked = 0;
    for (uint32_t i = 0; i < directory_end(dir); i++) {
        const struct index_chunk *chunk = directory_chunk(dir, i);
        BUG_ON(!chunk && i < list->hole);
        if (!chunk)
            continue;
        BUG_ON(chunk->number != i || chunk->cap != INDEX_CHUNK_PLACES);
        uint32_t used = chunk_check(chunk);
        count += used;
        with_room += used < INDEX_CHUNK_PLACES;
    }
    for (const struct index_chunk *chunk = list->room; chunk; chunk = chunk->room_next)
        linked++;
    BUG_ON(linked != with_room);
    BUG_ON(count != list->count);
    return count;
}

uint32_t index_list_check(uint64_t word)
{
    if (!(word & INDEX_WORD_TAGGED))
        return word != 0;
    BUG_ON(index_word_kind(word) == INDEX_WORD_LIMBO);
    return index_word_kind(word) == INDEX_WORD_LIST ? list_check(index_word_ptr(word))
                                                    : chunk_check(index_word_ptr(word));
}

void index_list_free(uint64_t word)
{
    if (!(word & INDEX_WORD_TAGGED) || index_word_kind(word) == INDEX_WORD_LIMBO)
        return;
    void *owned = index_word_ptr(word);
    if (index_word_kind(word) == INDEX_WORD_LIST) {
        struct index_directory *dir = list_directory(owned);
        for (uint32_t i = 0; i < dir->cap; i++)
            mem_free(directory_chunk(dir, i));
        mem_free(dir);
    }
    mem_free(owned);
}
