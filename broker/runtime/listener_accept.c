/*
 * listener_accept.c: taking connections from the sockets of listener.c, or refusing them.
 *
 *   accept:  a loop of LISTENER_ACCEPTS_PER_TURN; what accept4 can say falls in four classes:
 *            none left | passed over | descriptors | memory (and whatever is left)
 *   memory:  armed --ENOMEM--> disarmed --next tick--> armed
 *
 *   descriptors, for all who share the table:
 *
 *        accepting --EMFILE--> [table is full: disarmed] --next tick--> refusing
 *            ^                                                             |
 *            +------------------ a descriptor is free, seen at a tick -----+
 *
 *   Refusing is a loop of the same bounds: a spare descriptor is closed, and in its place one
 *   connection after another is accepted and closed until none waits; then the listener is disarmed
 *   until the next tick, so that those who come back at once are not told no thousands of times a
 *   second.
 *
 * The place of a spare must not be taken by a reactor next door that accepts: so nobody refuses before
 * a tick, when all are likely to have seen that the table is full; who refuses holds a mutex, and who
 * looks whether a descriptor is free asks for it. Who does not get it tries again in the next turn.
 * Where it is taken all the same (by a reactor that did not get a core for so long, or a log that is
 * opened anew), another spare of the table does, and it comes back with the next descriptor that is
 * free.
 *
 * Invariants: is_armed says whether epoll waits for EPOLLIN; rearm_tick != 0 only while an error
 * keeps the listener disarmed.
 * Threads: one reactor; that a table is full, and that a burst is on, is said by atomics.
 * Cost: one accept4 for each connection and one that says EAGAIN. To refuse: an accept4 and a close,
 * and once per turn two more calls.
 */
#include "runtime/listener_accept.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/listener.h"
#include "runtime/log.h"

#define ACCEPTS_PER_LOOK 8 /* between two looks at the clock */
#define ACCEPT_SHARE 3     /* of a turn's time for reading */
#define BURST_TICKS (10000 / TIMING_TICK_MS)

enum accept_class {
    ACCEPT_NONE_LEFT,
    ACCEPT_PASSED_OVER,
    ACCEPT_DESCRIPTORS,
    ACCEPT_MEMORY,
    ACCEPT_WATCHES
};

/* Of a table that reactors share: its spares, and the right to refuse in their place. */
static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;

/* accept(2): on Linux, errors of the network that wait on the new socket come out here as well. */
static enum accept_class classify(int error)
{
    static const int passed_over[] = {EINTR,      ECONNABORTED, EPROTO,      EPERM,
                                      ENETDOWN,   ENOPROTOOPT,  EHOSTDOWN,   ENONET,
                                      EOPNOTSUPP, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT};
    if (error == EAGAIN || error == EWOULDBLOCK)
        return ACCEPT_NONE_LEFT;
    for (size_t i = 0; i < ARRAY_COUNT(passed_over); i++) {
        if (error == passed_over[i])
            return ACCEPT_PASSED_OVER;
    }
    if (error == EMFILE || error == ENFILE)
        return ACCEPT_DESCRIPTORS;
    return error == ENOSPC ? ACCEPT_WATCHES : ACCEPT_MEMORY;
}

/* ---- what the operator reads ---- */

static void log_exhausted(const struct listener *listener, bool is_one_of_many, int error)
{
    struct rlimit limit = {0};
    char where[LISTENER_WHERE_BYTES];
    uint16_t port = listener->config->port;
    if (listener->port_shared)
        port = atomic_load_explicit(listener->port_shared, memory_order_relaxed);
    listener_describe(listener->config, port, where);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (error == EMFILE)
        log_line(LOG_ERROR,
                 "Connections to %s are refused: all %llu descriptors of %s are in use. Raise the "
                 "limit of open files (ulimit -n, or LimitNOFILE in the unit file)%s.",
                 where, (unsigned long long)limit.rlim_cur,
                 is_one_of_many ? "a reactor" : "this process",
                 is_one_of_many ? ", or configure more reactors" : "");
    else if (error == ENFILE)
        log_line(LOG_ERROR,
                 "Connections to %s are refused: all descriptors of the system are in use. Raise "
                 "the limit (sysctl fs.file-max).",
                 where);
    else if (error == ENOSPC)
        log_line(LOG_ERROR,
                 "Connections to %s are refused: epoll may watch no more descriptors of this user. "
                 "Raise the limit (sysctl fs.epoll.max_user_watches).",
                 where);
    else
        log_line(
            LOG_ERROR,
            "Connections to %s are refused: %s. Lower max_connections or memory_limit, or give "
            "the machine more memory.",
            where, strerror(error));
}

/* Whether no reactor of the group met such an error in the last ten seconds; the exchange lets one
   of several that meet it at once have the word. */
static bool burst_begins(const struct reactor *reactor, enum accept_class class)
{
    _Static_assert(ACCEPT_WATCHES - ACCEPT_DESCRIPTORS < REACTOR_BURSTS, "one for each");
    uint32_t over_tick =
        atomic_exchange_explicit(&reactor->group->accept_quiet_ticks[class - ACCEPT_DESCRIPTORS],
                                 reactor->now_tick + BURST_TICKS, memory_order_relaxed);
    return reactor->now_tick >= over_tick;
}

static void say_exhausted(const struct listener *listener, const struct reactor *reactor, int error)
{
    if (burst_begins(reactor, classify(error)))
        log_exhausted(listener, reactor->group->has_private_descriptors, error);
}

void listener_refused(struct listener *listener, struct reactor *reactor, int error)
{
    bool is_watches = classify(error) == ACCEPT_WATCHES;
    metric_add(reactor->metrics, is_watches ? METRIC_ACCEPT_WATCHES : METRIC_ACCEPT_MEMORY, 1);
    say_exhausted(listener, reactor, error);
}

/* ---- a table that is full ---- */

static bool is_private(const struct reactor *reactor)
{
    return reactor->group->has_private_descriptors;
}

static struct descriptor_table *table_of(const struct reactor *reactor)
{
    return &reactor->group->reactors[is_private(reactor) ? reactor->index : 0].table;
}

static int table_error(const struct reactor *reactor)
{
    return atomic_load_explicit(&table_of(reactor)->error, memory_order_relaxed);
}

static bool table_try_lock(const struct reactor *reactor)
{
    return is_private(reactor) || pthread_mutex_trylock(&table_mutex) == 0;
}

static void table_unlock(const struct reactor *reactor)
{
    if (!is_private(reactor))
        pthread_mutex_unlock(&table_mutex);
}

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static uint32_t spares_wanted(const struct descriptor_table *table)
{
    return table->listeners < TABLE_SPARES_MAX ? table->listeners : TABLE_SPARES_MAX;
}

/* Opens those that are missing; false when that is not possible. */
static bool spares_fill(struct descriptor_table *table)
{
    while (table->spare_count < spares_wanted(table)) {
        int fd = spare_open();
        if (fd < 0)
            return false;
        table->spares[table->spare_count++] = fd;
    }
    return true;
}

void listener_spare_add(struct reactor *reactor)
{
    struct descriptor_table *table = table_of(reactor);
    if (is_private(reactor)) {
        table->listeners++;
        return; /* listener_own_spares() */
    }
    pthread_mutex_lock(&table_mutex);
    table->listeners++;
    spares_fill(table);
    pthread_mutex_unlock(&table_mutex);
}

void listener_own_spares(struct reactor *reactor)
{
    spares_fill(table_of(reactor));
}

void listener_spare_remove(struct reactor *reactor)
{
    struct descriptor_table *table = table_of(reactor);
    if (is_private(reactor))
        return; /* gone with the reactor's table */
    pthread_mutex_lock(&table_mutex);
    table->listeners--;
    while (table->spare_count > spares_wanted(table))
        close(table->spares[--table->spare_count]);
    pthread_mutex_unlock(&table_mutex);
}

/* Whether there is one more than the spares that are missing, which come first. */
static bool descriptor_is_free(const struct reactor *reactor)
{
    if (!table_try_lock(reactor))
        return false; /* it would be the place of a spare */
    int fd = spares_fill(table_of(reactor)) ? spare_open() : -1;
    if (fd >= 0)
        close(fd);
    table_unlock(reactor);
    return fd >= 0;
}

static void pause_until_next_tick(struct listener *listener, struct reactor *reactor)
{
    listener_disarm(listener, reactor);
    listener->rearm_tick = reactor->now_tick + 1;
}

/* Until when a listener may go on in this turn. */
static uint64_t accepting_until_ns(const struct reactor *reactor)
{
    uint64_t until_ns = clock_real_ns() + reactor->group->read_budget_ns / ACCEPT_SHARE;
    return until_ns > reactor->read_until_ns ? reactor->read_until_ns : until_ns;
}

/* Closes one connection that waits; false with errno. */
static bool refuse_one(const struct listener *listener)
{
    int fd = accept4(listener->io.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd >= 0 && close(fd) == 0;
}

/* Closes those that wait, as many as a turn allows. *error: what accept4 said in the end, 0 when there
   may be more. */
static uint32_t refuse_waiting(const struct listener *listener, const struct reactor *reactor,
                               int *error)
{
    uint64_t until_ns = accepting_until_ns(reactor);
    uint32_t refused = 0;
    *error = 0;
    for (uint32_t i = 0; i < LISTENER_ACCEPTS_PER_TURN; i++) {
        if (refuse_one(listener)) {
            refused++;
        } else if (classify(errno) == ACCEPT_PASSED_OVER) {
            metric_add(reactor->metrics, METRIC_ACCEPT_ERRORS, 1);
        } else {
            *error = errno;
            break;
        }
        if (i % ACCEPTS_PER_LOOK == ACCEPTS_PER_LOOK - 1 && clock_real_ns() > until_ns)
            break;
    }
    return refused;
}

static void refuse_some(struct listener *listener, struct reactor *reactor, int why)
{
    struct descriptor_table *table = table_of(reactor);
    int error;
    if (!table_try_lock(reactor))
        return; /* those who wait are told of again */
    if (table->spare_count)
        close(table->spares[--table->spare_count]);
    uint32_t refused = refuse_waiting(listener, reactor, &error);
    spares_fill(table);
    table_unlock(reactor);
    metric_add(reactor->metrics, METRIC_ACCEPT_DESCRIPTORS, refused);
    if (error)
        pause_until_next_tick(listener, reactor);
    if (refused || classify(error) == ACCEPT_DESCRIPTORS)
        say_exhausted(listener, reactor, why);
}

/* ---- accepting ---- */

static void accept_exhausted(struct listener *listener, struct reactor *reactor, int error)
{
    pause_until_next_tick(listener, reactor);
    if (classify(error) == ACCEPT_DESCRIPTORS) {
        atomic_store_explicit(&table_of(reactor)->error, error, memory_order_relaxed);
        return; /* accept4 says so also when nobody waits */
    }
    listener_refused(listener, reactor, error);
}

/* An IPv4 peer of a socket for both families, as IPv4. */
static void unmap_peer(struct sockaddr_storage *peer)
{
    struct sockaddr_in6 v6;
    memcpy(&v6, peer, sizeof v6);
    if (v6.sin6_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = v6.sin6_port};
    memcpy(&v4.sin_addr, &v6.sin6_addr.s6_addr[12], sizeof v4.sin_addr);
    memcpy(peer, &v4, sizeof v4);
}

/* Accepts one connection; false when the loop is over for this turn. */
static bool accept_one(struct listener *listener, struct reactor *reactor)
{
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof peer;
    int fd =
        accept4(listener->io.fd, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        unmap_peer(&peer);
        metric_add(reactor->metrics, METRIC_SOCKETS_ACCEPTED, 1);
        listener->on_accept(reactor, listener, fd, (struct sockaddr *)&peer);
        return true;
    }
    int error = errno;
    enum accept_class class = classify(error);
    if (class == ACCEPT_PASSED_OVER)
        metric_add(reactor->metrics, METRIC_ACCEPT_ERRORS, 1);
    else if (class != ACCEPT_NONE_LEFT)
        accept_exhausted(listener, reactor, error);
    return class == ACCEPT_PASSED_OVER;
}

static void accept_some(struct listener *listener, struct reactor *reactor)
{
    uint64_t until_ns = accepting_until_ns(reactor);
    for (uint32_t i = 0; i < LISTENER_ACCEPTS_PER_TURN && listener->is_armed; i++) {
        if (!accept_one(listener, reactor))
            return;
        if (i % ACCEPTS_PER_LOOK == ACCEPTS_PER_LOOK - 1 &&
            (reactor->is_crowded || clock_real_ns() > until_ns))
            return; /* in a storm those who are in have their turn too; the rest waits in order */
    }
}

void listener_ready(struct reactor *reactor, struct io *io, uint32_t events)
{
    struct listener *listener = CONTAINER_OF(io, struct listener, io);
    (void)events;
    if (!listener->is_armed)
        return;
    int why = table_error(reactor);
    if (LIKELY(!why))
        accept_some(listener, reactor);
    else if (listener->is_refusing)
        refuse_some(listener, reactor, why);
    else
        pause_until_next_tick(listener, reactor);
}

void listener_tick(struct listener *listener, struct reactor *reactor)
{
    listener->is_refusing = table_error(reactor);
    if (UNLIKELY(listener->is_refusing) && descriptor_is_free(reactor)) {
        atomic_store_explicit(&table_of(reactor)->error, 0, memory_order_relaxed);
        listener->is_refusing = false;
    }
    if (listener->rearm_tick && reactor->now_tick >= listener->rearm_tick)
        listener_arm(listener, reactor);
}
