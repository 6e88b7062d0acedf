/*
 * review.c: see review.h.
 */
#include "conn/review.h"

#include <string.h>

#include "base/assert.h"
#include "conn/attach.h"
#include "conn/authenticate.h"
#include "conn/worker.h"

#define SLICE_COST 2048u /* a slot that is not ours costs 1, a session OWN_COST */
#define OWN_COST 8u

static bool is_same_names(const struct config_strings *a, const struct config_strings *b)
{
    bool is_same = a->count == b->count;
    for (uint32_t i = 0; is_same && i < a->count; i++)
        is_same = strcmp(a->items[i], b->items[i]) == 0;
    return is_same;
}

bool review_is_needed(const struct config *before, const struct config *after)
{
    return !is_same_names(&before->admin_users, &after->admin_users) ||
           before->persistent_client_expiration_s != after->persistent_client_expiration_s;
}

/* Takes a slice off the slots; true at their end. */
static bool review_run(struct reactor *reactor, struct job *job)
{
    struct review *review = CONTAINER_OF(job, struct review, job);
    struct worker *worker = worker_of(reactor);
    uint32_t end = atomic_load_explicit(&worker->broker->slots.end, memory_order_acquire);
    for (uint32_t cost = 0; review->slot < end && cost < SLICE_COST; review->slot++) {
        struct session *session = worker_own_session(worker, review->slot);
        cost += session ? OWN_COST : 1;
        if (!session)
            continue;
        authenticate_again(worker, session);
        attach_renew_expiry(worker, session);
    }
    return review->slot >= end;
}

void review_tick(struct worker *worker)
{
    struct review *review = &worker->review;
    uint32_t asked = atomic_load_explicit(&worker->broker->reviews_asked, memory_order_acquire);
    if (LIKELY(review->begun == asked))
        return;
    review->begun = asked;
    review->slot = 1;
    review->job.run = review_run;
    reactor_job_add(worker->reactor, &review->job);
}

void review_mail(struct reactor *reactor, void *payload, uint32_t bytes)
{
    (void)payload;
    (void)bytes;
    review_tick(worker_of(reactor));
}

void review_ask(struct broker *broker)
{
    atomic_fetch_add_explicit(&broker->reviews_asked, 1, memory_order_release);
    for (uint16_t i = 0; i < broker->group->count; i++) {
        if (mailbox_send(broker->group, i, MAIL_REVIEW, NULL, 0))
            return; /* no memory: the next tick sees it */
    }
}
