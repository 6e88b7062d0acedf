/*
 * bench_sessions.c: what a session costs in memory, and what finding one costs in time, with all of
 * the broker but the sockets.
 *
 * N sessions (1 k, 10 k, 100 k, 1 M, 5 M; each in a process of its own) as the broker has them while
 * their clients are connected and idle: session, slot, entry in the session table, one exact
 * subscription of its own ("fleet/<id>/cmd", client id of 20 bytes) in the routing index, a struct
 * connection in a slab, armed for keepalive. Then:
 *   create    all of the above for one
 *   find      the session table, ids in random order
 *   publish   index_match for the topic of a random one
 *   end       all of it taken away again, in random order
 *   again     the same sessions once more: RSS then, to that of the first time
 * RSS is what /proc/self/statm says the process grew by; counted is mem_used_bytes(). The kernel's
 * part of a connection (sockets, epoll) is not in it; run.py's idle-10k measures over the wire.
 *
 * Usage: bench_sessions [most sessions, default 5000000]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conn/attach.h"
#include "conn/connection.h"
#include "route/index.h"
#include "runtime/pages.h"
#include "runtime/slots.h"
#include "runtime/timing_heap.h"
#include "session/session.h"
#include "session/session_table.h"

#define ID_BYTES 20
#define PROBES 1000000u

/* The tables of a broker with one reactor. */
struct rig {
    struct slots slots;
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct index *index;
    struct index_matches matches;
    struct session_table *table;
    struct slab connections;
    struct timing_heap *keepalive;
    uint32_t *handles; /* [count] of connections, by number */
};

static void rig_init(struct rig *rig, uint32_t count)
{
    slots_init(&rig->slots);
    epoch_domain_init(&rig->domain);
    rig->me = epoch_join(&rig->domain, NULL);
    rig->index = index_new(64, &rig->slots, 1);
    rig->table = session_table_new(&rig->slots);
    slab_init(&rig->connections, sizeof(struct connection));
    rig->keepalive = timing_heap_new(&rig->connections, offsetof(struct connection, timer));
    rig->handles = malloc(count * sizeof(*rig->handles));
    memset(rig->handles, 1, count * sizeof(*rig->handles)); /* ours, not the sessions' */
}

static size_t rss_bytes(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    BUG_ON(!file || fscanf(file, "%*u %zu", &pages) != 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static struct slice id_of(uint32_t number, char buffer[32])
{
    return slice_of(buffer, (size_t)snprintf(buffer, 32, "sensor-%013u", number));
}

static struct slice topic_of(uint32_t number, char buffer[64])
{
    char id[32];
    return slice_of(buffer,
                    (size_t)snprintf(buffer, 64, "fleet/%.*s/cmd", SLICE_ARG(id_of(number, id))));
}

static void subscribe(struct rig *rig, struct session *session, uint32_t number)
{
    char buffer[64];
    struct topic_filter filter;
    struct index_place place;
    BUG_ON(topic_filter_parse(topic_of(number, buffer), &filter) != NULL);
    index_subscriber me = index_subscriber_make(session->slot, 0, 1, false, false);
    BUG_ON(index_add(rig->index, rig->me, &filter, me, &place));
    struct subscription item = {
        .node = place.node,
        .position = place.position,
        .group = place.group,
        .filter_hash = (uint32_t)hash_bytes(filter.full),
    };
    BUG_ON(subscriptions_add(&session->subscriptions, &item));
}

static void create(struct rig *rig, uint32_t number)
{
    char buffer[32];
    struct session_ref old;
    struct session *session = session_new(id_of(number, buffer));
    session->slot = slots_alloc(&rig->slots, session, 0);
    BUG_ON(session_table_insert(rig->table, session, false, &old));
    subscribe(rig, session, number);
    struct connection *connection = slab_alloc(&rig->connections, &rig->handles[number]);
    connection->session = session;
    session->sink = connection;
    BUG_ON(timing_heap_arm(rig->keepalive, rig->handles[number], 1000 + number / 5000));
}

static void end(struct rig *rig, uint32_t number)
{
    struct connection *connection = slab_at(&rig->connections, rig->handles[number]);
    struct session *session = connection->session;
    struct subscription *item = subscriptions_items(&session->subscriptions);
    struct index_place place = {item->node, item->position, item->group};
    timing_heap_cancel(rig->keepalive, rig->handles[number]);
    slab_free(&rig->connections, rig->handles[number]);
    index_remove(rig->index, rig->me, &place);
    subscriptions_remove(&session->subscriptions, item);
    session_table_remove(rig->table, session);
    session->sink = NULL;
    slots_free(&rig->slots, session->slot);
    session_free(session);
    if (number % 256 == 0)
        epoch_quiescent(rig->me, 1000);
}

/* A number below count, in an order that visits each once: odd steps round a power of two. */
static uint32_t scattered(uint32_t *at, uint32_t count)
{
    uint32_t mask = 1;
    while (mask < count)
        mask = mask * 2;
    do
        *at = (*at * 1664525u + 1013904223u) & (mask - 1);
    while (*at >= count);
    return *at;
}

/* What is probed: a random one of `count`. */
typedef void (*probe_fn)(struct rig *rig, uint32_t number);

static void probe_id(struct rig *rig, uint32_t number)
{
    char buffer[32];
    BUG_ON(id_of(number, buffer).len + rig->matches.cap == 0);
}

static void probe_find(struct rig *rig, uint32_t number)
{
    char buffer[32];
    BUG_ON(session_table_find(rig->table, id_of(number, buffer)).slot == 0);
}

static void probe_topic(struct rig *rig, uint32_t number)
{
    char buffer[64];
    BUG_ON(topic_of(number, buffer).len + rig->matches.cap == 0);
}

static void probe_publish(struct rig *rig, uint32_t number)
{
    char buffer[64];
    struct index_query query = {.is_kept = true};
    BUG_ON(index_match(rig->index, topic_of(number, buffer), &query, &rig->matches));
    BUG_ON(rig->matches.count != 1);
}

static double probes_ns(struct rig *rig, uint32_t count, probe_fn probe)
{
    uint32_t at = 1;
    uint64_t start = clock_real_ns();
    for (uint32_t i = 0; i < PROBES; i++)
        probe(rig, scattered(&at, count));
    return (double)(clock_real_ns() - start) / PROBES;
}

/* As reactor 0 does within seconds. */
static void give_back(void)
{
    for (uint32_t round = 0; round < 64; round++) {
        pages_trim_begin();
        while (pages_trim())
            ;
    }
}

static void run(uint32_t count)
{
    static struct rig rig;
    uint32_t at = 1;
    rig_init(&rig, count);
    size_t rss = rss_bytes(), used = mem_used_bytes();
    uint64_t start = clock_real_ns();
    for (uint32_t i = 0; i < count; i++)
        create(&rig, i);
    double created = (double)(clock_real_ns() - start) / count;
    double grown = (double)(rss_bytes() - rss) / count;
    double counted = (double)(mem_used_bytes() - used) / count;
    double found = probes_ns(&rig, count, probe_find) - probes_ns(&rig, count, probe_id);
    double published = probes_ns(&rig, count, probe_publish) - probes_ns(&rig, count, probe_topic);
    start = clock_real_ns();
    for (uint32_t i = 0; i < count; i++)
        end(&rig, scattered(&at, count));
    double ended = (double)(clock_real_ns() - start) / count;
    epoch_drain(&rig.domain);
    double left = (double)((int64_t)mem_used_bytes() - (int64_t)used) / count;
    give_back();
    double kept = (double)((int64_t)rss_bytes() - (int64_t)rss) / count;
    for (uint32_t i = 0; i < count; i++)
        create(&rig, i);
    double again = (double)(rss_bytes() - rss) / count / grown;
    printf("%9u  %9.0f  %9.0f  %9.1f  %8.0f  %5.2f  %7.0f  %6.0f  %7.0f  %6.0f\n", count, grown,
           counted, left, kept, again, created, found, published, ended);
    fflush(stdout);
}

static void print_parts(void)
{
    size_t session = offsetof(struct session, id) + ID_BYTES;
    size_t block = (session + 7) / 8 * 8;
    printf("\nof each session, in bytes:\n"
           "  %5zu  struct connection, in a slab\n"
           "  %5zu  struct session with an id of %d (a block of %zu)\n"
           "         of it %zu the first subscription\n"
           "  %5zu  slot\n"
           "   8 to 21  entry in the session table, which is 3/8 to 3/4 full while it grows\n"
           "  about 5  place in the timing heap (%zu more are in the connection)\n"
           "  the rest: node, key and bucket of the filter in the routing index\n"
           "only while there is something: %zu for what is in flight or queued, %zu for a session\n"
           "that is not connected (in place of the connection)\n",
           sizeof(struct connection), session, ID_BYTES, block, sizeof(struct subscriptions),
           sizeof(struct slot), sizeof(struct timing_node), sizeof(struct flight),
           sizeof(struct offline));
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1000, 10000, 100000, 1000000, 5000000};
    uint32_t most = argc > 1 ? (uint32_t)atoi(argv[1]) : 5000000u;
    printf(" sessions  RSS bytes    counted  left over  RSS left  again   create    find  publish  "
           "   end\n"
           "                each       each       each      each             ns      ns       ns   "
           "   ns\n");
    for (size_t i = 0; i < ARRAY_COUNT(counts) && counts[i] <= most; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            run(counts[i]);
            _exit(0);
        }
        int status;
        BUG_ON(waitpid(child, &status, 0) < 0 || status != 0);
    }
    print_parts();
    return 0;
}
