/*
 * relay.c: a bare epoll relay, the lower bound for a broker: it moves bytes and does no more.
 *
 *   relay [port]        prints the port that it listens on at 127.0.0.1, and relays until killed
 *
 * A connection says what it is in one line and gets one byte back:
 *
 *   "P 7 64\n"   publisher of channel 7, whose records have 64 bytes
 *   "S 7 64\n"   subscriber of channel 7: gets what all publishers of the channel send
 *
 * A turn reads once from each ready socket. Where a channel has one publisher, what was read is
 * written to its subscribers straight from the read buffer. Where it has several, it is gathered
 * and each subscriber is written to once at the end of the turn, by whole records, so that those of
 * different publishers do not tear each other. A publisher whose subscriber is full is not read.
 *
 * One thread, no allocation once everyone is connected and the buffers have grown.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RELAY_EVENTS 512
#define RELAY_CHANNELS 65536
#define RELAY_READ_BYTES (256 * 1024)
#define RELAY_FULL_BYTES (1024 * 1024) /* waiting for one subscriber: its publishers must wait */

struct peer;

struct channel {
    struct peer *publishers, *subscribers;
    uint32_t publisher_count, full_count;
};

struct peer {
    struct channel *channel;
    struct peer *next;       /* of the same kind in the channel */
    struct peer *next_dirty; /* to be written at the end of the turn */
    char *out;               /* not written yet; a publisher's: the start of a record */
    size_t out_len, out_cap;
    size_t record;
    int fd;
    char kind; /* 'P', 'S', or 0 before its line */
    bool dirty, blocked, full;
};

static struct channel channels[RELAY_CHANNELS];
static char read_buf[RELAY_READ_BYTES];
static struct peer *dirty;
static int epoll;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void peer_watch(struct peer *p, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = p};
    if (epoll_ctl(epoll, op, p->fd, &event))
        fail("epoll_ctl");
}

static void peer_keep(struct peer *p, const char *bytes, size_t len)
{
    if (len == 0)
        return;
    if (p->out_len + len > p->out_cap) {
        p->out_cap = (p->out_len + len) * 2;
        p->out = realloc(p->out, p->out_cap);
        if (!p->out)
            fail("realloc");
    }
    memcpy(p->out + p->out_len, bytes, len);
    p->out_len += len;
}

/* Publishers of a channel are read only while none of its subscribers is full. */
static void peer_set_full(struct peer *subscriber, bool full)
{
    struct channel *channel = subscriber->channel;
    if (subscriber->full == full)
        return;
    subscriber->full = full;
    channel->full_count += full ? 1 : -1;
    if (channel->full_count != (full ? 1 : 0))
        return;
    for (struct peer *p = channel->publishers; p; p = p->next)
        peer_watch(p, EPOLL_CTL_MOD, full ? 0 : EPOLLIN);
}

/* Writes what it can of `bytes`; returns how many were taken. */
static size_t peer_write(struct peer *p, const char *bytes, size_t len)
{
    ssize_t put = send(p->fd, bytes, len, MSG_NOSIGNAL);
    return put > 0 ? (size_t)put : 0;
}

static void peer_block(struct peer *p)
{
    bool blocked = p->out_len > 0;
    if (blocked != p->blocked)
        peer_watch(p, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    p->blocked = blocked;
    peer_set_full(p, p->out_len > RELAY_FULL_BYTES);
}

static void peer_free(struct peer *p)
{
    free(p->out);
    free(p);
}

static void peer_mark(struct peer *p)
{
    if (p->dirty)
        return;
    p->dirty = true;
    p->next_dirty = dirty;
    dirty = p;
}

static void flush_dirty(void)
{
    while (dirty) {
        struct peer *p = dirty;
        dirty = p->next_dirty;
        p->dirty = false;
        if (p->fd < 0) {
            peer_free(p);
            continue;
        }
        size_t put = peer_write(p, p->out, p->out_len);
        p->out_len -= put;
        if (p->out_len)
            memmove(p->out, p->out + put, p->out_len);
        peer_block(p);
    }
}

static void relay_direct(struct channel *channel, const char *bytes, size_t len)
{
    for (struct peer *s = channel->subscribers; s; s = s->next) {
        size_t put = s->out_len ? 0 : peer_write(s, bytes, len);
        if (put == len)
            continue;
        peer_keep(s, bytes + put, len - put);
        peer_block(s);
    }
}

static void relay_gathered(struct peer *publisher, const char *bytes, size_t len)
{
    size_t whole = (publisher->out_len + len) / publisher->record * publisher->record;
    size_t now = whole ? whole - publisher->out_len : 0;
    for (struct peer *s = publisher->channel->subscribers; s && whole; s = s->next) {
        peer_keep(s, publisher->out, publisher->out_len);
        peer_keep(s, bytes, now);
        peer_mark(s);
    }
    if (whole)
        publisher->out_len = 0;
    peer_keep(publisher, bytes + now, len - now);
}

/* The first line. It comes whole, as the load generator writes it at once. */
static bool peer_greet(struct peer *p, size_t len)
{
    unsigned channel, record;
    read_buf[len < 64 ? len : 64] = 0;
    if (sscanf(read_buf, "%c %u %u", &p->kind, &channel, &record) != 3 ||
        channel >= RELAY_CHANNELS || record == 0 || (p->kind != 'P' && p->kind != 'S'))
        return false;
    p->channel = &channels[channel];
    p->record = record;
    struct peer **list = p->kind == 'P' ? &p->channel->publishers : &p->channel->subscribers;
    p->next = *list;
    *list = p;
    p->channel->publisher_count += p->kind == 'P';
    return peer_write(p, "+", 1) == 1;
}

static void peer_close(struct peer *p)
{
    struct channel *channel = p->channel;
    if (channel && p->kind) {
        struct peer **link = p->kind == 'P' ? &channel->publishers : &channel->subscribers;
        while (*link != p)
            link = &(*link)->next;
        if (p->kind == 'S')
            peer_set_full(p, false);
        *link = p->next;
        channel->publisher_count -= p->kind == 'P';
    }
    close(p->fd);
    p->fd = -1;
    if (!p->dirty)
        peer_free(p); /* else at the end of the turn */
}

static void peer_event(struct peer *p, uint32_t events)
{
    if (events & EPOLLOUT && p->kind == 'S')
        peer_mark(p);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t len = recv(p->fd, read_buf, sizeof read_buf - 1, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0) {
        peer_close(p);
    } else if (!p->kind) {
        if (!peer_greet(p, (size_t)len))
            peer_close(p);
    } else if (p->kind == 'P') {
        if (p->channel->publisher_count == 1)
            relay_direct(p->channel, read_buf, (size_t)len);
        else
            relay_gathered(p, read_buf, (size_t)len);
    }
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        if (!p)
            fail("calloc");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        p->fd = fd;
        peer_watch(p, EPOLL_CTL_ADD, EPOLLIN);
    }
    if (errno != EAGAIN)
        fail("accept");
}

/* Listens at 127.0.0.1, at a port of the system's choice for 0, and prints which. */
static int listen_at(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)&address, &len))
        fail("listen");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static struct epoll_event events[RELAY_EVENTS];
    struct epoll_event listening = {.events = EPOLLIN}; /* no peer: the listener */
    struct rlimit limit;
    int listener = listen_at((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening))
        fail("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, RELAY_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                peer_event(events[i].data.ptr, events[i].events);
            else
                accept_all(listener);
        }
        flush_dirty();
    }
}
