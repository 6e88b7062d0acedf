/*
 * bench_mailbox.c: what it costs to tell another reactor: ns per record, by records per hand-over.
 *
 * "one thread": post, hand over and run on one thread: the instructions alone. "two threads": one
 * posts batches as fast as it can while not congested, the other runs what arrives, both never
 * asleep: the time per record at the receiver, cache misses included. "ping-pong": two started
 * reactors that sleep, one record there and back: mostly the kernel waking a thread.
 * A record has 24 bytes of payload: a message, a session, options.
 * Usage: bench_mailbox [millions of records per row]
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/mailbox.h"
#include "runtime/reactor.h"

enum { MAIL_COUNTED, MAIL_BALL };

#define BALLS 20000u

struct payload {
    void *message;
    uint64_t session, options;
};

static uint64_t sum; /* the receiver's; what arrives is used */
static _Atomic uint32_t balls;

static void on_counted(struct reactor *reactor, void *arg, uint32_t bytes)
{
    struct payload *payload = arg;
    (void)reactor, (void)bytes;
    sum += payload->session;
}

static void on_ball(struct reactor *reactor, void *payload, uint32_t bytes)
{
    (void)payload, (void)bytes;
    if (atomic_fetch_add_explicit(&balls, 1, memory_order_relaxed) < BALLS)
        BUG_ON(!mailbox_post(reactor, !reactor->index, MAIL_BALL, 0));
}

static struct reactor_group *group_new(void)
{
    struct reactor_group *group = reactor_group_new(2, NULL);
    group->mail_handlers[MAIL_COUNTED] = on_counted;
    group->mail_handlers[MAIL_BALL] = on_ball;
    return group;
}

static void post_batch(struct reactor *from, uint32_t records)
{
    for (uint32_t i = 0; i < records; i++) {
        struct payload *payload = mailbox_post(from, 1, MAIL_COUNTED, sizeof *payload);
        BUG_ON(!payload);
        *payload = (struct payload){.message = from, .session = 1, .options = i};
    }
    mailbox_flush(from);
}

static double one_thread_ns(uint64_t records, uint32_t batch)
{
    struct reactor_group *group = group_new();
    uint64_t start_ns = clock_real_ns(), run = 0;
    while (run < records) {
        post_batch(&group->reactors[0], batch);
        run += mailbox_run(&group->reactors[1], UINT64_MAX);
    }
    double ns = (double)(clock_real_ns() - start_ns) / (double)run;
    reactor_group_free(group);
    return ns;
}

struct sender {
    struct reactor *reactor;
    uint64_t records;
    uint32_t batch;
};

static void *sender_main(void *arg)
{
    struct sender *sender = arg;
    for (uint64_t sent = 0; sent < sender->records; sent += sender->batch) {
        while (mailbox_is_congested(sender->reactor))
            sched_yield();
        post_batch(sender->reactor, sender->batch);
    }
    return NULL;
}

static double two_threads_ns(uint64_t records, uint32_t batch)
{
    struct reactor_group *group = group_new();
    records = (records + batch - 1) / batch * batch;
    struct sender sender = {.reactor = &group->reactors[0], .records = records, .batch = batch};
    pthread_t thread;
    uint64_t start_ns = clock_real_ns(), run = 0;
    BUG_ON(pthread_create(&thread, NULL, sender_main, &sender));
    while (run < records)
        run += mailbox_run(&group->reactors[1], UINT64_MAX);
    double ns = (double)(clock_real_ns() - start_ns) / (double)records;
    pthread_join(thread, NULL);
    reactor_group_free(group);
    return ns;
}

static double ping_pong_ns(void)
{
    struct reactor_group *group = group_new();
    atomic_store(&balls, 0);
    BUG_ON(reactor_group_start(group));
    uint64_t start_ns = clock_real_ns();
    BUG_ON(mailbox_send(group, 0, MAIL_BALL, NULL, 0));
    while (atomic_load(&balls) < BALLS)
        sched_yield();
    double ns = (double)(clock_real_ns() - start_ns) / BALLS;
    reactor_group_stop(group);
    reactor_group_join(group);
    reactor_group_free(group);
    return ns;
}

int main(int argc, char **argv)
{
    static const uint32_t batches[] = {1, 4, 16, 64, 256, 1024, 8192};
    uint64_t records = (argc > 1 ? strtoull(argv[1], NULL, 10) : 10) * 1000000;
    printf("records per hand-over   one thread   two threads   (ns per record of 24 bytes)\n");
    for (size_t i = 0; i < ARRAY_COUNT(batches) && records; i++) {
        printf("%21u   %10.1f   %11.1f\n", batches[i], one_thread_ns(records, batches[i]),
               two_threads_ns(records, batches[i]));
        fflush(stdout);
    }
    printf("ping-pong of sleeping reactors: %.0f ns each way\n", ping_pong_ns());
    return sum == 0;
}
