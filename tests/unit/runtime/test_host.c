/* test_host.c: runtime/host.h with machines that are made up: folders of files. */
#include "tests/unit/runtime/testing.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/slice.h"
#include "runtime/host.h"

#define N 100000u

static char root[64];

/* A machine that 100,000 sessions fit on, and nothing hurts. */
static const struct {
    const char *path, *text;
} good[] = {
    {"/proc/self/limits",
     "Limit                     Soft Limit           Hard Limit           Units     \n"
     "Max processes             96364                96364                processes \n"
     "Max open files            200000               300000               files     \n"},
    {"/proc/self/cgroup", "0::/system.slice/dunlin.service\n"},
    {"/sys/fs/cgroup/system.slice/dunlin.service/memory.max", "max\n"},
    {"/sys/fs/cgroup/system.slice/dunlin.service/pids.max", "4915\n"},
    {"/proc/sys/fs/nr_open", "1048576\n"},
    {"/proc/sys/fs/file-max", "9223372036854775807\n"},
    {"/proc/sys/fs/file-nr", "750\t0\t2466160\n"},
    {"/proc/sys/fs/epoll/max_user_watches", "5491489\n"},
    {"/proc/sys/net/core/somaxconn", "65535\n"},
    {"/proc/sys/net/ipv4/tcp_max_syn_backlog", "65535\n"},
    {"/proc/sys/net/core/netdev_max_backlog", "65535\n"},
    {"/proc/net/netstat", "TcpExt: A ListenOverflows ListenDrops B\nTcpExt: 1 0 0 7\n"},
    {"/proc/sys/net/ipv4/tcp_mem", "287898\t383865\t575796\n"},
    {"/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t262144\n"},
    {"/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t262144\n"},
    {"/proc/sys/net/netfilter/nf_conntrack_count", "12\n"},
    {"/proc/sys/net/netfilter/nf_conntrack_max", "262144\n"},
    {"/proc/sys/net/netfilter/nf_conntrack_buckets", "65536\n"},
    {"/proc/sys/net/ipv4/ip_local_port_range", "10240\t65535\n"},
    {"/proc/sys/net/ipv4/tcp_tw_reuse", "2\n"},
    {"/proc/sys/net/ipv4/tcp_keepalive_time", "7200\n"},
    {"/proc/sys/net/ipv4/tcp_keepalive_intvl", "30\n"},
    {"/proc/sys/net/ipv4/tcp_keepalive_probes", "5\n"},
    {"/proc/sys/net/ipv4/tcp_fin_timeout", "60\n"},
    {"/proc/meminfo", "MemTotal:       24683620 kB\nMemFree:        1 kB\n"
                      "MemAvailable:   23263908 kB\nBuffers: 21784 kB\n"},
};

/* ---- folders of files ---- */

static void path_of(char full[PATH_MAX], const char *path)
{
    snprintf(full, PATH_MAX, "%s%s", root, path);
}

static void make_folders(const char *path)
{
    char full[PATH_MAX];
    path_of(full, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(full, 0700);
        *at = '/';
    }
}

static void put_bytes(const char *path, const void *bytes, size_t count)
{
    char full[PATH_MAX];
    make_folders(path);
    path_of(full, path);
    FILE *file = fopen(full, "w");
    BUG_ON(!file || fwrite(bytes, 1, count, file) != count || fclose(file));
}

static void put(const char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

static void take_away(const char *path)
{
    char full[PATH_MAX];
    path_of(full, path);
    BUG_ON(remove(full) != 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/dunlin-host-XXXXXX");
    BUG_ON(!mkdtemp(root));
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        put(good[i].path, good[i].text);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- looking ---- */

static struct host look(void)
{
    struct host host;
    struct config config = {.listener_count = 1, .max_keepalive_s = 600};
    config.listeners[0].backlog = 65535;
    host_read(&host, root);
    host_add_config(&host, &config, 2);
    return host;
}

static const struct host_check *check_of(enum host_value value)
{
    for (uint32_t i = 0; i < host_check_count; i++)
        if (host_checks[i].value == value)
            return &host_checks[i];
    fail_msg("no check of value %d", value);
    return NULL;
}

static enum host_verdict verdict_of(const struct host *host, enum host_value value)
{
    return host_judge(check_of(value), host, N).verdict;
}

static uint32_t count(const struct host *host, enum host_verdict verdict)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < host_check_count; i++)
        found += host_judge(&host_checks[i], host, N).verdict == verdict;
    return found;
}

/* The report, or what --write-sysctl writes; freed by the caller. */
static char *printed(const struct host *host, uint64_t sessions, bool is_sysctl, bool *fits)
{
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (is_sysctl)
        host_print_sysctl(out, host, sessions);
    else
        *fits = host_print(out, host, sessions);
    fclose(out);
    return text;
}

static bool fits(const struct host *host, uint64_t sessions)
{
    bool is_fit;
    free(printed(host, sessions, false, &is_fit));
    return is_fit;
}

static void assert_prints(const struct host *host, bool is_sysctl, const char *part)
{
    bool is_fit;
    char *text = printed(host, N, is_sysctl, &is_fit);
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
    free(text);
}

/* ---- machines that do, and do not ---- */

static void a_good_machine_has_nothing_to_complain_about(void **state)
{
    struct host host = look();
    (void)state;
    for (uint32_t i = 0; i < host_check_count; i++) {
        enum host_verdict verdict = host_judge(&host_checks[i], &host, N).verdict;
        if (verdict != HOST_FITS && verdict != HOST_ABSENT)
            fail_msg("%s: %d", host_checks[i].name, verdict);
    }
    assert_true(fits(&host, N));
    assert_prints(&host, false,
                  "\n100000 sessions fit. There is room for 262132; then the first "
                  "wall is net.netfilter.nf_conntrack_max (262144).\n");
    assert_prints(&host, false,
                  "Walls in the way: 0. Hints: 0. For load tests: 0. Not known: 0.\n");
}

struct change {
    const char *path, *text;
    enum host_value value;
};

static void each_wall_is_found_and_named(void **state)
{
    static const struct change walls[] = {
        {"/proc/self/limits", "Max open files 1024 65535 files\n", HOST_NOFILE_HARD},
        {"/proc/sys/fs/nr_open", "65536\n", HOST_NR_OPEN},
        {"/proc/sys/fs/file-max", "100100\n", HOST_FILE_MAX},
        {"/proc/sys/fs/epoll/max_user_watches", "99999\n", HOST_EPOLL_WATCHES},
        {"/proc/sys/net/netfilter/nf_conntrack_max", "65536\n", HOST_CONNTRACK_MAX},
        {"/proc/meminfo", "MemAvailable: 450000 kB\n", HOST_MEM_AVAILABLE},
        {"/sys/fs/cgroup/system.slice/memory.max", "268435456\n", HOST_CGROUP_MEMORY},
        {"/sys/fs/cgroup/system.slice/dunlin.service/pids.max", "3\n", HOST_CGROUP_PIDS},
    };
    for (size_t i = 0; i < ARRAY_COUNT(walls); i++) {
        const struct host_check *wall;
        put(walls[i].path, walls[i].text);
        struct host host = look();
        assert_int_equal(verdict_of(&host, walls[i].value), HOST_SHORT);
        assert_int_equal(count(&host, HOST_SHORT), 1);
        uint64_t capacity = host_capacity(&host, &wall);
        assert_ptr_equal(wall, check_of(walls[i].value));
        assert_true(capacity < N && !fits(&host, N) && !fits(&host, capacity + 1));
        assert_true(capacity == 0 || fits(&host, capacity));
        tear_down(state);
        set_up(state);
    }
}

static void what_only_hurts_refuses_nobody(void **state)
{
    static const struct change hints[] = {
        {"/proc/sys/net/core/somaxconn", "4096\n", HOST_SOMAXCONN},
        {"/proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n", HOST_SYN_BACKLOG},
        {"/proc/sys/net/core/netdev_max_backlog", "1000\n", HOST_NETDEV_BACKLOG},
        {"/proc/net/netstat", "TcpExt: ListenOverflows ListenDrops\nTcpExt: 3 0\n",
         HOST_LISTEN_OVERFLOWS},
        {"/proc/net/netstat", "TcpExt: ListenOverflows ListenDrops\nTcpExt: 0 4\n",
         HOST_LISTEN_DROPS},
        {"/proc/sys/net/ipv4/tcp_mem", "9 9 99999\n", HOST_TCP_MEM_MAX},
        {"/proc/sys/net/ipv4/tcp_rmem", "4096 131072 33554432\n", HOST_RMEM_MAX},
        {"/proc/sys/net/ipv4/tcp_wmem", "4096 16384 4194304\n", HOST_WMEM_MAX},
        {"/proc/sys/net/netfilter/nf_conntrack_buckets", "16384\n", HOST_CONNTRACK_BUCKETS},
        {"/proc/sys/net/ipv4/tcp_keepalive_time", "99999\n", HOST_KEEPALIVE_TIME},
        {"/proc/sys/net/ipv4/tcp_keepalive_intvl", "75\n", HOST_KEEPALIVE_INTVL},
        {"/proc/sys/net/ipv4/tcp_keepalive_probes", "9\n", HOST_KEEPALIVE_PROBES},
        {"/proc/sys/net/ipv4/tcp_fin_timeout", "120\n", HOST_FIN_TIMEOUT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(hints); i++) {
        put(hints[i].path, hints[i].text);
        struct host host = look();
        assert_int_equal(verdict_of(&host, hints[i].value), HOST_HURTS);
        assert_true(fits(&host, N));
        tear_down(state);
        set_up(state);
    }
}

static void load_tests_have_a_word_of_their_own(void **state)
{
    (void)state;
    put("/proc/self/limits", "Max open files 1024 300000 files\n");
    put("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n");
    put("/proc/sys/net/ipv4/tcp_tw_reuse", "0\n");
    struct host host = look();
    assert_int_equal(verdict_of(&host, HOST_NOFILE_SOFT), HOST_FOR_TESTS);
    assert_int_equal(verdict_of(&host, HOST_PORTS), HOST_FOR_TESTS);
    assert_int_equal(verdict_of(&host, HOST_TW_REUSE), HOST_FOR_TESTS);
    assert_true(fits(&host, N));
    assert_prints(&host, true, "\n#net.ipv4.ip_local_port_range = 10240 65535\n");
}

static void connection_tracking_is_a_wall_only_while_it_tracks(void **state)
{
    (void)state;
    put("/proc/sys/net/netfilter/nf_conntrack_max", "65536\n");
    put("/proc/sys/net/netfilter/nf_conntrack_count", "0\n");
    struct host host = look();
    assert_int_equal(verdict_of(&host, HOST_CONNTRACK_MAX), HOST_HURTS);
    assert_prints(&host, true, "notrack");
    take_away("/proc/sys/net/netfilter/nf_conntrack_max");
    take_away("/proc/sys/net/netfilter/nf_conntrack_count");
    take_away("/proc/sys/net/netfilter/nf_conntrack_buckets");
    host = look();
    assert_int_equal(verdict_of(&host, HOST_CONNTRACK_MAX), HOST_ABSENT);
    char *text = printed(&host, N, true, NULL);
    assert_null(strstr(text, "conntrack"));
    free(text);
}

static void limits_of_the_configuration_are_walls_too(void **state)
{
    static struct config config = {.listener_count = 2, .global_max_connections = 50000};
    const struct host_check *wall;
    struct host host;
    (void)state;
    config.listeners[0].max_connections = 10000;
    config.listeners[1].backlog = 77;
    host_read(&host, root);
    host_add_config(&host, &config, 2);
    assert_int_equal(host_capacity(&host, &wall), 50000); /* one listener has no limit */
    assert_string_equal(wall->name, "max_connections");
    assert_int_equal(host.values[HOST_BACKLOG], 77);
    assert_int_equal(verdict_of(&host, HOST_DEAD_PEERS), HOST_HURTS);
    config.listeners[0].tcp_keepalive_s = config.listeners[1].tcp_keepalive_s = 60;
    config.listeners[1].max_connections = 20000;
    host_read(&host, root);
    host_add_config(&host, &config, 2);
    assert_int_equal(host_capacity(&host, &wall), 30000);
    assert_int_equal(verdict_of(&host, HOST_DEAD_PEERS), HOST_FITS);
    config.memory_limit_bytes = 4480000;
    host_read(&host, root);
    host_add_config(&host, &config, 2);
    assert_int_equal(host_capacity(&host, &wall), 10000);
    assert_string_equal(wall->name, "memory_limit");
}

static void with_private_tables_the_limit_holds_for_each_reactor(void **state)
{
    static struct config config = {.listener_count = 1, .reactor_descriptors = DESCRIPTORS_PRIVATE};
    const struct host_check *wall;
    struct host host;
    (void)state;
    put("/proc/self/limits", "Max open files 20000 20000 files\n");
    put("/proc/sys/net/netfilter/nf_conntrack_count", "0\n");
    host_read(&host, root);
    host_add_config(&host, &config, 64);
    uint64_t capacity = host_capacity(&host, &wall);
    assert_ptr_equal(wall, check_of(HOST_NOFILE_HARD));
    assert_in_range(capacity, 1200000, 64 * 19800);
    assert_true(fits(&host, 1000000));
    host_add_config(&host, &config, 1);
    assert_in_range(host_capacity(&host, &wall), 19900, 20000);
}

static void tables_that_this_machine_forbids_are_a_wall(void **state)
{
    const struct host_check *wall;
    struct host host = look();
    (void)state;
    assert_int_equal(verdict_of(&host, HOST_OWN_TABLES), HOST_ABSENT);
    host.is_known[HOST_OWN_TABLES] = true;
    host.values[HOST_OWN_TABLES] = 0;
    assert_int_equal(host_capacity(&host, &wall), 0);
    assert_ptr_equal(wall, check_of(HOST_OWN_TABLES));
    assert_prints(&host, false, "seccomp profile");
    host.values[HOST_OWN_TABLES] = 1;
    assert_true(fits(&host, N));
}

/* ---- cgroups ---- */

static uint64_t memory_limit(void)
{
    struct host host = look();
    return host.is_known[HOST_CGROUP_MEMORY] ? host.values[HOST_CGROUP_MEMORY] : 0;
}

static void the_smallest_limit_on_the_way_up_counts(void **state)
{
    (void)state;
    put("/sys/fs/cgroup/system.slice/dunlin.service/memory.max", "3000000\n");
    assert_int_equal(memory_limit(), 3000000);
    put("/sys/fs/cgroup/system.slice/memory.max", "2000000\n");
    assert_int_equal(memory_limit(), 2000000);
    put("/sys/fs/cgroup/memory.max", "9000000\n");
    assert_int_equal(memory_limit(), 2000000);
}

static void a_container_sees_its_root_only(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    assert_int_equal(memory_limit(), 0);
    put("/sys/fs/cgroup/memory.max", "5000000\n");
    assert_int_equal(memory_limit(), 5000000);
    put("/proc/self/cgroup", "0::/../../other\n");
    put("/sys/other/memory.max", "1\n");
    assert_int_equal(memory_limit(), 5000000);
    put("/proc/self/cgroup", "0::/\n");
    assert_int_equal(memory_limit(), 5000000);
}

static void version_1_has_a_hierarchy_for_each_controller(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory,cpuset:/a/b\n8:pids:/p\n0::/\n");
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(memory_limit(), HOST_UNLIMITED);
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "7000000\n");
    put("/sys/fs/cgroup/pids/p/pids.max", "12\n");
    struct host host = look();
    assert_int_equal(host.values[HOST_CGROUP_MEMORY], 7000000);
    assert_int_equal(host.values[HOST_CGROUP_PIDS], 12);
    put("/sys/fs/cgroup/unified/memory.max", "6000000\n");
    assert_int_equal(memory_limit(), 6000000);
}

static void a_cgroup_that_is_absurdly_deep_ends_somewhere(void **state)
{
    char line[8000] = "0::";
    (void)state;
    for (int i = 0; i < 3000; i++)
        strcat(line, "/x");
    put("/proc/self/cgroup", line);
    assert_int_equal(memory_limit(), 0); /* longer than a path can be: the root, without a limit */
    line[1500] = 0;
    put("/proc/self/cgroup", line);
    assert_int_equal(memory_limit(), 0);
}

/* ---- what is missing, or makes no sense ---- */

static void what_is_missing_is_not_known_and_refuses_nobody(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        take_away(good[i].path);
        struct host host = look();
        assert_true(fits(&host, N));
        tear_down(state);
        set_up(state);
    }
    take_away("/proc/sys/fs/nr_open");
    struct host host = look();
    assert_int_equal(verdict_of(&host, HOST_NR_OPEN), HOST_NOT_KNOWN);
    assert_prints(&host, false, "not known");
    assert_prints(&host, true, "\n-fs.nr_open = 100040\n");
}

static void a_root_without_anything_knows_nothing(void **state)
{
    struct host host;
    const struct host_check *wall;
    (void)state;
    host_read(&host, "/nonexistent");
    for (uint32_t i = 0; i < HOST_VALUE_COUNT; i++)
        assert_false(host.is_known[i]);
    assert_int_equal(host_capacity(&host, &wall), HOST_SESSIONS_MAX);
    assert_null(wall);
    assert_true(fits(&host, N));
    free(printed(&host, N, true, NULL));
}

static void absurd_contents_are_not_known_or_unlimited(void **state)
{
    static char digits[100000], blanks[100000];
    static const char nul[] = {0, 0, '7', 0};
    memset(digits, '9', sizeof digits);
    memset(blanks, ' ', sizeof blanks);
    const struct slice contents[] = {
        SLICE_LIT(""),
        SLICE_LIT("\n"),
        SLICE_LIT("abc\n"),
        SLICE_LIT("-1\n"),
        SLICE_LIT("0x10"),
        SLICE_LIT("1e9\n"),
        SLICE_LIT(":::"),
        SLICE_LIT("0::"),
        SLICE_LIT("0::relative"),
        SLICE_LIT("\xFF\xFE\x00"),
        slice_of(nul, sizeof nul),
        slice_of(digits, sizeof digits),
        slice_of(blanks, sizeof blanks),
        SLICE_LIT("18446744073709551616 18446744073709551616 "
                  "18446744073709551616\n"),
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(contents); j++) {
            put_bytes(good[i].path, contents[j].ptr, contents[j].len);
            struct host host = look();
            free(printed(&host, HOST_SESSIONS_MAX, true, NULL));
            bool is_huge = contents[j].len > 90000 || contents[j].len == 63;
            assert_true(is_huge || fits(&host, N));
        }
        put(good[i].path, good[i].text);
    }
    (void)state;
}

static void what_is_no_file_is_not_waited_for(void **state)
{
    char full[PATH_MAX];
    (void)state;
    path_of(full, "/proc/meminfo");
    take_away("/proc/meminfo");
    assert_int_equal(mkfifo(full, 0600), 0);
    take_away("/proc/sys/fs/nr_open");
    put("/proc/sys/fs/nr_open/file", "5");
    struct host host = look();
    assert_int_equal(verdict_of(&host, HOST_MEM_AVAILABLE), HOST_NOT_KNOWN);
    assert_int_equal(verdict_of(&host, HOST_NR_OPEN), HOST_NOT_KNOWN);
}

static bool parse(const char *text, const char *key, uint32_t word, uint64_t unit, uint64_t *value)
{
    size_t bytes = strlen(text);
    char *copy = malloc(bytes ? bytes : 1); /* of exactly its size */
    memcpy(copy, text, bytes);
    bool is_there = host_parse(copy, bytes, key, word, unit, value);
    free(copy);
    return is_there;
}

static void numbers_are_found_by_key_and_place(void **state)
{
    uint64_t value;
    (void)state;
    assert_true(parse("1\t22 333", NULL, 2, 1, &value) && value == 333);
    assert_true(parse("a 1\nb 2\nbc 3\n", "b", 0, 1, &value) && value == 2);
    assert_true(parse("M:   5 kB\n", "M:", 0, 1024, &value) && value == 5120);
    assert_true(parse("max\n", NULL, 0, 1, &value) && value == HOST_UNLIMITED);
    assert_true(parse("Max open files unlimited unlimited files", "Max open files", 1, 1, &value));
    assert_true(value == HOST_UNLIMITED);
    assert_true(parse("18446744073709551615", NULL, 0, 2, &value) && value == HOST_UNLIMITED);
    assert_false(parse("1 2", NULL, 2, 1, &value));
    assert_false(parse("1\n2", NULL, 1, 1, &value));
    assert_false(parse("", NULL, 0, 1, &value));
    assert_false(parse("b", "b", 0, 1, &value));
    assert_false(parse("-5", NULL, 0, 1, &value));
}

static void noise_is_read_within_bounds(void **state)
{
    static const char alphabet[] = "0123456789 \t\nmaxMb:-\xFF";
    uint64_t seed = 7, value;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t bytes = random_below(&seed, 40);
        char *text = malloc(bytes ? bytes : 1);
        for (size_t j = 0; j < bytes; j++)
            text[j] = alphabet[random_below(&seed, sizeof alphabet)];
        host_parse(text, bytes, random_below(&seed, 2) ? "M" : NULL, random_below(&seed, 4), 1024,
                   &value);
        free(text);
    }
}

/* ---- the table, and what is printed ---- */

static void more_sessions_never_need_less(void **state)
{
    struct host host = look();
    (void)state;
    for (uint32_t i = 0; i < host_check_count; i++) {
        const struct host_check *check = &host_checks[i];
        uint64_t before = check->needed(&host, 1);
        for (uint64_t sessions = 2; sessions <= HOST_SESSIONS_MAX;
             sessions = sessions * 3 / 2 + 1) {
            uint64_t needed = check->needed(&host, sessions);
            assert_true(check->is_ceiling ? needed <= before + before / 50 : needed >= before);
            before = needed;
        }
    }
}

static void each_check_says_what_to_set_and_why(void **state)
{
    struct host host = look();
    (void)state;
    for (uint32_t i = 0; i < host_check_count; i++) {
        const struct host_check *check = &host_checks[i];
        assert_true(*check->name && *check->key && *check->why);
        if (host_judge(check, &host, N).verdict == HOST_ABSENT)
            continue;
        assert_prints(&host, false, check->name);
        assert_prints(&host, false, check->why);
        assert_prints(&host, false, check->key);
    }
}

static void assert_is_sysctl_line(const char *line, size_t bytes)
{
    char text[256], key[128];
    int end = 0;
    snprintf(text, sizeof text, "%.*s", (int)bytes, line);
    if (bytes == 0 || text[0] == '#')
        return;
    if (sscanf(text, "%*[-]%n", &end) < 0)
        end = 0;
    assert_int_equal(sscanf(text + end, "%127[a-z0-9_.-] = %n", key, &end), 1);
    assert_true(strstr(key, "net.") == key || strstr(key, "fs.") == key);
}

static void what_is_written_is_a_file_for_sysctl(void **state)
{
    struct host host = look();
    char *text = printed(&host, 5000000, true, NULL);
    (void)state;
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1)
        assert_is_sysctl_line(at, (size_t)(end - at));
    assert_non_null(strstr(text, "\nfs.nr_open = 5000040\n"));
    assert_non_null(strstr(text, "\nnet.ipv4.tcp_mem = 2500000 3333332 5000000\n"));
    assert_non_null(strstr(text, "\n#: [Service]\n#: LimitNOFILE=5000040\n"));
    assert_null(strstr(text, "MemoryMax"));
    free(text);
}

static void what_suffices_is_written_as_it_was(void **state)
{
    struct host host = look();
    (void)state;
    assert_prints(&host, true, "\nfs.file-max = 9223372036854775807\n");
    assert_prints(&host, true, "\nnet.ipv4.tcp_mem = 287898 383865 575796\n");
    assert_prints(&host, true, "\n#net.ipv4.ip_local_port_range = 10240 65535\n");
    assert_prints(&host, true, "\n#: LimitNOFILE=1048576\n"); /* as the unit has it */
}

static void what_the_cgroup_of_who_asks_lacks_is_left_to_be_uncommented(void **state)
{
    (void)state;
    put("/sys/fs/cgroup/system.slice/dunlin.service/memory.max", "1000000\n");
    put("/sys/fs/cgroup/system.slice/dunlin.service/pids.max", "2\n");
    struct host host = look();
    assert_prints(&host, true, "\n#: #MemoryMax=561108864\n"); /* the service may have no limit */
    assert_prints(&host, true, "\n#: #TasksMax=6\n");
}

static void a_limit_is_raised_where_it_came_from(void **state)
{
    static struct config config = {.listener_count = 2, .max_keepalive_s = 600};
    struct host host;
    (void)state;
    config.listeners[0].max_connections = 100;
    config.listeners[1].max_connections = 50;
    for (uint32_t i = 0; i < 2; i++) {
        config.global_max_connections = i ? 120 : 0;
        host_read(&host, root);
        host_add_config(&host, &config, 2);
        assert_int_equal(host.values[HOST_MAX_CONNECTIONS], i ? 120 : 150);
        assert_prints(
            &host, false,
            i ? "        global_max_connections 100000 in dunlin.conf"
              : "        max_connections of the listeners, together 100000 in dunlin.conf");
    }
}

static void rules_against_tracking_name_the_ports_of_the_listeners(void **state)
{
    static struct config config = {.listener_count = 4};
    struct host host;
    bool is_fit;
    (void)state;
    config.listeners[0].port = 8883;
    config.listeners[1].port = 0; /* a Unix socket */
    config.listeners[2].port = 8883;
    config.listeners[3].port = 9001;
    host_read(&host, root);
    host_add_config(&host, &config, 2);
    assert_prints(&host, true, "priority raw; tcp dport { 8883, 9001 } notrack; }\n");
    assert_prints(&host, true, "priority raw; tcp sport { 8883, 9001 } notrack; }\n");
    config.listener_count = 0;
    host_add_config(&host, &config, 2);
    char *text = printed(&host, N, true, &is_fit);
    assert_null(strstr(text, "notrack; }"));
    free(text);
}

static void this_machine_is_understood(void **state)
{
    struct host host;
    (void)state;
    host_read(&host, "");
    assert_true(host.is_known[HOST_NOFILE_HARD] && host.values[HOST_NOFILE_HARD] > 0);
    assert_true(host.is_known[HOST_MEM_AVAILABLE] && host.values[HOST_MEM_AVAILABLE] > 1 << 20);
    assert_true(fits(&host, 1));
    assert_false(fits(&host, HOST_SESSIONS_MAX));
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(a_good_machine_has_nothing_to_complain_about),
        WITH_ROOT(each_wall_is_found_and_named),
        WITH_ROOT(what_only_hurts_refuses_nobody),
        WITH_ROOT(load_tests_have_a_word_of_their_own),
        WITH_ROOT(connection_tracking_is_a_wall_only_while_it_tracks),
        WITH_ROOT(limits_of_the_configuration_are_walls_too),
        WITH_ROOT(with_private_tables_the_limit_holds_for_each_reactor),
        WITH_ROOT(tables_that_this_machine_forbids_are_a_wall),
        WITH_ROOT(the_smallest_limit_on_the_way_up_counts),
        WITH_ROOT(a_container_sees_its_root_only),
        WITH_ROOT(version_1_has_a_hierarchy_for_each_controller),
        WITH_ROOT(a_cgroup_that_is_absurdly_deep_ends_somewhere),
        WITH_ROOT(what_is_missing_is_not_known_and_refuses_nobody),
        WITH_ROOT(a_root_without_anything_knows_nothing),
        WITH_ROOT(absurd_contents_are_not_known_or_unlimited),
        WITH_ROOT(what_is_no_file_is_not_waited_for),
        cmocka_unit_test(numbers_are_found_by_key_and_place),
        cmocka_unit_test(noise_is_read_within_bounds),
        WITH_ROOT(more_sessions_never_need_less),
        WITH_ROOT(each_check_says_what_to_set_and_why),
        WITH_ROOT(what_is_written_is_a_file_for_sysctl),
        WITH_ROOT(what_suffices_is_written_as_it_was),
        WITH_ROOT(what_the_cgroup_of_who_asks_lacks_is_left_to_be_uncommented),
        WITH_ROOT(a_limit_is_raised_where_it_came_from),
        WITH_ROOT(rules_against_tracking_name_the_ports_of_the_listeners),
        cmocka_unit_test(this_machine_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
