/*
 * subscribe.c: see subscribe.h.
 */
#include "conn/subscribe.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conn/announced.h"
#include "conn/bulk.h"
#include "conn/handlers.h"
#include "conn/replay.h"
#include "conn/send.h"
#include "mqtt/encode.h"
#include "runtime/log.h"

struct index_place subscribe_place(const struct subscription *subscription)
{
    return (struct index_place){
        .node = subscription->node,
        .position = subscription->position,
        .group = subscription->group,
    };
}

static bool scratch_make_room(struct scratch *scratch, size_t bytes)
{
    if (scratch->cap >= bytes)
        return true;
    uint8_t *grown = mem_realloc(scratch->bytes, bytes);
    if (!grown)
        return false;
    scratch->bytes = grown;
    scratch->cap = (uint32_t)bytes;
    return true;
}

/* Puts the listener's mount point before what is matched: "$share/g/" MOUNT "a/+". False without
   memory or when it gets too long. */
static bool filter_mount(struct worker *worker, const struct connection *connection,
                         struct topic_filter *filter)
{
    const char *mount = connection_listener(worker, connection)->mount_point;
    if (!mount)
        return true;
    size_t head = filter->full.len - filter->filter.len, mount_bytes = strlen(mount);
    size_t total = filter->full.len + mount_bytes;
    struct scratch *scratch = &worker->filter_scratch;
    if (total > MQTT_STRING_BYTES_MAX || !scratch_make_room(scratch, total))
        return false;
    memcpy(scratch->bytes, filter->full.ptr, head);
    memcpy(scratch->bytes + head, mount, mount_bytes);
    memcpy(scratch->bytes + head + mount_bytes, filter->filter.ptr, filter->filter.len);
    filter->share = slice_of(scratch->bytes + (filter->is_shared ? 7 : 0), filter->share.len);
    filter->full = slice_of(scratch->bytes, total);
    filter->filter = slice_of(scratch->bytes + head, total - head);
    return true;
}

static struct subscription *find_subscription(struct session *session,
                                              const struct topic_filter *filter, uint32_t hash)
{
    uint32_t at = 0;
    struct subscription *subscription;
    while ((subscription = subscriptions_find(&session->subscriptions, hash, &at)) != NULL) {
        struct index_place place = subscribe_place(subscription);
        if (index_place_is(&place, filter))
            return subscription;
    }
    return NULL;
}

static bool is_sys_filter(const struct topic_filter *filter)
{
    return slice_starts_with(filter->filter, SLICE_LIT("$SYS/")) && !filter->is_shared;
}

static enum err add_subscription(struct worker *worker, struct session *session,
                                 const struct topic_filter *filter, uint32_t hash,
                                 index_subscriber subscriber)
{
    struct broker *broker = worker->broker;
    struct index_place place;
    enum err err = index_add(broker->index, worker->reactor->epoch, filter, subscriber, &place);
    if (err)
        return err;
    struct subscription item = {
        .node = place.node, .position = place.position, .group = place.group, .filter_hash = hash};
    err = subscriptions_add(&session->subscriptions, &item);
    if (err) {
        index_remove(broker->index, worker->reactor->epoch, &place);
        return err;
    }
    return ERR_OK;
}

static void start_replay(struct worker *worker, const struct connection *connection,
                         const struct topic_filter *filter, index_subscriber subscriber,
                         uint8_t retain_handling, bool is_new)
{
    struct session *session = connection->session;
    bool wanted = retain_handling == 0 || (retain_handling == 1 && is_new); /* [MQTT-3.3.1-9..11] */
    if (filter->is_shared || !wanted || !announced_to(worker, connection)->has_retain)
        return;
    if (!is_new)
        replay_stop(session, filter->filter);
    if (replay_start(session, filter->filter, subscriber))
        metric_drop(worker_metrics(worker), DROP_MEMORY);
}

static void log_subscribe(const struct connection *connection, uint32_t type, const char *what,
                          struct slice filter, uint8_t qos)
{
    if (!log_is_on(type))
        return;
    char address[CONNECTION_ADDRESS_BYTES];
    struct slice id = session_id(connection->session);
    log_line(type, "Client %.*s (%s) %s %.*s (QoS %u).", SLICE_ARG(id),
             connection_address(connection, address), what, SLICE_ARG(filter), qos);
}

/* Says and counts that a subscription is refused for want of room. */
static uint8_t refuse_subscription(struct worker *worker, const struct connection *connection,
                                   struct slice filter, const char *why)
{
    char address[CONNECTION_ADDRESS_BYTES];
    metric_add(worker_metrics(worker), METRIC_SUBSCRIPTIONS_REFUSED, 1);
    log_line(LOG_NOTICE_, "Subscription of client %.*s (%s) to %.*s refused: %s.",
             SLICE_ARG(session_id(connection->session)), connection_address(connection, address),
             SLICE_ARG(filter), why);
    return REASON_QUOTA_EXCEEDED;
}

static const char *why_not_added(enum err err)
{
    return err == ERR_LIMIT ? "too many filters with several '+' that one topic would meet are "
                              "subscribed to"
                            : "no memory";
}

uint8_t subscribe_one(struct worker *worker, struct connection *connection,
                      const struct subscribe_filter *wish, uint32_t subscription_id)
{
    struct session *session = connection->session;
    struct topic_filter filter;
    if (topic_filter_parse(wish->filter, &filter) || !filter_mount(worker, connection, &filter))
        return REASON_TOPIC_FILTER_INVALID;
    struct slice user =
        session->user ? slice_of(session->user->name, session->user->len) : slice_of(NULL, 0);
    if (worker->broker->auth->has_access_checks &&
        !auth_may(worker->broker->auth, session_id(session), user, filter.filter, AUTH_SUBSCRIBE))
        return REASON_NOT_AUTHORIZED;
    if (is_over_memory_limit(worker) && !(session->flags & SESSION_ADMIN))
        return refuse_subscription(worker, connection, filter.full, "memory_limit is reached");
    uint8_t qos_max = connection_listener(worker, connection)->qos_max;
    uint8_t qos = wish->qos < qos_max ? wish->qos : qos_max;
    index_subscriber subscriber = index_subscriber_make(session->slot, subscription_id, qos,
                                                        wish->no_local, wish->retain_as_published);
    uint32_t hash = (uint32_t)hash_bytes(filter.full);
    struct subscription *old = find_subscription(session, &filter, hash);
    if (old) {
        struct index_place place = subscribe_place(old);
        index_update(worker->broker->index, &place, subscriber); /* [MQTT-3.8.4-3] */
    } else {
        enum err err = add_subscription(worker, session, &filter, hash, subscriber);
        if (err)
            return refuse_subscription(worker, connection, filter.full, why_not_added(err));
    }
    log_subscribe(connection, LOG_SUBSCRIBE, "subscribes to", filter.full, qos);
    start_replay(worker, connection, &filter, subscriber, wish->retain_handling, !old);
    if (is_sys_filter(&filter) && worker->broker->hooks.subscribed)
        worker->broker->hooks.subscribed(worker, session, filter.filter, subscriber,
                                         wish->retain_handling, !old);
    return qos;
}

void subscribe_remove(struct worker *worker, struct session *session,
                      struct subscription *subscription)
{
    struct index_place place = subscribe_place(subscription);
    index_remove(worker->broker->index, worker->reactor->epoch, &place);
    subscriptions_remove(&session->subscriptions, subscription);
}

uint8_t unsubscribe_one(struct worker *worker, struct connection *connection, struct slice full)
{
    struct session *session = connection->session;
    struct topic_filter filter;
    if (topic_filter_parse(full, &filter) || !filter_mount(worker, connection, &filter))
        return REASON_TOPIC_FILTER_INVALID;
    struct subscription *subscription =
        find_subscription(session, &filter, (uint32_t)hash_bytes(filter.full));
    if (!subscription)
        return REASON_NO_SUBSCRIPTION_EXISTED;
    log_subscribe(connection, LOG_UNSUBSCRIBE, "unsubscribes from", filter.full, 0);
    subscribe_remove(worker, session, subscription);
    if (!filter.is_shared)
        replay_stop(session, filter.filter);
    if (is_sys_filter(&filter) && worker->broker->hooks.unsubscribed)
        worker->broker->hooks.unsubscribed(worker, session, filter.filter);
    return REASON_SUCCESS;
}

/* Counts the filters of a checked list. */
static uint32_t count_filters(uint8_t type, uint8_t version, struct slice rest)
{
    struct subscribe_filter wish;
    struct slice filter;
    uint32_t count = 0;
    while (type == PACKET_SUBSCRIBE ? subscribe_next_filter(&rest, version, &wish)
                                    : unsubscribe_next_filter(&rest, &filter))
        count++;
    return count;
}

static void handle_filters(struct worker *worker, struct connection *connection, uint8_t type,
                           uint16_t packet_id, uint32_t subscription_id, struct slice filters)
{
    uint32_t count = count_filters(type, connection->version, filters);
    if (count > BULK_FROM) {
        bulk_start(worker, connection, type, packet_id, subscription_id, filters, count);
        return;
    }
    uint8_t codes[BULK_FROM];
    for (uint32_t i = 0; i < count; i++) {
        codes[i] = bulk_step(worker, connection, type, &filters, subscription_id);
        if (connection->state != CONNECTION_CONNECTED)
            return;
    }
    bulk_answer(worker, connection, type, packet_id, slice_of(codes, count)); /* [MQTT-3.8.4-6] */
}

void on_subscribe(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_subscribe packet;
    const struct fault *fault = decode_subscribe(frame->body, connection->version, &packet);
    if (fault) {
        connection_fault(worker, connection, fault);
        return;
    }
    handle_filters(worker, connection, PACKET_SUBSCRIBE, packet.packet_id, packet.subscription_id,
                   packet.filters);
}

void on_unsubscribe(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_unsubscribe packet;
    const struct fault *fault = decode_unsubscribe(frame->body, connection->version, &packet);
    if (fault) {
        connection_fault(worker, connection, fault);
        return;
    }
    handle_filters(worker, connection, PACKET_UNSUBSCRIBE, packet.packet_id, 0, packet.filters);
}
