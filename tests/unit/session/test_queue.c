/* test_queue.c: session/queue.h. */
#include "tests/unit/session/testing.h"

static void push(struct queue *queue, uint32_t number)
{
    struct delivery delivery = delivery_numbered(number, 1);
    assert_int_equal(queue_push_take(queue, &delivery), ERR_OK);
}

static uint32_t pop(struct queue *queue)
{
    struct delivery delivery;
    assert_true(queue_pop(queue, &delivery));
    uint32_t number = message_number(delivery.message);
    delivery_fini(&delivery);
    return number;
}

static void queue_gives_back_in_order_across_blocks(void **state)
{
    (void)state;
    struct queue queue = {0};
    for (uint32_t i = 0; i < 100; i++)
        push(&queue, i);
    queue_check(&queue);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(pop(&queue), i);
    queue_check(&queue);
}

static void queue_that_is_empty_has_no_memory_and_nothing_to_give(void **state)
{
    (void)state;
    struct queue queue = {0};
    struct delivery delivery;
    assert_null(queue_peek(&queue));
    assert_false(queue_pop(&queue, &delivery));
    push(&queue, 1);
    assert_int_equal(pop(&queue), 1);
    assert_null(queue.first);
    assert_null(queue.last);
    assert_int_equal(queue.bytes, 0);
    assert_true(queue_clear(&queue, 0));
}

static void queue_peek_shows_what_pop_gives(void **state)
{
    (void)state;
    struct queue queue = {0};
    for (uint32_t i = 0; i < 40; i++)
        push(&queue, i);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(message_number(queue_peek(&queue)->message), i);
        assert_int_equal(pop(&queue), i);
    }
}

static void queue_counts_bytes_of_payloads(void **state)
{
    (void)state;
    struct queue queue = {0};
    push(&queue, 1);
    uint64_t one = queue_peek(&queue)->message->payload_bytes;
    assert_int_equal(queue.bytes, one);
    push(&queue, 2);
    assert_int_equal(queue.bytes, 2 * one);
    pop(&queue);
    assert_int_equal(queue.bytes, one);
    queue_clear(&queue, UINT32_MAX);
    assert_int_equal(queue.bytes, 0);
}

static void queue_clear_stops_at_its_budget(void **state)
{
    (void)state;
    struct queue queue = {0};
    for (uint32_t i = 0; i < 50; i++)
        push(&queue, i);
    assert_false(queue_clear(&queue, 20));
    assert_int_equal(queue.count, 30);
    assert_int_equal(message_number(queue_peek(&queue)->message), 20);
    assert_false(queue_clear(&queue, 29));
    assert_true(queue_clear(&queue, 1));
    queue_check(&queue);
}

static void queue_drops_ids_with_their_delivery(void **state)
{
    (void)state;
    struct queue queue = {0};
    struct delivery delivery = delivery_numbered(7, 2);
    delivery.ids = mem_zalloc(sizeof(*delivery.ids) + 2 * sizeof(uint32_t));
    delivery.ids->count = 2;
    assert_int_equal(queue_push_take(&queue, &delivery), ERR_OK);
    assert_true(queue_clear(&queue, 1)); /* the sanitizer sees a leak */
}

static void queue_entries_share_one_message(void **state)
{
    (void)state;
    struct queue queue = {0};
    struct message *message = message_numbered(1);
    for (uint32_t i = 0; i < 1000; i++) {
        struct delivery delivery = {.message = message_ref(message), .qos = 1};
        assert_int_equal(queue_push_take(&queue, &delivery), ERR_OK);
    }
    assert_int_equal(atomic_load(&message->refs.count), 1001);
    queue_clear(&queue, UINT32_MAX);
    assert_int_equal(atomic_load(&message->refs.count), 1);
    message_unref(message, 1);
}

/* Nothing is moved or searched: a million is a million times one. */
static void queue_holds_a_million_deliveries(void **state)
{
    (void)state;
    struct queue queue = {0};
    struct message *message = message_numbered(1);
    for (uint32_t i = 0; i < 1000000; i++) {
        struct delivery delivery = {.message = message_ref(message), .qos = 1};
        delivery.subscription_id = i;
        assert_int_equal(queue_push_take(&queue, &delivery), ERR_OK);
    }
    queue_check(&queue);
    for (uint32_t i = 0; i < 1000000; i++) {
        struct delivery delivery;
        queue_pop(&queue, &delivery);
        if (delivery.subscription_id != i)
            fail_msg("delivery %u came at place %u", delivery.subscription_id, i);
        delivery_fini(&delivery);
    }
    queue_check(&queue);
    message_unref(message, 1);
}

/* A window that is refilled for ever neither grows nor leaks. */
static void queue_that_moves_on_keeps_few_blocks(void **state)
{
    (void)state;
    struct queue queue = {0};
    for (uint32_t i = 0; i < 20; i++)
        push(&queue, i);
    for (uint32_t i = 20; i < 5000; i++) {
        push(&queue, i);
        assert_int_equal(pop(&queue), i - 20);
        assert_int_equal(queue.count, 20);
    }
    queue_check(&queue);
    queue_clear(&queue, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_gives_back_in_order_across_blocks),
        cmocka_unit_test(queue_that_is_empty_has_no_memory_and_nothing_to_give),
        cmocka_unit_test(queue_peek_shows_what_pop_gives),
        cmocka_unit_test(queue_counts_bytes_of_payloads),
        cmocka_unit_test(queue_clear_stops_at_its_budget),
        cmocka_unit_test(queue_drops_ids_with_their_delivery),
        cmocka_unit_test(queue_entries_share_one_message),
        cmocka_unit_test(queue_holds_a_million_deliveries),
        cmocka_unit_test(queue_that_moves_on_keeps_few_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
