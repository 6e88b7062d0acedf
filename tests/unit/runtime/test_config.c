/* test_config.c: the table of directives, their values, and what a line of a file may look like. */
#include "tests/unit/runtime/config_testing.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <syslog.h>

#include "base/assert.h"
#include "mqtt/version.h"
#include "runtime/log.h"

#define VERSION_BIT(version) (1u << (version))

/* ---- the table ---- */

/* A file in which the directive may stand: listener directives in a section of their own. */
static char *file_with(const struct config_directive *row, const char *value)
{
    char *text;
    bool has_section = row->scope == CONFIG_LISTENER;
    BUG_ON(asprintf(&text, "%s%s %s\n", has_section ? "listener 1883\n" : "", row->name, value) <
           0);
    return text;
}

static bool is_accepted(const struct config_directive *row, const char *value)
{
    char *error = NULL, *text = file_with(row, value);
    struct config *config = config_load_text(text, strlen(text), "test.conf", &error);
    bool accepted = config != NULL;
    if (error)
        assert_has(error, row->name); /* whoever reads it knows what it is about */
    config_free(config);
    free(error);
    free(text);
    return accepted;
}

static bool is_path(const struct config_directive *row)
{
    return row->type == CONFIG_INCLUDE; /* reads its value: see test_config_load.c */
}

static void every_directive_takes_its_default_and_its_sample(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        assert_non_null(row->sample);
        if (is_path(row))
            continue;
        if (row->default_text && !is_accepted(row, row->default_text))
            fail_msg("%s does not take its default %s", row->name, row->default_text);
        if (!is_accepted(row, row->sample))
            fail_msg("%s does not take its sample %s", row->name, row->sample);
    }
}

static void every_directive_without_a_value_is_an_error(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        assert_false(is_accepted(row, ""));
        assert_false(is_accepted(row, " \t "));
    }
}

static void every_directive_is_documented(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        assert_non_null(row->argument);
        assert_non_null(row->help);
        assert_int_equal(row->help[strlen(row->help) - 1], '.');
        assert_null(config_find_foreign(slice_str(row->name)));
        assert_ptr_equal(config_find(slice_str(row->name)), row);
    }
}

static void assert_number(const struct config_directive *row, uint64_t number, bool is_good)
{
    char value[32];
    snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
    if (is_accepted(row, value) != is_good)
        fail_msg("%s %s: expected it to be %s", row->name, value, is_good ? "good" : "refused");
}

static void every_number_has_the_bounds_of_its_row(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        bool is_limit = row->type == CONFIG_LIMIT;
        if (!is_limit && row->type != CONFIG_NUMBER && row->type != CONFIG_FACILITY)
            continue;
        assert_true(row->max <= INT64_MAX);
        assert_number(row, row->min, true);
        assert_number(row, row->max, true);
        assert_number(row, row->max + 1, false);
        assert_number(row, UINT64_MAX, false);
        if (row->min > 1)
            assert_number(row, row->min - 1, false);
        assert_number(row, 0, is_limit || row->min == 0);
        assert_true(is_accepted(row, "unlimited") == is_limit);
        assert_true(is_accepted(row, "-1") == row->takes_minus_one);
        assert_false(is_accepted(row, "99999999999999999999999999"));
        assert_false(is_accepted(row, "18446744073709551617"));
        assert_false(is_accepted(row, "1x"));
        assert_false(is_accepted(row, "0x10"));
        assert_false(is_accepted(row, "+1"));
        assert_false(is_accepted(row, "1.5"));
    }
}

static void every_text_has_the_length_of_its_row(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (row->type != CONFIG_TEXT && row->type != CONFIG_TOPIC && row->type != CONFIG_PATH)
            continue;
        char *value = calloc(1, row->max + 2);
        memset(value, 'a', row->max);
        assert_true(is_accepted(row, value));
        value[row->max] = 'a';
        assert_false(is_accepted(row, value));
        free(value);
        assert_true(is_accepted(row, "caf\xC3\xA9"));
        assert_true(is_accepted(row, "\xFF\xFE") == (row->type == CONFIG_PATH));
        assert_true(is_accepted(row, "a/#") == (row->type != CONFIG_TOPIC));
    }
}

static void every_choice_refuses_a_word_that_is_none_of_its_own(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (row->type == CONFIG_BOOL) {
            assert_true(is_accepted(row, "true") && is_accepted(row, "false"));
            assert_true(is_accepted(row, "1") && is_accepted(row, "0"));
            assert_false(is_accepted(row, "yes"));
        }
        if (!row->words)
            continue;
        assert_false(is_accepted(row, "nonsense"));
        for (const struct config_word *word = row->words; word->word; word++) {
            bool needs_more = row->type == CONFIG_DEST && strcmp(word->word, "file") == 0;
            assert_true(is_accepted(row, word->word) == (!word->missing && !needs_more));
        }
    }
}

static void every_single_value_given_twice_names_the_first_line(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        char *text;
        if (config_is_list(row))
            continue;
        BUG_ON(asprintf(&text, "listener 1884\n%s %s\n\n%s %s\n", row->name, row->sample, row->name,
                        row->sample) < 0);
        char *error = errors_of_bytes(text, strlen(text));
        assert_has(error, "test.conf:4: ");
        assert_has(error, "is set already at test.conf:2");
        free(error);
        free(text);
    }
}

static void directives_of_mosquitto_that_dunlin_lacks_are_called_that(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_foreign_count; i++) {
        const struct config_foreign *foreign = &config_foreigns[i];
        const char *taken = config_harmless_value(foreign);
        char text[128];
        snprintf(text, sizeof(text), "%s%s %s\n", foreign->name,
                 foreign->is_prefix ? "something" : "",
                 taken && strcmp(taken, "any value") == 0 ? "" : "true");
        assert_refused_with(text, "mosquitto has this directive, Dunlin does not: ");
    }
    assert_refused("password_file /etc/passwd\n",
                   "test.conf:1: password_file: mosquitto has this directive, Dunlin does not: "
                   "there are no password files yet");
}

static void lines_of_mosquittos_that_ask_for_nothing_are_taken(void **state)
{
    (void)state;
    uint32_t count = 0;
    for (uint32_t i = 0; i < config_foreign_count; i++) {
        const char *taken = config_harmless_value(&config_foreigns[i]);
        char text[128];
        if (!taken)
            continue;
        snprintf(text, sizeof(text), "%s %s\n", config_foreigns[i].name, taken);
        config_free(load(text));
        count++;
    }
    assert_int_equal(count, 17); /* all of them are in the list of what mosquitto has */
    config_free(load("persistence 0\npersistence_location /var/lib/mosquitto/\n"
                     "autosave_interval 1800\n"));
    assert_refused("persistence true\npersistence_location /var/lib/mosquitto/\n",
                   "test.conf:1: persistence: mosquitto has this directive, Dunlin does not: "
                   "messages and sessions are kept in memory");
    assert_refused("websockets_headers_size 00\n",
                   "test.conf:1: websockets_headers_size: mosquitto has this directive, Dunlin "
                   "does not: WebSocket requests have at most 8192 bytes");
}

/* ---- values ---- */

static void defaults_are_those_of_mosquitto(void **state)
{
    (void)state;
    struct config *config = load("");
    assert_int_equal(config->max_inflight_messages, 20);
    assert_int_equal(config->receive_maximum, 20);
    assert_int_equal(config->max_queued_messages, 1000);
    assert_int_equal(config->max_queued_bytes, 0);
    assert_int_equal(config->max_packet_bytes, 2000000);
    assert_int_equal(config->sys_interval_s, 10);
    assert_int_equal(config->memory_limit_bytes, 0);
    assert_int_equal(config->reactors, 0);
    assert_true(config->retain_available && config->check_retain_source);
    assert_true(config->connection_messages && config->allow_duplicate_messages);
    assert_true(config->allow_zero_length_clientid);
    assert_false(config->queue_qos0_messages || config->set_tcp_nodelay);
    assert_string_equal(config->auto_id_prefix, "auto-");
    assert_null(config->clientid_prefixes);
    assert_int_equal(config->log_dest, LOG_DEST_STDERR);
    assert_int_equal(config->log_type, LOG_ERROR | LOG_WARNING_ | LOG_NOTICE_ | LOG_INFORMATION);
    assert_int_equal(config->log_facility, LOG_DAEMON);
    assert_true(config->log_timestamp);
    assert_null(config->log_timestamp_format);
    assert_string_equal(config->user, "dunlin");
    assert_false(config->is_user_given);
    config_free(config);
}

static void expiration_counts_hours_days_weeks_months_and_years(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds;
    } cases[] = {
        {"30s", 30},
        {"1h", 3600},
        {"14d", 14 * 86400ull},
        {"2w", 14 * 86400ull},
        {"2m", 60 * 86400ull},
        {"1y", 31536000},
        {"0", 0},
        {"unlimited", 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[64];
        snprintf(text, sizeof(text), "persistent_client_expiration %s\n", cases[i].text);
        struct config *config = load(text);
        assert_int_equal(config->persistent_client_expiration_s, cases[i].seconds);
        config_free(config);
    }
    assert_refused_with("persistent_client_expiration 5\n", "followed by s, h, d, w, m or y");
    assert_refused_with("persistent_client_expiration 5x\n", "followed by s, h, d, w, m or y");
    assert_refused_with("persistent_client_expiration d\n", "followed by s, h, d, w, m or y");
    assert_refused_with("persistent_client_expiration 0d\n", "from 1 to");
}

static void sweep_for_expired_retained_messages_is_given_in_minutes(void **state)
{
    (void)state;
    struct config *config = load("retain_expiry_interval 5\n");
    assert_int_equal(config->retain_expiry_s, 300);
    config_free(config);
}

static void log_types_of_several_lines_add_up(void **state)
{
    (void)state;
    struct config *config = load("log_type error\nlog_type debug subscribe\n");
    assert_int_equal(config->log_type, LOG_ERROR | LOG_DEBUG_ | LOG_SUBSCRIBE);
    config_free(config);
    config = load("log_type all\nlog_type none\nlog_type warning\n");
    assert_int_equal(config->log_type, LOG_WARNING_);
    config_free(config);
}

static void log_destinations_of_several_lines_add_up(void **state)
{
    (void)state;
    struct config *config = load("log_dest file /var/log/my logs/d.log\nlog_dest syslog\n"
                                 "log_dest topic\nlog_facility 5\n");
    assert_int_equal(config->log_dest, LOG_DEST_FILE | LOG_DEST_SYSLOG | LOG_DEST_TOPIC);
    assert_string_equal(config->log_file, "/var/log/my logs/d.log");
    assert_int_equal(config->log_facility, LOG_LOCAL5);
    config_free(config);
    config = load("log_dest file /a\nlog_dest none\n");
    assert_int_equal(config->log_dest, 0);
    assert_null(config->log_file);
    config_free(config);
    assert_refused_with("log_dest file /a\nlog_dest file /b\n", "one log file only");
}

static void admins_of_several_lines_add_up(void **state)
{
    (void)state;
    struct config *config = load("admin_users ada  grace\nadmin_users\tedsger\n");
    assert_int_equal(config->admin_users.count, 3);
    assert_string_equal(config->admin_users.items[0], "ada");
    assert_string_equal(config->admin_users.items[1], "grace");
    assert_string_equal(config->admin_users.items[2], "edsger");
    config_free(config);
}

static void protocol_versions_are_a_list_with_commas(void **state)
{
    (void)state;
    struct config *config = load("listener 1\naccept_protocol_versions 3, 5\n"
                                 "listener 2\n");
    assert_int_equal(config->listeners[0].versions, VERSION_BIT(MQTT_3_1) | VERSION_BIT(MQTT_5));
    assert_int_equal(config->listeners[1].versions,
                     VERSION_BIT(MQTT_3_1) | VERSION_BIT(MQTT_3_1_1) | VERSION_BIT(MQTT_5));
    config_free(config);
    assert_refused_with("listener 1\naccept_protocol_versions 3,6\n", "\"6\" is not 3, 4 or 5");
    assert_refused_with("listener 1\naccept_protocol_versions ,\n", "names no version");
}

static void older_names_mean_the_same(void **state)
{
    (void)state;
    struct config *config = load("listener 1\nmaximum_qos 1\n");
    assert_int_equal(config->listeners[0].qos_max, 1);
    config_free(config);
    assert_refused("listener 1\nmax_qos 1\nmaximum_qos 1\n",
                   "test.conf:3: max_qos: is set already at test.conf:2");
}

static void protocol_is_the_listeners_own(void **state)
{
    (void)state;
    struct config *config = load("listener 1\nprotocol websockets\nlistener 2\n");
    assert_int_equal(config->listeners[0].protocol, PROTOCOL_WEBSOCKETS);
    assert_int_equal(config->listeners[1].protocol, PROTOCOL_MQTT);
    config_free(config);
    assert_refused("listener 1\nprotocol http_api\n",
                   "test.conf:2: protocol: Dunlin does not have mosquitto's HTTP API");
}

/* ---- lines ---- */

static void unknown_directive_gets_the_nearest_name(void **state)
{
    (void)state;
    assert_refused("max_inflight_mesages 5\n",
                   "test.conf:1: unknown directive \"max_inflight_mesages\" (did you mean "
                   "max_inflight_messages?)");
    assert_refused("MAX_QOS 1\n",
                   "test.conf:1: unknown directive \"MAX_QOS\" (did you mean max_qos?)");
    assert_refused("quux 5\n", "test.conf:1: unknown directive \"quux\"");
}

static void blanks_tabs_and_line_ends_do_not_matter(void **state)
{
    (void)state;
    struct config *config = load("\xEF\xBB\xBF# a comment\r\n"
                                 "\r\n"
                                 "   \t # another\n"
                                 "  max_queued_messages \t 5 \t\r\n"
                                 "auto_id_prefix\ta  b  \r\n"
                                 "sys_interval 7");
    assert_int_equal(config->max_queued_messages, 5);
    assert_string_equal(config->auto_id_prefix, "a  b");
    assert_int_equal(config->sys_interval_s, 7);
    config_free(config);
}

static void very_long_lines_are_read_or_refused_like_others(void **state)
{
    (void)state;
    size_t bytes = 1 << 20;
    char *text = malloc(bytes + 64);
    memset(text, ' ', bytes);
    memcpy(text, "sys_interval", 12);
    strcpy(text + bytes, "7\n");
    struct config *config = load(text);
    assert_int_equal(config->sys_interval_s, 7);
    config_free(config);
    memset(text, 'x', bytes);
    char *error = errors_of_bytes(text, bytes);
    assert_true(strlen(error) < 200);
    free(error);
    memcpy(text, "user ", 5);
    error = errors_of_bytes(text, bytes);
    assert_has(error, "test.conf:1: user: the value has 1048571 bytes, the longest is 255");
    free(error);
    free(text);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    char *error = errors_of_bytes("sys_interval 5\nuser a\0b\n", 24);
    assert_string_equal(error, "test.conf:2: the line has a NUL byte: is this a text file?");
    free(error);
    assert_refused("user a\rb\n", "test.conf:1: the line has a carriage return in its middle");
    assert_refused("us\x1B[31mer a\n", "test.conf:1: unknown directive \"us?[31mer\"");
}

static void extra_values_are_refused(void **state)
{
    (void)state;
    assert_refused("sys_interval 5 6\n",
                   "test.conf:1: sys_interval: takes one value, \"6\" is one too many");
    assert_refused_with("sys_interval 5 # often\n", "a comment needs a line of its own");
}

static void all_errors_are_reported_at_once_up_to_twenty(void **state)
{
    (void)state;
    assert_refused("sys_interval x\nfoo 1\nallow_anonymous maybe\n",
                   "test.conf:1: sys_interval: \"x\" is not a number from 0 to 65535\n"
                   "test.conf:2: unknown directive \"foo\"\n"
                   "test.conf:3: allow_anonymous: \"maybe\" is not true or false");
    char text[400] = "";
    for (int i = 0; i < 50; i++)
        strcat(text, "foo 1\n");
    char *error = errors_of_bytes(text, strlen(text));
    assert_int_equal(count_lines(error), 20);
    free(error);
}

static void a_refused_value_leaves_nothing_behind(void **state)
{
    (void)state;
    /* Every prefix of a file is either good or refused, and nothing leaks (sanitizers watch). */
    const char *text = "listener 1883 ::1\nmount_point a/\nadmin_users a b\nlog_dest file /x\n"
                       "user me\nallow_anonymous true\nlistener 0 /run/s\nmax_qos 1\n";
    for (size_t bytes = 0; bytes <= strlen(text); bytes++) {
        char *error = NULL;
        struct config *config = config_load_text(text, bytes, "test.conf", &error);
        assert_true((config == NULL) == (error != NULL));
        config_free(config);
        free(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_directive_takes_its_default_and_its_sample),
        cmocka_unit_test(every_directive_without_a_value_is_an_error),
        cmocka_unit_test(every_directive_is_documented),
        cmocka_unit_test(every_number_has_the_bounds_of_its_row),
        cmocka_unit_test(every_text_has_the_length_of_its_row),
        cmocka_unit_test(every_choice_refuses_a_word_that_is_none_of_its_own),
        cmocka_unit_test(every_single_value_given_twice_names_the_first_line),
        cmocka_unit_test(directives_of_mosquitto_that_dunlin_lacks_are_called_that),
        cmocka_unit_test(lines_of_mosquittos_that_ask_for_nothing_are_taken),
        cmocka_unit_test(defaults_are_those_of_mosquitto),
        cmocka_unit_test(expiration_counts_hours_days_weeks_months_and_years),
        cmocka_unit_test(sweep_for_expired_retained_messages_is_given_in_minutes),
        cmocka_unit_test(log_types_of_several_lines_add_up),
        cmocka_unit_test(log_destinations_of_several_lines_add_up),
        cmocka_unit_test(admins_of_several_lines_add_up),
        cmocka_unit_test(protocol_versions_are_a_list_with_commas),
        cmocka_unit_test(older_names_mean_the_same),
        cmocka_unit_test(protocol_is_the_listeners_own),
        cmocka_unit_test(unknown_directive_gets_the_nearest_name),
        cmocka_unit_test(blanks_tabs_and_line_ends_do_not_matter),
        cmocka_unit_test(very_long_lines_are_read_or_refused_like_others),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(extra_values_are_refused),
        cmocka_unit_test(all_errors_are_reported_at_once_up_to_twenty),
        cmocka_unit_test(a_refused_value_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
