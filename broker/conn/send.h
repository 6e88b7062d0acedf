/*
 * send.h: puts packets into a connection's output.
 */
#ifndef CONN_SEND_H
#define CONN_SEND_H

#include "conn/connection.h"
#include "session/queue.h"

enum send_result {
    SEND_OK,
    SEND_TOO_LARGE, /* for the peer's Maximum Packet Size: counts as delivered [MQTT-3.1.2-25] */
    SEND_NO_MEMORY,
    SEND_NOT_VISIBLE, /* not below the mount point of the client's listener; or for admins only */
};

/* How a publication goes out. */
struct send_options {
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id;
    const uint32_t *subscription_ids;
    uint32_t subscription_id_count;
};

/* PUBLISH. The expiry that is left is counted from publication->expires_s, which is not over. */
enum send_result send_publish(struct worker *worker, struct connection *connection,
                              struct publication *publication, const struct send_options *options);
/* PUBACK, PUBREC, PUBREL, PUBCOMP. `text` may be NULL; it is left out when the peer does not want
 * it. */
void send_ack(struct worker *worker, struct connection *connection, uint8_t type,
              uint16_t packet_id, uint8_t reason, const char *text);
/* Any packet that was encoded whole; 0 bytes (it did not fit the peer) is fine and sends nothing.
 */
void send_packet(struct worker *worker, struct connection *connection, const uint8_t *packet,
                 size_t bytes);

/* The last encoded form of small publications, so that one encoding serves many subscribers. */
struct form_cache;
struct form_cache *form_cache_new(void);
void form_cache_free(struct form_cache *cache);

#endif
