/*
 * test_retained_threads.c: reading the retained store while it changes; meant for ThreadSanitizer.
 *
 * Each thread sets and clears topics, gets them, and walks with cursors over several turns. Topics
 * that nobody clears must be given by every walk.
 */
#include "testing.h"

#include <pthread.h>

#include "route/retained.h"

#define THREADS 3u
#define TURNS 1200u
#define TOPICS 60u
#define STAYING 10u /* the first topics are set again and again, never cleared */

struct walker {
    struct epoch_domain *domain;
    struct retained *retained;
    uint64_t random;
    struct retained_cursor *cursor;
    uint32_t staying; /* bits of those given */
};

static uint32_t walker_below(struct walker *walker, uint32_t end)
{
    walker->random ^= walker->random << 13;
    walker->random ^= walker->random >> 7;
    walker->random ^= walker->random << 17;
    return (uint32_t)(walker->random >> 33) % end;
}

static struct message *topic_message(uint32_t n)
{
    char text[32];
    int len = sprintf(text, "t/%u/%u", n % 7, n);
    struct publication pub = {
        .topic = slice_of(text, (size_t)len),
        .payload = slice_of(text, (size_t)len),
    };
    struct message *message = publication_message(&pub);
    BUG_ON(!message);
    return message;
}

/* A message is whole: its payload is its topic. Returns its number. */
static uint32_t message_check(struct message *message)
{
    BUG_ON(!slice_eq(message_topic(message), message_payload(message)));
    char text[32] = {0};
    memcpy(text, message_topic(message).ptr, message_topic(message).len);
    message_unref(message, 1);
    return (uint32_t)strtoul(text + 4, NULL, 10);
}

static void walker_change(struct walker *walker, struct epoch_participant *me)
{
    uint32_t n = walker_below(walker, TOPICS);
    struct message *message = topic_message(n);
    if (n < STAYING || walker_below(walker, 2)) {
        BUG_ON(retained_set(walker->retained, me, message));
    } else {
        retained_clear(walker->retained, me, message_topic(message));
    }
    message_unref(message, 1);
}

static void walker_get(struct walker *walker)
{
    uint32_t n = walker_below(walker, TOPICS);
    struct message *wanted = topic_message(n);
    struct message *message = retained_get(walker->retained, message_topic(wanted), 1);
    BUG_ON(!message && n < STAYING);
    if (message)
        BUG_ON(message_check(message) != n);
    message_unref(wanted, 1);
}

static void walker_walk(struct walker *walker)
{
    struct message *message;
    struct retained_visit visit = {.now_tick = 1, .nodes = 20};
    if (!walker->cursor)
        walker->cursor = retained_cursor_new(SLICE_LIT("t/+/#"));
    enum retained_step step;
    while ((step = retained_cursor_next(walker->retained, walker->cursor, &visit, &message)) ==
           RETAINED_MESSAGE) {
        uint32_t n = message_check(message);
        BUG_ON(n < STAYING && walker->staying >> n & 1);
        walker->staying |= n < STAYING ? 1u << n : 0;
    }
    if (step != RETAINED_END)
        return;
    BUG_ON(walker->staying != (1u << STAYING) - 1);
    walker->staying = 0;
    retained_cursor_free(walker->cursor);
    walker->cursor = NULL;
}

static void *walker_run(void *ctx)
{
    struct walker *walker = ctx;
    struct epoch_participant *me = epoch_join(walker->domain, NULL);
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        for (uint32_t i = 0; i < 8; i++) {
            walker_change(walker, me);
            walker_get(walker);
        }
        walker_walk(walker);
        epoch_quiescent(me, 16);
        if (walker_below(walker, 4) == 0) {
            epoch_sleep(me);
            epoch_wake(me);
        }
    }
    retained_cursor_free(walker->cursor);
    epoch_sleep(me);
    return NULL;
}

static void reading_is_right_while_others_set_and_clear(void **state)
{
    (void)state;
    static struct epoch_domain space;
    struct epoch_domain *domain = &space;
    epoch_domain_init(domain);
    struct epoch_participant *me = epoch_join(domain, NULL);
    struct retained *retained = retained_new(4);
    for (uint32_t i = 0; i < STAYING; i++) {
        struct message *message = topic_message(i);
        assert_int_equal(retained_set(retained, me, message), ERR_OK);
        message_unref(message, 1);
    }
    epoch_sleep(me);
    struct walker walkers[THREADS] = {0};
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        walkers[i] = (struct walker){.domain = domain, .retained = retained, .random = 99 + i};
        pthread_create(&threads[i], NULL, walker_run, &walkers[i]);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    retained_check(retained);
    epoch_drain(domain);
    retained_free(retained);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_is_right_while_others_set_and_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
