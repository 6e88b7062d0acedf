/*
 * listener.c: sockets that accept: opening and closing them.
 *
 *   open:    addresses of the name -> socket, options, bind, listen -> epoll
 *   accept:  listener_accept.c
 *
 * A port that another program has: SO_REUSEPORT would let a second broker of the same user share it
 * silently. So the first of our sockets for a listener tries the address without SO_REUSEPORT
 * before; the others find that a first one is there by *port_shared (or by not being reactor 0).
 *
 * Invariants: is_armed says whether epoll waits for EPOLLIN; rearm_tick != 0 only while an error
 * keeps the listener disarmed.
 * Threads: one reactor; opening takes a mutex, because the first one has to be first.
 */
#include <errno.h>
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
#include "runtime/listener.h"
#include "runtime/listener_accept.h"
#include "runtime/listener_options.h"
#include "runtime/listener_unix.h"

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
    {ENOSPC, "epoll may watch no more descriptors of this user: raise fs.epoll.max_user_watches"},
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

void listener_describe(const struct config_listener *config, uint16_t port,
                       char text[LISTENER_WHERE_BYTES])
{
    snprintf(text, LISTENER_WHERE_BYTES, "port %u on %s%s%s", port,
             config->address ? config->address : "*",
             config->bind_interface ? " at interface " : "",
             config->bind_interface ? config->bind_interface : "");
}

static enum err explain(const struct opening *opening, char **error)
{
    char where[LISTENER_WHERE_BYTES];
    listener_describe(opening->config, opening->port, where);
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

enum err listener_open(struct listener *listener, struct reactor *reactor,
                       const struct config_listener *config, uint16_t index, char **error)
{
    *error = NULL;
    listener->config = config;
    listener->index = index;
    listener->is_armed = listener->is_nodelay = listener->is_refusing = false;
    listener->rearm_tick = 0;
    listener->io.fd = -1;
    enum err err = is_unix(listener) ? open_unix(listener, reactor->index, error)
                                     : open_shared(listener, reactor->index, error);
    if (err || listener->io.fd < 0)
        return err;
    if (!reactor_io_add(reactor, &listener->io, EPOLLIN)) {
        listener->is_armed = true;
        listener_spare_add(reactor);
        return ERR_OK;
    }
    struct opening opening = {
        .config = config, .port = config->port, .step = "epoll", .error = errno};
    if (is_unix(listener))
        listener_unix_remove(config->address, &listener->file);
    close(listener->io.fd);
    listener->io.fd = -1;
    return explain(&opening, error);
}

void listener_close(struct listener *listener, struct reactor *reactor)
{
    listener->is_armed = false;
    listener->rearm_tick = 0;
    if (listener->io.fd < 0)
        return;
    listener_spare_remove(reactor);
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
