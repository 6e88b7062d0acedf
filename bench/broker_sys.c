/*
 * broker_sys.c: see broker_sys.h.
 *
 * A small client of its own, with blocking calls, on a thread of its own: it must neither wait for
 * the workers' turns nor lengthen them. Dunlin publishes $SYS/broker/reactors/N/loop_delay_us_max
 * every sys_interval, where it has changed; other brokers publish nothing there.
 *
 *   subscribed      uptime, delays      uptime, delays      uptime, delays
 *       |-------- round 1 |------------ round 2 |------------ round 3 |
 *        began before the run     counted               counted
 *
 * A round begins with the uptime, which always changes, and ends when nothing follows. A delay that did not
 * change is the same in the next round.
 */
#include "bench/broker_sys.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define SYS_PREFIX "$SYS/broker/"
#define REACTORS_MAX 1024
#define SYS_WAIT_US 100000

struct broker_sys {
    pthread_t thread;
    int fd, version;
    size_t len;
    bool is_ready;
    bool is_wrapped; /* what comes and goes is in frames of `ws` */
    struct websocket ws;
    _Atomic bool stop;
    bool in_round;
    uint64_t round_ns;           /* when the last round began */
    int64_t delay[REACTORS_MAX]; /* of each reactor, the last one told */
    pthread_mutex_t lock;        /* for `told` */
    struct broker_told told;
    uint8_t bytes[4096];
};

static void sys_on_delay(struct broker_sys *sys, unsigned reactor, int64_t delay_us, bool is_new)
{
    if (reactor >= REACTORS_MAX)
        return;
    sys->delay[reactor] = delay_us;
    sys->told.has_delay = true;
    if (is_new && sys->told.rounds + sys->in_round >= 2 && delay_us > sys->told.delay_us)
        sys->told.delay_us = delay_us;
}

static void sys_end_round(struct broker_sys *sys)
{
    if (!sys->in_round)
        return;
    sys->in_round = false;
    if (++sys->told.rounds < 2 || !sys->told.has_delay)
        return;
    for (int i = 0; i < REACTORS_MAX; i++)
        if (sys->delay[i] > sys->told.delay_us)
            sys->told.delay_us = sys->delay[i];
}

static void sys_begin_round(struct broker_sys *sys)
{
    uint64_t now_ns = bench_clock_ns();
    sys_end_round(sys);
    if (sys->round_ns)
        sys->told.interval_ns = now_ns - sys->round_ns;
    sys->round_ns = now_ns;
    sys->in_round = true;
}

static void sys_on_publish(struct broker_sys *sys, const struct frame *frame)
{
    struct publish publish;
    char topic[TEXT_MAX], text[48];
    unsigned reactor;
    bool is_old = frame->flags & 1; /* retained: of a time before this run */
    if (!packet_read_publish(frame, sys->version, &publish) || publish.len >= sizeof text ||
        publish.topic_len >= sizeof topic)
        return;
    snprintf(topic, sizeof topic, "%.*s", publish.topic_len, (const char *)publish.topic);
    snprintf(text, sizeof text, "%.*s", (int)publish.len, (const char *)publish.payload);
    int64_t value = strtoll(text, NULL, 10);
    pthread_mutex_lock(&sys->lock);
    if (sscanf(topic, SYS_PREFIX "reactors/%u/", &reactor) == 1)
        sys_on_delay(sys, reactor, value, !is_old);
    else if (is_old && strcmp(topic, SYS_PREFIX "clients/maximum") == 0)
        sys->told.clients_before = value;
    else if (!is_old && strcmp(topic, SYS_PREFIX "uptime") == 0)
        sys_begin_round(sys);
    pthread_mutex_unlock(&sys->lock);
}

static void sys_on_silence(struct broker_sys *sys)
{
    pthread_mutex_lock(&sys->lock);
    sys_end_round(sys);
    pthread_mutex_unlock(&sys->lock);
}

/* Reads once and works through whole packets; false at the end of the connection. */
static bool sys_read(struct broker_sys *sys)
{
    struct frame frame;
    ssize_t got = recv(sys->fd, sys->bytes + sys->len, sizeof sys->bytes - sys->len, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        sys_on_silence(sys);
        return true;
    }
    if (got <= 0)
        return false;
    if (sys->is_wrapped)
        got = websocket_unwrap(&sys->ws, sys->bytes + sys->len, (size_t)got);
    if (got < 0)
        return false;
    sys->len += (size_t)got;
    size_t at = 0;
    long used;
    while ((used = packet_next(sys->bytes + at, sys->len - at, &frame)) > 0) {
        if (frame.type == PACKET_SUBACK)
            sys->is_ready = !packet_is_refusal(&frame, sys->version);
        if (frame.type == PACKET_CONNACK && packet_is_refusal(&frame, sys->version))
            return false;
        if (frame.type == PACKET_PUBLISH)
            sys_on_publish(sys, &frame);
        at += (size_t)used;
    }
    sys->len -= at;
    memmove(sys->bytes, sys->bytes + at, sys->len);
    return used == 0 && sys->len < sizeof sys->bytes;
}

static void *sys_main(void *arg)
{
    struct broker_sys *sys = arg;
    while (!atomic_load(&sys->stop) && sys_read(sys))
        ;
    pthread_mutex_lock(&sys->lock);
    sys->told.has_ended = true;
    pthread_mutex_unlock(&sys->lock);
    return NULL;
}

static bool sys_send(struct broker_sys *sys, struct buf *out)
{
    if (sys->is_wrapped)
        websocket_wrap(&sys->ws, out);
    bool sent = send(sys->fd, out->ptr, out->len, MSG_NOSIGNAL) == (ssize_t)out->len;
    buf_free(out);
    return sent;
}

static bool sys_upgrade(struct broker_sys *sys, const struct options *o)
{
    struct buf out = {0};
    uint64_t end_ns = bench_clock_ns() + 2 * SECOND_NS;
    size_t len = 0;
    long used = 0;
    websocket_request(&out, o->host, sys->version);
    bool sent = sys_send(sys, &out);
    while (sent && used == 0 && len < sizeof sys->bytes && bench_clock_ns() < end_ns) {
        ssize_t got = recv(sys->fd, sys->bytes + len, sizeof sys->bytes - len, 0);
        if (got == 0)
            return false;
        len += got > 0 ? (size_t)got : 0;
        used = websocket_answer(sys->bytes, len);
    }
    return sys->is_wrapped = used > 0;
}

static bool sys_greet(struct broker_sys *sys, const struct load *load)
{
    const struct options *o = &load->options;
    char id[TEXT_MAX]; /* its own: two runs at once would end each other's connection */
    snprintf(id, sizeof id, "bench%08x-sys", load->run);
    struct login login = {id, o->username, o->password, 0};
    struct buf out = {0};
    packet_connect(&out, sys->version, &login);
    uint32_t begun = packet_subscribe_begin(&out, sys->version, 1);
    packet_subscribe_filter(&out, SYS_PREFIX "reactors/+/loop_delay_us_max", 0);
    packet_subscribe_filter(&out, SYS_PREFIX "clients/maximum", 0);
    packet_subscribe_filter(&out, SYS_PREFIX "uptime", 0);
    packet_subscribe_end(&out, begun);
    bool sent = sys_send(sys, &out);
    uint64_t end_ns = bench_clock_ns() + 2 * SECOND_NS;
    while (sent && !sys->is_ready && bench_clock_ns() < end_ns)
        sent = sys_read(sys);
    return sys->is_ready;
}

struct broker_sys *broker_sys_start(const struct load *load)
{
    struct broker_sys *sys = bench_zalloc(1, sizeof *sys);
    struct timeval wait = {.tv_usec = SYS_WAIT_US};
    sys->version = (int)load->options.version;
    sys->told.delay_us = sys->told.clients_before = -1;
    pthread_mutex_init(&sys->lock, NULL);
    sys->fd = socket(load->peer.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sys->fd >= 0) {
        setsockopt(sys->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        if (connect(sys->fd, (const struct sockaddr *)&load->peer, load->peer_len) == 0 &&
            (!load->options.websocket || sys_upgrade(sys, &load->options)) &&
            sys_greet(sys, load) && pthread_create(&sys->thread, NULL, sys_main, sys) == 0)
            return sys;
        close(sys->fd);
    }
    free(sys);
    return NULL;
}

struct broker_told broker_sys_told(struct broker_sys *sys)
{
    struct broker_told told = {.delay_us = -1, .clients_before = -1};
    if (sys) {
        pthread_mutex_lock(&sys->lock);
        told = sys->told;
        pthread_mutex_unlock(&sys->lock);
    }
    return told;
}

void broker_sys_stop(struct broker_sys *sys)
{
    if (!sys)
        return;
    atomic_store(&sys->stop, true);
    pthread_join(sys->thread, NULL);
    close(sys->fd);
    free(sys);
}
