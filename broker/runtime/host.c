/*
 * host.c: the table of checks, and judging by it. Pure.
 *
 * How much is needed: what each session takes for certain is a wall. The queues are measured by a
 * storm, in which all sessions come back at once: a quarter of a reactor's share may have to wait,
 * as far as the kernel lets it.
 */
#include "runtime/host.h"

#include <string.h>

#include "base/assert.h"

#define PAGE_BYTES 4096u
#define QUEUE_MIN 128u
#define QUEUE_MAX 65535u
#define NETDEV_MIN 1000u
#define DESCRIPTORS_FIXED 32u    /* log, storage, what libraries hold */
#define BROKER_FIXED (64u << 20) /* code, stacks, pools, tables */
#define BUFFER_MIN 65536u
#define PORT_LOWEST 10240u
#define PORT_HIGHEST 65535u

/* ---- what is needed ---- */

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? HOST_UNLIMITED : sum;
}

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max)
{
    return value < min ? min : value > max ? max : value;
}

static uint64_t value_or_0(const struct host *host, enum host_value value)
{
    return host->is_known[value] ? host->values[value] : 0;
}

static uint64_t need_all(const struct host *host, uint64_t sessions)
{
    (void)host;
    return sessions;
}

/* In all tables together. A reactor has its epoll and mailbox, and for each listener a socket and a
   spare. */
static uint64_t need_descriptors(const struct host *host, uint64_t sessions)
{
    return sessions + DESCRIPTORS_FIXED + host->reactors * (2ull + 2ull * host->listeners);
}

/* In one table. A reactor that has its own shares no more than mailboxes; connections are spread
   by a hash, so that some have more of them than others. */
static uint64_t need_table(const struct host *host, uint64_t sessions)
{
    if (host->tables == 1)
        return need_descriptors(host, sessions);
    uint64_t share = sessions / host->tables + 1;
    return share + share / 32 + DESCRIPTORS_FIXED + host->reactors + 2ull + 2ull * host->listeners;
}

static uint64_t need_files(const struct host *host, uint64_t sessions)
{
    return plus(need_descriptors(host, sessions), value_or_0(host, HOST_FILES_IN_USE));
}

static uint64_t need_queue(const struct host *host, uint64_t sessions)
{
    return clamp(sessions / (4ull * host->reactors), QUEUE_MIN, QUEUE_MAX);
}

static uint64_t need_netdev(const struct host *host, uint64_t sessions)
{
    return clamp(need_queue(host, sessions), NETDEV_MIN, QUEUE_MAX);
}

static uint64_t need_none(const struct host *host, uint64_t sessions)
{
    (void)host, (void)sessions;
    return 0;
}

/* One session in a hundred with full buffers is to fit into tcp_mem, as it will be. */
static uint64_t need_buffer(const struct host *host, uint64_t sessions)
{
    uint64_t pages = clamp(value_or_0(host, HOST_TCP_MEM_MAX), 1u << 16, 1ull << 40);
    if (pages < sessions)
        pages = sessions;
    uint64_t bytes = pages * PAGE_BYTES / (sessions / 100 + 1);
    return bytes < BUFFER_MIN ? BUFFER_MIN : bytes;
}

static bool is_tracked(const struct host *host)
{
    return host->is_known[HOST_CONNTRACK_MAX] && value_or_0(host, HOST_CONNTRACK_COUNT) > 0;
}

static uint64_t need_tracked(const struct host *host, uint64_t sessions)
{
    return plus(sessions, value_or_0(host, HOST_CONNTRACK_COUNT));
}

static uint64_t need_buckets(const struct host *host, uint64_t sessions)
{
    return need_tracked(host, sessions) / 4;
}

static uint64_t need_ports(const struct host *host, uint64_t sessions)
{
    (void)host;
    return clamp(sessions, 0, PORT_HIGHEST - PORT_LOWEST + 1);
}

static uint64_t need_yes(const struct host *host, uint64_t sessions)
{
    (void)host, (void)sessions;
    return 1;
}

static uint64_t need_keepalive_time(const struct host *host, uint64_t sessions)
{
    (void)host, (void)sessions;
    return 7200;
}

static uint64_t need_minute(const struct host *host, uint64_t sessions)
{
    (void)host, (void)sessions;
    return 60;
}

static uint64_t need_probes(const struct host *host, uint64_t sessions)
{
    (void)host, (void)sessions;
    return 5;
}

static uint64_t need_memory(const struct host *host, uint64_t sessions)
{
    uint64_t each = HOST_BROKER_BYTES + HOST_KERNEL_BYTES;
    return BROKER_FIXED + sessions * (each + (is_tracked(host) ? HOST_TRACKED_BYTES : 0));
}

/* Publishers are slowed from 15/16 of it on. */
static uint64_t need_heap(const struct host *host, uint64_t sessions)
{
    (void)host;
    return sessions * HOST_BROKER_BYTES / 15 * 16;
}

static uint64_t need_threads(const struct host *host, uint64_t sessions)
{
    (void)sessions;
    return host->reactors + 4ull;
}

/* ---- the table ---- */

/* clang-format off */
const struct host_check host_checks[] = {
{ .group = "Descriptors", .name = "open files, hard limit", .value = HOST_NOFILE_HARD,
  .class = HOST_WALL, .needed = need_table, .set = HOST_SET_UNIT, .key = "LimitNOFILE",
  .why = "each session is a descriptor; without systemd: nofile in /etc/security/limits.conf; "
         "where it is fixed: reactor_descriptors private and more reactors" },
{ .name = "tables of their own for reactors", .value = HOST_OWN_TABLES, .class = HOST_WALL,
  .unit = HOST_YES, .is_optional = true, .needed = need_yes, .set = HOST_SET_WORDS,
  .key = "allow unshare or close_range in the container's seccomp profile, or reactor_descriptors "
         "shared",
  .why = "for reactor_descriptors private" },
{ .name = "open files, soft limit", .value = HOST_NOFILE_SOFT, .class = HOST_TEST,
  .needed = need_descriptors, .set = HOST_SET_WORDS, .key = "ulimit -n $(ulimit -Hn)",
  .why = "dunlin raises its own to the hard one; load generators may not" },
{ .name = "fs.nr_open", .value = HOST_NR_OPEN, .class = HOST_WALL, .needed = need_table,
  .set = HOST_SET_SYSCTL, .key = "fs.nr_open",
  .why = "the ceiling of every limit of open files" },
{ .name = "fs.file-max", .value = HOST_FILE_MAX, .class = HOST_WALL, .needed = need_files,
  .set = HOST_SET_SYSCTL, .key = "fs.file-max",
  .why = "open files of the whole machine, with those that others have now" },
{ .name = "fs.epoll.max_user_watches", .value = HOST_EPOLL_WATCHES, .class = HOST_WALL,
  .needed = need_descriptors, .set = HOST_SET_SYSCTL, .key = "fs.epoll.max_user_watches",
  .why = "each socket is watched" },

{ .group = "Accept queues", .name = "backlog", .value = HOST_BACKLOG, .class = HOST_HINT,
  .needed = need_queue, .set = HOST_SET_DIRECTIVE, .key = "backlog",
  .why = "connections that wait for a reactor when all come back at once" },
{ .name = "net.core.somaxconn", .value = HOST_SOMAXCONN, .class = HOST_HINT,
  .needed = need_queue, .set = HOST_SET_SYSCTL, .key = "net.core.somaxconn",
  .why = "the ceiling of backlog" },
{ .name = "net.ipv4.tcp_max_syn_backlog", .value = HOST_SYN_BACKLOG, .class = HOST_HINT,
  .needed = need_queue, .set = HOST_SET_SYSCTL, .key = "net.ipv4.tcp_max_syn_backlog",
  .why = "the same before the handshake is done" },
{ .name = "net.core.netdev_max_backlog", .value = HOST_NETDEV_BACKLOG, .class = HOST_HINT,
  .needed = need_netdev, .set = HOST_SET_SYSCTL, .key = "net.core.netdev_max_backlog",
  .why = "packets that wait for a core" },
{ .name = "ListenOverflows so far", .value = HOST_LISTEN_OVERFLOWS, .class = HOST_HINT,
  .is_ceiling = true, .needed = need_none, .set = HOST_SET_WORDS,
  .key = "raise the queues above, and watch $SYS/broker/connections/listen_overflows",
  .why = "since boot, of all programs: a full accept queue threw connections away" },
{ .name = "ListenDrops so far", .value = HOST_LISTEN_DROPS, .class = HOST_HINT,
  .is_ceiling = true, .needed = need_none, .set = HOST_SET_WORDS,
  .key = "raise the queues above, and watch $SYS/broker/connections/listen_drops",
  .why = "the same, for any reason" },

{ .group = "Kernel memory", .name = "net.ipv4.tcp_mem, the third", .value = HOST_TCP_MEM_MAX,
  .class = HOST_HINT, .unit = HOST_PAGES, .needed = need_all, .set = HOST_SET_TCP_MEM,
  .key = "net.ipv4.tcp_mem",
  .why = "idle sockets take none; one with data on its way takes a page, and all may at once" },
{ .name = "net.ipv4.tcp_rmem, the third", .value = HOST_RMEM_MAX, .class = HOST_HINT,
  .unit = HOST_BYTES, .is_ceiling = true, .needed = need_buffer, .set = HOST_SET_SIZES,
  .key = "net.ipv4.tcp_rmem",
  .why = "full buffers of one session in a hundred have to fit into tcp_mem; or "
         "socket_receive_buffer" },
{ .name = "net.ipv4.tcp_wmem, the third", .value = HOST_WMEM_MAX, .class = HOST_HINT,
  .unit = HOST_BYTES, .is_ceiling = true, .needed = need_buffer, .set = HOST_SET_SIZES,
  .key = "net.ipv4.tcp_wmem", .why = "the same for clients that do not read; or "
                                     "socket_send_buffer" },

{ .group = "Connection tracking", .name = "net.netfilter.nf_conntrack_max",
  .value = HOST_CONNTRACK_MAX, .class = HOST_WALL_IF_TRACKED, .is_optional = true,
  .needed = need_tracked, .set = HOST_SET_SYSCTL, .key = "net.netfilter.nf_conntrack_max",
  .why = "a full table drops packets; or leave MQTT out of it with notrack rules, as "
         "--write-sysctl shows" },
{ .name = "net.netfilter.nf_conntrack_buckets", .value = HOST_CONNTRACK_BUCKETS,
  .class = HOST_HINT, .is_optional = true, .needed = need_buckets, .set = HOST_SET_SYSCTL,
  .key = "net.netfilter.nf_conntrack_buckets",
  .why = "more than four entries in a bucket cost time with each packet" },

{ .group = "Ports, for load tests from this machine", .name = "net.ipv4.ip_local_port_range",
  .value = HOST_PORTS, .class = HOST_TEST, .needed = need_ports, .set = HOST_SET_PORTS,
  .key = "net.ipv4.ip_local_port_range",
  .why = "connections that one source address can open to a port; then take more addresses" },
{ .name = "net.ipv4.tcp_tw_reuse", .value = HOST_TW_REUSE, .class = HOST_TEST,
  .needed = need_yes, .set = HOST_SET_SYSCTL, .key = "net.ipv4.tcp_tw_reuse",
  .why = "ports of closed connections are of use again after a second; 2: on the loopback" },

{ .group = "Dead peers", .name = "max_keepalive, tcp_keepalive", .value = HOST_DEAD_PEERS,
  .class = HOST_HINT, .unit = HOST_YES, .needed = need_yes, .set = HOST_SET_WORDS,
  .key = "max_keepalive 3600, or tcp_keepalive 600 for each listener, in dunlin.conf",
  .why = "a client that asks for no keepalive and vanishes is never missed" },
{ .name = "net.ipv4.tcp_keepalive_time", .value = HOST_KEEPALIVE_TIME, .class = HOST_HINT,
  .unit = HOST_SECONDS, .is_ceiling = true, .needed = need_keepalive_time,
  .set = HOST_SET_SYSCTL, .key = "net.ipv4.tcp_keepalive_time",
  .why = "of other programs; Dunlin's sockets have tcp_keepalive instead" },
{ .name = "net.ipv4.tcp_keepalive_intvl", .value = HOST_KEEPALIVE_INTVL, .class = HOST_HINT,
  .unit = HOST_SECONDS, .is_ceiling = true, .needed = need_minute, .set = HOST_SET_SYSCTL,
  .key = "net.ipv4.tcp_keepalive_intvl",
  .why = "with tcp_keepalive: between probes that nobody answers" },
{ .name = "net.ipv4.tcp_keepalive_probes", .value = HOST_KEEPALIVE_PROBES, .class = HOST_HINT,
  .is_ceiling = true, .needed = need_probes, .set = HOST_SET_SYSCTL,
  .key = "net.ipv4.tcp_keepalive_probes",
  .why = "with tcp_keepalive: so many, then the client is gone; or tcp_user_timeout" },
{ .name = "net.ipv4.tcp_fin_timeout", .value = HOST_FIN_TIMEOUT, .class = HOST_HINT,
  .unit = HOST_SECONDS, .is_ceiling = true, .needed = need_minute, .set = HOST_SET_SYSCTL,
  .key = "net.ipv4.tcp_fin_timeout",
  .why = "how long the kernel remembers a closed connection whose peer does not close" },

{ .group = "Memory and limits in all", .name = "memory available", .value = HOST_MEM_AVAILABLE,
  .class = HOST_WALL, .unit = HOST_MEMORY, .needed = need_memory, .set = HOST_SET_WORDS,
  .key = "more memory, or fewer sessions",
  .why = "420 bytes of the broker and 4.2 KB of the kernel for each, without what is queued" },
{ .name = "memory of the cgroup", .value = HOST_CGROUP_MEMORY, .class = HOST_WALL,
  .unit = HOST_MEMORY, .is_optional = true, .needed = need_memory, .set = HOST_SET_UNIT,
  .key = "MemoryMax", .why = "the kernel's part counts too" },
{ .name = "threads of the cgroup", .value = HOST_CGROUP_PIDS, .class = HOST_WALL,
  .is_optional = true, .needed = need_threads, .set = HOST_SET_UNIT, .key = "TasksMax",
  .why = "one for each reactor" },
{ .name = "memory_limit", .value = HOST_MEMORY_LIMIT, .class = HOST_WALL, .unit = HOST_MEMORY,
  .is_optional = true, .needed = need_heap, .set = HOST_SET_DIRECTIVE, .key = "memory_limit",
  .why = "the broker's part, below the 15/16 from which publishers are slowed" },
{ .name = "max_connections", .value = HOST_MAX_CONNECTIONS, .class = HOST_WALL,
  .is_optional = true, .needed = need_all, .set = HOST_SET_DIRECTIVE,
  .key = "global_max_connections", .why = "of all listeners together" },
{ .name = "global_max_clients", .value = HOST_MAX_CLIENTS, .class = HOST_WALL,
  .is_optional = true, .needed = need_all, .set = HOST_SET_DIRECTIVE,
  .key = "global_max_clients", .why = "connected or not" },
};
/* clang-format on */

const uint32_t host_check_count = ARRAY_COUNT(host_checks);

/* ---- judging ---- */

static bool is_enough(const struct host_check *check, uint64_t found, uint64_t needed)
{
    return check->is_ceiling ? found <= needed : found >= needed;
}

static bool is_wall(const struct host_check *check, const struct host *host)
{
    return check->class == HOST_WALL || (check->class == HOST_WALL_IF_TRACKED && is_tracked(host));
}

static enum host_verdict verdict_of(const struct host_check *check, const struct host *host,
                                    uint64_t needed)
{
    if (!host->is_known[check->value])
        return check->is_optional ? HOST_ABSENT : HOST_NOT_KNOWN;
    if (is_enough(check, host->values[check->value], needed))
        return HOST_FITS;
    if (is_wall(check, host))
        return HOST_SHORT;
    return check->class == HOST_TEST ? HOST_FOR_TESTS : HOST_HURTS;
}

struct host_result host_judge(const struct host_check *check, const struct host *host,
                              uint64_t sessions)
{
    uint64_t needed = check->needed(host, sessions);
    struct host_result result = {verdict_of(check, host, needed), value_or_0(host, check->value),
                                 needed, needed};
    if (result.verdict == HOST_FITS)
        result.to_set = result.found;
    return result;
}

/* The largest number of sessions that a wall lets in; needs never fall, so it is found by halving.
 */
static uint64_t capacity_of(const struct host_check *check, const struct host *host)
{
    uint64_t low = 0, high = HOST_SESSIONS_MAX;
    while (low < high) {
        uint64_t middle = (low + high + 1) / 2;
        if (is_enough(check, host->values[check->value], check->needed(host, middle)))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

uint64_t host_capacity(const struct host *host, const struct host_check **wall)
{
    uint64_t least = HOST_SESSIONS_MAX;
    *wall = NULL;
    for (uint32_t i = 0; i < host_check_count; i++) {
        const struct host_check *check = &host_checks[i];
        if (!is_wall(check, host) || !host->is_known[check->value])
            continue;
        uint64_t sessions = capacity_of(check, host);
        if (sessions < least) {
            least = sessions;
            *wall = check;
        }
    }
    return least;
}
