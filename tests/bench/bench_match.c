/*
 * bench_match.c: what a match costs with 1 k to 1 M subscriptions, and what a subscription costs in
 * memory.
 *
 * Each pattern is filled with N subscriptions of their own, one per device. "hot" asks for the same
 * 64 topics over and over; "random" for a random device each time, so that with 1 M of them every
 * look-up misses the caches, as it does in a broker with a fleet. Topics are written by hand into
 * one buffer, and what that costs is measured and taken off. Medians of ROUNDS.
 *
 * usage: bench_match [largest N]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "route/index.h"

#define ROUNDS 9
#define MATCHES_PER_ROUND 200000u
#define HOT 64u

struct pattern {
    const char *name;
    const char *filter_before, *filter_after;
    const char *topic_before, *topic_after;
    uint32_t matches; /* for each topic */
};

static const struct pattern patterns[] = {
    {"exact  fleet/site07/N/temp", "fleet/site07/", "/temp", "fleet/site07/", "/temp", 1},
    {"+      site/N/+/temp", "site/", "/+/temp", "site/", "/3/temp", 1},
    {"+      +/N/temp", "+/", "/temp", "site/", "/temp", 1},
    {"#      fleet/N/#", "fleet/", "/#", "fleet/", "/a/temp", 1},
};

struct bench {
    struct slots slots;
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct index *index;
    struct index_matches matches;
    uint64_t random;
};

static struct bench *bench_new(void)
{
    struct bench *bench = aligned_alloc(64, sizeof(*bench));
    memset(bench, 0, sizeof(*bench));
    bench->random = 88172645463325252u;
    slots_init(&bench->slots);
    epoch_domain_init(&bench->domain);
    bench->me = epoch_join(&bench->domain, NULL);
    bench->index = index_new(64, &bench->slots, 1);
    return bench;
}

static void bench_free(struct bench *bench)
{
    epoch_drain(&bench->domain);
    index_free(bench->index);
    index_matches_fini(&bench->matches);
    slots_fini(&bench->slots);
    free(bench);
}

/* "1234567" with all seven digits: 25 bytes of topic for every N. */
static size_t write_text(char *text, const char *before, uint32_t n, const char *after)
{
    size_t at = strlen(before), tail = strlen(after);
    memcpy(text, before, at);
    for (uint32_t i = 7; i-- > 0; n /= 10)
        text[at + i] = (char)('0' + n % 10);
    memcpy(text + at + 7, after, tail);
    return at + 7 + tail;
}

static void bench_fill(struct bench *bench, const struct pattern *pattern, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[64];
        struct topic_filter filter;
        struct index_place place;
        size_t len = write_text(text, pattern->filter_before, i, pattern->filter_after);
        BUG_ON(topic_filter_parse(slice_of(text, len), &filter) != NULL);
        BUG_ON(index_add(bench->index, bench->me, &filter,
                         index_subscriber_make(i % 1000000 + 1, 0, 0, false, false), &place));
        if (i % 64 == 0)
            epoch_quiescent(bench->me, 64);
    }
}

static uint32_t bench_random(struct bench *bench, uint32_t end)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return (uint32_t)((bench->random >> 32) * end >> 32);
}

/* ns per topic of one round; `with_match` false: what writing the topics costs. */
static double bench_round(struct bench *bench, const struct pattern *pattern, uint32_t spread,
                          uint32_t count, bool with_match)
{
    struct index_query query = {0};
    uint64_t found = 0, sum = 0, begin = clock_real_ns();
    for (uint32_t i = 0; i < MATCHES_PER_ROUND; i++) {
        char text[64];
        uint32_t n = bench_random(bench, spread) * (count / spread);
        size_t len = write_text(text, pattern->topic_before, n, pattern->topic_after);
        sum += (uint8_t)text[len - 1] + (uint8_t)text[len / 2];
        if (!with_match)
            continue;
        BUG_ON(index_match(bench->index, slice_of(text, len), &query, &bench->matches));
        found += bench->matches.count;
    }
    uint64_t spent = clock_real_ns() - begin;
    BUG_ON(with_match && found != (uint64_t)MATCHES_PER_ROUND * pattern->matches);
    BUG_ON(sum == 0);
    return (double)spent / MATCHES_PER_ROUND;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double bench_median(struct bench *bench, const struct pattern *pattern, uint32_t spread,
                           uint32_t count, bool with_match)
{
    double rounds[ROUNDS];
    bench_round(bench, pattern, spread, count, with_match);
    for (uint32_t i = 0; i < ROUNDS; i++)
        rounds[i] = bench_round(bench, pattern, spread, count, with_match);
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare_doubles);
    return rounds[ROUNDS / 2];
}

static double bench_net(struct bench *bench, const struct pattern *pattern, uint32_t spread,
                        uint32_t count)
{
    double net = bench_median(bench, pattern, spread, count, true) -
                 bench_median(bench, pattern, spread, count, false);
    return net > 0 ? net : 0;
}

static void bench_one(const struct pattern *pattern, uint32_t count, double *hot, double *random,
                      double *bytes)
{
    struct bench *bench = bench_new();
    size_t empty = mem_used_bytes();
    bench_fill(bench, pattern, count);
    while (epoch_quiescent(bench->me, 1u << 20))
        ;
    *bytes = (double)(mem_used_bytes() - empty) / count;
    *hot = bench_net(bench, pattern, HOT, count);
    *random = bench_net(bench, pattern, count, count);
    bench_free(bench);
}

/* "a/a/+/.../b" of 200 levels: the first '+' at `root`, then one per bit, and no topic ends in b.
 */
static void write_hostile(char *text, uint32_t root, uint32_t bits)
{
    for (uint32_t i = 0; i < 2 * TOPIC_LEVELS_MAX; i++)
        text[i] = i % 2 ? '/' : 'a';
    text[2 * root] = '+';
    for (uint32_t i = root + 1; i < TOPIC_LEVELS_MAX && i < root + 33; i++)
        text[2 * i] = bits >> (i - root - 1) & 1 ? '+' : 'a';
    text[2 * TOPIC_LEVELS_MAX - 2] = 'b';
}

static uint32_t hostile_add(struct bench *bench, const char *text)
{
    struct topic_filter filter;
    struct index_place place;
    BUG_ON(topic_filter_parse(slice_of(text, 2 * TOPIC_LEVELS_MAX - 1), &filter) != NULL);
    return !index_add(bench->index, bench->me, &filter,
                      index_subscriber_make(1, 0, 0, false, false), &place);
}

/* What one client can make a publish to a topic of 200 levels cost, with 100,000 filters. */
static void bench_hostile(void)
{
    struct bench *bench = bench_new();
    uint32_t accepted = 0, tried = 0;
    char text[2 * TOPIC_LEVELS_MAX];
    for (uint32_t root = 0; root < TOPIC_LEVELS_MAX - 1; root++) {
        for (uint32_t bits = 0; bits < 500; bits++, tried++) {
            write_hostile(text, root, bits);
            accepted += hostile_add(bench, text);
        }
        epoch_quiescent(bench->me, 1u << 20);
    }
    struct index_query query = {0};
    for (uint32_t i = 0; i < 2 * TOPIC_LEVELS_MAX; i++)
        text[i] = i % 2 ? '/' : 'a';
    uint64_t begin = clock_real_ns();
    for (uint32_t i = 0; i < 20; i++)
        BUG_ON(index_match(bench->index, slice_of(text, 2 * TOPIC_LEVELS_MAX - 1), &query,
                           &bench->matches));
    printf("hostile: %u filters of 200 levels tried, %u accepted: %.2f ms a publish\n", tried,
           accepted, (double)(clock_real_ns() - begin) / 20e6);
    bench_free(bench);
}

int main(int argc, char **argv)
{
    uint32_t largest = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    printf("%-28s %9s %9s %11s %9s\n", "pattern", "N", "hot ns", "random ns", "bytes");
    for (size_t p = 0; p < ARRAY_COUNT(patterns); p++) {
        double hot = 0, random = 0, bytes = 0, first_hot = 0, first_random = 0;
        for (uint32_t count = 1000; count <= largest; count *= 10) {
            bench_one(&patterns[p], count, &hot, &random, &bytes);
            if (count == 1000) {
                first_hot = hot;
                first_random = random;
            }
            printf("%-28s %9u %9.0f %11.0f %9.1f\n", patterns[p].name, count, hot, random, bytes);
        }
        printf("%-28s %9s %8.2fx %10.2fx\n", "", "ratio", hot / first_hot, random / first_random);
    }
    bench_hostile();
    return 0;
}
