/* test_mailbox.c: runtime/mailbox.h, with reactors turned by hand and with threads that post at
 * each other. */
#include "tests/unit/runtime/testing.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"
#include "runtime/mailbox.h"
#include "runtime/reactor.h"

enum { MAIL_NUMBER, MAIL_ECHO, MAIL_STREAM };

#define LOG_MAX 64u

/* What a reactor got. */
struct received {
    uint64_t numbers[LOG_MAX];
    uint32_t bytes[LOG_MAX];
    uint32_t count;
    uint64_t stream_bytes;
};

static void on_number(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct received *received = reactor->app;
    assert_int_equal((uintptr_t)payload % 8, 0);
    received->bytes[received->count % LOG_MAX] = bytes;
    if (bytes >= sizeof(uint64_t))
        received->numbers[received->count % LOG_MAX] = *(uint64_t *)payload;
    received->count++;
}

/* Posts what it got to its own reactor again. */
static void on_echo(struct reactor *reactor, void *payload, uint32_t bytes)
{
    on_number(reactor, payload, bytes);
    assert_non_null(mailbox_post(reactor, reactor->index, MAIL_ECHO, 8));
}

/* The bytes of all such records are 0, 1, 2 ... 255, 0, 1 ... */
static void on_stream(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct received *received = reactor->app;
    assert_int_equal((uintptr_t)payload % 8, 0);
    for (uint32_t i = 0; i < bytes; i++)
        assert_int_equal(((uint8_t *)payload)[i], (received->stream_bytes + i) % 256);
    received->bytes[received->count++ % LOG_MAX] = bytes;
    received->stream_bytes += bytes;
}

struct fixture {
    struct reactor_group *group;
    struct reactor *reactors;
    struct received received[3];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->group = reactor_group_new(3, NULL);
    f->reactors = f->group->reactors;
    f->group->mail_handlers[MAIL_NUMBER] = on_number;
    f->group->mail_handlers[MAIL_ECHO] = on_echo;
    f->group->mail_handlers[MAIL_STREAM] = on_stream;
    for (int i = 0; i < 3; i++)
        f->reactors[i].app = &f->received[i];
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    reactor_group_free(f->group);
    free(f);
    return 0;
}

static void post(struct fixture *f, uint16_t from, uint16_t to, uint64_t number, uint32_t bytes)
{
    uint64_t *payload = mailbox_post(&f->reactors[from], to, MAIL_NUMBER, bytes);
    assert_non_null(payload);
    if (bytes >= sizeof number)
        *payload = number;
}

static void records_arrive_in_order_and_not_before_the_hand_over(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 10; i++)
        post(f, 0, 1, i, 8);
    assert_int_equal(mailbox_run(&f->reactors[1], UINT64_MAX), 0);
    mailbox_flush(&f->reactors[0]);
    for (uint64_t i = 10; i < 20; i++)
        post(f, 0, 1, i, 8);
    mailbox_flush(&f->reactors[0]);
    assert_int_equal(mailbox_run(&f->reactors[1], UINT64_MAX), 20);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(f->received[1].numbers[i], i);
    assert_int_equal(metric_read(&f->reactors[1].metrics->counters[METRIC_MAIL_RECORDS]), 20);
    assert_int_equal(f->received[2].count, 0);
}

static void senders_arrive_in_the_order_of_their_hand_overs(void **state)
{
    struct fixture *f = *state;
    post(f, 0, 2, 100, 8);
    post(f, 1, 2, 200, 8);
    mailbox_flush(&f->reactors[1]);
    mailbox_flush(&f->reactors[0]);
    assert_int_equal(mailbox_run(&f->reactors[2], UINT64_MAX), 2);
    assert_int_equal(f->received[2].numbers[0], 200);
    assert_int_equal(f->received[2].numbers[1], 100);
}

static void records_of_any_size_arrive_whole(void **state)
{
    struct fixture *f = *state;
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 60000, 10000, 65536, 1000000, 3};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        post(f, 0, 1, i, sizes[i]);
    mailbox_flush(&f->reactors[0]);
    assert_int_equal(mailbox_run(&f->reactors[1], UINT64_MAX), ARRAY_COUNT(sizes));
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        assert_int_equal(f->received[1].bytes[i], sizes[i]);
        if (sizes[i] >= 8)
            assert_int_equal(f->received[1].numbers[i], i);
    }
    assert_null(mailbox_post(&f->reactors[0], 1, MAIL_NUMBER, UINT32_MAX));
}

static void put_stream(uint64_t *sent, void *at, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        ((uint8_t *)at)[i] = (uint8_t)(*sent)++;
}

/* Makes the last record to reactor 1 longer. Returns where it begins, NULL: it cannot be. `bytes`: its
   length until now. */
static uint8_t *lengthen_stream(struct fixture *f, uint64_t *sent, uint32_t bytes, uint32_t more)
{
    uint8_t *last = mailbox_last(&f->reactors[0], 1, MAIL_STREAM, more);
    if (!last)
        return NULL;
    mailbox_lengthen(&f->reactors[0], 1, more);
    put_stream(sent, last + bytes, more);
    return last;
}

static void last_record_can_be_made_longer_until_it_leaves(void **state)
{
    struct fixture *f = *state;
    uint64_t sent = 0;
    assert_null(mailbox_last(&f->reactors[0], 1, MAIL_STREAM, 1)); /* there is none */
    uint8_t *first = mailbox_post(&f->reactors[0], 1, MAIL_STREAM, 3);
    put_stream(&sent, first, 3);
    assert_ptr_equal(lengthen_stream(f, &sent, 3, 2), first);
    assert_ptr_equal(lengthen_stream(f, &sent, 5, 30), first);
    assert_null(mailbox_last(&f->reactors[0], 1, MAIL_NUMBER, 1)); /* another type */
    assert_null(mailbox_last(&f->reactors[0], 2, MAIL_STREAM, 1)); /* to somebody else */
    post(f, 0, 1, 77, 8);
    assert_null(mailbox_last(&f->reactors[0], 1, MAIL_STREAM, 1)); /* not the last any more */
    put_stream(&sent, mailbox_post(&f->reactors[0], 1, MAIL_STREAM, 1), 1);
    mailbox_flush(&f->reactors[0]);
    assert_null(mailbox_last(&f->reactors[0], 1, MAIL_STREAM, 1)); /* it has left */
    assert_int_equal(mailbox_run(&f->reactors[1], UINT64_MAX), 3);
    static const uint32_t bytes[] = {35, 8, 1};
    for (size_t i = 0; i < ARRAY_COUNT(bytes); i++)
        assert_int_equal(f->received[1].bytes[i], bytes[i]);
    assert_int_equal(f->received[1].numbers[1], 77);
}

/* Posts and lengthens by chance; all bytes arrive once and in order, and nobody writes beyond a block. */
static void lengthened_records_arrive_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    uint64_t random = 7, sent = 0;
    uint32_t bytes = 0, lengthened = 0, records = 0, run = 0;
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t more = random_below(&random, 200);
        if (random_below(&random, 20) && lengthen_stream(f, &sent, bytes, more)) {
            bytes += more;
            lengthened++;
        } else {
            bytes = random_below(&random, 300) ? more : 70000;
            put_stream(&sent, mailbox_post(&f->reactors[0], 1, MAIL_STREAM, bytes), bytes);
            records++;
        }
        if (random_below(&random, 100) == 0) {
            mailbox_flush(&f->reactors[0]);
            run += mailbox_run(&f->reactors[1], UINT64_MAX);
        }
    }
    mailbox_flush(&f->reactors[0]);
    run += mailbox_run(&f->reactors[1], UINT64_MAX);
    assert_int_equal(run, records);
    assert_int_equal(f->received[1].stream_bytes, sent);
    assert_true(lengthened > 10000);
    assert_int_equal(atomic_load(&f->reactors[1].inbox.waiting_bytes), 0);
}

static void mail_to_oneself_runs_in_the_next_stage(void **state)
{
    struct fixture *f = *state;
    assert_non_null(mailbox_post(&f->reactors[0], 0, MAIL_ECHO, 8));
    for (uint32_t turn = 1; turn <= 5; turn++) {
        reactor_turn(&f->reactors[0], 0);
        assert_int_equal(f->received[0].count, turn);
    }
}

static void budget_leaves_the_rest_waiting_in_order(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 10; i++)
        post(f, 0, 1, i, 8); /* 16 bytes each */
    mailbox_flush(&f->reactors[0]);
    assert_int_equal(mailbox_run(&f->reactors[1], 64), 4);
    assert_true(mailbox_has_mail(&f->reactors[1]));
    post(f, 0, 1, 10, 8);
    mailbox_flush(&f->reactors[0]);
    assert_int_equal(mailbox_run(&f->reactors[1], UINT64_MAX), 7);
    for (uint64_t i = 0; i <= 10; i++)
        assert_int_equal(f->received[1].numbers[i], i);
    assert_false(mailbox_has_mail(&f->reactors[1]));
}

static void senders_hear_of_congestion_until_the_receiver_has_caught_up(void **state)
{
    struct fixture *f = *state;
    assert_false(mailbox_is_congested(&f->reactors[0]));
    for (uint32_t i = 0; i < 100; i++)
        post(f, 0, 1, i, 50000);
    assert_true(mailbox_is_congested(&f->reactors[0])); /* though nothing has left yet */
    assert_false(mailbox_is_congested(&f->reactors[2]));
    mailbox_flush(&f->reactors[0]);
    assert_true(mailbox_is_congested(&f->reactors[0]));
    assert_true(mailbox_is_congested(&f->reactors[2]));
    while (mailbox_has_mail(&f->reactors[1]))
        mailbox_run(&f->reactors[1], 100000);
    assert_false(mailbox_is_congested(&f->reactors[0]));
    assert_false(mailbox_is_congested(&f->reactors[2]));
    assert_int_equal(atomic_load(&f->reactors[1].inbox.waiting_bytes), 0);
}

static void blocks_are_used_again(void **state)
{
    struct fixture *f = *state;
    size_t before = mem_used_bytes();
    for (uint32_t turn = 0; turn < 1000; turn++) {
        post(f, turn % 2, !(turn % 2), turn, 8);
        mailbox_flush(&f->reactors[turn % 2]);
        assert_int_equal(mailbox_run(&f->reactors[!(turn % 2)], UINT64_MAX), 1);
    }
    assert_true(mem_used_bytes() < before + 4 * MAIL_BATCH_BYTES);
}

static void blocks_come_home_when_mail_goes_one_way_only(void **state)
{
    struct fixture *f = *state;
    size_t before = mem_used_bytes();
    for (uint32_t turn = 0; turn < 2000; turn++) {
        post(f, 0, 1, turn, 8);
        mailbox_flush(&f->reactors[0]);
        mailbox_run(&f->reactors[1], UINT64_MAX);
        mailbox_run(&f->reactors[0], UINT64_MAX);
    }
    assert_true(mem_used_bytes() < before + 4 * MAIL_BATCH_BYTES);
    assert_in_range(f->reactors[0].mail.idle_count[0] + f->reactors[1].mail.idle_count[0], 1, 128);
}

static void many_small_hand_overs_congest_by_the_memory_they_take(void **state)
{
    struct fixture *f = *state;
    uint32_t hand_overs = 0;
    for (; !mailbox_is_congested(&f->reactors[0]); hand_overs++) {
        post(f, 0, 1, hand_overs, 8);
        mailbox_flush(&f->reactors[0]);
    }
    assert_in_range(hand_overs, 1000, 3000);
    assert_int_equal(mailbox_run(&f->reactors[1], UINT64_MAX), hand_overs);
    assert_false(mailbox_is_congested(&f->reactors[0]));
}

static bool is_woken(const struct reactor *reactor)
{
    struct pollfd wake = {.fd = reactor->inbox.wake_fd, .events = POLLIN};
    return poll(&wake, 1, 0) == 1;
}

static void only_a_sleeping_receiver_is_woken_and_only_once(void **state)
{
    struct fixture *f = *state;
    post(f, 0, 1, 1, 8);
    mailbox_flush(&f->reactors[0]);
    assert_false(is_woken(&f->reactors[1]));
    assert_false(mailbox_fall_asleep(&f->reactors[1])); /* there is mail */
    mailbox_run(&f->reactors[1], UINT64_MAX);
    assert_true(mailbox_fall_asleep(&f->reactors[1]));
    post(f, 0, 1, 2, 8);
    mailbox_flush(&f->reactors[0]);
    assert_true(is_woken(&f->reactors[1]));
    assert_false(atomic_load(&f->reactors[1].inbox.is_asleep));
}

static void mail_that_was_not_run_goes_with_the_group(void **state)
{
    struct fixture *f = *state;
    post(f, 0, 1, 1, 100000);
    mailbox_flush(&f->reactors[0]);
    post(f, 0, 1, 2, 8);
    mailbox_run(&f->reactors[1], 0);
    post(f, 2, 1, 2, 8); /* the sanitizer would find what is lost */
    mailbox_flush(&f->reactors[2]);
}

static void others_than_reactors_send_at_once(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(mailbox_send(f->group, 2, MAIL_NUMBER, &i, sizeof i), ERR_OK);
    assert_int_equal(mailbox_send(f->group, 2, MAIL_NUMBER, NULL, 0), ERR_OK);
    assert_int_equal(mailbox_run(&f->reactors[2], UINT64_MAX), 6);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(f->received[2].numbers[i], i);
}

/* ---- threads ---- */

#define CROWD 4u     /* reactors */
#define OUTSIDERS 2u /* threads that are not */
#define PER_PAIR 20000u

struct numbered {
    uint32_t from, number;
};

/* A reactor that posts PER_PAIR numbers to everyone and checks what everyone posts. */
struct member {
    struct job job;
    uint64_t seed;
    uint32_t sent[CROWD];
    uint32_t expected[CROWD + OUTSIDERS];
    _Atomic uint32_t received;
    _Atomic uint32_t faults; /* records out of order */
};

static void on_numbered(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct member *member = reactor->app;
    struct numbered *record = payload;
    (void)bytes;
    if (record->number != member->expected[record->from]++)
        atomic_fetch_add(&member->faults, 1);
    atomic_fetch_add_explicit(&member->received, 1, memory_order_relaxed);
}

static void send_some(struct reactor *reactor, uint16_t to)
{
    struct member *member = reactor->app;
    for (uint32_t burst = random_below(&member->seed, 40); burst; burst--) {
        if (member->sent[to] == PER_PAIR)
            return;
        /* one in a thousand does not fit a batch */
        uint32_t bytes = random_below(&member->seed, 1000) ? 8 + random_below(&member->seed, 60)
                                                           : 2 * MAIL_BATCH_BYTES;
        struct numbered *record = mailbox_post(reactor, to, MAIL_NUMBER, bytes);
        BUG_ON(!record);
        *record = (struct numbered){.from = reactor->index, .number = member->sent[to]++};
    }
}

static bool member_run(struct reactor *reactor, struct job *job)
{
    struct member *member = CONTAINER_OF(job, struct member, job);
    uint64_t sent = 0;
    for (uint16_t to = 0; to < CROWD; to++) {
        if (!mailbox_is_congested(reactor))
            send_some(reactor, to);
        sent += member->sent[to];
    }
    return sent == CROWD * PER_PAIR;
}

static void member_start(struct reactor *reactor)
{
    struct member *member = reactor->app;
    member->seed = 0xABCDEF + reactor->index;
    member->job.run = member_run;
    reactor_job_add(reactor, &member->job);
}

struct outsider {
    struct reactor_group *group;
    uint32_t from;
    pthread_t thread;
};

static void *outsider_main(void *arg)
{
    struct outsider *outsider = arg;
    struct numbered record = {.from = outsider->from};
    for (; record.number < PER_PAIR; record.number++) {
        for (uint16_t to = 0; to < CROWD; to++)
            BUG_ON(mailbox_send(outsider->group, to, MAIL_NUMBER, &record, sizeof record));
    }
    return NULL;
}

static uint32_t crowd_received(struct member *members)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < CROWD; i++)
        sum += atomic_load(&members[i].received);
    return sum;
}

static void nothing_is_lost_or_overtaken_between_threads(void **state)
{
    (void)state;
    static const struct reactor_hooks hooks = {.on_start = member_start};
    struct member *members = calloc(CROWD, sizeof *members);
    struct outsider outsiders[OUTSIDERS];
    struct reactor_group *group = reactor_group_new(CROWD, &hooks);
    group->mail_handlers[MAIL_NUMBER] = on_numbered;
    for (uint32_t i = 0; i < CROWD; i++)
        group->reactors[i].app = &members[i];
    assert_int_equal(reactor_group_start(group), ERR_OK);
    for (uint32_t i = 0; i < OUTSIDERS; i++) {
        outsiders[i] = (struct outsider){.group = group, .from = CROWD + i};
        assert_int_equal(pthread_create(&outsiders[i].thread, NULL, outsider_main, &outsiders[i]),
                         0);
    }
    for (uint32_t i = 0; i < OUTSIDERS; i++)
        pthread_join(outsiders[i].thread, NULL);
    uint32_t all = PER_PAIR * CROWD * (CROWD + OUTSIDERS);
    for (int ms = 0; crowd_received(members) < all && ms < 60000; ms++)
        usleep(1000);
    reactor_group_stop(group);
    reactor_group_join(group);
    assert_int_equal(crowd_received(members), all);
    for (uint32_t i = 0; i < CROWD; i++)
        assert_int_equal(atomic_load(&members[i].faults), 0);
    assert_int_equal(atomic_load(&group->congested), 0);
    reactor_group_free(group);
    free(members);
}

#define BY_HAND(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BY_HAND(records_arrive_in_order_and_not_before_the_hand_over),
        BY_HAND(senders_arrive_in_the_order_of_their_hand_overs),
        BY_HAND(records_of_any_size_arrive_whole),
        BY_HAND(last_record_can_be_made_longer_until_it_leaves),
        BY_HAND(lengthened_records_arrive_whole_and_in_order),
        BY_HAND(mail_to_oneself_runs_in_the_next_stage),
        BY_HAND(budget_leaves_the_rest_waiting_in_order),
        BY_HAND(senders_hear_of_congestion_until_the_receiver_has_caught_up),
        BY_HAND(blocks_are_used_again),
        BY_HAND(blocks_come_home_when_mail_goes_one_way_only),
        BY_HAND(many_small_hand_overs_congest_by_the_memory_they_take),
        BY_HAND(only_a_sleeping_receiver_is_woken_and_only_once),
        BY_HAND(mail_that_was_not_run_goes_with_the_group),
        BY_HAND(others_than_reactors_send_at_once),
        cmocka_unit_test(nothing_is_lost_or_overtaken_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
