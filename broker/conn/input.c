/*
 * input.c: see input.h. One read per turn into the reactor's buffer; packets are handled where they
 * lie.
 *
 *   read_buffer: [tail][new bytes..........]     a tail of up to 16 KiB is put before what is read
 *
 * A longer tail is a large packet: it grows in place, by doubling, as bytes arrive, never by what
 * was announced.
 *
 * Invariant: while a connection is not held, its tail is the beginning of one packet and no more.
 */
#include "conn/input.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conn/again.h"
#include "conn/announced.h"
#include "conn/output.h"
#include "conn/pause.h"
#include "conn/run.h"

#define LAST_READS 4u /* of a connection whose place is taken, unless it waits: 256 KiB */
#define LIFE_MISSING_BYTES 1000u /* of a packet, and more: what comes of it is a sign of life */
#define TAIL_DIRECT_BYTES 16384u
#define TAIL_RESERVE_BYTES 65536u /* packets up to this size may end somewhat above memory_limit */
#define TAIL_FREE_BYTES 1024u     /* of half a packet are kept also when memory_limit is reached */
/* CONNECT has no use for more: five strings of 64 KiB and some properties. Before it, nobody may
 * keep us busy. */
#define CONNECT_PACKET_BYTES_MAX (512u * 1024u)

uint32_t input_packet_bytes_max(struct worker *worker, const struct connection *connection)
{
    uint32_t max = announced_to(worker, connection)->packet_bytes_max;
    if (connection->state == CONNECTION_ACCEPTED && max > CONNECT_PACKET_BYTES_MAX)
        return CONNECT_PACKET_BYTES_MAX;
    return max;
}

/* The clock is looked at when this much has been done, each unit some 50 to 100 ns: a packet, a
   look-up of its topic, a delivery. */
#define INPUT_UNITS_PER_LOOK 64u

/* Whether the turn's time for reading is over, by a look at the clock now and then. */
static bool input_is_long(struct worker *worker, uint32_t *units)
{
    *units += 1 + worker->work_units;
    worker->work_units = 0;
    if (LIKELY(*units < INPUT_UNITS_PER_LOOK))
        return false;
    *units = 0;
    return clock_real_ns() > worker->reactor->read_until_ns;
}

/* A client that does not read what we answer is not read either. */
static void input_brake(struct worker *worker, struct connection *connection)
{
    if (!connection->is_blocked)
        output_write(worker, connection);
    if (connection->is_blocked && connection->out_bytes > worker->output_high_bytes)
        connection_hold(worker, connection, HOLD_OUTPUT);
}

/* What other protocols begin with is told apart, for whoever reads the log. True: it was one, and
   the connection is closed. */
static bool input_is_strange(struct worker *worker, struct connection *connection, struct slice in)
{
    static const struct {
        const char *begin;
        size_t bytes;
        const char *text;
    } strangers[] = {
        {"GET ", 4, "an HTTP request; this listener lacks 'protocol websockets'"},
        {"\x16\x03", 2, "a TLS handshake; this listener is not encrypted"},
        {"PROXY ", 6, "a PROXY header; switch it off in the proxy"},
        {"\r\n\r\n\0\r\nQUIT\n", 12, "a PROXY header (version 2); switch it off in the proxy"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(strangers); i++) {
        if (!slice_starts_with(in, slice_of(strangers[i].begin, strangers[i].bytes)))
            continue;
        connection_close(worker, connection, CLOSE_MALFORMED, REASON_MALFORMED_PACKET,
                         strangers[i].text);
        return true;
    }
    return false;
}

/* A slow link takes long for a large packet: what comes of it counts for the keepalive, but not near its
   end, nor of a small one, so that a byte now and then keeps nobody alive. */
static void input_count_as_life(struct worker *worker, struct connection *connection,
                                const struct frame *frame, size_t have)
{
    if (frame->size > have + LIFE_MISSING_BYTES)
        connection->last_packet_tick = worker->reactor->now_tick;
}

size_t connection_input(struct worker *worker, struct connection *connection, struct slice in)
{
    size_t start = in.len;
    uint32_t units = 0;
    if (UNLIKELY(connection->state == CONNECTION_ACCEPTED) &&
        input_is_strange(worker, connection, in))
        return 0;
    while (in.len && connection->state != CONNECTION_CLOSING &&
           !(connection->hold & HOLD_STOPS_PARSING)) {
        struct frame frame;
        const struct fault *fault;
        enum frame_result result = frame_next(
            in, connection->version, input_packet_bytes_max(worker, connection), &frame, &fault);
        if (result == FRAME_SHORT) {
            input_count_as_life(worker, connection, &frame, in.len);
            break;
        }
        if (result == FRAME_BAD) {
            connection_fault(worker, connection, fault);
            break;
        }
        in = slice_skip(in, frame.size);
        connection->last_packet_tick = worker->reactor->now_tick;
        metric_add(worker_metrics(worker), METRIC_MESSAGES_RECEIVED, 1);
        worker->passed.here = NULL;
        worker->passed.by_mail = false;
        dispatch_packet(worker, connection, &frame);
        if ((worker->passed.here || worker->passed.by_mail) && frame.type == PACKET_PUBLISH)
            in = slice_skip(in, run_follow(worker, connection, &frame, in));
        if (UNLIKELY(connection->out_bytes > worker->output_high_bytes))
            input_brake(worker, connection);
        if (input_is_long(worker, &units) && in.len && connection->state != CONNECTION_CLOSING)
            again_add_input(worker, connection);
    }
    return start - in.len;
}

static void tail_refill(struct tail *tail, struct slice rest)
{
    memmove(tail->bytes, rest.ptr, rest.len);
    tail->len = (uint32_t)rest.len;
}

/* Keeps `rest` as the tail, replacing. It may lie in the old tail. */
static void input_keep(struct worker *worker, struct connection *connection, struct slice rest)
{
    struct tail *old = connection->tail;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (rest.len == 0) {
        connection->tail = NULL;
        mem_free(old);
        return;
    }
    bool fits = old && rest.len <= old->cap;
    if (fits && (rest.len > old->cap / 4 || old->cap <= TAIL_FREE_BYTES)) {
        tail_refill(old, rest);
        return;
    }
    uint32_t cap = (uint32_t)(rest.len + 63) / 64 * 64;
    bool is_refused =
        rest.len > TAIL_FREE_BYTES && !connection->hold && !memory_reserve_has_room(worker, cap);
    struct tail *tail = is_refused ? NULL : mem_alloc(sizeof(*tail) + cap);
    if (!tail && fits) { /* the larger one will do */
        tail_refill(old, rest);
        return;
    }
    if (!tail) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    tail->cap = cap;
    tail->len = (uint32_t)rest.len;
    memcpy(tail->bytes, rest.ptr, rest.len);
    connection->tail = tail;
    mem_free(old);
}

static void input_handle(struct worker *worker, struct connection *connection, struct slice in)
{
    size_t used = connection_input(worker, connection, in);
    input_keep(worker, connection, slice_skip(in, used));
}

void connection_resume_input(struct worker *worker, struct connection *connection)
{
    struct tail *tail = connection->tail;
    if (tail)
        input_handle(worker, connection, slice_of(tail->bytes, tail->len));
}

/* Through a transport: as input_recv. Out of the way of plain TCP. */
__attribute__((noinline)) static ssize_t
input_recv_transport(struct worker *worker, struct connection *connection, uint8_t *at, size_t room)
{
    struct transport *transport = connection->rare->transport;
    size_t raw;
    ssize_t got = transport->ops->read(transport, connection->io.fd, at, room, &raw);
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_READS, 1);
    metric_add(metrics, METRIC_BYTES_RECEIVED, raw);
    connection->has_spoken |= raw > 0;
    if (got < 0)
        connection_close_plain(worker, connection,
                               got == TRANSPORT_GONE ? CLOSE_CLIENT_GONE : CLOSE_NETWORK);
    return got;
}

/* What a transport wants after what was read has been handled. */
__attribute__((noinline)) static void input_follow_transport(struct worker *worker,
                                                             struct connection *connection)
{
    struct transport *transport = connection->rare->transport;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (transport->wants_write)
        output_want_write(worker, connection);
    enum close_reason reason = transport->is_over ? CLOSE_CLIENT_GONE : CLOSE_TRANSPORT;
    if (transport->fault)
        connection_close(worker, connection, reason, close_reason_code(reason), transport->fault);
}

/* recv with the errors sorted out: > 0 bytes, 0 nothing now, < 0 closed (done here). */
static ssize_t input_recv(struct worker *worker, struct connection *connection, uint8_t *at,
                          size_t room)
{
    if (UNLIKELY(connection->has_transport))
        return input_recv_transport(worker, connection, at, room);
    ssize_t got = recv(connection->io.fd, at, room, 0);
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_READS, 1);
    if (got > 0) {
        connection->has_spoken = true;
        metric_add(metrics, METRIC_BYTES_RECEIVED, (uint64_t)got);
        return got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    connection_close_plain(worker, connection, got == 0 ? CLOSE_CLIENT_GONE : CLOSE_NETWORK);
    return -1;
}

/* Makes room in a long tail, at most up to the end of its packet. */
static struct tail *input_grow_tail(struct worker *worker, struct connection *connection,
                                    uint32_t need)
{
    struct tail *tail = connection->tail;
    if (tail->cap > tail->len)
        return tail;
    uint32_t cap = tail->len < need / 2 ? tail->len * 2 : need;
    bool has_room = need <= TAIL_RESERVE_BYTES ? memory_reserve_has_room(worker, cap - tail->cap)
                                               : memory_has_room(worker, cap - tail->cap);
    if (!has_room)
        return NULL; /* waiting would help nobody: many such packets may hold all the memory */
    struct tail *grown = mem_realloc(tail, sizeof(*tail) + cap);
    if (!grown)
        return NULL;
    grown->cap = cap;
    connection->tail = grown;
    return grown;
}

/* A large packet: reads into the tail itself. */
static bool input_read_direct(struct worker *worker, struct connection *connection)
{
    struct frame frame;
    const struct fault *fault;
    struct tail *tail = connection->tail;
    frame_next(slice_of(tail->bytes, tail->len), connection->version, MQTT_PACKET_BYTES_MAX, &frame,
               &fault);
    tail = input_grow_tail(worker, connection, frame.size);
    if (!tail) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return false;
    }
    uint32_t end = tail->cap < frame.size ? tail->cap : frame.size;
    uint32_t room = end - tail->len;
    ssize_t got = input_recv(worker, connection, tail->bytes + tail->len, room);
    if (got <= 0)
        return true;
    tail->len += (uint32_t)got;
    input_count_as_life(worker, connection, &frame, tail->len);
    if (tail->len == frame.size)
        input_handle(worker, connection, slice_of(tail->bytes, tail->len));
    return (uint32_t)got < room;
}

/* A publisher that fills memory or mailboxes is not read for a while. */
static void input_pause_if_pressed(struct worker *worker, struct connection *connection)
{
    if (worker->is_pressed && connection->state == CONNECTION_CONNECTED)
        pause_add(worker, connection);
}

/* A beginning of a packet and small packets: reads into the reactor's buffer. */
static bool input_read_buffered(struct worker *worker, struct connection *connection)
{
    uint8_t *buffer = worker->reactor->read_buffer;
    uint32_t kept = connection->tail ? connection->tail->len : 0;
    if (kept)
        memcpy(buffer, connection->tail->bytes, kept);
    uint32_t room = REACTOR_READ_BYTES - kept;
    uint32_t most = connection->is_blocked ? READ_SHORT_BYTES : worker->read_bytes;
    if (room > most)
        room = most;
    ssize_t got = input_recv(worker, connection, buffer + kept, room);
    if (got > 0)
        input_handle(worker, connection, slice_of(buffer, kept + (size_t)got));
    return got < (ssize_t)room;
}

bool input_read(struct worker *worker, struct connection *connection)
{
    bool is_all;
    struct tail *tail = connection->tail;
    uint64_t publishes = metric_read(&worker_metrics(worker)->counters[METRIC_PUBLISH_RECEIVED]);
    if (tail && tail->len >= TAIL_DIRECT_BYTES)
        is_all = input_read_direct(worker, connection);
    else
        is_all = input_read_buffered(worker, connection);
    if (UNLIKELY(connection->has_transport))
        input_follow_transport(worker, connection);
    if (metric_read(&worker_metrics(worker)->counters[METRIC_PUBLISH_RECEIVED]) != publishes)
        input_pause_if_pressed(worker, connection);
    return is_all;
}

/* Keeps what has arrived behind what waits. That the stream ends there is not looked at: what was sent
   before comes first. */
static void input_read_behind(struct worker *worker, struct connection *connection)
{
    uint8_t *buffer = worker->reactor->read_buffer;
    uint32_t kept = connection->tail ? connection->tail->len : 0;
    if (kept >= REACTOR_READ_BYTES)
        return;
    if (kept)
        memcpy(buffer, connection->tail->bytes, kept);
    struct transport *transport = connection_transport(connection);
    size_t raw, room = REACTOR_READ_BYTES - kept;
    ssize_t got =
        transport ? transport->ops->read(transport, connection->io.fd, buffer + kept, room, &raw)
                  : recv(connection->io.fd, buffer + kept, room, 0);
    metric_add(worker_metrics(worker), METRIC_READS, 1);
    if (got <= 0)
        return;
    metric_add(worker_metrics(worker), METRIC_BYTES_RECEIVED, transport ? raw : (uint64_t)got);
    input_keep(worker, connection, slice_of(buffer, kept + (size_t)got));
}

void input_read_last(struct worker *worker, struct connection *connection)
{
    connection->hold &= (uint8_t)~HOLD_TURN;
    connection_resume_input(worker, connection);
    for (uint32_t reads = 0; reads < LAST_READS && connection->state == CONNECTION_CONNECTED &&
                             !(connection->hold & HOLD_STOPS_PARSING);
         reads++) {
        if (input_read(worker, connection))
            break;
    }
    if (connection->state == CONNECTION_CONNECTED && connection->hold & HOLD_STOPS_PARSING)
        input_read_behind(worker, connection);
}

bool input_waits(struct worker *worker, const struct connection *connection)
{
    struct frame frame;
    const struct fault *fault;
    const struct tail *tail = connection->tail;
    return tail &&
           frame_next(slice_of(tail->bytes, tail->len), connection->version,
                      input_packet_bytes_max(worker, connection), &frame, &fault) != FRAME_SHORT;
}
