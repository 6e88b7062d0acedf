/*
 * load.c: a load generator for MQTT brokers; options, workers, the start and the end.
 *
 *   load pairs --port 1883 --pid $(pidof mosquitto) --clients 50 --window 16 --qos 1
 *
 * The main thread sets the phase and measures (load_report.c); the workers follow it at each turn.
 * See README.md for the scenarios and what is counted.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load_report.h"

#define LOAD_OPENING_MAX \
    32 /* connections being made at once, per worker: below any accept queue \
        */
#define LOAD_EVENTS 512
#define LOAD_PAYLOAD_MIN 24 /* struct record */

static const struct scenario scenarios[] = {
    {"pairs", "pairs", 50, flow_plan, flow_turn, true},
    {"fanin", "publishers", 100, flow_plan, flow_turn, true},
    {"fanout", "subscribers", 500, flow_plan, flow_turn, true},
    {"idle", "clients", 1000, hold_plan, hold_turn, false},
    {"ping", "clients", 1000, hold_plan, hold_turn, false},
    {"connect", "clients", 16, hold_plan, hold_turn, false},
};

void load_fail(const char *format, ...)
{
    va_list args;
    fputs("load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void *load_zalloc(size_t count, size_t bytes)
{
    void *ptr = calloc(count, bytes);
    if (!ptr)
        load_fail("no memory");
    return ptr;
}

uint64_t load_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- workers ---- */

void worker_queue(struct worker *w, struct client *c)
{
    BUG_ON(w->queue_count == w->queue_cap);
    w->queue[(w->queue_first + w->queue_count++) % w->queue_cap] = c;
}

static void worker_open_queued(struct worker *w)
{
    while (w->queue_count && w->opening < LOAD_OPENING_MAX) {
        struct client *c = w->queue[w->queue_first];
        w->queue_first = (w->queue_first + 1) % w->queue_cap;
        w->queue_count--;
        c->sent_ns = load_clock_ns();
        client_open(c);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct load *load = w->load;
    struct epoll_event events[LOAD_EVENTS];
    bool pings = strcmp(load->scenario->name, "ping") == 0;
    struct timespec gather = {.tv_nsec = load->options.gather_us * 1000};
    if (gather.tv_nsec)
        prctl(PR_SET_TIMERSLACK, 1);
    while ((w->phase = (enum phase)atomic_load(&load->phase)) != PHASE_QUIT) {
        atomic_store(&w->measuring, atomic_load(&load->measuring));
        w->now_ns = load_clock_ns();
        worker_open_queued(w);
        load->scenario->turn(w);
        worker_flush(w);
        if (gather.tv_nsec && w->phase == PHASE_RUN)
            nanosleep(&gather, NULL);
        int count = epoll_wait(w->epoll, events, LOAD_EVENTS, pings ? 1 : 20);
        for (int i = 0; i < count; i++)
            client_event(events[i].data.ptr, events[i].events);
        worker_flush(w);
    }
    return NULL;
}

static void worker_init(struct worker *w)
{
    struct load *load = w->load;
    uint32_t count = 0;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0)
        load_fail("epoll_create1: %s", strerror(errno));
    w->read_cap = 256 * 1024 + 2 * (size_t)load->options.payload_bytes;
    w->read_buf = load_zalloc(1, w->read_cap);
    for (uint32_t i = 0; i < load->client_count; i++)
        count += load->clients[i].worker == w;
    w->clients = load_zalloc(count + 1, sizeof(struct client *));
    w->queue = load_zalloc(count + 1, sizeof(struct client *));
    w->queue_cap = count + 1;
    for (uint32_t i = 0; i < load->client_count; i++)
        if (load->clients[i].worker == w)
            w->clients[w->client_count++] = &load->clients[i];
    /* Neighbours in the broker's tables must not be neighbours in a pair. */
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)random() % i;
        struct client *c = w->clients[i - 1];
        w->clients[i - 1] = w->clients[j];
        w->clients[j] = c;
    }
    for (uint32_t i = 0; i < count; i++)
        worker_queue(w, w->clients[i]);
}

/* ---- options ---- */

static void usage(FILE *to)
{
    fputs("usage: load SCENARIO [options]\n"
          "  pairs     publishers each to one subscriber   (--clients pairs, 50)\n"
          "  fanin     publishers to one subscriber        (--clients publishers, 100)\n"
          "  fanout    one publisher to subscribers        (--clients subscribers, 500)\n"
          "  idle      connected, subscribed, at rest      (--clients, 1000)\n"
          "  ping      the same, sending PINGREQ           (--clients, 1000; --rate)\n"
          "  connect   cycles of connect and subscribe     (--clients at once, 16; --publish)\n"
          "options:\n"
          "  --host ADDRESS    127.0.0.1             --port PORT       1883\n"
          "  --pid PID         broker to measure     --version 4|5     4\n"
          "  --qos 0|1|2       0                     --payload BYTES   64\n"
          "  --window N        in flight each, 16    --clients N\n"
          "  --seconds S       3                     --warmup S        1\n"
          "  --threads N       1                     --keepalive S     60\n"
          "  --rate N          pings a second, 10000; 0: each after the last\n"
          "  --source A[-B]    addresses to connect from, as 127.0.0.2-127.0.0.9\n"
          "  --gather US       sleep before each turn, so that more comes at once; 0\n"
          "  --own-topics      a topic per publisher, subscribed to with a wildcard\n"
          "  --publish         connect: publish to itself and disconnect in each cycle\n"
          "  --hold            idle: stay after the report until stdin ends\n"
          "  --bare            no MQTT, against the relay\n"
          "  --json            one line of JSON\n",
          to);
}

static uint32_t parse_address(const char *text)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1)
        load_fail("not an IPv4 address: %s", text);
    return ntohl(address.s_addr);
}

static void parse_source(struct options *o, char *text)
{
    char *dash = strchr(text, '-');
    if (dash)
        *dash = 0;
    o->source_first = parse_address(text);
    o->source_count = dash ? parse_address(dash + 1) - o->source_first + 1 : 1;
    if (o->source_count - 1 >= 65536)
        load_fail("--source: the last address is below the first");
}

static double parse_number(const char *name, const char *text, double min, double max)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || value < min || value > max)
        load_fail("--%s: %s is not within %.0f and %.0f", name, text, min, max);
    return value;
}

static const struct option option_table[] = {
    {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},    {"pid", 1, 0, 'P'},
    {"version", 1, 0, 'V'}, {"qos", 1, 0, 'q'},     {"payload", 1, 0, 's'},
    {"window", 1, 0, 'w'},  {"clients", 1, 0, 'c'}, {"seconds", 1, 0, 't'},
    {"warmup", 1, 0, 'u'},  {"threads", 1, 0, 'T'}, {"keepalive", 1, 0, 'k'},
    {"rate", 1, 0, 'r'},    {"source", 1, 0, 'S'},  {"own-topics", 0, 0, 'o'},
    {"publish", 0, 0, 'b'}, {"hold", 0, 0, 'H'},    {"bare", 0, 0, 'B'},
    {"json", 0, 0, 'j'},    {"gather", 1, 0, 'g'},  {"help", 0, 0, '?'},
    {0, 0, 0, 0},
};

/* Options that are a switch or an address. */
static void options_take(struct options *o, int key, char *value)
{
    if (key == 'h')
        o->peer.sin_addr.s_addr = htonl(parse_address(value));
    else if (key == 'S')
        parse_source(o, value);
    else if (key == 'o')
        o->own_topics = true;
    else if (key == 'b')
        o->publish = true;
    else if (key == 'H')
        o->hold = true;
    else if (key == 'B')
        o->bare = true;
    else if (key == 'j')
        o->json = true;
    else {
        usage(stderr);
        exit(2);
    }
}

/* Options that are a number within bounds; false when `key` is none of them. */
static bool options_take_number(struct options *o, int key, const char *name, const char *value)
{
    static const struct {
        int key;
        double min, max;
    } bounds[] = {
        {'p', 1, 65535},   {'P', 1, 1 << 30}, {'V', 4, 5},
        {'q', 0, 2},       {'w', 1, 65535},   {'s', LOAD_PAYLOAD_MIN, 1 << 24},
        {'c', 1, 1 << 24}, {'t', 0.01, 1e6},  {'u', 0, 1e6},
        {'T', 1, 256},     {'k', 0, 65535},   {'r', 0, 1e9},
        {'g', 0, 100000},
    };
    size_t i = 0;
    while (i < ARRAY_COUNT(bounds) && bounds[i].key != key)
        i++;
    if (i == ARRAY_COUNT(bounds))
        return false;
    double number = parse_number(name, value, bounds[i].min, bounds[i].max);
    switch (key) {
    case 'p':
        o->peer.sin_port = htons((uint16_t)number);
        break;
    case 'P':
        o->pid = (int)number;
        break;
    case 'V':
        o->version = (int)number;
        break;
    case 'q':
        o->qos = (int)number;
        break;
    case 's':
        o->payload_bytes = (uint32_t)number;
        break;
    case 'w':
        o->window = (uint32_t)number;
        break;
    case 'c':
        o->clients = (uint32_t)number;
        break;
    case 't':
        o->seconds = number;
        break;
    case 'u':
        o->warmup_s = number;
        break;
    case 'T':
        o->threads = (uint32_t)number;
        break;
    case 'k':
        o->keepalive_s = (uint16_t)number;
        break;
    case 'g':
        o->gather_us = (uint32_t)number;
        break;
    default:
        o->rate = number;
    }
    return true;
}

static void options_parse(struct load *load, int argc, char **argv)
{
    struct options *o = &load->options;
    int key, index = 0;
    *o = (struct options){.version = 4,
                          .payload_bytes = 64,
                          .window = 16,
                          .seconds = 3,
                          .warmup_s = 1,
                          .threads = 1,
                          .rate = 10000,
                          .keepalive_s = 60};
    o->peer.sin_family = AF_INET;
    o->peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    o->peer.sin_port = htons(1883);
    while ((key = getopt_long(argc, argv, "", option_table, &index)) != -1)
        if (!options_take_number(o, key, option_table[index].name, optarg))
            options_take(o, key, optarg);
    if (optind + 1 != argc) {
        usage(stderr);
        exit(2);
    }
    o->scenario = argv[optind];
    for (size_t i = 0; i < ARRAY_COUNT(scenarios); i++)
        if (strcmp(scenarios[i].name, o->scenario) == 0)
            load->scenario = &scenarios[i];
    if (!load->scenario)
        load_fail("no scenario %s", o->scenario);
    if (!o->clients)
        o->clients = load->scenario->clients;
    if (o->bare && (o->qos || !load->scenario->flows))
        load_fail("--bare is for pairs, fanin and fanout at QoS 0");
    if (load->scenario->flows && strcmp(o->scenario, "pairs"))
        o->threads = 1; /* one group belongs to one worker */
}

/* The soft limit of descriptors is raised to the hard one; whether that is enough is said at once.
 */
static void check_descriptors(const struct load *load)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (load->client_count + 16 + load->options.threads > limit.rlim_cur)
        load_fail("%u connections, and descriptors for %lu", load->client_count,
                  (unsigned long)limit.rlim_cur);
}

int main(int argc, char **argv)
{
    static struct load load;
    static struct result result;
    options_parse(&load, argc, argv);
    struct options *o = &load.options;
    if (o->pid && !process_cpu_ns(o->pid))
        load_fail("no process %d, or no /proc/%d/task/*/schedstat", o->pid, o->pid);
    load.run = (uint32_t)(load_clock_ns() ^ (uint64_t)getpid() << 20);
    srandom(20);
    load.workers = load_zalloc(o->threads, sizeof *load.workers);
    load.scenario->plan(&load);
    check_descriptors(&load);
    for (uint32_t i = 0; i < load.client_count; i++)
        load.clients[i].number = i;
    for (uint32_t i = 0; i < o->threads; i++) {
        load.workers[i].load = &load;
        worker_init(&load.workers[i]);
    }
    load_start(&load, &result);
    pthread_t *threads = load_zalloc(o->threads, sizeof *threads);
    for (uint32_t i = 0; i < o->threads; i++)
        if (pthread_create(&threads[i], NULL, worker_main, &load.workers[i]))
            load_fail("no thread");
    load_measure(&load, &result);
    load_report(&load, &result);
    while (o->hold && getchar() != EOF)
        ;
    atomic_store(&load.phase, PHASE_QUIT);
    for (uint32_t i = 0; i < o->threads; i++)
        pthread_join(threads[i], NULL);
    return result.lost || result.end.closed || result.end.refused ? 3 : 0;
}
