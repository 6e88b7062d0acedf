/*
 * idset.c: see idset.h.
 */
#include "session/idset.h"

#include "base/assert.h"
#include "base/mem.h"

#define IDSET_BITMAP_WORDS 1024u

bool idset_has(const struct idset *set, uint16_t id)
{
    if (set->bitmap)
        return set->bitmap[id / 64] >> (id % 64) & 1;
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->ids[i] == id)
            return true;
    }
    return false;
}

static enum err idset_to_bitmap(struct idset *set)
{
    uint64_t *bitmap = mem_zalloc(IDSET_BITMAP_WORDS * sizeof(*bitmap));
    if (!bitmap)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < set->count; i++)
        bitmap[set->ids[i] / 64] |= (uint64_t)1 << (set->ids[i] % 64);
    mem_free(set->ids);
    set->ids = NULL;
    set->cap = 0;
    set->bitmap = bitmap;
    return ERR_OK;
}

static enum err idset_make_room(struct idset *set)
{
    if (set->bitmap || set->count < set->cap)
        return ERR_OK;
    if (set->cap == IDSET_SMALL_MAX)
        return idset_to_bitmap(set);
    uint32_t cap = set->cap ? set->cap * 2 : 8;
    uint16_t *ids = mem_realloc(set->ids, cap * sizeof(*ids));
    if (!ids)
        return ERR_NOMEM;
    set->ids = ids;
    set->cap = cap;
    return ERR_OK;
}

enum err idset_add(struct idset *set, uint16_t id)
{
    enum err err = idset_make_room(set);
    if (err)
        return err;
    if (set->bitmap)
        set->bitmap[id / 64] |= (uint64_t)1 << (id % 64);
    else
        set->ids[set->count] = id;
    set->count++;
    return ERR_OK;
}

bool idset_remove(struct idset *set, uint16_t id)
{
    if (!idset_has(set, id))
        return false;
    set->count--;
    if (set->bitmap) {
        set->bitmap[id / 64] &= ~((uint64_t)1 << (id % 64));
    } else {
        uint32_t i = 0;
        while (set->ids[i] != id)
            i++;
        set->ids[i] = set->ids[set->count];
    }
    if (set->count == 0)
        idset_clear(set);
    return true;
}

void idset_clear(struct idset *set)
{
    mem_free(set->ids);
    mem_free(set->bitmap);
    *set = (struct idset){0};
}

void idset_check(const struct idset *set)
{
    uint32_t bits = 0;
    BUG_ON(set->ids && set->bitmap);
    BUG_ON((set->count == 0) != (!set->ids && !set->bitmap));
    if (!set->bitmap) {
        BUG_ON(set->count > set->cap || set->cap > IDSET_SMALL_MAX);
        return;
    }
    for (uint32_t i = 0; i < IDSET_BITMAP_WORDS; i++)
        bits += (uint32_t)__builtin_popcountll(set->bitmap[i]);
    BUG_ON(bits != set->count);
}
