/*
 * host.h: what this machine allows, and whether that is enough for N sessions.
 *
 *   host_read(), host_add_config()  ->  struct host  ->  host_judge(), host_capacity()  ->  printing
 *   (files below a root, configuration)                  (pure; from the table of checks)
 *
 * A check is a row: which value, what N sessions need of it, what sets it, and why. Those that are
 * walls decide whether N fits; the others say what would hurt. What a kernel or a container does
 * not show is "not known", and no reason to refuse.
 *
 * Threads: any; no state. Cost: some 30 small files, a millisecond; at start only.
 */
#ifndef RUNTIME_HOST_H
#define RUNTIME_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/config.h"

#define HOST_SESSIONS_MAX CONFIG_CHECK_SESSIONS_MAX
#define HOST_UNLIMITED UINT64_MAX
/* Of a connected, idle session with one subscription: docs/BENCHMARKS.md. */
#define HOST_BROKER_BYTES 420u
/* Of its socket, with inode, file and epoll's entry: half of what both ends take on the loopback,
   7.5 to 8.5 KB on Linux 6.18 (tests/bench/socket_memory.py), where a million took 8.2 KB each. */
#define HOST_KERNEL_BYTES 4200u
/* Of an entry of connection tracking. */
#define HOST_TRACKED_BYTES 320u
#define HOST_TEXT_BYTES 160u

enum host_value {
    HOST_NOFILE_SOFT,
    HOST_NOFILE_HARD,
    HOST_NR_OPEN,
    HOST_FILE_MAX,
    HOST_FILES_IN_USE,
    HOST_EPOLL_WATCHES,
    HOST_SOMAXCONN,
    HOST_SYN_BACKLOG,
    HOST_NETDEV_BACKLOG,
    HOST_LISTEN_OVERFLOWS,
    HOST_LISTEN_DROPS,
    HOST_TCP_MEM_MIN, /* pages; sizes of three stand together: see HOST_SET_SIZES */
    HOST_TCP_MEM_PRESSURE,
    HOST_TCP_MEM_MAX,
    HOST_RMEM_MIN,
    HOST_RMEM_DEFAULT,
    HOST_RMEM_MAX,
    HOST_WMEM_MIN,
    HOST_WMEM_DEFAULT,
    HOST_WMEM_MAX,
    HOST_CONNTRACK_COUNT,
    HOST_CONNTRACK_MAX,
    HOST_CONNTRACK_BUCKETS,
    HOST_PORT_FIRST,
    HOST_PORT_LAST,
    HOST_PORTS, /* made from the two */
    HOST_TW_REUSE,
    HOST_KEEPALIVE_TIME,
    HOST_KEEPALIVE_INTVL,
    HOST_KEEPALIVE_PROBES,
    HOST_FIN_TIMEOUT,
    HOST_MEM_AVAILABLE,
    HOST_CGROUP_MEMORY,
    HOST_CGROUP_PIDS,
    /* of the configuration; known only where there is a limit */
    HOST_BACKLOG,
    HOST_OWN_TABLES, /* 1: each reactor may have a table of descriptors, 0: not */
    HOST_DEAD_PEERS, /* 1: clients that ask for no keepalive are missed all the same, 0: not */
    HOST_MAX_CONNECTIONS,
    HOST_MAX_CLIENTS,
    HOST_MEMORY_LIMIT,
    HOST_VALUE_COUNT
};

struct host {
    uint64_t values[HOST_VALUE_COUNT];
    bool is_known[HOST_VALUE_COUNT];
    uint32_t reactors, listeners;
    bool is_limited_by_listeners; /* HOST_MAX_CONNECTIONS is the sum of their max_connections */
    uint16_t ports[CONFIG_LISTENERS_MAX]; /* of the listeners that have one, each once */
    uint32_t port_count;
    uint32_t tables; /* of descriptors: 1, or one for each reactor */
};

enum host_class {
    HOST_WALL,            /* fewer than N sessions fit */
    HOST_WALL_IF_TRACKED, /* the same when connections are tracked now, else HOST_HINT */
    HOST_HINT,            /* they fit, and something hurts */
    HOST_TEST,            /* of interest to load generators on this machine only */
};

enum host_unit { HOST_NUMBER, HOST_MEMORY, HOST_BYTES, HOST_PAGES, HOST_SECONDS, HOST_YES };

/* What sets a value, and so how it is written there. */
enum host_set {
    HOST_SET_SYSCTL,    /* key = number */
    HOST_SET_TCP_MEM,   /* the last of three, the others follow as the kernel has them: 3:4:6 */
    HOST_SET_SIZES,     /* the last of three, the others stay unless they are larger */
    HOST_SET_PORTS,     /* the widest range that leaves alone what servers use */
    HOST_SET_UNIT,      /* key=number in the unit */
    HOST_SET_DIRECTIVE, /* key number in dunlin.conf */
    HOST_SET_WORDS,     /* key is the advice */
};

struct host_check {
    const char *group; /* heading; NULL: as the row before */
    const char *name;
    enum host_value value;
    enum host_class class;
    enum host_unit unit;
    bool is_ceiling;  /* the value has to be at most what is needed, else at least */
    bool is_optional; /* not known: there is no such limit */
    /* What `sessions` need. Never falls when there are more (a ceiling: never rises). */
    uint64_t (*needed)(const struct host *host, uint64_t sessions);
    enum host_set set;
    const char *key;
    const char *why;
};

extern const struct host_check host_checks[];
extern const uint32_t host_check_count;

enum host_verdict {
    HOST_FITS,
    HOST_SHORT,
    HOST_HURTS,
    HOST_FOR_TESTS,
    HOST_NOT_KNOWN,
    HOST_ABSENT
};

struct host_result {
    enum host_verdict verdict;
    uint64_t found, needed;
    uint64_t to_set; /* what satisfies, and takes nothing away */
};

/* Reads what the kernel says, from files below `root` ("": the machine's own). What is missing or
   makes no sense is not known. */
void host_read(struct host *host, const char *root);
/* What a text of numbers says: the `word`th word (from 0) after `key` at the beginning of a line
   (NULL: of the text), times `unit`. Numbers that are too large, "max" and "unlimited" are
   HOST_UNLIMITED. False: no number is there. Pure. */
bool host_parse(const char *text, size_t bytes, const char *key, uint32_t word, uint64_t unit,
                uint64_t *value);
/* Adds what the configuration says. */
void host_add_config(struct host *host, const struct config *config, uint32_t reactors);

/* How one row stands. Pure. */
struct host_result host_judge(const struct host_check *check, const struct host *host,
                              uint64_t sessions);
/* How many sessions all walls together let in, at most HOST_SESSIONS_MAX. *wall: the first, NULL
   when none is known. Pure. */
uint64_t host_capacity(const struct host *host, const struct host_check **wall);

/* The value in words: "20000", "2166 MB", "unlimited". */
const char *host_value_text(const struct host_check *check, uint64_t value,
                            char text[HOST_TEXT_BYTES]);
/* What sets the value: check->key, or another directive when it came from there. */
const char *host_key(const struct host_check *check, const struct host *host);
/* What stands after the key to set a value: "500000 666666 1000000". */
const char *host_setting_text(const struct host_check *check, const struct host *host,
                              uint64_t value, char text[HOST_TEXT_BYTES]);

/* The report of --check-host. True when the sessions fit. */
bool host_print(FILE *out, const struct host *host, uint64_t sessions);
/* A file for sysctl.d; in it, behind "#: ", a drop-in for the unit. */
void host_print_sysctl(FILE *out, const struct host *host, uint64_t sessions);

#endif
