/*
 * bulk.c: see bulk.h.
 */
#include "conn/bulk.h"

#include "base/assert.h"
#include "base/mem.h"
#include "conn/deliver.h"
#include "conn/send.h"
#include "conn/subscribe.h"
#include "mqtt/encode.h"

struct bulk {
    struct job job;
    struct worker *worker;
    struct connection *connection; /* NULL: abandoned */
    uint8_t type;
    uint16_t packet_id;
    uint32_t subscription_id;
    uint32_t count, at;
    struct slice rest; /* in bytes[] */
    uint8_t *codes;    /* in bytes[], after the list */
    uint8_t bytes[];
};

uint8_t bulk_step(struct worker *worker, struct connection *connection, uint8_t type,
                  struct slice *rest, uint32_t subscription_id)
{
    if (type == PACKET_SUBSCRIBE) {
        struct subscribe_filter wish;
        bool ok = subscribe_next_filter(rest, connection->version, &wish);
        BUG_ON(!ok);
        return subscribe_one(worker, connection, &wish, subscription_id);
    }
    struct slice filter;
    bool ok = unsubscribe_next_filter(rest, &filter);
    BUG_ON(!ok);
    return unsubscribe_one(worker, connection, filter);
}

void bulk_answer(struct worker *worker, struct connection *connection, uint8_t type,
                 uint16_t packet_id, struct slice codes)
{
    size_t room = ENCODE_SUBACK_BYTES_MAX(codes.len);
    uint8_t small[ENCODE_SUBACK_BYTES_MAX(BULK_FROM)];
    uint8_t *packet = room <= sizeof(small) ? small : mem_alloc(room);
    if (!packet) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    uint8_t answer = type == PACKET_SUBSCRIBE ? PACKET_SUBACK : PACKET_UNSUBACK;
    size_t bytes = encode_suback(packet, room, connection->version, connection->packet_bytes_max,
                                 answer, packet_id, codes, slice_of(NULL, 0));
    if (bytes)
        send_packet(worker, connection, packet, bytes);
    else
        connection_close(worker, connection, CLOSE_PACKET_TOO_LARGE, REASON_PACKET_TOO_LARGE,
                         "the answer is larger than the client's Maximum Packet Size");
    if (packet != small)
        mem_free(packet);
    if (connection->state == CONNECTION_CONNECTED && connection->session->replays)
        deliver_pump(worker, connection->session); /* retained messages begin in the same write */
}

static bool bulk_run(struct reactor *reactor, struct job *job)
{
    struct bulk *bulk = CONTAINER_OF(job, struct bulk, job);
    struct connection *connection = bulk->connection;
    (void)reactor;
    uint32_t budget = BULK_FROM;
    bool is_alive = connection && connection->state == CONNECTION_CONNECTED;
    while (is_alive && bulk->at < bulk->count && budget--) {
        bulk->codes[bulk->at++] =
            bulk_step(bulk->worker, connection, bulk->type, &bulk->rest, bulk->subscription_id);
        is_alive = connection->state == CONNECTION_CONNECTED;
    }
    if (is_alive && bulk->at < bulk->count)
        return false;
    if (connection)
        connection->rare->bulk = NULL;
    if (is_alive) {
        bulk_answer(bulk->worker, connection, bulk->type, bulk->packet_id,
                    slice_of(bulk->codes, bulk->count));
        connection_unhold(bulk->worker, connection, HOLD_BULK);
    }
    mem_free(bulk);
    return true;
}

void bulk_start(struct worker *worker, struct connection *connection, uint8_t type,
                uint16_t packet_id, uint32_t subscription_id, struct slice filters, uint32_t count)
{
    struct connection_rare *rare = connection_rare(connection);
    size_t bytes = sizeof(struct bulk) + filters.len + count;
    struct bulk *bulk = rare && (type == PACKET_UNSUBSCRIBE ? memory_reserve_has_room(worker, bytes)
                                                            : memory_has_room(worker, bytes))
                            ? mem_alloc(bytes)
                            : NULL;
    if (!bulk) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    *bulk = (struct bulk){
        .job.run = bulk_run,
        .worker = worker,
        .connection = connection,
        .type = type,
        .packet_id = packet_id,
        .subscription_id = subscription_id,
        .count = count,
    };
    memcpy(bulk->bytes, filters.ptr, filters.len);
    bulk->rest = slice_of(bulk->bytes, filters.len);
    bulk->codes = bulk->bytes + filters.len;
    rare->bulk = bulk;
    connection_hold(worker, connection, HOLD_BULK);
    reactor_job_add(worker->reactor, &bulk->job);
}

void bulk_abandon(struct connection *connection)
{
    connection->rare->bulk->connection = NULL;
    connection->rare->bulk = NULL;
}
