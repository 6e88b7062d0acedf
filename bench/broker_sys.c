/*
 * broker_sys.c: see broker_sys.h.
 *
 * A small client of its own, with blocking calls, on a thread of its own: it must neither wait for
 * the workers' turns nor lengthen them. Dunlin publishes $SYS/broker/reactors/N/loop_delay_us_max
 * every sys_interval; other brokers publish nothing there.
 */
#include "bench/broker_sys.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define SYS_FILTER "$SYS/broker/reactors/+/loop_delay_us_max"
#define SYS_WAIT_US 100000

struct broker_sys {
    pthread_t thread;
    int fd, version;
    size_t len;
    bool is_ready;
    bool is_wrapped; /* what comes and goes is in frames of `ws` */
    struct websocket ws;
    _Atomic bool stop;
    _Atomic int64_t delay_us;
    uint8_t bytes[4096];
};

static void sys_on_publish(struct broker_sys *sys, const struct frame *frame)
{
    struct publish publish;
    char text[24];
    /* A retained value is of a time before this run. */
    if (frame->flags & 1 || !packet_read_publish(frame, sys->version, &publish) ||
        publish.len >= sizeof text)
        return;
    memcpy(text, publish.payload, publish.len);
    text[publish.len] = 0;
    int64_t value = strtoll(text, NULL, 10);
    if (value > atomic_load(&sys->delay_us))
        atomic_store(&sys->delay_us, value);
}

/* Reads once and works through whole packets; false at the end of the connection. */
static bool sys_read(struct broker_sys *sys)
{
    struct frame frame;
    ssize_t got = recv(sys->fd, sys->bytes + sys->len, sizeof sys->bytes - sys->len, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return true;
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
    struct login login = {"dunlin-bench-sys", o->username, o->password, 0};
    struct buf out = {0};
    packet_connect(&out, sys->version, &login);
    uint32_t begun = packet_subscribe_begin(&out, sys->version, 1);
    packet_subscribe_filter(&out, SYS_FILTER, 0);
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
    sys->delay_us = -1;
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

int64_t broker_sys_delay_us(const struct broker_sys *sys)
{
    return sys ? atomic_load(&((struct broker_sys *)sys)->delay_us) : -1;
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
