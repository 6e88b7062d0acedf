/* test_config_load.c: listeners and what they inherit, included files, the command line, reloads.
 */
#include "tests/unit/runtime/config_testing.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "runtime/log.h"

/* ---- listeners ---- */

static void without_listeners_it_is_the_loopback_and_anyone(void **state)
{
    (void)state;
    struct config *config = load("");
    assert_true(config->is_default_listener);
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->listeners[0].port, 1883);
    assert_string_equal(config->listeners[0].address, "127.0.0.1");
    assert_true(config->listeners[0].allow_anonymous);
    config_free(config);
    config = load("allow_anonymous false\nmax_connections 5\n");
    assert_true(config->is_default_listener);
    assert_false(config->listeners[0].allow_anonymous);
    assert_int_equal(config->listeners[0].max_connections, 5);
    config_free(config);
}

static void with_a_listener_anonymous_is_off_unless_allowed(void **state)
{
    (void)state;
    struct config *config = load("listener 1884\nlistener 1885 ::1\n");
    assert_false(config->is_default_listener);
    assert_int_equal(config->listener_count, 2);
    assert_null(config->listeners[0].address);
    assert_string_equal(config->listeners[1].address, "::1");
    assert_false(config->listeners[0].allow_anonymous);
    assert_false(config->listeners[1].allow_anonymous);
    config_free(config);
    config = load("listener 1884\nlistener 1885\nallow_anonymous true\n");
    assert_true(config->listeners[0].allow_anonymous);
    assert_true(config->listeners[1].allow_anonymous);
    config_free(config);
}

static void listeners_own_word_on_anonymous_counts_most(void **state)
{
    (void)state;
    struct config *config =
        load("allow_anonymous true\nlistener 1\nlistener_allow_anonymous false\n"
             "listener 2\n");
    assert_false(config->listeners[0].allow_anonymous);
    assert_true(config->listeners[1].allow_anonymous);
    config_free(config);
}

static void per_listener_settings_keeps_security_to_its_section(void **state)
{
    (void)state;
    struct config *config = load("per_listener_settings true\n"
                                 "listener 1\nallow_anonymous true\nauto_id_prefix one-\n"
                                 "listener 2\nallow_zero_length_clientid false\n"
                                 "listener 3\nlistener_allow_anonymous true\n");
    assert_true(config->listeners[0].allow_anonymous);
    assert_false(config->listeners[1].allow_anonymous);
    assert_true(config->listeners[2].allow_anonymous);
    assert_true(config->listeners[0].allow_zero_length_clientid);
    assert_false(config->listeners[1].allow_zero_length_clientid);
    assert_string_equal(config->listeners[0].auto_id_prefix, "one-");
    assert_string_equal(config->listeners[1].auto_id_prefix, "auto-");
    config_free(config);
    assert_refused("allow_anonymous true\nper_listener_settings true\n",
                   "test.conf:2: per_listener_settings: has to come before allow_anonymous, which "
                   "is at test.conf:1");
    assert_refused_with("per_listener_settings true\nlistener 1\nallow_anonymous true\n"
                        "listener_allow_anonymous false\n",
                        "is set already, by allow_anonymous at test.conf:3");
}

static void prefix_of_client_ids_is_global_or_the_listeners(void **state)
{
    (void)state;
    struct config *config =
        load("auto_id_prefix all-\nlistener 1\nlistener 2\n"
             "listener_auto_id_prefix two-\nallow_zero_length_clientid false\n");
    assert_string_equal(config->auto_id_prefix, "all-");
    assert_string_equal(config->listeners[0].auto_id_prefix, "all-");
    assert_string_equal(config->listeners[1].auto_id_prefix, "two-");
    assert_false(config->listeners[0].allow_zero_length_clientid);
    assert_false(config->allow_zero_length_clientid);
    config_free(config);
}

static void older_style_opens_the_default_listener_to_the_network(void **state)
{
    (void)state;
    struct config *config = load("max_qos 1\nport 1900\nlistener 1901\nbind_address ::1\n");
    assert_false(config->is_default_listener);
    assert_int_equal(config->listener_count, 2);
    assert_int_equal(config->listeners[0].port, 1900);
    assert_string_equal(config->listeners[0].address, "::1");
    assert_int_equal(config->listeners[0].qos_max, 1);
    assert_int_equal(config->listeners[1].qos_max, 2);
    assert_false(config->listeners[0].allow_anonymous);
    config_free(config);
    config = load("bind_address 10.0.0.1\n");
    assert_false(config->is_default_listener);
    assert_int_equal(config->listeners[0].port, 1883);
    config_free(config);
}

static void lines_about_a_default_listener_that_is_off_are_not_lost(void **state)
{
    (void)state;
    assert_refused_with("max_connections 5\nlistener 1884\n",
                        "test.conf:1: max_connections: is about a listener and comes before the "
                        "first 'listener' line");
}

static void listener_lines_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    assert_refused_with("listener 0\n", "needs its path");
    assert_refused_with("listener 65536\n", "\"65536\" is not a port");
    assert_refused_with("listener x\n", "\"x\" is not a port");
    assert_refused_with("listener 1 a b\n", "takes a port and one address");
    assert_refused(
        "listener 1 ::1\nlistener 2\nlistener 1 ::1\n",
        "test.conf:3: listener: port 1 at this address is taken by the listener at test.conf:1");
    assert_refused_with("port 1\nlistener 1\n", "port 1 at this address is the default listener's");
    char text[256] = "listener 0 /";
    memset(text + 12, 'a', 106);
    struct config *config = load(text);
    assert_int_equal(config->listeners[0].port, 0);
    config_free(config);
    text[118] = 'a';
    assert_refused_with(text, "at most 107 bytes");
}

static void there_are_sixty_four_listeners_at_most(void **state)
{
    (void)state;
    char text[4096] = "", *end = text;
    for (int i = 1; i <= CONFIG_LISTENERS_MAX; i++)
        end += sprintf(end, "listener %d\nmax_qos 1\n", i);
    struct config *config = load(text);
    assert_int_equal(config->listener_count, CONFIG_LISTENERS_MAX);
    config_free(config);
    strcpy(end, "port 1883\n");
    assert_refused_with(text, "at most 64 listeners, with the default one");
    strcpy(end, "listener 65\nmax_qos 1\nmount_point a/\n");
    assert_refused(
        "listener 1\nlistener 1\n",
        "test.conf:2: listener: port 1 at this address is taken by the listener at test.conf:1");
    assert_refused(text, "test.conf:129: listener: there can be at most 64 listeners");
}

static void listener_directives_are_about_their_section(void **state)
{
    (void)state;
    struct config *config = load("listener 1\nsocket_domain ipv6\nmount_point a/\nbacklog 9\n"
                                 "listener 2\nbind_interface lo\nmax_topic_alias 0\n"
                                 "max_topic_alias_broker 3\nmax_connections -1\n");
    assert_int_equal(config->listeners[0].socket_domain, AF_INET6);
    assert_string_equal(config->listeners[0].mount_point, "a/");
    assert_int_equal(config->listeners[0].backlog, 9);
    assert_int_equal(config->listeners[0].topic_alias_max, 10);
    assert_int_equal(config->listeners[1].socket_domain, AF_UNSPEC);
    assert_null(config->listeners[1].mount_point);
    assert_string_equal(config->listeners[1].bind_interface, "lo");
    assert_int_equal(config->listeners[1].topic_alias_max, 0);
    assert_int_equal(config->listeners[1].topic_alias_broker_max, 3);
    assert_int_equal(config->listeners[1].max_connections, 0);
    config_free(config);
}

/* ---- files ---- */

static char folder[64];

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat, (void)type, (void)ftw;
    return remove(path);
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dunlin-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file below the folder; returns its path, good until the next call. */
static const char *write_file(const char *name, const char *text)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void make_subfolder(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static struct config *load_file(const char *path, char **error)
{
    struct config_args args = {.config_file = path};
    return config_load(&args, error);
}

static void included_files_are_read_in_order_at_their_place(void **state)
{
    (void)state;
    char text[256], *error;
    make_subfolder("d");
    write_file("d/b.conf", "admin_users b\n");
    write_file("d/A.conf", "admin_users A\n");
    write_file("d/a.conf", "admin_users a\nmax_qos 1"); /* goes on in the listener's section */
    write_file("d/00.conf", "admin_users 00\n");
    write_file("d/z.txt", "nonsense\n");
    snprintf(text, sizeof(text),
             "admin_users first\nlistener 1\ninclude_dir %s/d\n"
             "mount_point last/\n",
             folder);
    struct config *config = load_file(write_file("main.conf", text), &error);
    assert_non_null(config);
    static const char *const order[] = {"first", "00", "A", "a", "b"};
    assert_int_equal(config->admin_users.count, ARRAY_COUNT(order));
    for (size_t i = 0; i < ARRAY_COUNT(order); i++)
        assert_string_equal(config->admin_users.items[i], order[i]);
    assert_int_equal(config->listeners[0].qos_max, 1);
    assert_string_equal(config->listeners[0].mount_point, "last/");
    config_free(config);
}

static void errors_name_the_included_file_and_its_line(void **state)
{
    (void)state;
    char text[256], expected[512], *error;
    make_subfolder("e");
    write_file("e/one.conf", "\nsys_interval x\nsys_interval 5\n");
    snprintf(text, sizeof(text), "sys_interval 7\ninclude_dir %s/e\nfoo 1\n", folder);
    const char *path = write_file("main.conf", text);
    assert_null(load_file(path, &error));
    snprintf(expected, sizeof(expected),
             "%s/e/one.conf:2: sys_interval: is set already at %s:1\n"
             "%s/e/one.conf:3: sys_interval: is set already at %s:1\n"
             "%s:3: unknown directive \"foo\"",
             folder, path, folder, path, path);
    assert_string_equal(error, expected);
    free(error);
}

static void a_folder_that_includes_itself_is_an_error(void **state)
{
    (void)state;
    char text[256], *error;
    make_subfolder("loop");
    snprintf(text, sizeof(text), "include_dir %s/loop\n", folder);
    assert_null(load_file(write_file("loop/self.conf", text), &error));
    assert_has(error, "self.conf:1: ");
    assert_has(error, "is included by itself");
    free(error);
}

static void files_are_included_eight_deep_and_no_deeper(void **state)
{
    (void)state;
    char name[64], text[256], *error;
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "deep%d", i);
        make_subfolder(name);
        snprintf(name, sizeof(name), "deep%d/x.conf", i);
        snprintf(text, sizeof(text), "include_dir %s/deep%d\n", folder, i + 1);
        write_file(name, i == 9 ? "" : text);
    }
    snprintf(text, sizeof(text), "include_dir %s/deep1\n", folder);
    assert_null(load_file(write_file("main.conf", text), &error));
    assert_has(error, "deep8/x.conf:1: include_dir: files are included 8 deep already");
    free(error);
    snprintf(text, sizeof(text), "include_dir %s/deep2\n", folder);
    struct config *config = load_file(write_file("main.conf", text), &error);
    assert_non_null(config);
    config_free(config);
}

static void what_is_not_a_file_is_refused(void **state)
{
    (void)state;
    char text[256], fifo[256], *error;
    assert_null(load_file(folder, &error));
    assert_has(error, "is a directory");
    free(error);
    assert_null(load_file("/nonexistent/dunlin.conf", &error));
    assert_string_equal(error, "/nonexistent/dunlin.conf: No such file or directory");
    free(error);
    make_subfolder("fifo");
    snprintf(fifo, sizeof(fifo), "%s/fifo/x.conf", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(text, sizeof(text), "include_dir %s/fifo\ninclude_dir %s/none\n", folder, folder);
    assert_null(load_file(write_file("main.conf", text), &error));
    assert_has(error, "main.conf:1: ");
    assert_has(error, "is not a regular file");
    assert_has(error, "main.conf:2: ");
    free(error);
}

static void a_file_that_never_ends_is_not_read_for_ever(void **state)
{
    (void)state;
    char *error;
    assert_null(load_file("/dev/zero", &error));
    assert_string_equal(error, "/dev/zero: is larger than 64 MiB");
    free(error);
}

static void paths_may_have_odd_characters(void **state)
{
    (void)state;
    char *error;
    struct config *config = load_file(write_file("a b\n\xFF%s#.conf", "sys_interval 5\n"), &error);
    assert_non_null(config);
    config_free(config);
    assert_null(load_file(write_file("a\x1B[1m\n.conf", "foo\n"), &error));
    assert_has(error, "/a?[1m?.conf:1: unknown");
    free(error);
}

/* ---- the command line ---- */

static enum err parse_args(struct config_args *args, char **error, const char *first,
                           const char *second, const char *third)
{
    const char *argv[] = {"dunlin", first, second, third, NULL};
    int argc = 1;
    while (argv[argc])
        argc++;
    return config_args_parse(argc, (char **)argv, args, error);
}

static void assert_args_refused(const char *first, const char *second, const char *third,
                                const char *expected)
{
    struct config_args args;
    char *error = NULL;
    assert_int_equal(parse_args(&args, &error, first, second, third), ERR_INVALID);
    assert_string_equal(error, expected);
    free(error);
}

static void flags_are_those_of_mosquitto(void **state)
{
    (void)state;
    struct config_args args;
    char *error;
    assert_int_equal(parse_args(&args, &error, "-v", "-p", "1884"), ERR_OK);
    assert_true(args.verbose && args.port == 1884 && !args.quiet && !args.config_file);
    assert_int_equal(parse_args(&args, &error, "-c", "-d", "-q"), ERR_OK);
    assert_true(args.quiet && !args.daemon && strcmp(args.config_file, "-d") == 0);
    assert_int_equal(parse_args(&args, &error, "-d", "-h", "--version"), ERR_OK);
    assert_true(args.daemon && args.help && args.version);
    assert_int_equal(parse_args(&args, &error, "--test-config", "--print-man5", NULL), ERR_OK);
    assert_true(args.test_config && args.print == CONFIG_PRINT_MAN5);
    assert_int_equal(parse_args(&args, &error, "--check-host", "1000000", "--write-sysctl"),
                     ERR_OK);
    assert_true(args.check_sessions == 1000000 && args.write_sysctl);
    assert_int_equal(parse_args(&args, &error, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(args.print, CONFIG_PRINT_NONE);
}

static void flags_that_make_no_sense_say_what_to_do(void **state)
{
    (void)state;
    assert_args_refused("-x", NULL, NULL, "unknown option '-x'; see dunlin --help");
    assert_args_refused("dunlin.conf", NULL, NULL,
                        "unknown option 'dunlin.conf'; see dunlin --help");
    assert_args_refused("-c", NULL, NULL, "-c needs a value; see dunlin --help");
    assert_args_refused("-p", "0", NULL, "-p 0: a port is a number from 1 to 65535");
    assert_args_refused("-p", "65536", NULL, "-p 65536: a port is a number from 1 to 65535");
    assert_args_refused("-p", "18446744073709551617", NULL,
                        "-p 18446744073709551617: a port is a number from 1 to 65535");
    assert_args_refused("-p", "12x", NULL, "-p 12x: a port is a number from 1 to 65535");
    assert_args_refused("-p", "-1", NULL, "-p -1: a port is a number from 1 to 65535");
    assert_args_refused("-c", "", NULL, "-c needs the path of a file");
    assert_args_refused("--check-host", NULL, NULL,
                        "--check-host needs a value; see dunlin --help");
    static const char *const sessions[] = {"0",   "",           "-1",
                                           "1e6", "1000000001", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_COUNT(sessions); i++) {
        char expected[128];
        snprintf(expected, sizeof expected,
                 "--check-host %s: sessions are a number from 1 to 1000000000", sessions[i]);
        assert_args_refused("--check-host", sessions[i], NULL, expected);
    }
    assert_args_refused("--write-sysctl", NULL, NULL,
                        "--write-sysctl goes with --check-host and a number of sessions");
}

static void command_line_is_stronger_than_the_file(void **state)
{
    (void)state;
    char *error;
    struct config_args args = {.port = 1999, .verbose = true, .daemon = true};
    struct config *config = config_load(&args, &error);
    assert_true(config->is_default_listener);
    assert_int_equal(config->listeners[0].port, 1999);
    assert_int_equal(config->log_type, LOG_ALL);
    assert_int_equal(config->log_dest, LOG_DEST_SYSLOG);
    config_free(config);
    args.quiet = true;
    args.config_file = write_file("main.conf", "port 1884\nlog_type all\nlog_dest stdout\n");
    config = config_load(&args, &error);
    assert_int_equal(config->listeners[0].port, 1999);
    assert_int_equal(config->log_type, 0);
    assert_int_equal(config->log_dest, LOG_DEST_STDOUT);
    config_free(config);
}

static void port_of_the_command_line_must_be_one_that_is_opened(void **state)
{
    (void)state;
    char *error;
    struct config_args args = {.port = 1884};
    args.config_file = write_file("main.conf", "listener 1883\nlistener 1884\n");
    struct config *config = config_load(&args, &error);
    assert_int_equal(config->listener_count, 2);
    config_free(config);
    args.port = 1885;
    assert_null(config_load(&args, &error));
    assert_has(error, "-p 1885: ");
    free(error);
}

/* ---- reloads ---- */

struct changes {
    char text[1024];
};

static void note_change(void *ctx, const char *directive, bool is_reloadable, const char *old_value,
                        const char *new_value)
{
    struct changes *changes = ctx;
    size_t used = strlen(changes->text);
    snprintf(changes->text + used, sizeof(changes->text) - used, "%s%s: '%s' to '%s'%s",
             used ? "\n" : "", directive, old_value, new_value, is_reloadable ? "" : " (restart)");
}

static void assert_changes(const char *before_text, const char *after_text, const char *expected)
{
    struct changes changes = {""};
    struct config *before = load(before_text), *after = load(after_text);
    config_diff(before, after, note_change, &changes);
    assert_string_equal(changes.text, expected);
    config_keep_fixed(after, before); /* what is left is what a reload applies */
    changes.text[0] = 0;
    config_diff(before, after, note_change, &changes);
    assert_null(strstr(changes.text, "(restart)"));
    config_free(before);
    config_free(after);
}

static void a_reload_names_what_changed(void **state)
{
    (void)state;
    assert_changes("listener 1\n", "listener 1\n", "");
    assert_changes("sys_interval 5\nlog_dest file /a\n",
                   "sys_interval 6\nreactors 2\nlog_type all\nmemory_limit 2000000\n"
                   "persistent_client_expiration 2w\nadmin_users a b\nretain_expiry_interval 5\n"
                   "queue_policy disconnect\nlog_facility 3\n",
                   "admin_users: 'unset' to 'a b'\n"
                   "persistent_client_expiration: 'unlimited' to '14d'\n"
                   "queue_policy: 'drop_newest' to 'disconnect'\n"
                   "memory_limit: 'unlimited' to '2000000'\n"
                   "retain_expiry_interval: 'unlimited' to '5'\n"
                   "reactors: '0' to '2' (restart)\n"
                   "sys_interval: '5' to '6'\n"
                   "log_dest: 'file /a' to 'stderr'\n"
                   "log_type: 'error warning notice information' to 'all'\n"
                   "log_facility: 'daemon' to '3'");
}

static void a_reload_names_what_changed_in_listeners(void **state)
{
    (void)state;
    assert_changes("listener 1\nmax_qos 1\nlistener 2 ::1\n",
                   "listener 2 ::1\naccept_protocol_versions 5\nmount_point x/\nlistener 3\n",
                   "listener: '1' to 'none' (restart)\n"
                   "accept_protocol_versions (listener 2 ::1): '3,4,5' to '5'\n"
                   "mount_point (listener 2 ::1): 'unset' to 'x/' (restart)\n"
                   "listener: 'none' to '3' (restart)");
    assert_changes("listener 1\n", "listener 1\nallow_anonymous true\nauto_id_prefix x-\n",
                   "allow_anonymous (listener 1): 'false' to 'true'\n"
                   "auto_id_prefix (listener 1): 'auto-' to 'x-'");
}

static void what_only_a_restart_changes_stays_as_it_was(void **state)
{
    (void)state;
    struct config *before = load("listener 1\nmax_qos 1\nlistener 2\nmount_point a/\nuser u\n"
                                 "pid_file /p\nsys_interval 5\n");
    struct config *after = load("listener 3\nlistener 2\nallow_anonymous true\nreactors 4\n"
                                "sys_interval 6\n");
    config_keep_fixed(after, before);
    assert_int_equal(after->listener_count, 2);
    assert_int_equal(after->listeners[0].port, 1);
    assert_int_equal(after->listeners[0].qos_max, 1);
    assert_string_equal(after->listeners[1].mount_point, "a/");
    assert_true(after->listeners[1].allow_anonymous);
    assert_string_equal(after->user, "u");
    assert_true(after->is_user_given);
    assert_string_equal(after->pid_file, "/p");
    assert_int_equal(after->reactors, 0);
    assert_int_equal(after->sys_interval_s, 6);
    config_free(before);
    config_free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_listeners_it_is_the_loopback_and_anyone),
        cmocka_unit_test(with_a_listener_anonymous_is_off_unless_allowed),
        cmocka_unit_test(listeners_own_word_on_anonymous_counts_most),
        cmocka_unit_test(per_listener_settings_keeps_security_to_its_section),
        cmocka_unit_test(prefix_of_client_ids_is_global_or_the_listeners),
        cmocka_unit_test(older_style_opens_the_default_listener_to_the_network),
        cmocka_unit_test(lines_about_a_default_listener_that_is_off_are_not_lost),
        cmocka_unit_test(listener_lines_that_make_no_sense_are_refused),
        cmocka_unit_test(there_are_sixty_four_listeners_at_most),
        cmocka_unit_test(listener_directives_are_about_their_section),
        cmocka_unit_test(included_files_are_read_in_order_at_their_place),
        cmocka_unit_test(errors_name_the_included_file_and_its_line),
        cmocka_unit_test(a_folder_that_includes_itself_is_an_error),
        cmocka_unit_test(files_are_included_eight_deep_and_no_deeper),
        cmocka_unit_test(what_is_not_a_file_is_refused),
        cmocka_unit_test(a_file_that_never_ends_is_not_read_for_ever),
        cmocka_unit_test(paths_may_have_odd_characters),
        cmocka_unit_test(flags_are_those_of_mosquitto),
        cmocka_unit_test(flags_that_make_no_sense_say_what_to_do),
        cmocka_unit_test(command_line_is_stronger_than_the_file),
        cmocka_unit_test(port_of_the_command_line_must_be_one_that_is_opened),
        cmocka_unit_test(a_reload_names_what_changed),
        cmocka_unit_test(a_reload_names_what_changed_in_listeners),
        cmocka_unit_test(what_only_a_restart_changes_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
