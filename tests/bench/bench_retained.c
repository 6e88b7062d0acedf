/*
 * bench_retained.c: what the retained store costs with 1 k to 1 M messages.
 *
 * Topics are fleet/N/temp with a payload of 10 bytes. set: replacing the message of a random topic.
 * get: a random topic. walk: a cursor over "#", per message given. leap: a cursor over "+/N/temp"
 * for one N of many, per node it counted. ns, medians of ROUNDS.
 *
 * usage: bench_retained [largest N]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "route/retained.h"

#define ROUNDS 7
#define OPERATIONS 100000u

struct bench {
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct retained *retained;
    uint64_t random;
    uint32_t count;
};

static uint32_t bench_random(struct bench *bench)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return (uint32_t)((bench->random >> 32) * bench->count >> 32);
}

static struct message *bench_message(uint32_t n)
{
    char topic[32];
    int len = sprintf(topic, "fleet/%07u/temp", n);
    struct publication pub = {
        .topic = slice_of(topic, (size_t)len),
        .payload = SLICE_LIT("23.4567890"),
    };
    struct message *message = publication_message(&pub);
    BUG_ON(!message);
    return message;
}

static void bench_set(struct bench *bench, uint32_t n)
{
    struct message *message = bench_message(n);
    BUG_ON(retained_set(bench->retained, bench->me, message));
    message_unref(message, 1);
}

static double round_set(struct bench *bench)
{
    uint64_t begin = clock_real_ns();
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        bench_set(bench, bench_random(bench));
        if (i % 32 == 0)
            epoch_quiescent(bench->me, 64);
    }
    return (double)(clock_real_ns() - begin) / OPERATIONS;
}

static double round_get(struct bench *bench)
{
    uint64_t begin = clock_real_ns();
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        char topic[32];
        int len = sprintf(topic, "fleet/%07u/temp", bench_random(bench));
        struct message *message = retained_get(bench->retained, slice_of(topic, (size_t)len), 1);
        BUG_ON(!message);
        message_unref(message, 1);
    }
    return (double)(clock_real_ns() - begin) / OPERATIONS;
}

static double bench_cursor(struct bench *bench, const char *filter, bool per_node)
{
    struct retained_cursor *cursor = retained_cursor_new(slice_str(filter));
    struct message *message;
    uint64_t given = 0, nodes = 0, begin = clock_real_ns();
    enum retained_step step = RETAINED_AGAIN;
    while (step != RETAINED_END) {
        struct retained_visit visit = {.now_tick = 1, .nodes = 1000};
        while ((step = retained_cursor_next(bench->retained, cursor, &visit, &message)) ==
               RETAINED_MESSAGE) {
            given++;
            message_unref(message, 1);
        }
        nodes += 1000 - visit.nodes;
    }
    BUG_ON(given == 0);
    retained_cursor_free(cursor);
    return (double)(clock_real_ns() - begin) / (double)(per_node ? nodes : given);
}

static double round_walk(struct bench *bench)
{
    return bench_cursor(bench, "#", false);
}

static double round_leap(struct bench *bench)
{
    return bench_cursor(bench, "+/0000500/temp", true);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double bench_median(struct bench *bench, double (*round)(struct bench *bench))
{
    double rounds[ROUNDS];
    for (uint32_t i = 0; i < ROUNDS; i++)
        rounds[i] = round(bench);
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare_doubles);
    return rounds[ROUNDS / 2];
}

static void bench_one(uint32_t count)
{
    struct bench *bench = aligned_alloc(64, sizeof(*bench));
    memset(bench, 0, sizeof(*bench));
    bench->random = 88172645463325252u;
    bench->count = count;
    epoch_domain_init(&bench->domain);
    bench->me = epoch_join(&bench->domain, NULL);
    bench->retained = retained_new(64);
    size_t empty = mem_used_bytes();
    for (uint32_t i = 0; i < count; i++)
        bench_set(bench, (uint32_t)((uint64_t)i * 7919 % count));
    double bytes = (double)(mem_used_bytes() - empty) / count;
    double set = bench_median(bench, round_set), get = bench_median(bench, round_get);
    double walk = bench_median(bench, round_walk), leap = bench_median(bench, round_leap);
    printf("%9u %8.0f %8.0f %8.0f %8.0f %8.1f\n", count, set, get, walk, leap, bytes);
    epoch_drain(&bench->domain);
    retained_free(bench->retained);
    free(bench);
}

int main(int argc, char **argv)
{
    uint32_t largest = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    printf("%9s %8s %8s %8s %8s %8s\n", "N", "set", "get", "walk", "leap", "bytes");
    for (uint32_t count = 1000; count <= largest; count *= 10)
        bench_one(count);
    return 0;
}
