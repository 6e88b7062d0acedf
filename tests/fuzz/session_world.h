/*
 * session_world.h: a broker whose clock, random numbers and memory belong to the fuzzer, so that an
 * input does the same each time.
 *
 * The clock stands still but for `world.step_ns` each time somebody looks at it: a large step is a
 * slow machine, on which every budget of time is used up at once. Any allocation of the broker can
 * be made to fail. For one .c file: it defines mem_*, clock_gettime() and getrandom().
 */
#ifndef TESTS_FUZZ_SESSION_WORLD_H
#define TESTS_FUZZ_SESSION_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/conn/failing_memory.h"

#define HARNESS_ASSERTS
#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), abort())
#define assert_true(what) ((what) ? (void)0 : fail_msg("%s:%d: %s", __FILE__, __LINE__, #what))
#define assert_int_equal(a, b)                                                      \
    ((a) == (b) ? (void)0                                                           \
                : fail_msg("%s:%d: %s is %llu, %s is %llu", __FILE__, __LINE__, #a, \
                           (unsigned long long)(a), #b, (unsigned long long)(b)))
#include "tests/unit/conn/harness.h"
#include "tests/unit/conn/harness_check.h"
#include "admin/admin.h"
#include "conn/review.h"

#define WORLD_START_S 1000000
#define WORLD_STEP_NS 1000

static struct {
    bool is_on; /* within an input: else the clock is the machine's, and memory never fails */
    int64_t now_ns;
    uint32_t step_ns;
    uint64_t random;
    uint32_t fail_at,
        fail_count; /* allocations from now until one fails, and how many then; 0: none */
} world;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (!world.is_on || id != CLOCK_MONOTONIC)
        return (int)syscall(SYS_clock_gettime, id, ts);
    world.now_ns += world.step_ns;
    ts->tv_sec = world.now_ns / 1000000000;
    ts->tv_nsec = world.now_ns % 1000000000;
    return 0;
}

ssize_t getrandom(void *bytes, size_t count, unsigned flags)
{
    if (!world.is_on)
        return syscall(SYS_getrandom, bytes, count, flags);
    for (size_t i = 0; i < count; i++) {
        world.random = world.random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(world.random >> 56);
    }
    return (ssize_t)count;
}

static bool memory_fails(void)
{
    if (!world.fail_count)
        return false;
    if (world.fail_at) {
        world.fail_at--;
        return false;
    }
    world.fail_count--;
    return true;
}

/* ---- what must be the same before and after ---- */

static int64_t memory_now(void)
{
    return atomic_load(&mem_settled_bytes) + mem_unsettled_bytes;
}

/* The lowest descriptor that is free. */
static int descriptor_now(void)
{
    int fd = dup(STDERR_FILENO);
    BUG_ON(fd < 0);
    close(fd);
    return fd;
}

/* ---- an authentication method of two steps ---- */

static enum auth_verdict two_steps(void *ctx, void **state, struct slice data, struct slice *reply,
                                   struct slice *user_name)
{
    (void)ctx;
    bool is_first = !*state;
    if (is_first)
        BUG_ON(!(*state = malloc(4)));
    memcpy(*state, "more", 4);
    if (data.len == 1 && *data.ptr == '!')
        return AUTH_BAD_CREDENTIALS;
    *reply = slice_of(*state, 4);
    if (is_first && data.len != 1)
        return AUTH_CONTINUE;
    *user_name = SLICE_LIT("anna");
    return AUTH_ALLOW;
}

static void two_steps_end(void *ctx, void *state)
{
    (void)ctx;
    free(state);
}

/* ---- configurations: sessions end after a day, so that everything comes to an end ---- */

#define COMMON \
    "persistent_client_expiration 1d\nallow_anonymous true\nconnect_timeout 20\nsys_interval 3\n"
#define LISTENERS "listener 1883\n%s\nlistener 1884\nprotocol websockets\n"

static const char *const configs[][2] = {
    {"", ""},
    {"max_inflight_messages 2\nmax_queued_messages 3\nqueue_policy drop_oldest\n"
     "queue_qos0_messages true\n",
     ""},
    {"max_inflight_messages 1\nmax_queued_messages 2\nqueue_policy disconnect\n", ""},
    {"memory_limit 1300000\n", ""},
    {"max_queued_bytes 3000\nmax_inflight_bytes 2000\nupgrade_outgoing_qos true\n",
     "mount_point m/\n"},
    {"max_packet_size 400\nreceive_maximum 2\nserver_reference other:1\n", "max_topic_alias 2\n"},
    {"allow_duplicate_messages false\nshare_policy sticky\nretain_expiry_interval 1\n",
     "max_connections 4\n"},
    {"share_policy hash_topic\nmessage_size_limit 100\nglobal_max_clients 4\nmax_keepalive 20\n",
     "max_qos 1\n"},
};

static const char *world_config(uint8_t which)
{
    static char text[1024];
    which %= ARRAY_COUNT(configs);
    snprintf(text, sizeof(text), COMMON "%s" LISTENERS, configs[which][0], configs[which][1]);
    return text;
}

static struct harness *world_begin(uint32_t reactors, uint8_t which, bool has_admin)
{
    static const struct auth_method method = {.name = "M", .step = two_steps, .end = two_steps_end};
    world.now_ns = WORLD_START_S * 1000000000ll;
    world.step_ns = WORLD_STEP_NS;
    world.random = 1;
    world.fail_count = 0;
    world.is_on = true;
    atomic_store(clock_turned_ms, 0);
    struct harness *h = harness_new(reactors, world_config(which));
    h->group->read_budget_ns = h->group->last_read_budget_ns = 1000000; /* of turned time */
    BUG_ON(auth_add_method(h->broker.auth, &method));
    h->broker.started_ms = clock_now_ms();
    if (has_admin) {
        admin_install(&h->broker);
        admin_begin(&h->broker);
    }
    return h;
}

static void world_end(struct harness *h, bool has_admin)
{
    epoch_drain(h->group->epochs);
    if (has_admin)
        admin_uninstall(&h->broker);
    harness_free_now(h);
    world.is_on = false;
}

#endif
