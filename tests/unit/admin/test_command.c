/* test_command.c: admin/command.h: what commands say, and errors that name the field. */
#include "tests/unit/admin/testing.h"

#include "admin/command.h"

static char error[COMMAND_ERROR_BYTES];
static cJSON *tree;

static bool parse(const char *text, struct command *out)
{
    cJSON_Delete(tree);
    tree = cJSON_Parse(text);
    assert_non_null(tree);
    error[0] = 0;
    return command_parse(tree, 3, 2, out, error);
}

static int forget(void **state)
{
    (void)state;
    cJSON_Delete(tree);
    tree = NULL;
    return 0;
}

static void a_list_has_its_defaults(void **state)
{
    struct command command;
    (void)state;
    assert_true(parse("{\"command\":\"listSessions\"}", &command));
    assert_int_equal(command.name, COMMAND_LIST);
    assert_int_equal(command.limit, 100);
    assert_int_equal(command.state, ASK_ANY);
    assert_int_equal(command.idle_s, 0);
    assert_int_equal(command.prefix.len, 0);
    assert_null(command.correlation_data.ptr);
}

static void all_fields_are_read(void **state)
{
    struct command command;
    (void)state;
    assert_true(
        parse("{\"correlationData\":\"\",\"limit\":1000,\"cursor\":\"1.77\",\"prefix\":\"p\","
              "\"state\":\"disconnected\",\"idleLongerThan\":60,\"command\":\"listSessions\"}",
              &command));
    assert_int_equal(command.limit, 1000);
    assert_int_equal(command.cursor_reactor, 1);
    assert_int_equal(command.cursor_slot, 77);
    assert_int_equal(command.state, ASK_DISCONNECTED);
    assert_int_equal(command.idle_s, 60);
    assert_slice(command.prefix, "p");
    assert_non_null(command.correlation_data.ptr);
    assert_true(
        parse("{\"command\":\"deleteSession\",\"clientId\":\"c\",\"reason\":\"r\"}", &command));
    assert_slice(command.client_id, "c");
    assert_slice(command.reason, "r");
}

static void errors_name_the_field(void **state)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"5", "commands[3]: expected an object, got number"},
        {"{}", "commands[3].command: expected the name of a command, got nothing"},
        {"{\"command\":\"countSessions\",\"command\":\"listSessions\"}",
         "commands[3].command: expected it once, got it twice"},
        {"{\"command\":[]}", "commands[3].command: expected the name of a command, got array"},
        {"{\"command\":\"listSessions\",\"limit\":\"9\"}",
         "commands[3].limit: expected a whole number from 1 to 1000, got string"},
        {"{\"command\":\"listSessions\",\"limit\":0}",
         "commands[3].limit: expected a whole number from 1 to 1000, got 0"},
        {"{\"command\":\"listSessions\",\"limit\":1.5}",
         "commands[3].limit: expected a whole number from 1 to 1000, got 1.5"},
        {"{\"command\":\"listSessions\",\"idleLongerThan\":1e10}",
         "commands[3].idleLongerThan: expected a whole number from 0 to 4294967295, got "
         "10000000000"},
        {"{\"command\":\"listSessions\",\"cursor\":\"2.1\"}",
         "commands[3].cursor: expected the cursor of an earlier answer, got another string"},
        {"{\"command\":\"listSessions\",\"cursor\":\"-1.1\"}",
         "commands[3].cursor: expected the cursor of an earlier answer, got another string"},
        {"{\"command\":\"getSession\",\"clientId\":{}}",
         "commands[3].clientId: expected a string, got object"},
        {"{\"command\":\"getSession\",\"clientId\":\"a\",\"clientId\":\"b\"}",
         "commands[3].clientId: expected it once, got it twice"},
        {"{\"command\":\"getSession\",\"limit\":3}",
         "commands[3].limit: no such field here; there are: correlationData, clientId"},
        {"{\"command\":\"countSessions\",\"state\":null}",
         "commands[3].state: expected \"connected\", \"disconnected\" or \"all\", got null"},
    };
    struct command command;
    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_false(parse(rows[i].text, &command));
        assert_string_equal(error, rows[i].error);
    }
}

static void a_cursor_is_two_whole_numbers(void **state)
{
    static const char *const wrong[] = {
        "",
        "0",
        ".",
        "0.",
        ".0",
        "0.-1",
        "0.+1",
        "0. 1",
        " 0.1",
        "0.1 ",
        "0.1x",
        "0x0.1",
        "-0.1",
        "+0.1",
        "0.1.1",
        "0..1",
        "0,1",
        "2.0",
        "1e0.1",
        "0.4294967296",
        "4294967296.1",
        "0.99999999999999999999",
        "18446744073709551616.0",
    };
    struct command command;
    char text[128];
    (void)state;
    for (uint32_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        snprintf(text, sizeof(text), "{\"command\":\"listSessions\",\"cursor\":\"%s\"}", wrong[i]);
        assert_false(parse(text, &command));
        assert_non_null(strstr(error, "commands[3].cursor: "));
    }
    assert_true(parse("{\"command\":\"listSessions\",\"cursor\":\"1.4294967295\"}", &command));
    assert_int_equal(command.cursor_reactor, 1);
    assert_int_equal(command.cursor_slot, UINT32_MAX);
}

static void correlation_data_is_there_even_when_the_rest_is_wrong(void **state)
{
    struct command command;
    (void)state;
    assert_false(parse("{\"command\":\"x\",\"correlationData\":\"k\"}", &command));
    assert_slice(command.correlation_data, "k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_list_has_its_defaults, forget),
        cmocka_unit_test_teardown(all_fields_are_read, forget),
        cmocka_unit_test_teardown(errors_name_the_field, forget),
        cmocka_unit_test_teardown(a_cursor_is_two_whole_numbers, forget),
        cmocka_unit_test_teardown(correlation_data_is_there_even_when_the_rest_is_wrong, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
