/*
 * output.c: see output.h.
 *
 *   out_first -> [chunk of bytes] -> [reference: payload] -> [chunk of bytes] <- out_last
 *
 * Chunks of bytes come from worker->chunks and begin with their struct chunk; references come from
 * worker->references. Invariant: out_bytes is the sum of len over the chain, which has whole packets
 * but for the first, whose rest is chunk->begun; out_publishes is how many of them are QoS 0
 * PUBLISH. A connection with output is in the worker's dirty list unless it is blocked (then
 * EPOLLOUT brings it back).
 *
 * Where the socket takes less than all, packets are counted off by going over their lengths, some 15
 * instructions each; who reads what it is sent never comes there.
 */
#include "conn/output.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/assert.h"
#include "conn/deliver.h"
#include "conn/report.h"

#define OUTPUT_IOVECS TRANSPORT_IOVECS
#define CHUNKS_ALWAYS 16u /* of a reactor, whatever memory there is: somebody reads on */
#define OUTPUT_BYTES_MAX \
    (3u << 30) /* large payloads by reference stop here; out_bytes has 32 bits */

_Static_assert(sizeof(struct chunk) <= CHUNK_BYTES - CHUNK_ROOM,
               "a chunk has room for CHUNK_ROOM bytes");

static void output_mark_dirty(struct worker *worker, struct connection *connection)
{
    if (connection->is_dirty || connection->is_blocked)
        return;
    connection->is_dirty = true;
    connection->dirty_next = NULL;
    *worker->dirty_last = connection;
    worker->dirty_last = &connection->dirty_next;
}

void output_want_write(struct worker *worker, struct connection *connection)
{
    output_mark_dirty(worker, connection);
}

static void output_link(struct connection *connection, struct chunk *chunk)
{
    chunk->next = NULL;
    if (connection->out_last)
        connection->out_last->next = chunk;
    else
        connection->out_first = chunk;
    connection->out_last = chunk;
}

/* An empty chunk, not yet linked. */
static struct chunk *output_make_chunk(struct worker *worker)
{
    struct chunk *chunk = pool_get(&worker->chunks);
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->message = NULL;
    chunk->data = (uint8_t *)(chunk + 1);
    chunk->len = 0;
    chunk->cap_left = CHUNK_BYTES - (uint32_t)sizeof(*chunk);
    chunk->begun = 0;
    chunk->begun_is_qos_0 = false;
    return chunk;
}

uint8_t *output_reserve(struct worker *worker, struct connection *connection, uint32_t bytes)
{
    struct chunk *chunk = connection->out_last;
    if (UNLIKELY(!chunk || chunk->message || chunk->cap_left < bytes)) {
        chunk = output_make_chunk(worker);
        if (!chunk)
            return NULL;
        output_link(connection, chunk);
    }
    return (uint8_t *)chunk->data + chunk->len;
}

void output_commit(struct worker *worker, struct connection *connection, uint32_t bytes)
{
    struct chunk *chunk = connection->out_last;
    chunk->len += bytes;
    chunk->cap_left -= bytes;
    connection->out_bytes += bytes;
    output_mark_dirty(worker, connection);
}

bool output_has_chunk(const struct worker *worker, const struct connection *connection,
                      size_t bytes)
{
    const struct chunk *last = connection->out_last;
    const struct pool *chunks = &worker->chunks;
    return chunks->idle > 0 || chunks->lent < CHUNKS_ALWAYS ||
           (last && !last->message && bytes <= last->cap_left);
}

/* Chunks with these bytes, not yet linked. NULL: no memory, and none is left over. */
static struct chunk *output_make_chunks(struct worker *worker, const uint8_t *bytes, uint32_t len)
{
    struct chunk *first = NULL, **last = &first;
    while (len) {
        struct chunk *chunk = output_make_chunk(worker);
        if (!chunk) {
            while ((chunk = first)) {
                first = chunk->next;
                pool_put(&worker->chunks, chunk);
            }
            return NULL;
        }
        uint32_t part = len < chunk->cap_left ? len : chunk->cap_left;
        memcpy((uint8_t *)chunk->data, bytes, part);
        chunk->len = part;
        chunk->cap_left -= part;
        *last = chunk;
        last = &chunk->next;
        bytes += part;
        len -= part;
    }
    return first;
}

/* output_append() where the bytes fill what is left of a chunk and go on in others. */
__attribute__((noinline)) static bool output_append_parts(struct worker *worker,
                                                          struct connection *connection,
                                                          const uint8_t *bytes, uint32_t len)
{
    struct chunk *tail = connection->out_last;
    uint32_t room = tail && !tail->message ? tail->cap_left : 0;
    uint32_t part = len < room ? len : room;
    struct chunk *more = NULL;
    if (part < len && !(more = output_make_chunks(worker, bytes + part, len - part)))
        return false;
    if (part) {
        memcpy((uint8_t *)tail->data + tail->len, bytes, part);
        output_commit(worker, connection, part);
    }
    while (more) {
        struct chunk *next = more->next;
        output_link(connection, more);
        connection->out_bytes += more->len;
        more = next;
    }
    output_mark_dirty(worker, connection);
    return true;
}

bool output_append(struct worker *worker, struct connection *connection, const uint8_t *bytes,
                   uint32_t len)
{
    const struct chunk *tail = connection->out_last;
    uint32_t room = !tail ? CHUNK_ROOM : !tail->message ? tail->cap_left : 0;
    if (UNLIKELY(len > room))
        return output_append_parts(worker, connection, bytes, len);
    uint8_t *at = output_reserve(worker, connection, len);
    if (!at)
        return false;
    memcpy(at, bytes, len);
    output_commit(worker, connection, len);
    return true;
}

bool output_refer(struct worker *worker, struct connection *connection, struct message *message,
                  struct slice bytes)
{
    if (connection->out_bytes > OUTPUT_BYTES_MAX - bytes.len)
        return false;
    struct chunk *chunk = pool_get(&worker->references);
    if (!chunk)
        return false;
    *chunk = (struct chunk){
        .message = message_ref(message), .data = bytes.ptr, .len = (uint32_t)bytes.len};
    output_link(connection, chunk);
    connection->out_bytes += (uint32_t)bytes.len;
    output_mark_dirty(worker, connection);
    return true;
}

static inline void output_free_chunk(struct worker *worker, struct chunk *chunk)
{
    if (chunk->message) {
        message_unref(chunk->message, 1);
        pool_put(&worker->references, chunk);
    } else {
        pool_put(&worker->chunks, chunk);
    }
}

static void output_free_first(struct worker *worker, struct connection *connection)
{
    struct chunk *chunk = connection->out_first;
    connection->out_first = chunk->next;
    if (!chunk->next)
        connection->out_last = NULL;
    output_free_chunk(worker, chunk);
}

/* QoS 0 messages are gone that waited, but for `kept`. */
static void output_lose_publishes(struct worker *worker, struct connection *connection,
                                  uint32_t kept)
{
    if (connection->out_publishes > kept)
        report_unsent(worker, connection->session, connection->out_publishes - kept);
    connection->out_publishes = kept;
}

void output_clear(struct worker *worker, struct connection *connection)
{
    output_lose_publishes(worker, connection, 0);
    while (connection->out_first)
        output_free_first(worker, connection);
    connection->out_bytes = 0;
}

/* Goes over the packets of a chain. */
struct walk {
    const struct chunk *chunk;
    uint32_t at; /* in it */
    size_t end;  /* of the packet gone over last, from the start of the chain */
    bool is_qos_0;
};

static uint8_t walk_byte(struct walk *walk)
{
    while (walk->at == walk->chunk->len) {
        walk->chunk = walk->chunk->next;
        walk->at = 0;
    }
    walk->end++;
    return walk->chunk->data[walk->at++];
}

static void walk_skip(struct walk *walk, uint32_t bytes)
{
    walk->end += bytes;
    while (bytes > walk->chunk->len - walk->at) {
        bytes -= walk->chunk->len - walk->at;
        walk->chunk = walk->chunk->next;
        walk->at = 0;
    }
    walk->at += bytes;
}

/* Over what is left of the packet that is partly written, if there is one. */
static struct walk walk_start(const struct connection *connection)
{
    const struct chunk *first = connection->out_first;
    struct walk walk = {.chunk = first, .is_qos_0 = first->begun_is_qos_0};
    walk_skip(&walk, first->begun);
    return walk;
}

/* Over the next one. */
static void walk_packet(struct walk *walk)
{
    uint8_t first = walk_byte(walk), byte;
    uint32_t length = 0, shift = 0;
    do {
        byte = walk_byte(walk);
        length |= (uint32_t)(byte & 0x7F) << shift;
        shift += 7;
    } while (byte & 0x80);
    walk_skip(walk, length);
    walk->is_qos_0 = first >> 4 == PACKET_PUBLISH && (first & 0x06) == 0;
}

/* Counts off the packets that are whole among the first `written` bytes, which are not all there
   are. Returns the walk behind the one that is cut, or at the end of the bytes. */
static struct walk output_count_off(struct connection *connection, size_t written)
{
    struct walk walk = walk_start(connection);
    while (walk.end <= written) {
        BUG_ON(connection->out_publishes < walk.is_qos_0);
        connection->out_publishes -= walk.is_qos_0;
        walk.is_qos_0 = false;
        if (walk.end == written)
            break;
        walk_packet(&walk);
    }
    return walk;
}

static void output_free_written(struct worker *worker, struct connection *connection,
                                size_t written)
{
    connection->out_bytes -= (uint32_t)written;
    while (connection->out_first) {
        struct chunk *chunk = connection->out_first;
        if (written < chunk->len) {
            chunk->data += written;
            chunk->len -= (uint32_t)written;
            return;
        }
        written -= chunk->len;
        output_free_first(worker, connection);
    }
}

/* The same when something is left. */
__attribute__((noinline)) static void
output_consume_part(struct worker *worker, struct connection *connection, size_t written)
{
    struct walk walk = output_count_off(connection, written);
    output_free_written(worker, connection, written);
    connection->out_first->begun = (uint32_t)(walk.end - written);
    connection->out_first->begun_is_qos_0 = walk.is_qos_0;
}

void output_cut(struct worker *worker, struct connection *connection)
{
    if (!connection->out_first || connection->has_transport)
        return;
    uint32_t keep = connection->out_first->begun;
    if (keep == 0) {
        output_clear(worker, connection);
        return;
    }
    output_lose_publishes(worker, connection, connection->out_first->begun_is_qos_0);
    connection->out_bytes = keep;
    struct chunk *last = connection->out_first;
    for (; last->len < keep; last = last->next)
        keep -= last->len;
    last->len = keep;
    last->cap_left = 0;
    while (last->next) {
        struct chunk *chunk = last->next;
        last->next = chunk->next;
        output_free_chunk(worker, chunk);
    }
    connection->out_last = last;
}

/* Takes `written` bytes off the front of the chain. */
static inline void output_consume(struct worker *worker, struct connection *connection,
                                  size_t written)
{
    if (UNLIKELY(written < connection->out_bytes))
        output_consume_part(worker, connection, written);
    else
        output_free_written(worker, connection, written);
}

static inline size_t output_gather(const struct connection *connection, struct iovec *iov)
{
    size_t count = 0;
    for (struct chunk *c = connection->out_first; c && count < OUTPUT_IOVECS; c = c->next) {
        if (c->len)
            iov[count++] = (struct iovec){.iov_base = (void *)c->data, .iov_len = c->len};
    }
    return count;
}

/* Several pieces at once. */
__attribute__((noinline)) static ssize_t output_send_gathered(const struct connection *connection)
{
    struct iovec iov[OUTPUT_IOVECS];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = output_gather(connection, iov)};
    return sendmsg(connection->io.fd, &msg, MSG_NOSIGNAL);
}

/* One system call. Returns bytes written, 0 when the socket is full, -1 when the connection failed.
 */
static ssize_t output_write_once(struct worker *worker, struct connection *connection)
{
    const struct chunk *first = connection->out_first;
    ssize_t written;
    metric_add(worker_metrics(worker), METRIC_WRITES, 1);
    if (LIKELY(!first->next))
        written = send(connection->io.fd, first->data, first->len, MSG_NOSIGNAL);
    else
        written = output_send_gathered(connection);
    if (written >= 0) {
        metric_add(worker_metrics(worker), METRIC_BYTES_SENT, (uint64_t)written);
        return written;
    }
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : -1;
}

/* The interest that the connection's state asks for. */
static void output_set_blocked(struct worker *worker, struct connection *connection,
                               bool is_blocked)
{
    if (connection->is_blocked == is_blocked)
        return;
    connection->is_blocked = is_blocked;
    uint8_t in = connection->io.interest & EPOLLIN;
    reactor_io_set(worker->reactor, &connection->io, is_blocked ? in | EPOLLOUT : in);
    if (connection->state == CONNECTION_CONNECTED)
        deliver_update_ready(worker, connection->session);
}

void output_give_up(struct worker *worker, struct connection *connection)
{
    connection->is_deaf = true;
    output_clear(worker, connection);
    output_set_blocked(worker, connection, false);
}

/* The peer has gone, but its last words may still wait to be read: a DISCONNECT among them means no
   will [MQTT-3.14.4-3]. The end of the stream closes the connection. */
__attribute__((noinline)) static bool output_failed(struct worker *worker,
                                                    struct connection *connection)
{
    output_give_up(worker, connection);
    return false;
}

/* As output_write, for a connection with a transport, which may have bytes of its own. Out of the way
   of plain TCP. */
__attribute__((noinline)) static bool output_write_transport(struct worker *worker,
                                                             struct connection *connection)
{
    struct transport *transport = connection->rare->transport;
    struct metrics *metrics = worker_metrics(worker);
    while (connection->out_bytes || transport->wants_write) {
        struct iovec iov[OUTPUT_IOVECS];
        size_t raw, count = output_gather(connection, iov);
        ssize_t written = transport->ops->write(transport, connection->io.fd, iov, count,
                                                connection->out_bytes, &raw);
        metric_add(metrics, METRIC_WRITES, 1);
        metric_add(metrics, METRIC_BYTES_SENT, raw);
        if (written < 0)
            return output_failed(worker, connection);
        output_consume(worker, connection, (size_t)written);
        if (transport->is_full) {
            output_set_blocked(worker, connection, true);
            return true;
        }
    }
    connection->out_publishes = 0;
    output_set_blocked(worker, connection, false);
    return true;
}

bool output_write(struct worker *worker, struct connection *connection)
{
    if (UNLIKELY(connection->is_deaf))
        return output_failed(worker, connection);
    if (UNLIKELY(connection->has_transport))
        return output_write_transport(worker, connection);
    while (connection->out_bytes) {
        uint32_t before = connection->out_bytes;
        ssize_t written = output_write_once(worker, connection);
        if (written < 0)
            return output_failed(worker, connection);
        output_consume(worker, connection, (size_t)written);
        if (written == 0 || (connection->out_bytes && (uint32_t)written < before / 2)) {
            output_set_blocked(worker, connection, true);
            return true;
        }
    }
    connection->out_publishes = 0;
    output_set_blocked(worker, connection, false);
    return true;
}

void output_flush_all(struct worker *worker)
{
    struct connection *connection = worker->dirty_first;
    worker->dirty_first = NULL;
    worker->dirty_last = &worker->dirty_first;
    while (connection) {
        struct connection *next = connection->dirty_next;
        connection->is_dirty = false;
        connection->dirty_next = NULL;
        if (output_write(worker, connection) && output_has_room(worker, connection))
            deliver_drained(worker, connection);
        connection = next;
    }
    if (worker->dirty_first)
        worker->reactor->has_more_work = true;
}
