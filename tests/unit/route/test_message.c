/* test_message.c: the one copy of a publication. */
#include "testing.h"
#include "route/message.h"

/* A block with a topic alias (not forwarded) and a user property. */
static const uint8_t block[] = {0x23, 0, 7, 0x26, 0, 1, 'k', 0, 1, 'v'};

static struct publication publication_sample(void)
{
    return (struct publication){
        .topic = SLICE_LIT("a/b"),
        .properties = slice_of(block, sizeof(block)),
        .properties_forwarded_bytes = 7,
        .payload = SLICE_LIT("payload"),
        .qos = 1,
        .flags = MESSAGE_RETAIN,
        .expires_tick = 99,
        .publisher = 5,
    };
}

static void copy_holds_topic_forwarded_properties_and_payload(void **state)
{
    (void)state;
    struct publication pub = publication_sample();
    struct message *message = publication_message(&pub);
    assert_non_null(message);
    assert_true(slice_eq(message_topic(message), SLICE_LIT("a/b")));
    assert_true(slice_eq(message_properties(message), slice_of(block + 3, 7)));
    assert_true(slice_eq(message_payload(message), SLICE_LIT("payload")));
    assert_int_equal(message->qos, 1);
    assert_int_equal(message->flags, MESSAGE_RETAIN);
    assert_int_equal(message->expires_tick, 99);
    assert_int_equal(message->publisher, 5);
    assert_int_equal(message_bytes(message), MESSAGE_HEAD_BYTES + 3 + 7 + 7);
    publication_fini(&pub);
    assert_null(pub.message);
}

static void copy_is_made_once(void **state)
{
    (void)state;
    struct publication pub = publication_sample();
    struct message *message = publication_message(&pub);
    assert_ptr_equal(publication_message(&pub), message);
    publication_fini(&pub);
}

static void message_outlives_its_publication_while_somebody_holds_it(void **state)
{
    (void)state;
    struct publication pub = publication_sample();
    struct message *message = message_ref(publication_message(&pub));
    publication_fini(&pub);
    struct publication again = publication_of_message(message);
    message_unref(message, 1);
    assert_ptr_equal(publication_message(&again), message);
    assert_true(slice_eq(again.topic, SLICE_LIT("a/b")));
    assert_int_equal(again.properties.len, again.properties_forwarded_bytes);
    publication_fini(&again);
}

static void publication_may_take_over_its_message(void **state)
{
    (void)state;
    struct publication pub = publication_sample();
    struct message *message = publication_message(&pub);
    struct publication again = publication_of_message_take(message_ref(message));
    publication_fini(&again);
    assert_int_equal(atomic_load(&message->refs.count), 1);
    publication_fini(&pub);
}

static void publication_without_copy_ends_quietly(void **state)
{
    (void)state;
    struct publication pub = publication_sample();
    publication_fini(&pub);
}

static void empty_payload_and_properties_take_no_bytes(void **state)
{
    (void)state;
    struct publication pub = {.topic = SLICE_LIT("t")};
    struct message *message = publication_message(&pub);
    assert_int_equal(message_bytes(message), MESSAGE_HEAD_BYTES + 1);
    assert_int_equal(message_payload(message).len, 0);
    publication_fini(&pub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_holds_topic_forwarded_properties_and_payload),
        cmocka_unit_test(copy_is_made_once),
        cmocka_unit_test(message_outlives_its_publication_while_somebody_holds_it),
        cmocka_unit_test(publication_may_take_over_its_message),
        cmocka_unit_test(publication_without_copy_ends_quietly),
        cmocka_unit_test(empty_payload_and_properties_take_no_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
