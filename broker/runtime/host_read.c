/*
 * host_read.c: struct host from files below a root: one row for each value.
 *
 * The contents are not trusted: a file is read up to FILE_BYTES, a number that does not fit is
 * "unlimited", anything else is not known.
 *
 * A cgroup's limit is the smallest on the way up from the process's own to the root. In a container
 * the path may be one of the host's; then nothing is there but the root, which is the container's.
 */
#include "runtime/host.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "runtime/descriptor_table.h"
#include "runtime/netstat.h"

#define FILE_BYTES 16384u
#define CGROUP_DEPTH_MAX 64u
#define CGROUP_NO_LIMIT (1ull << 60) /* version 1 says "none" as a number of whole pages */

struct text {
    char bytes[FILE_BYTES];
    size_t count;
};

struct source {
    enum host_value value;
    const char *path;
    const char *key; /* NULL: the file is the numbers */
    uint32_t word;
    uint64_t unit;
};

#define SYS "/proc/sys/"
#define NETFILTER SYS "net/netfilter/nf_conntrack_"

static const struct source sources[] = {
    {HOST_NOFILE_SOFT, "/proc/self/limits", "Max open files", 0, 1},
    {HOST_NOFILE_HARD, "/proc/self/limits", "Max open files", 1, 1},
    {HOST_NR_OPEN, SYS "fs/nr_open", NULL, 0, 1},
    {HOST_FILE_MAX, SYS "fs/file-max", NULL, 0, 1},
    {HOST_FILES_IN_USE, SYS "fs/file-nr", NULL, 0, 1},
    {HOST_EPOLL_WATCHES, SYS "fs/epoll/max_user_watches", NULL, 0, 1},
    {HOST_SOMAXCONN, SYS "net/core/somaxconn", NULL, 0, 1},
    {HOST_SYN_BACKLOG, SYS "net/ipv4/tcp_max_syn_backlog", NULL, 0, 1},
    {HOST_NETDEV_BACKLOG, SYS "net/core/netdev_max_backlog", NULL, 0, 1},
    {HOST_TCP_MEM_MIN, SYS "net/ipv4/tcp_mem", NULL, 0, 1},
    {HOST_TCP_MEM_PRESSURE, SYS "net/ipv4/tcp_mem", NULL, 1, 1},
    {HOST_TCP_MEM_MAX, SYS "net/ipv4/tcp_mem", NULL, 2, 1},
    {HOST_RMEM_MIN, SYS "net/ipv4/tcp_rmem", NULL, 0, 1},
    {HOST_RMEM_DEFAULT, SYS "net/ipv4/tcp_rmem", NULL, 1, 1},
    {HOST_RMEM_MAX, SYS "net/ipv4/tcp_rmem", NULL, 2, 1},
    {HOST_WMEM_MIN, SYS "net/ipv4/tcp_wmem", NULL, 0, 1},
    {HOST_WMEM_DEFAULT, SYS "net/ipv4/tcp_wmem", NULL, 1, 1},
    {HOST_WMEM_MAX, SYS "net/ipv4/tcp_wmem", NULL, 2, 1},
    {HOST_CONNTRACK_COUNT, NETFILTER "count", NULL, 0, 1},
    {HOST_CONNTRACK_MAX, NETFILTER "max", NULL, 0, 1},
    {HOST_CONNTRACK_BUCKETS, NETFILTER "buckets", NULL, 0, 1},
    {HOST_PORT_FIRST, SYS "net/ipv4/ip_local_port_range", NULL, 0, 1},
    {HOST_PORT_LAST, SYS "net/ipv4/ip_local_port_range", NULL, 1, 1},
    {HOST_TW_REUSE, SYS "net/ipv4/tcp_tw_reuse", NULL, 0, 1},
    {HOST_KEEPALIVE_TIME, SYS "net/ipv4/tcp_keepalive_time", NULL, 0, 1},
    {HOST_KEEPALIVE_INTVL, SYS "net/ipv4/tcp_keepalive_intvl", NULL, 0, 1},
    {HOST_KEEPALIVE_PROBES, SYS "net/ipv4/tcp_keepalive_probes", NULL, 0, 1},
    {HOST_FIN_TIMEOUT, SYS "net/ipv4/tcp_fin_timeout", NULL, 0, 1},
    {HOST_MEM_AVAILABLE, "/proc/meminfo", "MemAvailable:", 0, 1024},
};

struct cgroup_source {
    enum host_value value;
    const char *controller; /* and folder, of version 1 */
    const char *file1, *file2;
};

static const struct cgroup_source cgroup_sources[] = {
    {HOST_CGROUP_MEMORY, "memory", "memory.limit_in_bytes", "memory.max"},
    {HOST_CGROUP_PIDS, "pids", "pids.max", "pids.max"},
};

/* ---- text ---- */

/* Cuts the next of the words that blanks separate off `rest`; none at the end of the line. */
static struct slice next_word(struct slice *rest)
{
    size_t begin = 0, end;
    while (begin < rest->len && (rest->ptr[begin] == ' ' || rest->ptr[begin] == '\t'))
        begin++;
    for (end = begin; end < rest->len && rest->ptr[end] > ' '; end++)
        ;
    struct slice word = slice_of(rest->ptr + begin, end - begin);
    *rest = slice_skip(*rest, end);
    return word;
}

/* Cuts the next line off `rest`. */
static struct slice next_line(struct slice *rest)
{
    const uint8_t *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
    struct slice line = slice_of(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
    *rest = slice_skip(*rest, line.len + (end ? 1 : 0));
    return line;
}

static bool number_of(struct slice word, uint64_t unit, uint64_t *value)
{
    uint64_t number = 0;
    bool is_too_large = false;
    if (slice_eq(word, SLICE_LIT("max")) || slice_eq(word, SLICE_LIT("unlimited"))) {
        *value = HOST_UNLIMITED;
        return true;
    }
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return false;
        is_too_large |= __builtin_mul_overflow(number, (uint64_t)10, &number);
        is_too_large |= __builtin_add_overflow(number, (uint64_t)(word.ptr[i] - '0'), &number);
    }
    is_too_large |= __builtin_mul_overflow(number, unit, &number);
    *value = is_too_large ? HOST_UNLIMITED : number;
    return word.len > 0;
}

bool host_parse(const char *text, size_t bytes, const char *key, uint32_t word, uint64_t unit,
                uint64_t *value)
{
    struct slice rest = slice_of(text, bytes), wanted = slice_str(key ? key : "");
    while (rest.len) {
        struct slice line = next_line(&rest);
        if (!slice_starts_with(line, wanted))
            continue;
        line = slice_skip(line, wanted.len);
        for (uint32_t i = 0; i < word; i++)
            next_word(&line);
        return number_of(next_word(&line), unit, value);
    }
    return false;
}

/* ---- files ---- */

/* False: it cannot be read, or its path is too long. */
static bool read_file(struct text *text, const char *root, const char *path)
{
    char full[PATH_MAX];
    ssize_t got;
    text->count = 0;
    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return false;
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    while (text->count < FILE_BYTES &&
           (got = read(fd, text->bytes + text->count, FILE_BYTES - text->count)) > 0)
        text->count += (size_t)got;
    close(fd);
    return true;
}

static void set(struct host *host, enum host_value value, uint64_t number)
{
    host->values[value] = number;
    host->is_known[value] = true;
}

static void read_sources(struct host *host, const char *root, struct text *text)
{
    const char *path = "";
    for (size_t i = 0; i < ARRAY_COUNT(sources); i++) {
        const struct source *source = &sources[i];
        uint64_t number;
        if (strcmp(path, source->path) != 0)
            read_file(text, root, source->path);
        path = source->path;
        if (host_parse(text->bytes, text->count, source->key, source->word, source->unit, &number))
            set(host, source->value, number);
    }
}

static void read_netstat(struct host *host, const char *root, struct text *text)
{
    struct netstat netstat;
    if (!read_file(text, root, "/proc/net/netstat") ||
        !netstat_parse(slice_of(text->bytes, text->count), &netstat))
        return;
    set(host, HOST_LISTEN_OVERFLOWS, netstat.listen_overflows);
    set(host, HOST_LISTEN_DROPS, netstat.listen_drops);
}

static void count_ports(struct host *host)
{
    uint64_t first = host->values[HOST_PORT_FIRST], last = host->values[HOST_PORT_LAST];
    if (host->is_known[HOST_PORT_FIRST] && host->is_known[HOST_PORT_LAST] && first <= last &&
        last <= UINT16_MAX)
        set(host, HOST_PORTS, last - first + 1);
}

/* ---- cgroups ---- */

static bool has_controller(struct slice list, const char *controller)
{
    struct slice wanted = slice_str(controller);
    while (list.len) {
        const uint8_t *comma = memchr(list.ptr, ',', list.len);
        size_t bytes = comma ? (size_t)(comma - list.ptr) : list.len;
        if (slice_eq(slice_of(list.ptr, bytes), wanted))
            return true;
        list = slice_skip(list, bytes + (comma ? 1 : 0));
    }
    return false;
}

/* The path of the process below a hierarchy: version 2 ("") or that of a controller. The way out of
   a namespace, "/..", is nobody's to go: then it is the root. False: there is none. */
static bool find_cgroup(const struct text *text, const char *controller, char path[PATH_MAX])
{
    struct slice rest = slice_of(text->bytes, text->count);
    while (rest.len) {
        struct slice line = next_line(&rest);
        const uint8_t *first = memchr(line.ptr, ':', line.len);
        struct slice list =
            first ? slice_skip(line, (size_t)(first - line.ptr) + 1) : (struct slice){0};
        const uint8_t *second = list.len ? memchr(list.ptr, ':', list.len) : NULL;
        if (!second)
            continue;
        struct slice below = slice_skip(list, (size_t)(second - list.ptr) + 1);
        list.len = (size_t)(second - list.ptr);
        if (*controller ? !has_controller(list, controller) : list.len > 0)
            continue;
        bool is_good =
            below.len < PATH_MAX && below.len > 1 && !memmem(below.ptr, below.len, "..", 2);
        snprintf(path, PATH_MAX, "%.*s", is_good ? (int)below.len : 0, (const char *)below.ptr);
        return true;
    }
    return false;
}

/* The smallest limit from the process's cgroup up to the root. */
static void read_limits(struct host *host, const char *root, struct text *text, const char *folder,
                        const char *below, const struct cgroup_source *source, const char *file)
{
    char path[PATH_MAX], at[PATH_MAX];
    snprintf(at, sizeof(at), "%s", below);
    for (uint32_t depth = 0; depth < CGROUP_DEPTH_MAX; depth++) {
        uint64_t limit;
        int bytes = snprintf(path, sizeof(path), "/sys/fs/cgroup%s%s/%s", folder, at, file);
        if (bytes < (int)sizeof(path) && read_file(text, root, path) &&
            host_parse(text->bytes, text->count, NULL, 0, 1, &limit)) {
            limit = limit >= CGROUP_NO_LIMIT ? HOST_UNLIMITED : limit;
            if (!host->is_known[source->value] || limit < host->values[source->value])
                set(host, source->value, limit);
        }
        char *last = strrchr(at, '/');
        if (!last)
            return;
        *last = 0;
    }
}

static void read_cgroups(struct host *host, const char *root, struct text *text)
{
    static const char *const folders[] = {"", "/unified"};
    struct text *own = text;
    char path2[PATH_MAX], path1[PATH_MAX], folder[64];
    for (size_t i = 0; i < ARRAY_COUNT(cgroup_sources); i++) {
        const struct cgroup_source *source = &cgroup_sources[i];
        read_file(own, root, "/proc/self/cgroup");
        bool has1 = find_cgroup(own, source->controller, path1);
        bool has2 = find_cgroup(own, "", path2);
        snprintf(folder, sizeof(folder), "/%s", source->controller);
        if (has1)
            read_limits(host, root, text, folder, path1, source, source->file1);
        for (size_t j = 0; has2 && j < ARRAY_COUNT(folders); j++)
            read_limits(host, root, text, folders[j], path2, source, source->file2);
    }
}

/* ---- all of it ---- */

void host_read(struct host *host, const char *root)
{
    struct text text;
    *host = (struct host){.reactors = 1, .listeners = 1, .tables = 1};
    read_sources(host, root, &text);
    read_netstat(host, root, &text);
    count_ports(host);
    read_cgroups(host, root, &text);
}

/* All listeners together; false when one has no limit. */
static bool sum_connections(const struct config *config, uint64_t *sum)
{
    *sum = 0;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        *sum += config->listeners[i].max_connections;
        if (!config->listeners[i].max_connections)
            return false;
    }
    return config->listener_count > 0;
}

static void set_limit(struct host *host, enum host_value value, uint64_t limit)
{
    if (limit && (!host->is_known[value] || limit < host->values[value]))
        set(host, value, limit);
}

static void add_port(struct host *host, uint16_t port)
{
    bool is_known = port == 0;
    for (uint32_t i = 0; i < host->port_count; i++)
        is_known |= host->ports[i] == port;
    if (!is_known)
        host->ports[host->port_count++] = port;
}

void host_add_config(struct host *host, const struct config *config, uint32_t reactors)
{
    uint64_t sum, backlog = HOST_UNLIMITED;
    bool is_missed = true;
    host->reactors = reactors;
    host->listeners = config->listener_count;
    host->port_count = 0;
    host->is_limited_by_listeners = false;
    host->tables = config->reactor_descriptors == DESCRIPTORS_PRIVATE ? reactors : 1;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        uint64_t own = listener->backlog > 0 ? (uint64_t)listener->backlog : SOMAXCONN;
        backlog = own < backlog ? own : backlog;
        is_missed &= listener->tcp_keepalive_s > 0;
        add_port(host, listener->port);
    }
    set(host, HOST_BACKLOG, backlog);
    if (config->reactor_descriptors == DESCRIPTORS_PRIVATE)
        set(host, HOST_OWN_TABLES, descriptor_table_probe() == 0);
    set(host, HOST_DEAD_PEERS, is_missed || config->max_keepalive_s);
    set_limit(host, HOST_MAX_CONNECTIONS, config->global_max_connections);
    if (sum_connections(config, &sum)) {
        set_limit(host, HOST_MAX_CONNECTIONS, sum);
        host->is_limited_by_listeners =
            host->values[HOST_MAX_CONNECTIONS] == sum && sum != config->global_max_connections;
    }
    set_limit(host, HOST_MAX_CLIENTS, config->global_max_clients);
    set_limit(host, HOST_MEMORY_LIMIT, config->memory_limit_bytes);
}
