/* test_netstat.c: runtime/netstat.h: what the kernel counted. */
#include "tests/unit/runtime/testing.h"

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
    if (!netstat_read(&netstat))
        skip();
    assert_true(netstat.listen_drops >= netstat.listen_overflows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_counters_are_found_by_name),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(the_kernel_of_this_machine_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
