/* test_json.c: admin/json.h: what is written is JSON, and a full buffer says so. */
#include "tests/unit/admin/testing.h"

#include <cjson/cJSON.h>

#include "admin/json.h"

static struct json json;

static int set_up(void **state)
{
    (void)state;
    json_init(&json, 1 << 16);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_fini(&json);
    return 0;
}

static void commas_come_between_values_only(void **state)
{
    (void)state;
    json_open(&json, '{');
    json_key(&json, "a");
    json_number(&json, 0);
    json_key(&json, "b");
    json_open(&json, '[');
    json_number(&json, UINT64_MAX);
    json_null(&json);
    json_open(&json, '{');
    json_close(&json, '}');
    json_bool(&json, true);
    json_close(&json, ']');
    json_key(&json, "c");
    json_value(&json, SLICE_LIT("{\"d\":1}"));
    json_close(&json, '}');
    assert_slice(json_text(&json),
                 "{\"a\":0,\"b\":[18446744073709551615,null,{},true],\"c\":{\"d\":1}}");
}

static void every_byte_of_a_string_survives(void **state)
{
    char text[128], expected[128];
    (void)state;
    for (int i = 1; i < 128; i++)
        expected[i - 1] = text[i - 1] = (char)i;
    expected[127] = 0;
    json_string(&json, slice_of(text, 127));
    for (uint32_t i = 0; i < json.len; i++)
        assert_true(json.bytes[i] >= 0x20 && json.bytes[i] != 0x7F);
    cJSON *parsed = cJSON_ParseWithLength((const char *)json.bytes, json.len);
    assert_non_null(parsed);
    assert_string_equal(parsed->valuestring, expected);
    cJSON_Delete(parsed);
}

static void characters_beyond_ascii_are_left_as_they_are(void **state)
{
    (void)state;
    json_string(&json, SLICE_LIT("ü \"日\" \\"));
    assert_slice(json_text(&json), "\"ü \\\"日\\\" \\\\\"");
}

static void a_long_format_is_cut_between_characters(void **state)
{
    char text[3001];
    (void)state;
    for (int i = 0; i < 1000; i++)
        memcpy(text + (size_t)3 * (size_t)i, "日", 3);
    text[3000] = 0;
    json_format(&json, "x%s", text);
    assert_true(json.len > 1 && json.len < 1100);
    cJSON *parsed = cJSON_ParseWithLength((const char *)json.bytes, json.len);
    assert_non_null(parsed);
    assert_int_equal((strlen(parsed->valuestring) - 1) % 3, 0);
    cJSON_Delete(parsed);
}

static void a_full_buffer_says_so_until_it_is_reset(void **state)
{
    struct json small;
    (void)state;
    json_init(&small, 8);
    json_string(&small, SLICE_LIT("12345"));
    assert_false(small.is_full);
    json_string(&small, SLICE_LIT("6"));
    assert_true(small.is_full);
    assert_true(small.len <= 8);
    json_number(&small, 1);
    assert_true(small.is_full);
    json_reset(&small, 0);
    json_number(&small, 1);
    assert_false(small.is_full);
    assert_slice(json_text(&small), "1");
    json_fini(&small);
}

static void a_value_can_be_taken_back(void **state)
{
    (void)state;
    json_open(&json, '[');
    json_number(&json, 1);
    uint32_t len = json.len;
    json_string(&json, SLICE_LIT("no"));
    json_rewind(&json, len, true);
    json_number(&json, 2);
    json_close(&json, ']');
    assert_slice(json_text(&json), "[1,2]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commas_come_between_values_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_byte_of_a_string_survives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(characters_beyond_ascii_are_left_as_they_are, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_long_format_is_cut_between_characters, set_up, tear_down),
        cmocka_unit_test(a_full_buffer_says_so_until_it_is_reset),
        cmocka_unit_test_setup_teardown(a_value_can_be_taken_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
