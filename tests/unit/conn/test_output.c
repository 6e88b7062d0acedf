/*
 * test_output.c: what waits for a client that reads less than it is sent is known to the packet
 * (conn/output.h), so that one who keeps pace is never taken for one who does not.
 */
#include <sys/ioctl.h>

#include "tests/unit/conn/harness.h"

/* The client's socket takes little at a time. */
static void make_narrow(struct harness *h, const char *id)
{
    const struct connection *connection = harness_session(h, id, NULL)->sink;
    int bytes = 4096;
    BUG_ON(setsockopt(connection->io.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)));
}

static struct client *narrow_client(struct harness *h, const char *id, uint8_t qos)
{
    struct client *s = client_of(h, 0, id, 0);
    client_subscribe(s, "t", qos);
    make_narrow(h, id);
    return s;
}

static uint32_t number_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- the count ---- */

#define STEPS 3000u
#define STREAM_BYTES (16u << 20)

/* What was seen after a step: how far the stream to S had left its output, what was sent to it until
   then, and what was said to wait. */
struct seen {
    size_t gone;
    uint32_t sent, waiting;
};

struct count_test {
    struct harness *h;
    struct client *s, *p;
    uint32_t random;
    uint32_t sent; /* QoS 0 */
    uint8_t *stream;
    size_t stream_len;
    struct seen seen[STEPS];
};

static void publish_some(struct count_test *t)
{
    static const uint32_t sizes[] = {1, 30, 200, 1500, 2100, 6000};
    static uint8_t payload[6000];
    uint32_t count = 1 + number_next(&t->random) % 6;
    bool is_run = number_next(&t->random) % 4 == 0; /* of one length, read at once */
    for (uint32_t i = 0; i < count; i++) {
        uint8_t qos = is_run ? 0 : number_next(&t->random) % 2;
        uint32_t size = sizes[number_next(&t->random) % ARRAY_COUNT(sizes)];
        uint32_t bytes = is_run ? 30 : number_next(&t->random) % size;
        client_publish_bytes(t->p, "t", payload, bytes, qos, (uint16_t)(i + 1), false);
        t->sent += qos == 0;
    }
    harness_settle(t->h);
    client_read(t->p);
    t->p->in_len = 0; /* PUBACKs */
}

static void read_bytes(struct count_test *t, size_t bytes)
{
    ssize_t got = recv(t->s->fd, t->stream + t->stream_len, bytes, 0);
    t->stream_len += got > 0 ? (size_t)got : 0;
    harness_settle(t->h);
}

static struct seen look(struct count_test *t)
{
    const struct connection *connection = harness_session(t->h, "S", NULL)->sink;
    int unread = 0;
    BUG_ON(ioctl(t->s->fd, FIONREAD, &unread));
    return (struct seen){t->stream_len + (size_t)unread, t->sent, connection->out_publishes};
}

/* Goes over the stream from *at; true when there was a packet more, *is_qos_0: such a PUBLISH. */
static bool stream_next(const struct count_test *t, size_t *at, bool *is_qos_0)
{
    if (*at == t->stream_len)
        return false;
    uint32_t length = 0, shift = 0;
    uint8_t first = t->stream[(*at)++], byte;
    do {
        byte = t->stream[(*at)++];
        length |= (uint32_t)(byte & 127) << shift;
        shift += 7;
    } while (byte & 128);
    *at += length;
    assert_true(*at <= t->stream_len);
    *is_qos_0 = first >> 4 == PACKET_PUBLISH && !(first & 6);
    return true;
}

static void compare_with_stream(const struct count_test *t)
{
    size_t end = 0;
    uint32_t gone = 0, blocked = 0;
    bool is_qos_0, is_more = stream_next(t, &end, &is_qos_0);
    for (uint32_t i = 0; i < STEPS; i++) {
        for (; is_more && end <= t->seen[i].gone; is_more = stream_next(t, &end, &is_qos_0))
            gone += is_qos_0;
        assert_int_equal(t->seen[i].waiting, t->seen[i].sent - gone);
        blocked += t->seen[i].waiting > 0;
    }
    assert_in_range(blocked, STEPS / 4, STEPS - 1);
}

static void publishes_that_wait_are_counted_exactly(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 3; seed++) {
        struct count_test *t = calloc(1, sizeof(*t));
        t->h = harness_new(1, "max_queued_messages 0\nmax_inflight_messages 0\n");
        t->stream = malloc(STREAM_BYTES);
        t->random = seed;
        t->s = narrow_client(t->h, "S", 1);
        t->p = client_of(t->h, 0, "P", 0);
        for (uint32_t i = 0; i < STEPS; i++) {
            if (number_next(&t->random) % 8 == 0)
                publish_some(t);
            else
                read_bytes(t, number_next(&t->random) % (i / 500 % 2 ? 300 : 3000));
            t->seen[i] = look(t);
        }
        for (size_t before = SIZE_MAX; before != t->stream_len;) {
            before = t->stream_len;
            read_bytes(t, STREAM_BYTES - t->stream_len);
        }
        assert_int_equal(look(t).waiting, 0);
        assert_int_equal(harness_metric(t->h, METRIC_PUBLISH_DROPPED), 0);
        compare_with_stream(t);
        harness_free(t->h);
        free(t->stream);
        free(t);
    }
}

/* ---- the limit ---- */

#define LIMIT 100u
#define MESSAGES 1000u

/* Publishes so that never more than `outstanding` messages are on their way to S, which reads without
   end, in steps of any size. */
static void keep_pace(const char *config, uint32_t outstanding, uint32_t payload_bytes)
{
    static uint8_t payload[4000];
    struct harness *h = harness_new(1, config);
    struct client *s = narrow_client(h, "S", 0), *p = client_of(h, 0, "P", 0);
    uint32_t sent = 0, got = 0, random = 1, stuck = 0;
    while (got < MESSAGES) {
        for (; sent - got < outstanding; sent++)
            client_publish_bytes(p, "t", payload, payload_bytes, 0, 0, false);
        harness_settle(h);
        assert_int_equal(harness_metric(h, METRIC_PUBLISH_DROPPED), 0);
        const struct connection *connection = harness_session(h, "S", NULL)->sink;
        stuck += connection->is_blocked;
        size_t part = 1 + number_next(&random) % 1500;
        s->in = s->in ? s->in : malloc(s->in_cap = 65536);
        ssize_t bytes = recv(s->fd, s->in + s->in_len, part, 0);
        s->in_len += bytes > 0 ? (size_t)bytes : 0;
        size_t packet = payload_bytes + 6u + (payload_bytes > 123);
        size_t whole = s->in_len / packet;
        memmove(s->in, s->in + whole * packet, s->in_len -= whole * packet);
        got += (uint32_t)whole;
        harness_settle(h);
    }
    assert_in_range(stuck, 50, UINT32_MAX); /* the socket was full again and again */
    harness_free(h);
}

static void reader_that_keeps_pace_loses_nothing(void **state)
{
    (void)state;
    keep_pace("max_queued_messages 100\n", 60, 1000);
    keep_pace("max_queued_messages 100\n", LIMIT, 1000);
    keep_pace("max_queued_messages 100\n", LIMIT, 2500);
    keep_pace("max_queued_messages 100\n", LIMIT, 60);
}

static void reader_that_keeps_pace_is_not_cut_off(void **state)
{
    (void)state;
    keep_pace("max_queued_messages 100\nqueue_policy disconnect\n", 60, 1000);
    keep_pace("max_queued_messages 100\nqueue_policy disconnect\n", LIMIT, 60);
}

/* ---- the end ---- */

/* 100 messages were sent to S, who reads none of them. */
static struct harness *stuck_with_100(uint8_t version, struct client **s)
{
    static uint8_t payload[1000];
    struct harness *h = harness_new(1, "max_queued_messages 1000\n");
    *s = client_new(h, 0);
    (*s)->version = version;
    client_connect_as(*s, (struct connect){.id = "S", .clean_start = true});
    harness_settle(h);
    client_expect(*s, PACKET_CONNACK);
    client_subscribe(*s, "t", 0);
    make_narrow(h, "S");
    struct client *p = client_of(h, 0, "P", 0);
    for (uint32_t i = 0; i < 100; i++) {
        client_publish_bytes(p, "t", payload, sizeof(payload), 0, 0, false);
        harness_settle(h);
    }
    assert_true(((struct connection *)harness_session(h, "S", NULL)->sink)->is_blocked);
    return h;
}

static uint32_t publishes_in_socket(struct client *s)
{
    uint32_t count = 0;
    while (client_next(s))
        count += s->type == PACKET_PUBLISH;
    return count;
}

static void assert_each_came_or_was_dropped(struct harness *h, uint32_t came)
{
    assert_in_range(came, 1, 99);
    assert_int_equal(harness_dropped(h, DROP_UNSENT_QOS0), 100 - came);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_DROPPED), 100 - came);
}

static void what_a_client_that_goes_has_not_read_is_counted_as_dropped(void **state)
{
    (void)state;
    for (uint8_t version = 4; version <= 5; version++) {
        struct client *s;
        struct harness *h = stuck_with_100(version, &s);
        int unread = 0;
        BUG_ON(ioctl(s->fd, FIONREAD, &unread));
        client_drop(s);
        harness_settle(h);
        assert_each_came_or_was_dropped(h, (uint32_t)unread / (1000 + (version == 5 ? 7 : 6)));
        harness_free(h);
    }
}

static void what_a_client_that_is_taken_over_did_not_get_is_counted_as_dropped(void **state)
{
    (void)state;
    for (uint8_t version = 4; version <= 5; version++) {
        struct client *s;
        struct harness *h = stuck_with_100(version, &s);
        client_coming_back(h, 0, "S", 0);
        harness_settle(h);
        harness_pass_s(h, 3);
        assert_each_came_or_was_dropped(h, publishes_in_socket(s));
        harness_free(h);
    }
}

static void session_that_stays_tells_what_its_connection_lost(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_queued_messages 1000\n");
    struct client *s = client_of(h, 0, "S", 3600), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    make_narrow(h, "S");
    static uint8_t payload[1000];
    for (uint16_t i = 1; i <= 100; i++) {
        client_publish_bytes(p, "t", payload, sizeof(payload), i % 2, i, false);
        harness_settle(h);
    }
    client_drop(s);
    harness_settle(h);
    const struct flight *flight = harness_session(h, "S", NULL)->flight;
    uint64_t lost = harness_dropped(h, DROP_UNSENT_QOS0);
    assert_in_range(lost, 40, 50); /* and none of QoS 1 */
    assert_int_equal(flight->dropped[DROP_UNSENT_QOS0], lost);
    assert_int_equal(flight->inflight.count + flight->queue.count, 50);
    harness_free(h);
}

/* S is cut off by policy: reads whole PUBLISH packets, DISCONNECT behind them, and the end. */
static void cut_off(uint32_t bytes)
{
    static uint8_t payload[7000];
    struct harness *h = harness_new(1, "max_queued_messages 50\nqueue_policy disconnect\n");
    struct client *s = narrow_client(h, "S", 0), *p = client_of(h, 0, "P", 0);
    uint32_t sent = 0, came = 0;
    for (; harness_session(h, "S", NULL); sent++) {
        client_publish_bytes(p, "t", payload, bytes, 0, 0, false);
        harness_settle(h);
    }
    assert_int_equal(harness_closed(h, CLOSE_SLOW), 1);
    for (; client_next(s) && s->type == PACKET_PUBLISH; came++)
        harness_settle(h);
    assert_int_equal(s->type, PACKET_DISCONNECT);
    assert_int_equal(s->body[0], REASON_QUOTA_EXCEEDED);
    assert_int_equal(s->in_len, 0);
    harness_settle(h);
    client_expect_closed(s);
    assert_int_equal(harness_dropped(h, DROP_SLOW_QOS0), 1);
    assert_int_equal(harness_dropped(h, DROP_UNSENT_QOS0), sent - 1 - came);
    harness_free(h);
}

static void client_that_is_cut_off_reads_why(void **state)
{
    (void)state;
    cut_off(10);
    cut_off(1000);
    cut_off(3000); /* by reference */
    cut_off(7000);
}

static void client_that_is_taken_over_reads_why_though_its_socket_is_full(void **state)
{
    (void)state;
    struct client *s;
    struct harness *h = stuck_with_100(5, &s);
    client_coming_back(h, 0, "S", 0);
    harness_settle(h);
    harness_pass_s(h, 1);
    while (client_next(s) && s->type == PACKET_PUBLISH)
        harness_settle(h);
    assert_int_equal(s->type, PACKET_DISCONNECT);
    assert_int_equal(s->body[0], REASON_SESSION_TAKEN_OVER);
    harness_free(h);
}

static void client_that_does_not_read_why_is_not_waited_for(void **state)
{
    (void)state;
    struct client *s;
    struct harness *h = stuck_with_100(5, &s);
    client_coming_back(h, 0, "S", 0);
    harness_settle(h);
    assert_int_equal(harness_worker(h, 0)->connections.used, 3);
    harness_pass_s(h, 3);
    assert_int_equal(harness_worker(h, 0)->connections.used, 2);
    uint32_t came = publishes_in_socket(s);
    assert_true(s->is_gone);
    assert_each_came_or_was_dropped(h, came);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_that_wait_are_counted_exactly),
        cmocka_unit_test(reader_that_keeps_pace_loses_nothing),
        cmocka_unit_test(reader_that_keeps_pace_is_not_cut_off),
        cmocka_unit_test(what_a_client_that_goes_has_not_read_is_counted_as_dropped),
        cmocka_unit_test(what_a_client_that_is_taken_over_did_not_get_is_counted_as_dropped),
        cmocka_unit_test(session_that_stays_tells_what_its_connection_lost),
        cmocka_unit_test(client_that_is_cut_off_reads_why),
        cmocka_unit_test(client_that_is_taken_over_reads_why_though_its_socket_is_full),
        cmocka_unit_test(client_that_does_not_read_why_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
