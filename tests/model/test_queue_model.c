/* test_queue_model.c: session/queue.h against an array that is moved along. */
#include "tests/unit/session/testing.h"

#define STEPS 200000u
#define MOST 400u

struct model {
    struct queue queue;
    uint32_t numbers[MOST];
    uint32_t count, next;
    struct queue_cursor cursor;
    uint32_t at; /* where the cursor is */
    uint64_t seed;
};

static void push(struct model *m)
{
    struct delivery delivery = delivery_numbered(m->next, 1);
    delivery.group = m->next % 3;
    assert_int_equal(queue_push_take(&m->queue, &delivery), ERR_OK);
    m->numbers[m->count++] = m->next++;
}

static void forget(struct model *m, uint32_t count)
{
    m->count -= count;
    m->at -= m->at < count ? m->at : count;
    memmove(m->numbers, m->numbers + count, m->count * sizeof(m->numbers[0]));
}

/* A few steps of the cursor, over some entries and with others. */
static void walk(struct model *m)
{
    struct delivery delivery;
    for (uint32_t steps = random_below(&m->seed, 60); steps; steps--) {
        struct delivery *at = queue_cursor_peek(&m->queue, &m->cursor);
        assert_int_equal(at != NULL, m->at < m->count);
        if (!at)
            break;
        assert_int_equal(message_number(at->message), m->numbers[m->at]);
        if (random_below(&m->seed, 3)) {
            queue_cursor_pass(&m->cursor);
            m->at++;
            continue;
        }
        queue_cursor_take(&m->queue, &m->cursor, &delivery);
        assert_int_equal(message_number(delivery.message), m->numbers[m->at]);
        delivery_fini(&delivery);
        m->count--;
        memmove(m->numbers + m->at, m->numbers + m->at + 1,
                (m->count - m->at) * sizeof(m->numbers[0]));
    }
    if (random_below(&m->seed, 4) == 0) {
        m->cursor = (struct queue_cursor){0};
        m->at = 0;
    }
}

static void pop(struct model *m)
{
    struct delivery delivery;
    assert_int_equal(queue_pop(&m->queue, &delivery), m->count > 0);
    if (m->count == 0)
        return;
    assert_int_equal(message_number(delivery.message), m->numbers[0]);
    delivery_fini(&delivery);
    forget(m, 1);
}

static void clear(struct model *m)
{
    uint32_t budget = random_below(&m->seed, 50);
    uint32_t gone = budget < m->count ? budget : m->count;
    assert_int_equal(queue_clear(&m->queue, budget), gone == m->count);
    forget(m, gone);
}

static void queue_does_what_an_array_does(void **state)
{
    (void)state;
    struct model m = {.seed = 0x9E1E};
    uint32_t lean = 50; /* how likely a push is, in percent */
    for (uint32_t i = 0; i < STEPS; i++) {
        if (i % 1000 == 0)
            lean = 30 + random_below(&m.seed, 50);
        if (m.count < MOST && random_below(&m.seed, 100) < lean)
            push(&m);
        else if (random_below(&m.seed, 200) == 0)
            clear(&m);
        else if (random_below(&m.seed, 50) == 0)
            walk(&m);
        else
            pop(&m);
        assert_int_equal(m.queue.count, m.count);
        struct delivery *head = queue_peek(&m.queue);
        assert_int_equal(head != NULL, m.count != 0);
        if (head)
            assert_int_equal(message_number(head->message), m.numbers[0]);
        if (i % 20 == 0)
            queue_check(&m.queue);
    }
    queue_clear(&m.queue, UINT32_MAX);
    queue_check(&m.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(queue_does_what_an_array_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
