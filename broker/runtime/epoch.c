/*
 * epoch.c: quiescent-state reclamation.
 *
 *   now:     7 ............... 8 ..................... 9
 *   seen[0]:    7 ................ 8 .................... 9      an awake participant
 *   seen[1]:       7 ... ASLEEP ............................     sleeps: holds nothing
 *   item tagged 7 ----^            ^-- min(seen) = 8 > 7: runs
 *
 * An item is tagged with `now` after its memory was unlinked. It runs once every participant has
 * announced a later epoch or sleeps. `now` moves on at the quiescence of a participant that has
 * something deferred under the present one, so a broker where nothing is unlinked writes nothing.
 *
 * Why it is safe, in happens-before only (no fences, which ThreadSanitizer cannot follow):
 *  - The tag is read with an acquire-release read-modify-write of `now`. Whoever moves `now` on
 * reads from it or from a later one, so a participant that has loaded a later epoch has seen the
 * unlink.
 *  - A participant announces with release, the reclaimer loads with acquire: what was read before
 * the announcement is over before the memory is freed.
 *  - Sleeping and waking: the reclaimer confirms "asleep" with a read-modify-write of `seen`, and
 *    waking is one too. Either the reclaimer sees the waking, and waits, or the waking comes second
 *    and with it every store that the reclaimer made before: the unlink.
 *  - Joining does a read-modify-write of `now` after it raised `count`, and the tag is one: either
 *    the reclaimer's later load of `count` includes the newcomer, or the newcomer saw the unlink.
 * On x86 the two exchanges are the full fences that these arguments need on hardware.
 *
 * Invariants: items of a participant are in the order of their epochs. `seen` of a participant
 * never goes back, but for sleeping (docs/decisions/0002-epochs.md).
 *
 * Threads: each participant is used by its own thread alone but for `seen`. Cost: a load of `now`
 * and one of the own `seen` a turn; with items, also one load for each other participant.
 */
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"
#include "runtime/epoch.h"

#define EPOCH_ASLEEP UINT64_MAX

void epoch_domain_init(struct epoch_domain *domain)
{
    atomic_init(&domain->now, 1);
    atomic_init(&domain->count, 0);
    for (uint32_t i = 0; i < EPOCH_PARTICIPANTS_MAX; i++) {
        struct epoch_participant *p = &domain->participants[i];
        atomic_init(&p->seen, 0); /* holds everything back between its two steps of joining */
        p->domain = domain;
        p->ctx = NULL;
        p->first = NULL;
        p->last = &p->first;
        p->deferred = 0;
    }
}

struct epoch_participant *epoch_join(struct epoch_domain *domain, void *ctx)
{
    uint32_t index = atomic_fetch_add_explicit(&domain->count, 1, memory_order_acq_rel);
    BUG_ON(index >= EPOCH_PARTICIPANTS_MAX);
    struct epoch_participant *me = &domain->participants[index];
    me->ctx = ctx;
    uint64_t now = atomic_fetch_add_explicit(&domain->now, 0, memory_order_acq_rel);
    atomic_store_explicit(&me->seen, now, memory_order_release);
    return me;
}

/* The epoch that every participant has announced at least. What was unlinked under an earlier one
 * is out of reach. */
static uint64_t epoch_seen_by_all(struct epoch_domain *domain)
{
    uint64_t least = EPOCH_ASLEEP;
    uint32_t count = atomic_load_explicit(&domain->count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        struct epoch_participant *p = &domain->participants[i];
        uint64_t seen = atomic_load_explicit(&p->seen, memory_order_acquire);
        if (seen == EPOCH_ASLEEP) /* confirmed by a write, see above */
            seen = atomic_fetch_add_explicit(&p->seen, 0, memory_order_acq_rel);
        if (seen < least)
            least = seen;
    }
    return least;
}

/* Moves the epoch on when our youngest item stands under the present one, so that others can show
 * that they have begun a turn since. */
static void epoch_advance(struct epoch_participant *me)
{
    struct epoch_item *youngest =
        (struct epoch_item *)((char *)me->last - offsetof(struct epoch_item, next));
    uint64_t now = youngest->epoch;
    atomic_compare_exchange_strong_explicit(&me->domain->now, &now, now + 1, memory_order_acq_rel,
                                            memory_order_relaxed);
}

static struct epoch_item *epoch_pop(struct epoch_participant *me)
{
    struct epoch_item *item = me->first;
    me->first = item->next;
    if (!me->first)
        me->last = &me->first;
    me->deferred--;
    return item;
}

bool epoch_quiescent(struct epoch_participant *me, uint32_t budget)
{
    if (me->first)
        epoch_advance(me);
    uint64_t now = atomic_load_explicit(&me->domain->now, memory_order_acquire);
    if (atomic_load_explicit(&me->seen, memory_order_relaxed) != now)
        atomic_store_explicit(&me->seen, now, memory_order_release);
    if (!me->first || me->first->epoch >= now)
        return me->first != NULL;

    uint64_t safe = epoch_seen_by_all(me->domain);
    while (budget-- > 0 && me->first && me->first->epoch < safe) {
        struct epoch_item *item = epoch_pop(me);
        item->run(item, me->ctx);
    }
    return me->first != NULL;
}

void epoch_sleep(struct epoch_participant *me)
{
    atomic_store_explicit(&me->seen, EPOCH_ASLEEP, memory_order_release);
}

void epoch_wake(struct epoch_participant *me)
{
    uint64_t now = atomic_load_explicit(&me->domain->now, memory_order_acquire);
    /* A full fence: nothing of a table is read before everyone can see that we are awake. */
    atomic_exchange_explicit(&me->seen, now, memory_order_seq_cst);
}

void epoch_defer(struct epoch_participant *me, struct epoch_item *item,
                 void (*run)(struct epoch_item *item, void *ctx))
{
    item->run = run;
    item->next = NULL;
    item->epoch = atomic_fetch_add_explicit(&me->domain->now, 0, memory_order_acq_rel);
    *me->last = item;
    me->last = &item->next;
    me->deferred++;
}

struct epoch_free_item {
    struct epoch_item item;
    void *ptr;
};

static void epoch_free_run(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    struct epoch_free_item *free_item = (struct epoch_free_item *)item;
    mem_free(free_item->ptr);
    mem_free(free_item);
}

void epoch_defer_free(struct epoch_participant *me, void *ptr)
{
    struct epoch_free_item *item = ptr ? mem_alloc(sizeof(*item)) : NULL;
    if (!item)
        return;
    item->ptr = ptr;
    epoch_defer(me, &item->item, epoch_free_run);
}

void epoch_drain(struct epoch_domain *domain)
{
    uint32_t count = atomic_load_explicit(&domain->count, memory_order_acquire);
    for (bool again = true; again;) {
        again = false;
        for (uint32_t i = 0; i < count; i++) {
            struct epoch_participant *p = &domain->participants[i];
            while (p->first) {
                struct epoch_item *item = epoch_pop(p);
                item->run(item, p->ctx);
                again = true; /* what ran may have deferred more, also elsewhere */
            }
        }
    }
}
