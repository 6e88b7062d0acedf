/*
 * session.c: see session.h. Memory of a session, nothing of its behaviour.
 */
#include "session/session.h"

#include "base/assert.h"
#include "base/mem.h"
#include "runtime/blocks.h"

/* The id begins right after the last field, where the struct alone would be padded. */
static size_t session_struct_bytes(size_t id_bytes)
{
    size_t bytes = offsetof(struct session, id) + id_bytes;
    return bytes > sizeof(struct session) ? bytes : sizeof(struct session);
}

struct session *session_new(struct slice id)
{
    struct session *session = blocks_alloc(session_struct_bytes(id.len));
    if (!session)
        return NULL;
    session->id_bytes = (uint16_t)id.len;
    if (id.len)
        memcpy(session->id, id.ptr, id.len);
    return session;
}

static void flight_free(struct flight *flight)
{
    inflight_clear(&flight->inflight);
    queue_clear(&flight->queue, UINT32_MAX);
    queue_clear(&flight->queue_qos0, UINT32_MAX);
    idset_clear(&flight->received);
    mem_free(flight->resend);
    mem_free(flight);
}

void session_free(struct session *session)
{
    BUG_ON(session->subscriptions.count || session->sink || session->replays);
    if (session->flight)
        flight_free(session->flight);
    if (session->will)
        will_free(session->will);
    subscriptions_fini(&session->subscriptions);
    mem_free(session->user);
    blocks_free(session, session_struct_bytes(session->id_bytes));
}

struct flight *session_flight(struct session *session)
{
    if (!session->flight)
        session->flight = mem_zalloc(sizeof(*session->flight));
    return session->flight;
}

void session_trim(struct session *session)
{
    struct flight *flight = session->flight;
    if (!flight || flight->inflight.count || flight->queue.count || flight->queue_qos0.count ||
        flight->received.count || flight->give_up)
        return;
    for (uint32_t i = 0; i < DROP_COUNT; i++) {
        if (flight->dropped[i])
            return;
    }
    flight_free(flight);
    session->flight = NULL;
}

enum err session_set_user(struct session *session, struct slice name, bool is_verified)
{
    struct session_user *user = mem_alloc(sizeof(*user) + name.len);
    if (!user)
        return ERR_NOMEM;
    user->is_verified = is_verified;
    user->len = (uint16_t)name.len;
    if (name.len)
        memcpy(user->name, name.ptr, name.len);
    mem_free(session->user);
    session->user = user;
    return ERR_OK;
}

void will_free(struct will *will)
{
    message_unref(will->message, 1);
    mem_free(will);
}

static uint64_t flight_bytes(const struct flight *flight)
{
    uint64_t table = flight->inflight.entries
                         ? ((uint64_t)flight->inflight.mask + 1) * sizeof(struct inflight_entry)
                         : 0;
    uint64_t queued =
        ((uint64_t)flight->queue.count + flight->queue_qos0.count) * sizeof(struct delivery);
    uint64_t messages = flight->inflight.bytes + flight->queue.bytes + flight->queue_qos0.bytes;
    return sizeof(*flight) + table + queued + messages;
}

uint64_t session_bytes(const struct session *session)
{
    uint64_t bytes =
        session_struct_bytes(session->id_bytes) + subscriptions_bytes(&session->subscriptions);
    if (session->user)
        bytes += sizeof(*session->user) + session->user->len;
    if (session->will)
        bytes += sizeof(*session->will) + message_bytes(session->will->message);
    if (session->flight)
        bytes += flight_bytes(session->flight);
    return bytes;
}
