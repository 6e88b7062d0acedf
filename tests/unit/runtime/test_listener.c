/* test_listener.c: runtime/listener.h over the loopback and Unix sockets, reactors turned by hand;
 * a lack of descriptors in a child process of its own. */
#include "tests/unit/runtime/testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/listener.h"

enum { KIND_LISTENER };

#define ACCEPTED_MAX 256u
#define REACTORS 2u

/* What a reactor has accepted. */
struct accepted {
    int fds[ACCEPTED_MAX];
    uint32_t count;
    struct sockaddr_storage peer;
};

struct fixture {
    struct reactor_group *group;
    struct accepted accepted[REACTORS];
    struct listener listeners[REACTORS];
    struct config_listener config;
    _Atomic uint16_t port;
    char *error;
};

static void on_accept(struct reactor *reactor, struct listener *listener, int fd,
                      const struct sockaddr *peer)
{
    struct accepted *accepted = reactor->app;
    BUG_ON(accepted->count == ACCEPTED_MAX || listener->index != 3);
    accepted->fds[accepted->count++] = fd;
    size_t bytes = peer->sa_family == AF_INET    ? sizeof(struct sockaddr_in)
                   : peer->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                 : sizeof(sa_family_t);
    memcpy(&accepted->peer, peer, bytes);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->group = reactor_group_new(REACTORS, NULL);
    f->group->read_budget_ns =
        1000000000; /* what a turn accepts is counted, on machines of any speed */
    f->group->io_handlers[KIND_LISTENER] = listener_ready;
    f->config.address = "127.0.0.1";
    for (uint32_t i = 0; i < REACTORS; i++) {
        f->group->reactors[i].app = &f->accepted[i];
        f->listeners[i] = (struct listener){.io = {.fd = -1, .kind = KIND_LISTENER},
                                            .on_accept = on_accept,
                                            .port_shared = &f->port};
    }
    *state = f;
    return 0;
}

static void close_accepted(struct fixture *f)
{
    for (uint32_t i = 0; i < REACTORS; i++) {
        while (f->accepted[i].count)
            close(f->accepted[i].fds[--f->accepted[i].count]);
    }
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_accepted(f);
    for (uint32_t i = 0; i < REACTORS; i++)
        listener_close(&f->listeners[i], &f->group->reactors[i]);
    reactor_group_free(f->group);
    free(f->error);
    free(f);
    return 0;
}

static enum err open_on(struct fixture *f, uint32_t i)
{
    free(f->error);
    return listener_open(&f->listeners[i], &f->group->reactors[i], &f->config, 3, &f->error);
}

static void must_open_on(struct fixture *f, uint32_t i)
{
    enum err err = open_on(f, i);
    if (err)
        print_message("%s\n", f->error);
    assert_int_equal(err, ERR_OK);
    assert_null(f->error);
}

static void assert_says(const struct fixture *f, const char *part)
{
    assert_non_null(f->error);
    if (!strstr(f->error, part))
        fail_msg("\"%s\" does not say \"%s\"", f->error, part);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BUG_ON(fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name) != 0);
    return fd;
}

static void connect_many(uint16_t port, int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        fds[i] = connect_to(port);
}

static void close_many(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

static void turn(struct fixture *f, uint32_t i)
{
    reactor_turn(&f->group->reactors[i], 0);
}

/* ---- accepting ---- */

static void accepted_sockets_are_non_blocking_and_close_on_exec(void **state)
{
    struct fixture *f = *state;
    must_open_on(f, 0);
    assert_true(f->port != 0);
    int client = connect_to(f->port);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, 1);
    assert_true(fcntl(f->accepted[0].fds[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(f->accepted[0].fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(f->accepted[0].peer.ss_family, AF_INET);
    assert_int_equal(reactor_group_metric(f->group, METRIC_SOCKETS_ACCEPTED), 1);
    close(client);
}

static void at_most_64_are_accepted_in_a_turn(void **state)
{
    struct fixture *f = *state;
    int clients[100];
    must_open_on(f, 0);
    connect_many(f->port, clients, 100);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, LISTENER_ACCEPTS_PER_TURN);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, 100);
    close_many(clients, 100);
}

static void few_are_accepted_while_newcomers_wait(void **state)
{
    struct fixture *f = *state;
    int clients[100];
    must_open_on(f, 0);
    connect_many(f->port, clients, 100);
    f->group->reactors[0].is_crowded = true;
    turn(f, 0);
    assert_in_range(f->accepted[0].count, 1, LISTENER_ACCEPTS_PER_TURN / 8);
    f->group->reactors[0].is_crowded = false;
    turn(f, 0);
    assert_true(f->accepted[0].count > LISTENER_ACCEPTS_PER_TURN);
    close_many(clients, 100);
}

static void reactors_share_a_port_and_its_connections(void **state)
{
    struct fixture *f = *state;
    int clients[100];
    must_open_on(f, 1); /* in any order */
    must_open_on(f, 0);
    connect_many(f->port, clients, 100);
    for (int i = 0; i < 3; i++) {
        turn(f, 0);
        turn(f, 1);
    }
    assert_int_equal(f->accepted[0].count + f->accepted[1].count, 100);
    assert_true(f->accepted[0].count > 10 && f->accepted[1].count > 10);
    close_many(clients, 100);
}

static void disarmed_listeners_accept_nothing_until_armed_again(void **state)
{
    struct fixture *f = *state;
    must_open_on(f, 0);
    listener_disarm(&f->listeners[0], &f->group->reactors[0]);
    int client = connect_to(f->port);
    turn(f, 0);
    listener_tick(&f->listeners[0], &f->group->reactors[0]); /* that was no error: it stays so */
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, 0);
    listener_arm(&f->listeners[0], &f->group->reactors[0]);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, 1);
    close(client);
}

static void all_addresses_take_ipv4_and_report_it_as_ipv4(void **state)
{
    struct fixture *f = *state;
    f->config.address = NULL;
    must_open_on(f, 0);
    must_open_on(f, 1);
    int client = connect_to(f->port);
    turn(f, 0);
    turn(f, 1);
    struct accepted *accepted = &f->accepted[f->accepted[0].count ? 0 : 1];
    assert_int_equal(accepted->count, 1);
    struct sockaddr_in *peer = (struct sockaddr_in *)&accepted->peer;
    assert_int_equal(peer->sin_family, AF_INET);
    assert_int_equal(ntohl(peer->sin_addr.s_addr), INADDR_LOOPBACK);
    close(client);
}

static void all_addresses_take_ipv6_where_there_is_any(void **state)
{
    struct fixture *f = *state;
    f->config.address = NULL;
    must_open_on(f, 0);
    struct sockaddr_in6 name = {
        .sin6_family = AF_INET6, .sin6_port = htons(f->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int client = socket(AF_INET6, SOCK_STREAM, 0);
    bool is_connected = client >= 0 && connect(client, (void *)&name, sizeof name) == 0;
    bool is_absent =
        !is_connected && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == ENETUNREACH);
    assert_true(is_connected || is_absent);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, is_connected);
    close(client);
}

static void socket_domain_ipv4_listens_on_ipv4_alone(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_storage name;
    socklen_t bytes = sizeof name;
    f->config.address = NULL;
    f->config.socket_domain = AF_INET;
    must_open_on(f, 0);
    assert_int_equal(getsockname(f->listeners[0].io.fd, (struct sockaddr *)&name, &bytes), 0);
    assert_int_equal(name.ss_family, AF_INET);
}

/* ---- options of sockets ---- */

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t bytes = sizeof value;
    assert_int_equal(getsockopt(fd, level, option, &value, &bytes), 0);
    return value;
}

/* Accepts a connection that has sent a byte; closed with the fixture's. */
static int accept_one_that_speaks(struct fixture *f)
{
    int client = connect_to(f->port);
    assert_int_equal(send(client, "x", 1, 0), 1);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, 1);
    close(client);
    return f->accepted[0].fds[0];
}

static void accepted_sockets_inherit_what_the_listener_says(void **state)
{
    struct fixture *f = *state;
    f->config.receive_buffer_bytes = 20000;
    f->config.send_buffer_bytes = 30000;
    f->config.tcp_keepalive_s = 77;
    f->config.tcp_user_timeout_ms = 45000;
    f->config.tcp_defer_accept_s = 3;
    must_open_on(f, 0);
    int fd = accept_one_that_speaks(f);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_RCVBUF), 40000);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), 60000);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 45000);
    assert_true(option_of(f->listeners[0].io.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 3);
}

static void without_directives_sockets_are_as_the_kernel_makes_them(void **state)
{
    struct fixture *f = *state;
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    must_open_on(f, 0);
    int fd = accept_one_that_speaks(f);
    assert_int_equal(option_of(f->listeners[0].io.fd, SOL_SOCKET, SO_RCVBUF),
                     option_of(fresh, SOL_SOCKET, SO_RCVBUF));
    assert_int_equal(option_of(f->listeners[0].io.fd, SOL_SOCKET, SO_SNDBUF),
                     option_of(fresh, SOL_SOCKET, SO_SNDBUF));
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE),
                     option_of(fresh, IPPROTO_TCP, TCP_KEEPIDLE));
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    assert_int_equal(option_of(f->listeners[0].io.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    close(fresh);
}

static void with_deferred_accept_who_says_nothing_is_not_seen(void **state)
{
    struct fixture *f = *state;
    f->config.tcp_defer_accept_s = 60;
    must_open_on(f, 0);
    int silent = connect_to(f->port);
    turn(f, 0);
    assert_int_equal(f->accepted[0].count, 0);
    accept_one_that_speaks(f);
    close(silent);
}

/* ---- names ---- */

/* The one address of a name that is an address already. */
static struct listener_address address_of(const char *name)
{
    struct config_listener config = {.port = 1, .address = (char *)name};
    struct listener_address addresses[4];
    uint32_t count;
    char *error;
    assert_int_equal(listener_resolve(&config, addresses, 4, &count, &error), ERR_OK);
    assert_null(error);
    assert_int_equal(count, 1);
    return addresses[0];
}

static void a_name_gives_each_of_its_addresses_once(void **state)
{
    struct config_listener config = {.port = 1, .address = "localhost"};
    struct listener_address a[16];
    uint32_t count;
    char *error;
    (void)state;
    assert_int_equal(listener_resolve(&config, a, 16, &count, &error), ERR_OK);
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < i; j++)
            assert_true(a[i].bytes != a[j].bytes || memcmp(&a[i].name, &a[j].name, a[i].bytes));
    assert_int_equal(listener_resolve(&config, a, 0, &count, &error), ERR_LIMIT);
    config.address = NULL;
    assert_int_equal(listener_resolve(&config, a, 16, &count, &error), ERR_OK);
    assert_int_equal(count, 0);
    config.address = "/run/a.sock";
    assert_int_equal(listener_resolve(&config, a, 16, &count, &error), ERR_OK);
    assert_int_equal(count, 0);
}

static void each_address_of_a_name_has_a_listener(void **state)
{
    struct fixture *f = *state;
    static struct listener_address addresses[2];
    addresses[0] = address_of("127.0.0.1");
    addresses[1] = address_of("127.0.0.2");
    f->config.address = "a.name.with.two.addresses.invalid"; /* never asked for again */
    f->listeners[0].address = &addresses[0];
    f->listeners[1].address = &addresses[1];
    for (uint32_t i = 0; i < REACTORS; i++) {
        struct sockaddr_in name;
        socklen_t bytes = sizeof name;
        must_open_on(f, i);
        assert_int_equal(getsockname(f->listeners[i].io.fd, (struct sockaddr *)&name, &bytes), 0);
        assert_int_equal(ntohl(name.sin_addr.s_addr), INADDR_LOOPBACK + i);
        assert_int_equal(ntohs(name.sin_port), f->port);
    }
}

static void an_address_of_a_name_that_is_not_here_is_told_apart(void **state)
{
    struct fixture *f = *state;
    static struct listener_address address;
    address = address_of("192.0.2.1");
    f->listeners[0].address = &address;
    f->config.port = 1883;
    assert_int_equal(open_on(f, 0), ERR_NOT_FOUND);
    assert_says(f, "no such address");
}

/* ---- what goes wrong ---- */

static int occupy(bool is_shared, uint16_t *port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = is_shared;
    BUG_ON(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0);
    BUG_ON(bind(fd, (struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 1) != 0);
    BUG_ON(getsockname(fd, (struct sockaddr *)&name, &bytes) != 0);
    *port = ntohs(name.sin_port);
    return fd;
}

static void a_busy_port_is_refused_with_advice_also_if_it_could_be_shared(void **state)
{
    struct fixture *f = *state;
    for (int is_shared = 0; is_shared <= 1; is_shared++) {
        int other = occupy(is_shared, &f->config.port);
        char number[16];
        snprintf(number, sizeof number, "port %u", f->config.port);
        assert_int_equal(open_on(f, 0), ERR_IO);
        assert_says(f, number);
        assert_says(f, "127.0.0.1");
        assert_says(f, "another program");
        assert_int_equal(f->listeners[0].io.fd, -1);
        close(other);
        must_open_on(f, 0); /* it goes when the other has gone */
        must_open_on(f, 1);
        tear_down(state);
        set_up(state);
        f = *state;
    }
}

static void an_address_of_another_machine_is_refused_with_advice(void **state)
{
    struct fixture *f = *state;
    f->config.address = "192.0.2.1";
    assert_int_equal(open_on(f, 0), ERR_IO);
    assert_says(f, "192.0.2.1");
    assert_says(f, "ip address");
}

static void an_address_of_another_family_is_refused_with_advice(void **state)
{
    struct fixture *f = *state;
    f->config.socket_domain = AF_INET6;
    assert_int_equal(open_on(f, 0), ERR_INVALID);
    assert_says(f, "127.0.0.1");
    assert_says(f, "socket_domain");
}

static void an_interface_that_is_not_there_is_refused_with_advice(void **state)
{
    struct fixture *f = *state;
    f->config.bind_interface = "nosuchif0";
    assert_int_equal(open_on(f, 0), ERR_IO);
    assert_says(f, "nosuchif0");
    assert_says(f, "bind_interface");
}

static void closing_twice_is_harmless(void **state)
{
    struct fixture *f = *state;
    must_open_on(f, 0);
    listener_close(&f->listeners[0], &f->group->reactors[0]);
    listener_close(&f->listeners[0], &f->group->reactors[0]);
    must_open_on(f, 0);
}

static void limit_of_descriptors_is_raised_to_the_hard_one(void **state)
{
    (void)state;
    struct rlimit limit, after;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit low = {.rlim_cur = 64, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(listener_raise_descriptors(), limit.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
    assert_int_equal(after.rlim_cur, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- Unix sockets ---- */

static int connect_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

static void make_path(struct fixture *f, char *path, size_t bytes)
{
    snprintf(path, bytes, "/tmp/dunlin-test-%d.sock", (int)getpid());
    unlink(path);
    f->config.address = path;
    f->config.port = 0;
}

static void unix_socket_is_accepted_by_reactor_0_and_removed_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char path[64];
    make_path(f, path, sizeof path);
    must_open_on(f, 0);
    must_open_on(f, 1);
    assert_int_equal(f->listeners[1].io.fd, -1);
    listener_arm(&f->listeners[1], &f->group->reactors[1]); /* harmless without a descriptor */
    int client = connect_unix(path);
    turn(f, 0);
    turn(f, 1);
    assert_int_equal(f->accepted[0].count, 1);
    assert_int_equal(f->accepted[0].peer.ss_family, AF_UNIX);
    listener_close(&f->listeners[0], &f->group->reactors[0]);
    assert_int_equal(stat(path, &st), -1);
    close(client);
}

static void stale_socket_file_is_replaced_but_a_live_one_is_not(void **state)
{
    struct fixture *f = *state;
    char path[64];
    make_path(f, path, sizeof path);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_int_equal(open_on(f, 0), ERR_IO);
    assert_says(f, "another program");
    close(other); /* leaves its file */
    must_open_on(f, 0);
    listener_close(&f->listeners[0], &f->group->reactors[0]);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char path[64];
    make_path(f, path, sizeof path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(open_on(f, 0), ERR_IO);
    assert_says(f, "not a socket");
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
}

static void owner_and_group_may_connect_to_a_unix_socket_whatever_the_umask(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char path[64];
    static const mode_t umasks[] = {0, 022, 077, 0777};
    make_path(f, path, sizeof path);
    for (size_t i = 0; i < ARRAY_COUNT(umasks); i++) {
        mode_t before = umask(umasks[i]);
        must_open_on(f, 0);
        assert_int_equal(umask(before), umasks[i]);
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0770);
        listener_close(&f->listeners[0], &f->group->reactors[0]);
    }
}

static void a_socket_that_took_the_place_of_ours_is_neither_given_away_nor_removed(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;
    char path[64];
    make_path(f, path, sizeof path);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    must_open_on(f, 0);
    assert_int_equal(listener_give(&f->listeners[0], getuid(), getgid()), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(listener_give(&f->listeners[0], getuid(), getgid()), ENOENT);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listener_give(&f->listeners[0], getuid(), getgid()), ENOENT);
    listener_close(&f->listeners[0], &f->group->reactors[0]);
    assert_int_equal(lstat(path, &st), 0);
    unlink(path);
    close(other);
}

/* ---- no descriptors left ---- */

#define CLIENTS 12u
#define LEFT 4u /* descriptors that can still be had */

/* In the child nothing of cmocka is at hand: a failed check is said and ends it. */
#define CHECK(condition)                                       \
    do {                                                       \
        if (!(condition)) {                                    \
            printf("line %d: not %s\n", __LINE__, #condition); \
            fflush(stdout);                                    \
            _exit(1);                                          \
        }                                                      \
    } while (0)

/* Turns a reactor until it has met the limit. */
static void turn_until_exhausted(struct fixture *f, uint32_t i)
{
    struct reactor *reactor = &f->group->reactors[i];
    for (uint32_t turns = 0; turns < 100 && f->listeners[i].is_armed; turns++)
        reactor_turn(reactor, 20);
    CHECK(!f->listeners[i].is_armed && f->listeners[i].rearm_tick);
}

/* The next tick of a reactor, and turns until nobody waits at its listener. */
static void tick_and_refuse(struct fixture *f, uint32_t i)
{
    struct reactor *reactor = &f->group->reactors[i];
    clock_turn_ms(TIMING_TICK_MS);
    reactor_turn(reactor, 0);
    listener_tick(&f->listeners[i], reactor);
    CHECK(f->listeners[i].is_armed);
    turn_until_exhausted(f, i);
}

/* Turns reactor 0 with its ticks for a while of real time; returns the turns. */
static uint32_t turn_for_ms(struct fixture *f, uint64_t ms)
{
    struct reactor *reactor = &f->group->reactors[0];
    uint64_t until_ns = clock_real_ns() + ms * 1000000;
    uint32_t turns = 0, tick = 0;
    for (; clock_real_ns() < until_ns; turns++) {
        reactor_turn(reactor, 20);
        if (tick != reactor->now_tick)
            listener_tick(&f->listeners[0], reactor);
        tick = reactor->now_tick;
    }
    return turns;
}

static uint32_t clients_closed(const int *clients, uint32_t count)
{
    uint32_t closed = 0;
    char byte;
    for (uint32_t i = 0; i < count; i++)
        closed += recv(clients[i], &byte, 1, MSG_DONTWAIT) == 0;
    return closed;
}

static uint32_t count_lines(int fd)
{
    char text[8192];
    uint32_t lines = 0;
    ssize_t bytes = pread(fd, text, sizeof text - 1, 0);
    CHECK(bytes >= 0);
    text[bytes] = 0;
    CHECK(bytes == 0 || strstr(text, "ulimit -n"));
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    return lines;
}

static void limit_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = count;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void leave_descriptors(uint32_t count)
{
    int lowest = open("/dev/null", O_RDONLY);
    close(lowest);
    limit_descriptors((rlim_t)lowest + count);
}

static uint64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* A file in which stderr, and so the log, ends. */
static int log_into_file(void)
{
    FILE *log = tmpfile();
    CHECK(log && dup2(fileno(log), STDERR_FILENO) >= 0);
    return fileno(log);
}

static uint64_t count_refused(struct fixture *f)
{
    return reactor_group_metric(f->group, METRIC_ACCEPT_DESCRIPTORS);
}

static void starve(struct fixture *f)
{
    int clients[CLIENTS];
    int log = log_into_file();
    CHECK(open_on(f, 0) == ERR_OK);
    connect_many(f->port, clients, CLIENTS);
    leave_descriptors(LEFT);

    turn_until_exhausted(f, 0);
    CHECK(f->accepted[0].count == LEFT);
    tick_and_refuse(f, 0); /* nobody is left hanging */
    CHECK(clients_closed(clients, CLIENTS) == CLIENTS - LEFT);
    CHECK(count_refused(f) == CLIENTS - LEFT);
    CHECK(count_lines(log) == 1);
    uint64_t before_us = cpu_us();
    CHECK(turn_for_ms(f, 300) < 60 && cpu_us() - before_us < 100000); /* no spinning */

    close_accepted(f); /* descriptors are free: taken from the next tick on */
    clock_turn_ms(2 * TIMING_TICK_MS);
    turn_for_ms(f, 50);
    CHECK(f->listeners[0].is_armed && f->group->reactors[0].table.spare_count == 1);
    limit_descriptors(1000); /* for clients to be made */
    int late = connect_to(f->port);
    reactor_turn(&f->group->reactors[0], 100);
    CHECK(f->accepted[0].count == 1 && count_refused(f) == CLIENTS - LEFT);
    CHECK(count_lines(log) == 1);
    close(late);
}

#define MANY 150u

/* More than one turn refuses; what is free in the meantime is not given to those. */
static void starve_many(struct fixture *f)
{
    int clients[MANY];
    uint32_t turns = 0;
    log_into_file();
    CHECK(open_on(f, 0) == ERR_OK);
    connect_many(f->port, clients, MANY);
    leave_descriptors(0);
    turn_until_exhausted(f, 0);
    clock_turn_ms(TIMING_TICK_MS);
    reactor_turn(&f->group->reactors[0], 0);
    listener_tick(&f->listeners[0], &f->group->reactors[0]);
    for (uint64_t before; f->listeners[0].is_armed; turns++) {
        before = count_refused(f);
        reactor_turn(&f->group->reactors[0], 0);
        CHECK(count_refused(f) - before <= LISTENER_ACCEPTS_PER_TURN);
    }
    CHECK(turns >= 3 && clients_closed(clients, MANY) == MANY && count_refused(f) == MANY);
}

/* One of two spares is somebody else's now; the other serves both until there is room. */
static void starve_without_one_spare(struct fixture *f)
{
    struct descriptor_table *table = &f->group->reactors[0].table;
    int clients[64];
    log_into_file();
    CHECK(open_on(f, 0) == ERR_OK && open_on(f, 1) == ERR_OK);
    CHECK(table->spare_count == 2);
    connect_many(f->port, clients, ARRAY_COUNT(clients));
    leave_descriptors(0);
    int taken = table->spares[--table->spare_count];
    for (uint32_t i = 0; i < REACTORS; i++) {
        turn_until_exhausted(f, i);
        tick_and_refuse(f, i);
    }
    CHECK(count_refused(f) == ARRAY_COUNT(clients) && table->spare_count == 1);
    close(taken);
    listener_tick(&f->listeners[0], &f->group->reactors[0]);
    CHECK(table->spare_count == 2);
    CHECK(atomic_load(&table->error) == EMFILE); /* that was no room for a client */
}

/* A table that is full with nobody waiting is nobody's trouble. */
static void starve_nobody(struct fixture *f)
{
    int clients[LEFT];
    int log = log_into_file();
    CHECK(open_on(f, 0) == ERR_OK);
    connect_many(f->port, clients, LEFT);
    leave_descriptors(LEFT);
    turn_until_exhausted(f, 0);
    clock_turn_ms(TIMING_TICK_MS);
    turn_for_ms(f, 50);
    CHECK(f->accepted[0].count == LEFT && f->listeners[0].is_armed);
    CHECK(count_refused(f) == 0 && count_lines(log) == 0);
}

/* Both reactors meet the limit, each on a socket of its own, 9 seconds apart, and once more. */
static void starve_both(struct fixture *f)
{
    int clients[64];
    int log = log_into_file();
    CHECK(open_on(f, 0) == ERR_OK && open_on(f, 1) == ERR_OK);
    for (uint32_t round = 0; round < 2; round++) {
        limit_descriptors(1000);
        connect_many(f->port, clients, ARRAY_COUNT(clients)); /* the kernel spreads them */
        leave_descriptors(0);
        for (uint32_t i = 0; i < REACTORS; i++) {
            turn_until_exhausted(f, i); /* one meets it, the other is told */
            tick_and_refuse(f, i);
            CHECK(count_lines(log) == round + 1);
            clock_turn_ms(9000);
        }
        CHECK(count_refused(f) == (round + 1) * ARRAY_COUNT(clients));
        close_many(clients, ARRAY_COUNT(clients));
        clock_turn_ms(9000); /* a new burst */
    }
}

static void run_in_child(struct fixture *f, void (*starve_some)(struct fixture *f))
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        starve_some(f);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void lack_of_descriptors_is_logged_once_counted_and_recovered_from(void **state)
{
    run_in_child(*state, starve);
}

static void with_a_full_table_all_who_wait_are_refused_so_many_a_turn(void **state)
{
    run_in_child(*state, starve_many);
}

static void a_spare_that_was_taken_is_replaced_by_that_of_another(void **state)
{
    run_in_child(*state, starve_without_one_spare);
}

static void a_table_that_is_just_full_refuses_nobody(void **state)
{
    run_in_child(*state, starve_nobody);
}

static void a_burst_that_all_reactors_meet_is_logged_once(void **state)
{
    run_in_child(*state, starve_both);
}

#define BY_HAND(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BY_HAND(accepted_sockets_are_non_blocking_and_close_on_exec),
        BY_HAND(at_most_64_are_accepted_in_a_turn),
        BY_HAND(few_are_accepted_while_newcomers_wait),
        BY_HAND(reactors_share_a_port_and_its_connections),
        BY_HAND(disarmed_listeners_accept_nothing_until_armed_again),
        BY_HAND(all_addresses_take_ipv4_and_report_it_as_ipv4),
        BY_HAND(all_addresses_take_ipv6_where_there_is_any),
        BY_HAND(socket_domain_ipv4_listens_on_ipv4_alone),
        BY_HAND(accepted_sockets_inherit_what_the_listener_says),
        BY_HAND(without_directives_sockets_are_as_the_kernel_makes_them),
        BY_HAND(with_deferred_accept_who_says_nothing_is_not_seen),
        BY_HAND(a_name_gives_each_of_its_addresses_once),
        BY_HAND(each_address_of_a_name_has_a_listener),
        BY_HAND(an_address_of_a_name_that_is_not_here_is_told_apart),
        BY_HAND(a_busy_port_is_refused_with_advice_also_if_it_could_be_shared),
        BY_HAND(an_address_of_another_machine_is_refused_with_advice),
        BY_HAND(an_address_of_another_family_is_refused_with_advice),
        BY_HAND(an_interface_that_is_not_there_is_refused_with_advice),
        BY_HAND(closing_twice_is_harmless),
        BY_HAND(limit_of_descriptors_is_raised_to_the_hard_one),
        BY_HAND(unix_socket_is_accepted_by_reactor_0_and_removed_at_the_end),
        BY_HAND(owner_and_group_may_connect_to_a_unix_socket_whatever_the_umask),
        BY_HAND(a_socket_that_took_the_place_of_ours_is_neither_given_away_nor_removed),
        BY_HAND(stale_socket_file_is_replaced_but_a_live_one_is_not),
        BY_HAND(a_file_that_is_no_socket_is_left_alone),
        BY_HAND(lack_of_descriptors_is_logged_once_counted_and_recovered_from),
        BY_HAND(with_a_full_table_all_who_wait_are_refused_so_many_a_turn),
        BY_HAND(a_spare_that_was_taken_is_replaced_by_that_of_another),
        BY_HAND(a_table_that_is_just_full_refuses_nobody),
        BY_HAND(a_burst_that_all_reactors_meet_is_logged_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
