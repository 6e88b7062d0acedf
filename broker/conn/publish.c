/*
 * publish.c: see publish.h.
 *
 * Matches of this reactor are delivered at once; for each other reactor one record is posted:
 *
 *   struct mail_deliver | targets[count] | topic | properties | payload     small: bytes inside
 *   struct mail_deliver | targets[count] | packet                           small, passed on as it came
 *   struct mail_deliver | targets[count]                                    large: a reference
 *   struct mail_run | packets                  as they came, to one session: see run.h
 *
 * Records carry at most SPREAD_TARGETS targets; a publication to more is spread over several turns
 * by a job while its publisher is not read, so the order for each publisher holds and no reactor is
 * held up. So is one to fewer when its turn has spread SPREAD_TURN already: a publisher of tiny
 * messages to hundreds of subscribers has thousands of them in one read.
 *
 * Cost: for a small QoS 0 message between clients of one reactor no allocation, no lock, no atomic.
 */
#include "conn/publish.h"

#include "base/assert.h"
#include "base/mem.h"
#include "conn/attach.h"
#include "conn/give_up.h"
#include "conn/merge.h"
#include "conn/moving.h"
#include "conn/output.h"
#include "conn/report.h"
#include "conn/run.h"
#include "conn/spread.h"
#include "mqtt/property.h"

#define SPREAD_TURN 16384u      /* in one turn, then publications to more than */
#define SPREAD_FEW 32u          /* so many wait for a job as well */
#define MAIL_INLINE_BYTES 1024u /* publications up to this size travel inside the record */
_Static_assert(MAIL_INLINE_BYTES <= CHUNK_ROOM && MAIL_INLINE_BYTES < OUTPUT_REFERENCE_BYTES,
               "such packets may be passed on in one piece with others");
/* What is for admins only is given to filters with so many levels before the first wildcard:
   "$SYS/broker/sessions/#", but not "$SYS/#", which dashboards have. */
#define ADMIN_LEVELS_MIN 3u

struct mail_target {
    index_subscriber subscriber;
    uint32_t group;
    uint32_t generation;
};

struct mail_deliver {
    struct message *message; /* one reference, or NULL: bytes follow the targets */
    uint32_t count;          /* targets */
    uint32_t id_count;       /* merged subscription ids after the targets: count is 1 then */
    uint64_t publisher;      /* set when a target has No Local */
    uint32_t expires_tick;
    uint32_t properties_bytes, properties_forwarded_bytes, payload_bytes;
    uint16_t topic_bytes;
    uint16_t packet_bytes; /* not 0: the bytes are the packet as it came, the topic at topic_at */
    uint8_t topic_at;
    bool is_packet_v5;
    uint8_t qos, flags;
};

/* Where a match is to be delivered, as seen from here. */
enum place {
    PLACE_HERE,
    PLACE_COMING, /* ours, but still on its way here */
    PLACE_ELSEWHERE,
};

static enum place place_of(const struct worker *worker, struct slot *slot, uint16_t owner)
{
    uint8_t is_moving = atomic_load_explicit(&slot->is_moving, memory_order_acquire);
    if (LIKELY(!is_moving))
        return owner == worker->reactor->index ? PLACE_HERE : PLACE_ELSEWHERE;
    if (is_moving == MOVING_FROM(worker->reactor->index))
        return PLACE_HERE; /* on its way from here: what was sent here before goes with it */
    return owner == worker->reactor->index ? PLACE_COMING : PLACE_ELSEWHERE;
}

static void share_again(struct worker *worker, struct publication *publication, uint32_t group,
                        uint32_t not_slot);

void publish_to_session(struct worker *worker, struct session *session,
                        struct publication *publication, const struct delivery_wish *wish)
{
    if (LIKELY(!wish->group || !(session->flags & SESSION_IS_ENDING)))
        deliver_publication(worker, session, publication, wish);
    else if (!give_up_add(worker, session, publication, wish))
        share_again(worker, publication, wish->group, session->slot);
}

/* Hands one match to the session if it is here; true when it is *owner's. */
static bool deliver_if_mine(struct worker *worker, struct publication *publication,
                            const struct index_match *match, const struct delivery_ids *ids,
                            uint32_t generation, uint16_t *owner)
{
    uint32_t id = index_subscriber_slot(match->subscriber);
    struct slot *slot = slot_of(&worker->broker->slots, id);
    if (generation && atomic_load_explicit(&slot->generation, memory_order_acquire) != generation) {
        if (match->group)
            share_again(worker, publication, match->group, 0);
        return false; /* ended meanwhile: nobody's any more */
    }
    struct delivery_wish wish = {
        .subscriber = match->subscriber, .group = match->group, .ids = ids};
    *owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
    enum place place = place_of(worker, slot, *owner);
    if (place == PLACE_COMING)
        attach_stash(worker, id, publication, &wish);
    if (place != PLACE_HERE)
        return place == PLACE_ELSEWHERE;
    publish_to_session(worker, slot->object, publication, &wish);
    return false;
}

static uint32_t publication_bytes(const struct publication *publication)
{
    return (uint32_t)(publication->topic.len + publication->properties.len +
                      publication->payload.len);
}

/* The bytes of a small publication into its record. */
static void fill_inline(struct mail_deliver *mail, const struct publication *publication,
                        uint8_t *at)
{
    struct slice packet = publication->packet;
    if (packet.len) {
        mail->packet_bytes = (uint16_t)packet.len;
        mail->topic_at = (uint8_t)(publication->topic.ptr - packet.ptr);
        mail->is_packet_v5 = publication->is_packet_v5;
        memcpy(at, packet.ptr, packet.len);
        return;
    }
    memcpy(at, publication->topic.ptr, publication->topic.len);
    at += publication->topic.len;
    if (publication->properties.len)
        memcpy(at, publication->properties.ptr, publication->properties.len);
    at += publication->properties.len;
    if (publication->payload.len)
        memcpy(at, publication->payload.ptr, publication->payload.len);
}

/* Fills everything of a record but its `targets` and merged `ids`, for which it leaves room. */
static struct mail_deliver *post_deliver(struct worker *worker, uint16_t to,
                                         struct publication *publication, uint32_t targets,
                                         uint32_t ids)
{
    struct slice packet = publication->packet;
    uint32_t inlined = packet.len ? (uint32_t)packet.len : publication_bytes(publication);
    struct message *message = publication->message;
    if (inlined > MAIL_INLINE_BYTES && !message) {
        message = publication_message(publication);
        if (!message)
            return NULL;
    }
    uint32_t head = (uint32_t)(sizeof(struct mail_deliver) + targets * sizeof(struct mail_target) +
                               ids * sizeof(uint32_t));
    struct mail_deliver *mail =
        mailbox_post(worker->reactor, to, MAIL_DELIVER, head + (message ? 0 : inlined));
    if (!mail)
        return NULL;
    *mail = (struct mail_deliver){
        .message = message ? message_ref(message) : NULL,
        .count = targets,
        .id_count = ids,
        .expires_tick = publication->expires_tick,
        .publisher = publication->publisher,
        .properties_bytes = (uint32_t)publication->properties.len,
        .properties_forwarded_bytes = publication->properties_forwarded_bytes,
        .payload_bytes = (uint32_t)publication->payload.len,
        .topic_bytes = (uint16_t)publication->topic.len,
        .qos = publication->qos,
        .flags = publication->flags,
    };
    if (!message)
        fill_inline(mail, publication, (uint8_t *)mail + head);
    return mail;
}

static void fill_target(struct mail_deliver *mail, struct mail_target *target,
                        struct publication *publication, const struct index_match *match,
                        uint32_t generation)
{
    *target = (struct mail_target){match->subscriber, match->group, generation};
    if (UNLIKELY(index_subscriber_no_local(match->subscriber)))
        mail->publisher = publication_publisher(publication);
}

uint32_t publish_generation(struct worker *worker, const struct index_match *match)
{
    struct slot *slot = slot_of(&worker->broker->slots, index_subscriber_slot(match->subscriber));
    return atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

/* One match of reactor `to`, merged ids included, in a record of its own. */
static void mail_one(struct worker *worker, uint16_t to, struct publication *publication,
                     const struct index_match *match, uint32_t generation,
                     const struct delivery_ids *ids)
{
    uint32_t id_count = ids ? ids->count : 0;
    struct mail_deliver *mail = post_deliver(worker, to, publication, 1, id_count);
    if (!mail) {
        report_loss(worker, DROP_MEMORY, 1);
        return;
    }
    struct mail_target *target = (struct mail_target *)(mail + 1);
    fill_target(mail, target, publication, match, generation);
    if (id_count)
        memcpy(target + 1, ids->ids, id_count * sizeof(uint32_t));
}

void publish_to_slot(struct worker *worker, struct publication *publication,
                     const struct index_match *match, uint32_t generation)
{
    uint16_t owner;
    if (!deliver_if_mine(worker, publication, match, NULL, generation, &owner))
        return;
    if (!generation)
        generation = publish_generation(worker, match);
    mail_one(worker, owner, publication, match, generation, NULL);
}

/* A message of a share group whose member ended before it came there: another one gets it, by mail,
 * also here, so that no chain of them runs deep. Those that have ended are not chosen again. */
static void share_again(struct worker *worker, struct publication *publication, uint32_t group,
                        uint32_t not_slot)
{
    struct broker *broker = worker->broker;
    struct index_query query = {
        .reactor = worker->reactor->index,
        .share_policy = broker_config(broker)->share_policy,
        .is_kept = deliver_is_kept(broker_config(broker), publication->qos),
        .not_slot = not_slot,
    };
    struct index_match match;
    if (!index_group_choose(broker->index, group, publication->topic, &query, &match)) {
        report_loss(worker, DROP_NO_SHARED_MEMBER, 1);
        return;
    }
    struct slot *slot = slot_of(&broker->slots, index_subscriber_slot(match.subscriber));
    mail_one(worker, atomic_load_explicit(&slot->owner, memory_order_acquire), publication, &match,
             publish_generation(worker, &match), NULL);
}

/* If the match is the only one, packets that follow may go the same way: see run.h. */
static void note_passed(struct worker *worker, uint16_t to, const struct index_match *match)
{
    struct passed_on *passed = &worker->passed;
    passed->by_mail = !index_subscriber_no_local(match->subscriber);
    passed->reactor = to;
    passed->subscriber = match->subscriber;
    passed->generation = match->extra;
}

/* The only match left over, in a record of packets that go the same way. False: it cannot be in one. */
static bool mail_as_run(struct worker *worker, struct publication *publication,
                        const struct index_match *match)
{
    bool is_plain = publication->packet.len && publication->packet.len <= MAIL_INLINE_BYTES &&
                    match->group == 0 && !index_subscriber_no_local(match->subscriber);
    if (!is_plain)
        return false;
    note_passed(worker, worker->owner_scratch[0], match);
    if (!run_mail_packet(worker, publication)) {
        worker->passed.by_mail = false;
        report_loss(worker, DROP_MEMORY, 1);
    }
    return true;
}

/* One record for each other reactor that owns some of the matches left over (packed to the front of
 * `items`, with their generations in `extra`). */
static void mail_rest(struct worker *worker, struct publication *publication,
                      struct index_match *items, uint32_t count)
{
    while (count) {
        uint16_t to = worker->owner_scratch[0];
        uint32_t same = 0, left = 0;
        for (uint32_t i = 0; i < count; i++)
            same += worker->owner_scratch[i] == to;
        struct mail_deliver *mail = post_deliver(worker, to, publication, same, 0);
        struct mail_target *target = mail ? (struct mail_target *)(mail + 1) : NULL;
        if (mail)
            note_passed(worker, to, &items[0]);
        for (uint32_t i = 0; i < count; i++) {
            if (worker->owner_scratch[i] != to) {
                worker->owner_scratch[left] = worker->owner_scratch[i];
                items[left++] = items[i];
            } else if (mail) {
                fill_target(mail, target++, publication, &items[i], items[i].extra);
            } else {
                report_loss(worker, DROP_MEMORY, 1);
            }
        }
        count = left;
    }
}

void publish_slice(struct worker *worker, struct publication *publication,
                   struct index_match *items, const uint32_t *generations, uint32_t count,
                   const struct merge *merge)
{
    uint32_t left = 0;
    worker->is_spreading = count > 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct delivery_ids *ids = merge_ids(merge, items[i].extra);
        uint32_t generation = generations ? generations[i] : 0;
        uint16_t owner;
        if (!deliver_if_mine(worker, publication, &items[i], ids, generation, &owner))
            continue;
        if (!generation)
            generation = publish_generation(worker, &items[i]);
        if (ids) {
            mail_one(worker, owner, publication, &items[i], generation, ids);
            continue;
        }
        worker->owner_scratch[left] = owner;
        items[left] = items[i];
        items[left++].extra = generation;
    }
    worker->is_spreading = false;
    if (LIKELY(left == 0) || (left == 1 && mail_as_run(worker, publication, &items[0])))
        return;
    mail_rest(worker, publication, items, left);
}

static void publish_spread(struct worker *worker, struct connection *by,
                           struct publication *publication)
{
    struct index_matches *matches = &worker->matches;
    bool is_merging =
        matches->lists > 1 && !broker_config(worker->broker)->allow_duplicate_messages;
    worker->spread_count += matches->count;
    bool is_wide = matches->count > SPREAD_TARGETS ||
                   (by && matches->count > SPREAD_FEW && worker->spread_count > SPREAD_TURN);
    if (UNLIKELY(is_wide)) {
        if (!spread_start(worker, by, publication, is_merging))
            report_loss(worker, DROP_MEMORY, matches->count);
        return;
    }
    struct merge *merge =
        is_merging ? merge_matches(matches, by ? by->session->slot : 0, NULL) : NULL;
    publish_slice(worker, publication, matches->items, NULL, matches->count, merge);
    if (UNLIKELY(merge != NULL))
        merge_free(merge);
}

/* Keeps, replaces or clears the retained message of the topic. */
static void publish_retain(struct worker *worker, struct publication *publication)
{
    struct broker *broker = worker->broker;
    struct epoch_participant *me = worker->reactor->epoch;
    if (publication->payload.len == 0) {
        retained_clear(broker->retained, me, publication->topic); /* [MQTT-3.3.1-6] */
        return;
    }
    struct message *message = publication_message(publication);
    if (!message || retained_set(broker->retained, me, message))
        report_loss(worker, DROP_MEMORY, 1);
}

uint32_t publish_message(struct worker *worker, struct connection *by,
                         struct publication *publication)
{
    struct broker *broker = worker->broker;
    const struct config *config = broker_config(broker);
    worker->publish_serial++;
    if (publication->flags & MESSAGE_RETAIN)
        publish_retain(worker, publication);
    struct index_query query = {
        .reactor = worker->reactor->index,
        .share_policy = config->share_policy,
        .is_kept = deliver_is_kept(config, publication->qos),
        .recent = &worker->recent,
        .levels_min = publication->flags & MESSAGE_ADMIN_ONLY ? ADMIN_LEVELS_MIN : 0,
    };
    struct index_matches *matches = &worker->matches;
    enum err err = index_match(broker->index, publication->topic, &query, matches);
    if (err)
        report_loss(worker, err == ERR_LIMIT ? DROP_TOPIC_LIMIT : DROP_MEMORY, 1);
    if (UNLIKELY(matches->dropped_groups))
        report_loss(worker, DROP_NO_SHARED_MEMBER, matches->dropped_groups);
    uint32_t count = matches->count;
    worker->work_units += matches->looked_up + count;
    bool is_for_one =
        !err && count == 1 && matches->items[0].group == 0 && matches->dropped_groups == 0;
    if (count)
        publish_spread(worker, by, publication);
    if (!is_for_one || !publication->packet.len)
        worker->passed = (struct passed_on){0};
    return count;
}

void publish_own(struct worker *worker, struct slice topic, struct slice payload, uint8_t qos,
                 uint8_t flags)
{
    struct publication publication = {
        .topic = topic, .payload = payload, .qos = qos, .flags = flags};
    publish_message(worker, NULL, &publication);
    publication_fini(&publication);
}

static struct publication publication_of_mail(struct mail_deliver *mail)
{
    if (mail->message) {
        struct publication publication = publication_of_message(mail->message);
        publication.expires_tick = mail->expires_tick;
        publication.flags |= mail->flags & MESSAGE_HANDED_OVER;
        return publication;
    }
    const uint8_t *at = (const uint8_t *)(mail + 1) + mail->count * sizeof(struct mail_target) +
                        mail->id_count * sizeof(uint32_t);
    if (mail->packet_bytes)
        return (struct publication){
            .topic = slice_of(at + mail->topic_at, mail->topic_bytes),
            .payload = slice_of(at + mail->packet_bytes - mail->payload_bytes, mail->payload_bytes),
            .packet = slice_of(at, mail->packet_bytes),
            .is_packet_v5 = mail->is_packet_v5,
            .flags = mail->flags,
            .publisher = mail->publisher,
        };
    return (struct publication){
        .topic = slice_of(at, mail->topic_bytes),
        .properties = slice_of(at + mail->topic_bytes, mail->properties_bytes),
        .properties_forwarded_bytes = mail->properties_forwarded_bytes,
        .payload = slice_of(at + mail->topic_bytes + mail->properties_bytes, mail->payload_bytes),
        .qos = mail->qos,
        .flags = mail->flags,
        .expires_tick = mail->expires_tick,
        .publisher = mail->publisher,
    };
}

static struct delivery_ids *ids_of_mail(const struct mail_deliver *mail,
                                        const struct mail_target *targets)
{
    if (mail->id_count == 0)
        return NULL;
    struct delivery_ids *ids = mem_alloc(sizeof(*ids) + mail->id_count * sizeof(uint32_t));
    if (!ids)
        return NULL;
    ids->count = mail->id_count;
    memcpy(ids->ids, targets + mail->count, mail->id_count * sizeof(uint32_t));
    return ids;
}

void publish_mail_deliver(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct worker *worker = worker_of(reactor);
    struct mail_deliver *mail = payload;
    struct mail_target *targets = (struct mail_target *)(mail + 1);
    struct publication publication = publication_of_mail(mail);
    struct delivery_ids *ids = ids_of_mail(mail, targets);
    worker->publish_serial++;
    worker->is_spreading = mail->count > 1;
    (void)bytes;
    for (uint32_t i = 0; i < mail->count; i++) {
        struct index_match match = {.subscriber = targets[i].subscriber, .group = targets[i].group};
        uint16_t owner;
        if (deliver_if_mine(worker, &publication, &match, ids, targets[i].generation, &owner))
            mail_one(worker, owner, &publication, &match, targets[i].generation,
                     ids); /* it has moved on: so does the message */
    }
    worker->is_spreading = false;
    mem_free(ids);
    publication_fini(&publication);
    if (mail->message)
        message_unref(mail->message, 1);
}
