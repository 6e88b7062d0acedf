/*
 * main.c: dunlin-bench, a load tool for MQTT brokers: from the command line to the report.
 *
 *   dunlin-bench telemetry --clients 10000 --rate 5000 --pid $(pidof dunlin)
 *
 * The main thread gives orders and measures (measure.c); the workers follow them at each turn.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/flow.h"
#include "bench/measure.h"
#include "bench/process.h"

#define STAY_LOOK_MS 200

static struct load load;
static struct result result;

#if defined(__SANITIZE_THREAD__)
/* ThreadSanitizer takes equal descriptors of two tables for the same one; what it finds elsewhere
 * than at the calls that take a descriptor is shown. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
#define TOP(call) "race_top:^__interceptor_" call "$\n"
    return TOP("socket") TOP("bind") TOP("connect") TOP("send") TOP("recv") TOP("close")
        TOP("epoll_create1") TOP("epoll_ctl") TOP("epoll_wait") TOP("epoll_pwait2");
#undef TOP
}
#endif

/* ---- what must be true before it begins ---- */

static void resolve_peer(void)
{
    const struct options *o = &load.options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char port[8], host[64];
    snprintf(port, sizeof port, "%u", o->port);
    hints.ai_family = o->source_count ? AF_INET : AF_UNSPEC;
    int error = getaddrinfo(o->host, port, &hints, &found);
    if (error)
        bench_fail("--host %s: %s%s", o->host, gai_strerror(error),
                   o->source_count ? " (an IPv4 address is wanted, because of --source)" : "");
    memcpy(&load.peer, found->ai_addr, found->ai_addrlen);
    load.peer_len = found->ai_addrlen;
    getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST);
    snprintf(load.peer_text, sizeof load.peer_text, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
             port);
    freeaddrinfo(found);
}

/* The soft limit of descriptors is raised to the hard one; it counts for each thread. */
static void check_descriptors(void)
{
    struct rlimit limit;
    uint32_t most = 0;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (uint32_t i = 0; i < load.worker_count; i++)
        if (load.workers[i].client_count > most)
            most = load.workers[i].client_count;
    uint64_t room = limit.rlim_cur > WORKER_DESCRIPTORS ? limit.rlim_cur - WORKER_DESCRIPTORS : 0;
    load.fits_one_table =
        load.client_count + (uint64_t)load.worker_count * WORKER_DESCRIPTORS <= limit.rlim_cur;
    if (most <= room)
        return;
    if (!room)
        bench_fail("too few descriptors: a thread needs %u beside those of its connections, and the"
                   " limit is %lu for each (`ulimit -Hn`)",
                   WORKER_DESCRIPTORS, (unsigned long)limit.rlim_cur);
    if (scenario_is_flow(load.scenario) && load.crew == flow_groups(&load))
        bench_fail("too few descriptors: a group of %u connections belongs to one thread, which has"
                   " %lu (`ulimit -Hn`). Smaller groups, more of them, or a higher limit: as root,"
                   " ulimit -Hn %u",
                   most, (unsigned long)limit.rlim_cur, most + WORKER_DESCRIPTORS);
    bench_fail(
        "too few descriptors: a thread is to have %u connections, and the limit is %lu for"
        " each (`ulimit -Hn`). --threads %lu would do%s",
        most, (unsigned long)limit.rlim_cur, (unsigned long)((load.client_count + room - 1) / room),
        scenario_is_flow(load.scenario) ? ", with as many groups (--dashboards, --groups)" : "");
}

/* The range of loopback addresses that has `ports` of its own for each so many connections. */
static const char *addresses_for(uint32_t connections, uint32_t ports)
{
    static char text[64];
    char last[INET_ADDRSTRLEN];
    struct in_addr address = {htonl(INADDR_LOOPBACK + 1 + connections / (ports * 9 / 10))};
    snprintf(text, sizeof text, "127.0.0.2-%s", inet_ntop(AF_INET, &address, last, sizeof last));
    return text;
}

static void check_ports(void)
{
    unsigned first = 32768, last = 60999;
    uint32_t sources = load.options.source_count ? load.options.source_count : 1;
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (f && fscanf(f, "%u %u", &first, &last) != 2)
        first = 32768, last = 60999;
    if (f)
        fclose(f);
    uint32_t ports = last - first + 1, each = (load.client_count + sources - 1) / sources;
    const char *more = addresses_for(load.client_count, ports / 2);
    if (each > ports)
        bench_fail("too few ports: %u connections to one broker from %u address%s, which has %u"
                   " ports for them (/proc/sys/net/ipv4/ip_local_port_range)%s."
                   " With more addresses: --source %s",
                   load.client_count, sources, sources > 1 ? "es" : "", ports,
                   sources > 1 ? " each" : "", more);
    if (each > ports / 2)
        fprintf(stderr,
                "dunlin-bench: %u connections from each address are more than half of its %u ports:"
                " the kernel gives every second one first, and then searches all of them at each"
                " connection. Much faster: --source %s\n",
                each, ports, more);
}

static void check_pid(void)
{
    int pid = (int)load.options.pid;
    if (pid && !process_cpu_ns(pid))
        bench_fail("--pid %d: %s", pid,
                   kill(pid, 0) && errno == ESRCH
                       ? "there is no such process"
                       : "its /proc/PID/task/*/schedstat has no figures");
}

/* ---- workers ---- */

static void plan_workers(void)
{
    const struct options *o = &load.options;
    load.crew = o->threads;
    if (scenario_is_flow(load.scenario) && load.crew > flow_groups(&load))
        load.crew = flow_groups(&load); /* a group belongs to one worker */
    if (!scenario_is_flow(load.scenario) && load.crew > o->clients)
        load.crew = o->clients;
    load.worker_count = load.crew + (o->witnesses > 0);
    load.workers = bench_zalloc(load.worker_count, sizeof *load.workers);
    for (uint32_t i = 0; i < load.worker_count; i++) {
        struct worker *w = &load.workers[i];
        w->load = &load;
        w->number = i;
        w->witness = i == load.crew;
        w->does = w->witness ? &flow_behaviour : load.scenario->behaviour;
        worker_plan(w);
        for (uint32_t j = 0; j < w->client_count; j++)
            w->clients[j].number = load.client_count + j;
        load.client_count += w->client_count;
        load.crew_clients += w->witness ? 0 : w->client_count;
    }
}

static pthread_t *start_workers(void)
{
    pthread_t *threads = bench_zalloc(load.worker_count, sizeof *threads);
    bool connects = load.scenario->steps[0].phase == PHASE_CONNECT;
    if (connects)
        load.spans[PHASE_CONNECT].to_ns = UINT64_MAX;
    atomic_store(&load.order, PHASE_CONNECT | 1u << 8);
    for (uint32_t i = 0; i < load.worker_count; i++) {
        int error = pthread_create(&threads[i], NULL, worker_main, &load.workers[i]);
        if (error)
            bench_fail("thread %u of %u: %s", i + 1, load.worker_count, strerror(error));
    }
    return threads;
}

static void stop_workers(pthread_t *threads)
{
    atomic_store(&load.order, PHASE_QUIT);
    for (uint32_t i = 0; i < load.worker_count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

/* ---- the whole ---- */

/* The first ^C ends the measuring and reports; the second ends the program. */
static void on_interrupt(int number)
{
    signal(number, SIG_DFL);
    atomic_store(&load.stop, true);
}

/* Until standard input ends or we are told to stop, which may have been a moment ago. */
static void stay(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char bytes[256];
    while (!atomic_load(&load.stop)) {
        if (poll(&input, 1, STAY_LOOK_MS) > 0 && read(STDIN_FILENO, bytes, sizeof bytes) <= 0)
            return;
    }
}

int main(int argc, char **argv)
{
    const struct options *o = &load.options;
    options_parse(&load.options, argc, argv);
    options_complete(&load.options);
    load.scenario = scenario_find(o->scenario);
    load.start_ns = bench_clock_ns();
    load.run = (uint32_t)(load.start_ns ^ (uint64_t)getpid() << 20);
    srandom(20);
    check_pid();
    resolve_peer();
    result.start.own_rss = process_rss_bytes((int)getpid());
    plan_workers();
    check_descriptors();
    check_ports();
    signal(SIGPIPE, SIG_IGN);
    struct broker_sys *sys = o->pid && !o->bare ? broker_sys_start(&load) : NULL;
    measure_start(&load, &result);
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    pthread_t *threads = start_workers();
    measure_steps(&load, &result, sys);
    (o->json ? report_json : report_text)(&load, &result);
    if (o->hold)
        stay();
    stop_workers(threads);
    broker_sys_stop(sys);
    return result_is_good(&result) ? 0 : 3;
}
