/* test_netstat.c: runtime/netstat.h: what the kernel counted. */
#include "tests/unit/runtime/testing.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/netstat.h"

static void listen_counters_are_found_by_name(void **state)
{
    struct netstat netstat = {0};
    (void)state;
    assert_true(netstat_parse(SLICE_LIT("IpExt: A ListenDrops\nIpExt: 1 99\n"
                                        "TcpExt: X ListenOverflows Y ListenDrops Z\n"
                                        "TcpExt: 1 23 4 56 7\n"),
                              &netstat));
    assert_int_equal(netstat.listen_overflows, 23);
    assert_int_equal(netstat.listen_drops, 56);
}

static void other_texts_are_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "TcpExt: ListenOverflows ListenDrops\n",
                                        "TcpExt: \n\n",
                                        "TcpExt: ListenOverflows\nTcpExt: 1\n",
                                        "\n\n\n",
                                        "x"};
    struct netstat netstat;
    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(texts); i++)
        assert_false(netstat_parse(slice_str(texts[i]), &netstat));
}

static void the_kernel_of_this_machine_is_understood(void **state)
{
    struct netstat netstat = {UINT64_MAX, UINT64_MAX};
    (void)state;
    int fd = netstat_open();
    if (!netstat_read(fd, &netstat))
        skip();
    assert_true(netstat.listen_drops >= netstat.listen_overflows);
    close(fd);
    assert_false(netstat_read(-1, &netstat));
}

/* A connection that a queue for one throws away. */
static void overflow(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof name;
    int fds[8], listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &bytes), 0);
    for (uint32_t i = 0; i < ARRAY_COUNT(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fds[i], (struct sockaddr *)&name, sizeof name);
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
    close(listener);
}

static void what_is_open_tells_the_news_each_time(void **state)
{
    struct netstat before, after;
    (void)state;
    int fd = netstat_open();
    if (!netstat_read(fd, &before))
        skip();
    overflow();
    assert_true(netstat_read(fd, &after));
    assert_true(after.listen_overflows > before.listen_overflows);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_counters_are_found_by_name),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(what_is_open_tells_the_news_each_time),
        cmocka_unit_test(the_kernel_of_this_machine_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
