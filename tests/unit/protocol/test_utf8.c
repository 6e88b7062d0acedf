/* test_utf8.c: mqtt/utf8.h, against an independently written decoder and every boundary. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/utf8.h"

static bool is_valid(const void *data, size_t len)
{
    uint8_t *copy = exact_copy(slice_of(data, len));
    bool valid = utf8_is_valid(slice_of(copy, len));
    free(copy);
    return valid;
}

/* The naive model: decodes to a code point, then asks whether its shortest form is this long. */
static bool model_is_valid(const uint8_t *p, size_t len)
{
    size_t i = 0;
    while (i < len) {
        unsigned extra = p[i] < 0x80 ? 0 : p[i] >> 5 == 6 ? 1 : p[i] >> 4 == 14 ? 2 : 3;
        uint32_t code = extra == 0   ? p[i]
                        : extra == 1 ? p[i] & 0x1Fu
                        : extra == 2 ? p[i] & 0x0Fu
                                     : p[i] & 0x07u;
        if (extra == 3 && p[i] >> 3 != 30)
            return false;
        if (i + extra >= len)
            return false;
        for (unsigned k = 1; k <= extra; k++) {
            if (p[i + k] >> 6 != 2)
                return false;
            code = code << 6 | (p[i + k] & 0x3Fu);
        }
        unsigned shortest = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        if (code == 0 || shortest != extra || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF)
            return false;
        i += extra + 1;
    }
    return true;
}

static void empty_string_is_valid(void **state)
{
    (void)state;
    assert_true(is_valid("", 0));
    assert_true(utf8_is_valid((struct slice){0}));
}

static void ascii_of_every_length_is_valid_and_a_nul_anywhere_is_not(void **state)
{
    (void)state;
    char text[70];
    for (size_t len = 1; len <= sizeof(text); len++) {
        memset(text, 'z', len);
        text[0] = 0x01;
        text[len - 1] = 0x7F;
        assert_true(is_valid(text, len));
        for (size_t at = 0; at < len; at++) {
            memset(text, 'z', len);
            text[at] = 0;
            assert_false(is_valid(text, len));
        }
    }
}

static void every_two_bytes_agree_with_the_model(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 0x10000; n++) {
        uint8_t text[2] = {(uint8_t)(n >> 8), (uint8_t)n};
        assert_int_equal(utf8_is_valid(slice_of(text, 2)), model_is_valid(text, 2));
    }
}

static void every_three_bytes_with_a_three_byte_lead_agree_with_the_model(void **state)
{
    (void)state;
    for (unsigned n = 0xE00000; n < 0xF00000; n++) {
        uint8_t text[3] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
        if (utf8_is_valid(slice_of(text, 3)) != model_is_valid(text, 3))
            fail_msg("%06x", n);
    }
}

static void four_byte_boundaries_agree_with_the_model(void **state)
{
    (void)state;
    static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    for (unsigned lead = 0xF0; lead <= 0xFF; lead++) {
        for (size_t n = 0; n < 1000; n++) {
            uint8_t text[4] = {(uint8_t)lead, edges[n / 100], edges[n / 10 % 10], edges[n % 10]};
            assert_int_equal(is_valid(text, 4), model_is_valid(text, 4));
        }
    }
}

static void surrogates_and_overlong_forms_are_not_text(void **state)
{
    (void)state;
    assert_false(is_valid("\xED\xA0\x80", 3));     /* U+D800 */
    assert_false(is_valid("\xED\xBF\xBF", 3));     /* U+DFFF */
    assert_true(is_valid("\xED\x9F\xBF", 3));      /* U+D7FF */
    assert_true(is_valid("\xEE\x80\x80", 3));      /* U+E000 */
    assert_false(is_valid("\xC0\x80", 2));         /* U+0000 in two bytes */
    assert_false(is_valid("\xC1\xBF", 2));         /* U+007F in two */
    assert_false(is_valid("\xE0\x9F\xBF", 3));     /* U+07FF in three */
    assert_false(is_valid("\xF0\x8F\xBF\xBF", 4)); /* U+FFFF in four */
    assert_true(is_valid("\xF4\x8F\xBF\xBF", 4));  /* U+10FFFF */
    assert_false(is_valid("\xF4\x90\x80\x80", 4)); /* one more */
    assert_false(is_valid("\xF8\x88\x80\x80\x80", 5));
}

static void byte_order_mark_and_non_characters_are_text(void **state)
{
    (void)state;
    assert_true(is_valid("\xEF\xBB\xBF"
                         "a",
                         4));                 /* [MQTT-1.5.4-3] */
    assert_true(is_valid("\xEF\xBF\xBF", 3)); /* U+FFFF */
    assert_true(is_valid("\x01\x1F\x7F\xC2\x80", 5));
}

static void sequence_cut_at_the_end_is_not_text_wherever_it_stands(void **state)
{
    (void)state;
    static const char *const whole[] = {"\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x8C\xA1"};
    char text[40];
    for (size_t i = 0; i < ARRAY_COUNT(whole); i++) {
        for (size_t before = 0; before <= 30; before++) {
            size_t len = strlen(whole[i]);
            memset(text, 'a', before);
            memcpy(text + before, whole[i], len);
            assert_true(is_valid(text, before + len));
            for (size_t cut = 1; cut < len; cut++)
                assert_false(is_valid(text, before + cut));
            text[before + len] = 'b'; /* ASCII behind it changes nothing */
            assert_true(is_valid(text, before + len + 1));
        }
    }
}

static void random_bytes_agree_with_the_model(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "a",    "sensor/1", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x8C\xA1", "\xED\xA0\x80",
        "\x80", "\xC2"};
    uint64_t seed = 1;
    for (int round = 0; round < 200000; round++) {
        uint8_t text[96];
        size_t len = 0, count = next_random(&seed) % 8;
        for (size_t i = 0; i < count; i++) {
            uint32_t pick = next_random(&seed) % 64;
            const char *piece = pieces[pick < 50 ? pick % 5 : pick % ARRAY_COUNT(pieces)];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        assert_int_equal(is_valid(text, len), model_is_valid(text, len));
    }
}

static void a_text_is_cut_between_characters(void **state)
{
    (void)state;
    struct slice text = slice_str("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z");
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t max = 0; max < ARRAY_COUNT(expected); max++) {
        struct slice cut = utf8_cut(text, max);
        assert_int_equal(cut.len, expected[max]);
        assert_ptr_equal(cut.ptr, text.ptr);
    }
    assert_int_equal(utf8_cut(slice_of(NULL, 0), 5).len, 0);
    assert_int_equal(utf8_cut(slice_str("\x80\x80\x80"), 2).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_string_is_valid),
        cmocka_unit_test(ascii_of_every_length_is_valid_and_a_nul_anywhere_is_not),
        cmocka_unit_test(every_two_bytes_agree_with_the_model),
        cmocka_unit_test(every_three_bytes_with_a_three_byte_lead_agree_with_the_model),
        cmocka_unit_test(four_byte_boundaries_agree_with_the_model),
        cmocka_unit_test(surrogates_and_overlong_forms_are_not_text),
        cmocka_unit_test(byte_order_mark_and_non_characters_are_text),
        cmocka_unit_test(sequence_cut_at_the_end_is_not_text_wherever_it_stands),
        cmocka_unit_test(random_bytes_agree_with_the_model),
        cmocka_unit_test(a_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
