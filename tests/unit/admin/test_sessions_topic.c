/* test_sessions_topic.c: admin/sessions_topic.h: a client id is one level, there and back. */
#include "tests/unit/admin/testing.h"

#include "admin/sessions_topic.h"
#include "mqtt/topic.h"

static void an_id_is_encoded_where_it_must_be(void **state)
{
    static const struct {
        const char *id, *topic;
    } rows[] = {
        {"pump-1", "$SYS/broker/sessions/pump-1"},
        {"a/b+c#d%e", "$SYS/broker/sessions/a%2Fb%2Bc%23d%25e"},
        {"\x01\x1f\x7f", "$SYS/broker/sessions/%01%1F%7F"},
        {"\xC2\x80\xC2\x9F", "$SYS/broker/sessions/%C2%80%C2%9F"},
        {"\xC2\xA0ü日😀\"\\ $", "$SYS/broker/sessions/\xC2\xA0ü日😀\"\\ $"},
    };
    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint8_t topic[200], back[200];
        uint32_t bytes = sessions_topic_make(slice_str(rows[i].id), topic, sizeof(topic)), len;
        assert_slice(slice_of(topic, bytes), rows[i].topic);
        struct slice level;
        assert_int_equal(sessions_filter_parse(slice_of(topic, bytes), &level), SESSIONS_ONE);
        assert_true(sessions_topic_decode(level, back, &len));
        assert_slice(slice_of(back, len), rows[i].id);
    }
}

static void every_id_of_two_characters_comes_back(void **state)
{
    (void)state;
    for (uint32_t a = 1; a < 0x180; a++) {
        for (uint32_t b = 1; b < 0x80; b++) {
            uint8_t id[3], topic[64], back[64];
            size_t bytes = 0;
            if (a < 0x80) {
                id[bytes++] = (uint8_t)a;
            } else {
                id[bytes++] = (uint8_t)(0xC0 | a >> 6);
                id[bytes++] = (uint8_t)(0x80 | (a & 63));
            }
            id[bytes++] = (uint8_t)b;
            uint32_t made = sessions_topic_make(slice_of(id, bytes), topic, sizeof(topic)), len;
            assert_null(topic_name_check(slice_of(topic, made)));
            struct slice level;
            assert_int_equal(sessions_filter_parse(slice_of(topic, made), &level), SESSIONS_ONE);
            assert_true(sessions_topic_decode(level, back, &len));
            assert_int_equal(len, bytes);
            assert_memory_equal(back, id, bytes);
        }
    }
}

static void levels_that_are_never_made_are_refused(void **state)
{
    static const char *const levels[] = {"%",      "%4",       "a%2",  "%2f",       "%41", "%GG",
                                         "%C3%BC", "a\x01%41", "%25%", "%\x01\x02", "\x01"};
    uint8_t id[64];
    uint32_t bytes;
    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(levels); i++)
        assert_false(sessions_topic_decode(slice_str(levels[i]), id, &bytes));
}

static void a_topic_that_is_too_long_is_not_made(void **state)
{
    uint8_t topic[30];
    (void)state;
    assert_int_equal(sessions_topic_make(SLICE_LIT("////"), topic, sizeof(topic)), 0);
    assert_int_equal(sessions_topic_make(SLICE_LIT("///"), topic, sizeof(topic)), 30);
    assert_int_equal(sessions_topic_make(SLICE_LIT("x"), topic, 5), 0);
}

static void filters_ask_for_none_one_or_all(void **state)
{
    static const struct {
        const char *filter;
        enum sessions_filter kind;
    } rows[] = {
        {"$SYS/#", SESSIONS_NONE},
        {"$SYS/broker/#", SESSIONS_NONE},
        {"$SYS/broker/+/x", SESSIONS_NONE},
        {"$SYS/broker/sessions", SESSIONS_NONE},
        {"$SYS/broker/sessions/", SESSIONS_NONE},
        {"$SYS/broker/sessions/#", SESSIONS_ALL},
        {"$SYS/broker/sessions/+", SESSIONS_ALL},
        {"$SYS/broker/sessions/+/#", SESSIONS_ALL},
        {"$SYS/broker/sessions/+/x", SESSIONS_NONE},
        {"$SYS/broker/sessions/x", SESSIONS_ONE},
        {"$SYS/broker/sessions/x/#", SESSIONS_ONE},
        {"$SYS/broker/sessions/x/y", SESSIONS_NONE},
        {"$SYS/broker/sessions//#", SESSIONS_NONE},
    };
    struct slice level;
    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_int_equal(sessions_filter_parse(slice_str(rows[i].filter), &level), rows[i].kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_encoded_where_it_must_be),
        cmocka_unit_test(every_id_of_two_characters_comes_back),
        cmocka_unit_test(levels_that_are_never_made_are_refused),
        cmocka_unit_test(a_topic_that_is_too_long_is_not_made),
        cmocka_unit_test(filters_ask_for_none_one_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
