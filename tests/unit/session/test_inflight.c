/* test_inflight.c: session/inflight.h. */
#include "tests/unit/session/testing.h"

#include "session/inflight.h"

#define IDS 65535u

static struct inflight_entry *add(struct inflight *inflight, uint32_t number, uint8_t qos)
{
    struct delivery delivery = delivery_numbered(number, qos);
    struct inflight_entry *entry = inflight_add_take(inflight, &delivery);
    assert_non_null(entry);
    return entry;
}

/* The same message in every entry: for tests of very many. */
static struct inflight_entry *add_shared(struct inflight *inflight, struct message *message)
{
    struct delivery delivery = {.message = message_ref(message), .qos = 1};
    struct inflight_entry *entry = inflight_add_take(inflight, &delivery);
    if (!entry)
        message_unref(message, 1);
    return entry;
}

static void inflight_ids_begin_at_1_and_go_up(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    for (uint32_t i = 1; i <= 300; i++)
        assert_int_equal(add(&inflight, i, 1)->packet_id, i);
    inflight_check(&inflight);
    for (uint16_t i = 1; i <= 300; i++)
        assert_int_equal(message_number(inflight_find(&inflight, i)->delivery.message), i);
    inflight_clear(&inflight);
}

static void inflight_state_follows_qos(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    assert_int_equal(add(&inflight, 1, 1)->state, INFLIGHT_AWAIT_PUBACK);
    assert_int_equal(add(&inflight, 2, 2)->state, INFLIGHT_AWAIT_PUBREC);
    inflight_clear(&inflight);
}

static void inflight_finds_nothing_that_is_not_there(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    assert_null(inflight_find(&inflight, 1));
    struct inflight_entry *entry = add(&inflight, 1, 1);
    assert_null(inflight_find(&inflight, 0));
    assert_null(inflight_find(&inflight, 5)); /* the same place */
    inflight_remove(&inflight, entry);
    assert_null(inflight_find(&inflight, 1));
    inflight_clear(&inflight);
}

static void inflight_id_is_not_given_out_again_at_once(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    for (uint32_t i = 1; i <= 10000; i++) {
        struct inflight_entry *entry = add(&inflight, i, 1);
        assert_int_equal(entry->packet_id, i);
        inflight_remove(&inflight, entry);
    }
    inflight_check(&inflight);
    inflight_clear(&inflight);
}

static void inflight_ids_wrap_and_pass_over_those_in_use(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    add(&inflight, 0, 1); /* 1 stays */
    uint32_t last = 1, wraps = 0;
    for (uint32_t i = 0; i < 200000; i++) {
        struct inflight_entry *entry = add(&inflight, i, 1);
        assert_true(entry->packet_id > 1);
        wraps += entry->packet_id < last;
        last = entry->packet_id;
        inflight_remove(&inflight, entry);
    }
    assert_in_range(wraps, 3, 5);
    inflight_check(&inflight);
    inflight_clear(&inflight);
}

/* All there are: none twice, none 0, and the next is refused and stays with the caller. */
static void inflight_holds_65535_ids_without_collision(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    struct message *message = message_numbered(1);
    bool *is_used = calloc(IDS + 1, sizeof(bool));
    for (uint32_t i = 0; i < IDS; i++) {
        struct inflight_entry *entry = add_shared(&inflight, message);
        if (!entry || entry->packet_id == 0 || is_used[entry->packet_id])
            fail_msg("add %u", i);
        is_used[entry->packet_id] = true;
    }
    inflight_check(&inflight);
    assert_null(add_shared(&inflight, message));
    inflight_remove(&inflight, inflight_find(&inflight, 777));
    assert_int_equal(add_shared(&inflight, message)->packet_id, 777);
    assert_null(add_shared(&inflight, message));
    inflight_check(&inflight);
    inflight_clear(&inflight);
    assert_int_equal(atomic_load(&message->refs.count), 1);
    message_unref(message, 1);
    free(is_used);
}

/* Each is one look: 65,535 backwards take as long as forwards. */
static void inflight_is_acknowledged_in_reverse_order(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    struct message *message = message_numbered(1);
    for (uint32_t i = 0; i < IDS; i++)
        assert_non_null(add_shared(&inflight, message));
    for (uint32_t id = IDS; id; id--)
        inflight_remove(&inflight, inflight_find(&inflight, (uint16_t)id));
    assert_int_equal(inflight.count, 0);
    assert_null(inflight.entries); /* a large table does not stay */
    inflight_check(&inflight);
    message_unref(message, 1);
}

static void inflight_keeps_the_id_when_the_message_is_let_go(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    struct message *message = message_numbered(1);
    struct delivery delivery = {.message = message_ref(message), .qos = 2};
    delivery.ids = mem_zalloc(sizeof(*delivery.ids) + sizeof(uint32_t));
    struct inflight_entry *entry = inflight_add_take(&inflight, &delivery);
    inflight_release_message(&inflight, entry);
    entry->state = INFLIGHT_AWAIT_PUBCOMP;
    inflight_release_message(&inflight, entry); /* twice is harmless */
    assert_int_equal(inflight.bytes, 0);
    assert_int_equal(inflight.count, 1);
    assert_int_equal(atomic_load(&message->refs.count), 1);
    assert_ptr_equal(inflight_find(&inflight, 1), entry);
    inflight_check(&inflight);
    inflight_remove(&inflight, entry);
    inflight_clear(&inflight);
    message_unref(message, 1);
}

static void inflight_order_is_that_of_sending(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    uint16_t sent[6];
    uint32_t count;
    inflight.next_sequence = UINT32_MAX - 2; /* the order survives the wrap of its numbers */
    inflight.last_id = 65533;                /* and that of the ids */
    for (uint32_t i = 0; i < 6; i++)
        sent[i] = add(&inflight, i, 1)->packet_id;
    assert_true(sent[5] < sent[0]);
    inflight_remove(&inflight, inflight_find(&inflight, sent[5]));
    uint16_t *ids = inflight_in_order(&inflight, &count);
    assert_int_equal(count, 5);
    assert_memory_equal(ids, sent, 5 * sizeof(sent[0]));
    mem_free(ids);
    inflight_clear(&inflight);
}

static void inflight_order_of_nothing_is_null(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    uint32_t count = 5;
    assert_null(inflight_in_order(&inflight, &count));
    assert_int_equal(count, 0);
}

/* Ids go on after everything was dropped, so a late acknowledgement meets no stranger. */
static void inflight_ids_go_on_after_clear(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    add(&inflight, 1, 1);
    add(&inflight, 2, 2);
    inflight_clear(&inflight);
    inflight_check(&inflight);
    assert_int_equal(add(&inflight, 3, 1)->packet_id, 3);
    inflight_clear(&inflight);
}

/* One client that acknowledges only its newest message, with all but one id in use. */
static void inflight_with_one_free_id_gives_it_again_and_again(void **state)
{
    (void)state;
    struct inflight inflight = {0};
    struct message *message = message_numbered(1);
    for (uint32_t i = 0; i < IDS; i++)
        assert_non_null(add_shared(&inflight, message));
    for (uint32_t i = 0; i < 200; i++) {
        inflight_remove(&inflight, inflight_find(&inflight, 40000));
        assert_int_equal(add_shared(&inflight, message)->packet_id, 40000);
    }
    inflight_check(&inflight);
    inflight_clear(&inflight);
    message_unref(message, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inflight_ids_begin_at_1_and_go_up),
        cmocka_unit_test(inflight_state_follows_qos),
        cmocka_unit_test(inflight_finds_nothing_that_is_not_there),
        cmocka_unit_test(inflight_id_is_not_given_out_again_at_once),
        cmocka_unit_test(inflight_ids_wrap_and_pass_over_those_in_use),
        cmocka_unit_test(inflight_holds_65535_ids_without_collision),
        cmocka_unit_test(inflight_is_acknowledged_in_reverse_order),
        cmocka_unit_test(inflight_keeps_the_id_when_the_message_is_let_go),
        cmocka_unit_test(inflight_order_is_that_of_sending),
        cmocka_unit_test(inflight_order_of_nothing_is_null),
        cmocka_unit_test(inflight_ids_go_on_after_clear),
        cmocka_unit_test(inflight_with_one_free_id_gives_it_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
