/* test_topic.c: mqtt/topic.h. */
#include "tests/unit/protocol/testing.h"

#include <stdio.h>

#include "mqtt/topic.h"

static const struct fault *check_name(const void *text, size_t len)
{
    uint8_t *copy = exact_copy(slice_of(text, len));
    const struct fault *fault = topic_name_check(slice_of(copy, len));
    free(copy);
    return fault;
}

static const struct fault *parse(const char *text, struct topic_filter *out)
{
    return topic_filter_parse(slice_str(text), out);
}

static bool matches(const char *filter, const char *name)
{
    return topic_matches(slice_str(filter), slice_str(name));
}

static void ordinary_names_may_be_published_to(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a", "/",      "//",           "a/b/c",         "/a",         "a/",
        " ", "$SYS/x", "\xEF\xBB\xBF", "caf\xC3\xA9/1", "$share/g/a", "a*b?"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        assert_null(check_name(names[i], strlen(names[i])));
}

static void empty_name_is_a_fault(void **state)
{
    (void)state;
    expect_fault(check_name("", 0), REASON_TOPIC_NAME_INVALID, "MQTT-4.7.3-1");
    expect_reason(topic_name_check((struct slice){0}), REASON_TOPIC_NAME_INVALID);
}

static void wildcard_or_nul_is_found_at_every_place_of_a_name(void **state)
{
    (void)state;
    char text[50];
    for (size_t len = 1; len <= sizeof(text); len++) {
        for (size_t at = 0; at < len; at++) {
            memset(text, 'x', len);
            assert_null(check_name(text, len));
            text[at] = '+';
            expect_fault(check_name(text, len), REASON_TOPIC_NAME_INVALID, "MQTT-4.7.0-1");
            text[at] = '#';
            expect_fault(check_name(text, len), REASON_TOPIC_NAME_INVALID, "MQTT-4.7.0-1");
            text[at] = 0;
            expect_fault(check_name(text, len), REASON_TOPIC_NAME_INVALID, "MQTT-4.7.3-2");
        }
    }
}

static void no_other_byte_is_taken_for_a_wildcard(void **state)
{
    (void)state;
    for (unsigned byte = 1; byte <= 255; byte++) {
        char text[9];
        memset(text, (int)byte, sizeof(text));
        bool is_wildcard = byte == '+' || byte == '#';
        for (size_t len = 1; len <= sizeof(text); len++)
            assert_int_equal(check_name(text, len) != NULL, is_wildcard);
    }
}

static void name_may_have_200_levels_and_no_more(void **state)
{
    (void)state;
    char text[1000];
    memset(text, '/', sizeof(text));
    assert_null(check_name(text, TOPIC_LEVELS_MAX - 1));
    expect_fault(check_name(text, TOPIC_LEVELS_MAX), REASON_TOPIC_NAME_INVALID, "4.7.3");
    memset(text, 'a', 500); /* long levels are no matter */
    assert_null(check_name(text, 500 + TOPIC_LEVELS_MAX - 1));
    expect_reason(check_name(text, 500 + TOPIC_LEVELS_MAX), REASON_TOPIC_NAME_INVALID);
}

static void name_of_65535_slashes_is_refused_and_one_of_65535_letters_is_not(void **state)
{
    (void)state;
    char *text = malloc(65536);
    struct topic_filter filter;
    memset(text, '/', 65536);
    expect_reason(check_name(text, 65535), REASON_TOPIC_NAME_INVALID);
    assert_int_equal(topic_level_count(slice_of(text, 65535)), 65536);
    expect_fault(topic_filter_parse(slice_of(text, 65535), &filter), REASON_TOPIC_FILTER_INVALID,
                 "4.7.3");
    memset(text, 'a', 65536);
    assert_null(check_name(text, 65535));
    assert_null(topic_filter_parse(slice_of(text, 65535), &filter));
    expect_fault(check_name(text, 65536), REASON_TOPIC_NAME_INVALID, "MQTT-4.7.3-3");
    expect_fault(topic_filter_parse(slice_of(text, 65536), &filter), REASON_TOPIC_FILTER_INVALID,
                 "MQTT-4.7.3-3");
    free(text);
}

static void valid_filters_are_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has_wildcard;
    } rows[] = {
        {"a", false},     {"a/b", false},    {"/", false},         {"#", true},     {"+", true},
        {"/#", true},     {"+/+", true},     {"a/#", true},        {"a/+/b", true}, {"+/#", true},
        {"$SYS/#", true}, {"$share", false}, {"$shared/a", false}, {"a b", false},  {"//", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct topic_filter filter;
        assert_null(parse(rows[i].text, &filter));
        assert_false(filter.is_shared);
        assert_int_equal(filter.share.len, 0);
        assert_int_equal(filter.has_wildcard, rows[i].has_wildcard);
        expect_slice(filter.full, rows[i].text);
        expect_slice(filter.filter, rows[i].text);
    }
}

static void misplaced_wildcards_are_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *clause;
    } rows[] = {
        {"", "MQTT-4.7.3-1"},     {"a#", "MQTT-4.7.1-1"},   {"#a", "MQTT-4.7.1-1"},
        {"#/", "MQTT-4.7.1-1"},   {"#/a", "MQTT-4.7.1-1"},  {"a/#/b", "MQTT-4.7.1-1"},
        {"a/b#", "MQTT-4.7.1-1"}, {"##", "MQTT-4.7.1-1"},   {"a+", "MQTT-4.7.1-2"},
        {"+a", "MQTT-4.7.1-2"},   {"a/+b", "MQTT-4.7.1-2"}, {"a/b+/c", "MQTT-4.7.1-2"},
        {"++", "MQTT-4.7.1-2"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct topic_filter filter;
        expect_fault(parse(rows[i].text, &filter), REASON_TOPIC_FILTER_INVALID, rows[i].clause);
    }
    struct topic_filter filter;
    expect_fault(topic_filter_parse(SLICE_LIT("a\0b"), &filter), REASON_TOPIC_FILTER_INVALID,
                 "MQTT-4.7.3-2");
}

static void shared_filters_are_split(void **state)
{
    (void)state;
    static const struct {
        const char *text, *share, *filter;
        bool has_wildcard;
    } rows[] = {
        {"$share/g/a", "g", "a", false},
        {"$share/group one/a/+", "group one", "a/+", true},
        {"$share/g//finance", "g", "/finance", false},
        {"$share/g/#", "g", "#", true},
        {"$share/g//", "g", "/", false},
        {"$share/g/$SYS/x", "g", "$SYS/x", false},
        {"$share/$share/$share/x/y", "$share", "$share/x/y", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct topic_filter filter;
        assert_null(parse(rows[i].text, &filter));
        assert_true(filter.is_shared);
        expect_slice(filter.full, rows[i].text);
        expect_slice(filter.share, rows[i].share);
        expect_slice(filter.filter, rows[i].filter);
        assert_int_equal(filter.has_wildcard, rows[i].has_wildcard);
    }
}

static void broken_shared_filters_are_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *clause;
    } rows[] = {
        {"$share/", "MQTT-4.8.2-1"},       {"$share//a", "MQTT-4.8.2-1"},
        {"$share///", "MQTT-4.8.2-1"},     {"$share/g", "MQTT-4.8.2-2"},
        {"$share/g/", "MQTT-4.8.2-2"},     {"$share/+/a", "MQTT-4.8.2-2"},
        {"$share/g#/a", "MQTT-4.8.2-2"},   {"$share/#", "MQTT-4.8.2-2"},
        {"$share/g/a#", "MQTT-4.7.1-1"},   {"$share/g/#/a", "MQTT-4.7.1-1"},
        {"$share/g/a+/b", "MQTT-4.7.1-2"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct topic_filter filter;
        expect_fault(parse(rows[i].text, &filter), REASON_TOPIC_FILTER_INVALID, rows[i].clause);
    }
}

static void filter_is_never_read_past_its_end(void **state)
{
    (void)state;
    const char *text = "$share/g/a/+/bc/#";
    for (size_t len = 0; len <= strlen(text); len++) {
        struct topic_filter filter;
        uint8_t *copy = exact_copy(slice_of(text, len));
        const struct fault *fault = topic_filter_parse(slice_of(copy, len), &filter);
        bool valid = len == 5 + 1 || (len >= 1 && len <= 6) || len >= 10;
        assert_int_equal(fault == NULL, valid);
        free(copy);
    }
}

static void filters_match_as_the_standard_says(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *name;
        bool matches;
    } rows[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"#", "a/b", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"#", "$SYS/x", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a/b", "a/b", true},
        {"a/b", "a/B", false},
        {"a/b", "a/b/", false},
        {"a/b/", "a/b", false},
        {"a", "a/b", false},
        {"a//b", "a/b", false},
        {"a/+/b", "a//b", true},
        {"a/#", "ab", false},
        {"+/#", "a", true},
        {"/#", "/", true},
        {"/#", "a", false},
        {"a/$x", "a/$x", true},
        {"a/+", "a/$x", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (matches(rows[i].filter, rows[i].name) != rows[i].matches)
            fail_msg("%s on %s", rows[i].filter, rows[i].name);
    }
}

/* The naive model, by recursion over characters. */
static bool model_matches(const char *filter, const char *name)
{
    if (strcmp(filter, "#") == 0)
        return true;
    if (*filter == '+') {
        size_t len = strcspn(name, "/");
        name += len;
        filter++;
    } else {
        size_t want = strcspn(filter, "/"), have = strcspn(name, "/");
        if (want != have || memcmp(filter, name, want) != 0)
            return false;
        filter += want;
        name += have;
    }
    if (*filter == 0)
        return *name == 0;
    if (*name == 0)
        return strcmp(filter, "/#") == 0;
    return model_matches(filter + 1, name + 1);
}

static void random_filters_agree_with_the_model(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "b", "", "+", "#", "ab"};
    uint64_t seed = 7;
    unsigned matched = 0;
    for (int round = 0; round < 200000; round++) {
        char filter[64] = "", name[64] = "";
        struct topic_filter parsed;
        size_t levels = 1 + next_random(&seed) % 4;
        for (size_t i = 0; i < levels; i++)
            snprintf(filter + strlen(filter), 16, "%s%s", i ? "/" : "",
                     words[next_random(&seed) % 6]);
        levels = 1 + next_random(&seed) % 4;
        for (size_t i = 0; i < levels; i++)
            snprintf(name + strlen(name), 16, "%s%s", i ? "/" : "", words[next_random(&seed) % 3]);
        if (name[0] == 0 || parse(filter, &parsed) != NULL)
            continue;
        bool got = matches(filter, name);
        if (got != model_matches(filter, name))
            fail_msg("%s on %s", filter, name);
        matched += got;
    }
    assert_true(matched > 1000);
}

static void levels_are_cut_off_one_by_one(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *levels[5];
        uint32_t count;
    } rows[] = {
        {"", {""}, 1},           {"a", {"a"}, 1},
        {"/", {"", ""}, 2},      {"a/", {"a", ""}, 2},
        {"/a", {"", "a"}, 2},    {"a//b", {"a", "", "b"}, 3},
        {"//", {"", "", ""}, 3}, {"a/b/c", {"a", "b", "c"}, 3},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice rest = slice_str(rows[i].text), level;
        bool started = false;
        uint32_t count = 0;
        while (topic_next_level(&rest, &started, &level))
            expect_slice(level, rows[i].levels[count++]);
        assert_int_equal(count, rows[i].count);
        assert_int_equal(topic_level_count(slice_str(rows[i].text)), count);
        assert_false(topic_next_level(&rest, &started, &level));
    }
    struct slice rest = {0}, level;
    bool started = false;
    assert_true(topic_next_level(&rest, &started, &level));
    assert_false(topic_next_level(&rest, &started, &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_names_may_be_published_to),
        cmocka_unit_test(empty_name_is_a_fault),
        cmocka_unit_test(wildcard_or_nul_is_found_at_every_place_of_a_name),
        cmocka_unit_test(no_other_byte_is_taken_for_a_wildcard),
        cmocka_unit_test(name_may_have_200_levels_and_no_more),
        cmocka_unit_test(name_of_65535_slashes_is_refused_and_one_of_65535_letters_is_not),
        cmocka_unit_test(valid_filters_are_parsed),
        cmocka_unit_test(misplaced_wildcards_are_faults),
        cmocka_unit_test(shared_filters_are_split),
        cmocka_unit_test(broken_shared_filters_are_faults),
        cmocka_unit_test(filter_is_never_read_past_its_end),
        cmocka_unit_test(filters_match_as_the_standard_says),
        cmocka_unit_test(random_filters_agree_with_the_model),
        cmocka_unit_test(levels_are_cut_off_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
