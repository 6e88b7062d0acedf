/*
 * listener.c: sockets that accept.
 *
 *   open:    addresses of the name -> socket, options, bind, listen -> epoll
 *   accept:  a loop of LISTENER_ACCEPTS_PER_TURN; what accept4 can say falls in five classes:
 *            none left | passed over | descriptors | memory | (anything else: as memory)
 *   errors:  armed --EMFILE--> disarmed for a second --tick--> armed
 *
 * A port that another program has: SO_REUSEPORT would let a second broker of the same user share it
 * silently. So the first of our sockets for a listener tries the address without SO_REUSEPORT
 * before; the others find that a first one is there by *port_shared (or by not being reactor 0).
 *
 * Invariants: is_armed says whether epoll waits for EPOLLIN; rearm_tick != 0 only while an error
 * keeps the listener disarmed.
 * Threads: one reactor; opening takes a mutex, because the first one has to be first. A burst of
 * errors is everybody's, so that it is logged once: an atomic in the group.
 * Cost: one accept4 for each connection and one that says EAGAIN.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/listener.h"
#include "runtime/listener_options.h"
#include "runtime/listener_unix.h"
#include "runtime/log.h"

#define ACCEPTS_PER_LOOK 8                      /* between two looks at the clock */
#define ACCEPT_SHARE 3                          /* of a turn's time for reading */
#define REARM_TICKS (1000 / TIMING_TICK_MS + 1) /* a full second, wherever in a tick it begins */
#define BURST_TICKS (10000 / TIMING_TICK_MS)
#define NAME_ADDRESSES_MAX 16u

/* One attempt to open: where, and what went wrong. */
struct opening {
    const struct config_listener *config;
    uint16_t port;
    bool is_first;    /* of the reactors: the port must be free */
    const char *step; /* that failed */
    int error;        /* its errno */
};

static pthread_mutex_t opening_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool is_unix(const struct listener *listener)
{
    const struct config_listener *config = listener->config;
    if (config->port != 0 || !config->address)
        return false;
    return !listener->port_shared || strchr(config->address, '/');
}

static int opening_failed(struct opening *opening, const char *step, int fd)
{
    opening->step = step;
    opening->error = errno;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- what the operator reads ---- */

static const struct {
    int error;
    const char *text;
} advice[] = {
    {EADDRINUSE, "another program, perhaps another broker, listens there: stop it, or choose "
                 "another port with -p or the listener directive"},
    {EACCES, "ports below 1024 need root or CAP_NET_BIND_SERVICE, a Unix socket a folder that can "
             "be written"},
    {EPERM, "bind_interface needs root or CAP_NET_RAW"},
    {EADDRNOTAVAIL, "this machine has no such address: look at `ip address`, or leave the address "
                    "out"},
    {EAFNOSUPPORT, "this machine has no such address family: look at socket_domain"},
    {ENODEV, "there is no such network interface: look at `ip link` and bind_interface"},
    {EMFILE, "no descriptors left: raise the limit of open files (ulimit -n, LimitNOFILE)"},
    {ENFILE, "no descriptors left in the system: raise fs.file-max"},
    {ENOTSOCK, "a file that is not a socket has that name: remove it, or choose another path"},
    {ENAMETOOLONG, "paths of Unix sockets have at most 107 bytes"},
};

static const char *advice_for(int error)
{
    for (size_t i = 0; i < ARRAY_COUNT(advice); i++) {
        if (advice[i].error == error)
            return advice[i].text;
    }
    return "look at the listener directive and what stands in its section";
}

static void describe(const struct config_listener *config, uint16_t port, char *text, size_t bytes)
{
    snprintf(text, bytes, "port %u on %s%s%s", port, config->address ? config->address : "*",
             config->bind_interface ? " at interface " : "",
             config->bind_interface ? config->bind_interface : "");
}

static enum err explain(const struct opening *opening, char **error)
{
    char where[512];
    describe(opening->config, opening->port, where, sizeof where);
    if (asprintf(error, "cannot listen on %s: %s: %s (%s)", where, opening->step,
                 strerror(opening->error), advice_for(opening->error)) < 0)
        *error = NULL;
    return ERR_IO;
}

/* ---- sockets for addresses ---- */

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static bool bind_to_interface(int fd, const char *interface)
{
    return !interface || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface,
                                    (socklen_t)strnlen(interface, IFNAMSIZ)) == 0;
}

/* A socket bound to the address, not yet listening; -1 with opening->step and error. */
static int bind_address(struct opening *opening, const struct addrinfo *address, bool is_shared)
{
    bool is_dual = !opening->config->address && opening->config->socket_domain == AF_UNSPEC;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return opening_failed(opening, "socket", fd);
    if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
        (is_shared && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)))
        return opening_failed(opening, "setsockopt", fd);
    if (address->ai_family == AF_INET6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_dual))
        return opening_failed(opening, "IPV6_V6ONLY", fd);
    if (!bind_to_interface(fd, opening->config->bind_interface))
        return opening_failed(opening, "bind_interface", fd);
    const char *refused = listener_set_options(fd, opening->config);
    if (refused)
        return opening_failed(opening, refused, fd);
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0)
        return opening_failed(opening, "bind", fd);
    return fd;
}

static int open_address(struct opening *opening, const struct addrinfo *address)
{
    if (opening->is_first && opening->port != 0) {
        int probe = bind_address(opening, address, false);
        if (probe < 0)
            return -1;
        close(probe);
    }
    int fd = bind_address(opening, address, true);
    if (fd < 0)
        return -1;
    if (opening->is_first)
        listener_check_buffers(fd, opening->config);
    int backlog = opening->config->backlog > 0 ? opening->config->backlog : SOMAXCONN;
    return listen(fd, backlog) < 0 ? opening_failed(opening, "listen", fd) : fd;
}

/* All addresses: one socket for both families where IPv6 is there, else one for IPv4. */
static int open_any(struct opening *opening)
{
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(opening->port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(opening->port)};
    struct addrinfo v6 = {
        .ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&any6, .ai_addrlen = sizeof any6};
    struct addrinfo v4 = {
        .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&any4, .ai_addrlen = sizeof any4};
    int domain = opening->config->socket_domain;
    int fd = domain == AF_INET ? -1 : open_address(opening, &v6);
    bool has_no_v6 =
        domain == AF_UNSPEC && (opening->error == EAFNOSUPPORT || opening->error == EADDRNOTAVAIL);
    if (domain == AF_INET || (fd < 0 && has_no_v6))
        fd = open_address(opening, &v4);
    return fd;
}

static int open_chosen(struct opening *opening, const struct listener_address *address)
{
    struct sockaddr_storage name = address->name;
    if (name.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&name)->sin6_port = htons(opening->port);
    else
        ((struct sockaddr_in *)&name)->sin_port = htons(opening->port);
    struct addrinfo info = {.ai_family = name.ss_family,
                            .ai_addr = (struct sockaddr *)&name,
                            .ai_addrlen = address->bytes};
    return open_address(opening, &info);
}

/* ---- opening ---- */

/* The first of the addresses that can be had. */
static int open_first(struct opening *opening, const struct listener_address *addresses,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int fd = open_chosen(opening, &addresses[i]);
        if (fd >= 0 || opening->error == EADDRINUSE)
            return fd;
    }
    return -1;
}

static enum err open_tcp(struct opening *opening, const struct listener_address *address, int *fd,
                         char **error)
{
    struct listener_address addresses[NAME_ADDRESSES_MAX];
    uint32_t count = 0;
    enum err err =
        address ? ERR_OK
                : listener_resolve(opening->config, addresses, NAME_ADDRESSES_MAX, &count, error);
    if (err == ERR_INVALID)
        return err;
    if (address)
        *fd = open_chosen(opening, address);
    else
        *fd = count ? open_first(opening, addresses, count) : open_any(opening);
    if (*fd >= 0)
        return ERR_OK;
    bool is_not_here = opening->error == EADDRNOTAVAIL || opening->error == EAFNOSUPPORT;
    err = explain(opening, error);
    return address && is_not_here ? ERR_NOT_FOUND : err;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage name = {0};
    socklen_t bytes = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &bytes) < 0)
        return 0;
    return ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                            : ((struct sockaddr_in *)&name)->sin_port);
}

/* Opens under the mutex, so that the first one is known before another asks. */
static enum err open_shared(struct listener *listener, uint16_t reactor_index, char **error)
{
    struct opening opening = {.config = listener->config, .port = listener->config->port};
    _Atomic uint16_t *shared = listener->port_shared;
    pthread_mutex_lock(&opening_mutex);
    uint16_t known = shared ? atomic_load_explicit(shared, memory_order_relaxed) : 0;
    opening.is_first = shared ? known == 0 : reactor_index == 0;
    if (known)
        opening.port = known;
    enum err err = open_tcp(&opening, listener->address, &listener->io.fd, error);
    if (!err && shared)
        atomic_store_explicit(shared, bound_port(listener->io.fd), memory_order_relaxed);
    pthread_mutex_unlock(&opening_mutex);
    return err;
}

/* ---- Unix sockets ---- */

static enum err open_unix(struct listener *listener, uint16_t reactor_index, char **error)
{
    struct opening opening = {.config = listener->config};
    if (reactor_index != 0)
        return ERR_OK;
    listener->io.fd = listener_unix_open(opening.config, &listener->file, &opening.step);
    opening.error = errno;
    return listener->io.fd < 0 ? explain(&opening, error) : ERR_OK;
}

/* ---- life ---- */

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

enum err listener_open(struct listener *listener, struct reactor *reactor,
                       const struct config_listener *config, uint16_t index, char **error)
{
    *error = NULL;
    listener->config = config;
    listener->index = index;
    listener->is_armed = listener->is_nodelay = false;
    listener->rearm_tick = 0;
    listener->io.fd = listener->spare_fd = -1;
    enum err err = is_unix(listener) ? open_unix(listener, reactor->index, error)
                                     : open_shared(listener, reactor->index, error);
    if (err || listener->io.fd < 0)
        return err;
    listener->spare_fd = spare_open();
    if (!reactor_io_add(reactor, &listener->io, EPOLLIN)) {
        listener->is_armed = true;
        return ERR_OK;
    }
    struct opening opening = {
        .config = config, .port = config->port, .step = "epoll", .error = errno};
    close(listener->io.fd);
    listener->io.fd = -1;
    listener_close(listener, reactor);
    return explain(&opening, error);
}

void listener_close(struct listener *listener, struct reactor *reactor)
{
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    listener->spare_fd = -1;
    listener->is_armed = false;
    listener->rearm_tick = 0;
    if (listener->io.fd < 0)
        return;
    reactor_io_remove(reactor, &listener->io);
    if (is_unix(listener)) /* while it is open: no other file can have its inode */
        listener_unix_remove(listener->config->address, &listener->file);
    close(listener->io.fd);
    listener->io.fd = -1;
}

int listener_give(const struct listener *listener, uid_t user, gid_t group)
{
    if (listener->io.fd < 0 || !is_unix(listener))
        return 0;
    return listener_unix_give(listener->config->address, &listener->file, user, group);
}

static void listener_set_armed(struct listener *listener, struct reactor *reactor, bool is_armed)
{
    if (listener->io.fd < 0)
        return;
    listener->rearm_tick = 0;
    listener->is_armed = is_armed;
    reactor_io_set(reactor, &listener->io, is_armed ? EPOLLIN : 0);
}

void listener_disarm(struct listener *listener, struct reactor *reactor)
{
    listener_set_armed(listener, reactor, false);
}

void listener_arm(struct listener *listener, struct reactor *reactor)
{
    listener_set_armed(listener, reactor, true);
}

void listener_set_nodelay(struct listener *listener, bool is_nodelay)
{
    if (listener->io.fd < 0 || listener->is_nodelay == is_nodelay)
        return;
    listener->is_nodelay = is_nodelay;
    if (!is_unix(listener))
        set_option(listener->io.fd, IPPROTO_TCP, TCP_NODELAY, is_nodelay);
}

uint64_t listener_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

/* ---- accepting ---- */

enum accept_class { ACCEPT_NONE_LEFT, ACCEPT_PASSED_OVER, ACCEPT_DESCRIPTORS, ACCEPT_MEMORY };

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
    return error == EMFILE || error == ENFILE ? ACCEPT_DESCRIPTORS : ACCEPT_MEMORY;
}

static void log_exhausted(const struct listener *listener, bool is_private, int error)
{
    struct rlimit limit = {0};
    char where[512];
    uint16_t port = listener->config->port;
    if (listener->port_shared)
        port = atomic_load_explicit(listener->port_shared, memory_order_relaxed);
    describe(listener->config, port, where, sizeof where);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (error == EMFILE)
        log_line(LOG_ERROR,
                 "Connections to %s are refused: all %llu descriptors of %s are in use. Raise the "
                 "limit of open files (ulimit -n, or LimitNOFILE in the unit file)%s.",
                 where, (unsigned long long)limit.rlim_cur,
                 is_private ? "a reactor" : "this process",
                 is_private ? ", or configure more reactors" : "");
    else if (error == ENFILE)
        log_line(LOG_ERROR,
                 "Connections to %s are refused: all descriptors of the system are in use. Raise "
                 "the limit (sysctl fs.file-max).",
                 where);
    else
        log_line(
            LOG_ERROR,
            "Connections to %s are refused: %s. Lower max_connections or memory_limit, or give "
            "the machine more memory.",
            where, strerror(error));
}

/* Takes the connection that met the limit with the spare descriptor and closes it. */
static void refuse_with_spare(struct listener *listener)
{
    if (listener->spare_fd < 0)
        return;
    close(listener->spare_fd);
    int fd = accept4(listener->io.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    listener->spare_fd = spare_open();
}

/* Whether no reactor of the group met such an error in the last ten seconds; the exchange lets one
   of several that meet it at once have the word. */
static bool burst_begins(const struct reactor *reactor, bool is_descriptors)
{
    uint32_t over_tick =
        atomic_exchange_explicit(&reactor->group->accept_quiet_ticks[is_descriptors],
                                 reactor->now_tick + BURST_TICKS, memory_order_relaxed);
    return reactor->now_tick >= over_tick;
}

static void accept_exhausted(struct listener *listener, struct reactor *reactor, int error)
{
    bool is_descriptors = classify(error) == ACCEPT_DESCRIPTORS;
    metric_add(reactor->metrics, is_descriptors ? METRIC_ACCEPT_DESCRIPTORS : METRIC_ACCEPT_MEMORY,
               1);
    if (burst_begins(reactor, is_descriptors))
        log_exhausted(listener, reactor->group->has_private_descriptors, error);
    if (is_descriptors)
        refuse_with_spare(listener);
    listener_disarm(listener, reactor);
    listener->rearm_tick = reactor->now_tick + REARM_TICKS;
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

void listener_ready(struct reactor *reactor, struct io *io, uint32_t events)
{
    struct listener *listener = CONTAINER_OF(io, struct listener, io);
    uint64_t until_ns = clock_real_ns() + reactor->group->read_budget_ns / ACCEPT_SHARE;
    (void)events;
    if (until_ns > reactor->read_until_ns)
        until_ns = reactor->read_until_ns;
    for (uint32_t i = 0; i < LISTENER_ACCEPTS_PER_TURN && listener->is_armed; i++) {
        if (!accept_one(listener, reactor))
            return;
        if (i % ACCEPTS_PER_LOOK == ACCEPTS_PER_LOOK - 1 &&
            (reactor->is_crowded || clock_real_ns() > until_ns))
            return; /* in a storm those who are in have their turn too; the rest waits in order */
    }
}

static bool descriptor_is_free(struct listener *listener)
{
    int fd = spare_open();
    if (fd < 0)
        return false;
    if (listener->spare_fd < 0)
        listener->spare_fd = fd; /* lost in refuse_with_spare() to somebody faster */
    else
        close(fd);
    return true;
}

void listener_tick(struct listener *listener, struct reactor *reactor)
{
    if (listener->rearm_tick == 0)
        return;
    if (reactor->now_tick >= listener->rearm_tick || descriptor_is_free(listener))
        listener_arm(listener, reactor);
}
