/*
 * message.c: the one copy of a PUBLISH, made when somebody has to keep it.
 *
 *   | struct message | topic | properties that are forwarded | payload |    one allocation
 *
 * Threads: a publication belongs to the reactor that received it; a message to everyone who holds a
 * reference. Cost: one allocation and one copy per publication, however many keep it.
 */
#include "base/mem.h"
#include "mqtt/property.h"
#include "route/message.h"

static void message_fill(struct message *message, const struct publication *pub)
{
    uint8_t *at = message->bytes;
    at = (uint8_t *)mempcpy(at, pub->topic.ptr, pub->topic.len);
    if (message->properties_bytes)
        at = property_copy_forwarded(pub->properties, at);
    if (message->payload_bytes)
        memcpy(at, pub->payload.ptr, pub->payload.len);
}

struct message *publication_message(struct publication *pub)
{
    if (pub->message)
        return pub->message;
    size_t bytes = pub->topic.len + pub->properties_forwarded_bytes + pub->payload.len;
    struct message *message = mem_alloc(MESSAGE_HEAD_BYTES + bytes);
    if (!message)
        return NULL;
    refcount_init(&message->refs, 1);
    message->payload_bytes = (uint32_t)pub->payload.len;
    message->properties_bytes = pub->properties_forwarded_bytes;
    message->topic_bytes = (uint16_t)pub->topic.len;
    message->qos = pub->qos;
    message->flags = pub->flags;
    message->expires_tick = pub->expires_tick;
    message->publisher = publication_publisher(pub);
    message_fill(message, pub);
    pub->message = message;
    return message;
}

void publication_fini(struct publication *pub)
{
    if (pub->message)
        message_unref(pub->message, 1);
    pub->message = NULL;
}

struct publication publication_of_message(struct message *message)
{
    return publication_of_message_take(message_ref(message));
}

struct publication publication_of_message_take(struct message *message)
{
    return (struct publication){
        .topic = message_topic(message),
        .properties = message_properties(message),
        .properties_forwarded_bytes = message->properties_bytes,
        .payload = message_payload(message),
        .qos = message->qos,
        .flags = message->flags,
        .expires_tick = message->expires_tick,
        .publisher = message->publisher,
        .message = message,
    };
}

void message_unref(struct message *message, uint32_t count)
{
    if (refcount_drop(&message->refs, count))
        mem_free(message);
}
