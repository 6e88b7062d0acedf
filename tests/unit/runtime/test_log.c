/* test_log.c: what reaches which destination, in which form, and what is held back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/config.h"
#include "runtime/log.h"

static char folder[64], path[128];

/* What the log takes for the time; 0: it asks the system. In place of the C library's function. */
static _Atomic time_t wall_s;

time_t time(time_t *out)
{
    struct timespec now = {.tv_sec = atomic_load(&wall_s)};
    if (now.tv_sec == 0)
        clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dunlin-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int set_up(void **state)
{
    (void)state;
    clock_turn_ms(1000 * 60); /* no site remembers a burst of an earlier test */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_close();
    unlink(path);
    return 0;
}

/* A log into the file, of all types, without the time. */
static struct config config_of_file(void)
{
    return (struct config){.log_dest = LOG_DEST_FILE, .log_file = path, .log_type = LOG_ALL};
}

static void open_file_log(void)
{
    struct config config = config_of_file();
    assert_int_equal(log_open(&config), 0);
}

/* What is in a file, good until the next call. */
static const char *read_path(const char *name)
{
    static char text[1 << 20];
    int fd = open(name, O_RDONLY);
    ssize_t bytes = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    assert_true(bytes >= 0);
    text[bytes] = 0;
    if (fd >= 0)
        close(fd);
    return text;
}

static const char *read_log(void)
{
    return read_path(path);
}

static uint32_t count(const char *text, const char *part)
{
    uint32_t found = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        found++;
    return found;
}

/* ---- types and destinations ---- */

static void types_that_are_off_are_not_written_and_not_evaluated(void **state)
{
    (void)state;
    struct config config = config_of_file();
    int evaluated = 0;
    config.log_type = LOG_ERROR | LOG_NOTICE_;
    assert_int_equal(log_open(&config), 0);
    assert_true(log_is_on(LOG_ERROR));
    assert_false(log_is_on(LOG_DEBUG_));
    log_line(LOG_DEBUG_, "debug %d", ++evaluated);
    log_line(LOG_INFORMATION, "information %d", ++evaluated);
    log_line(LOG_NOTICE_, "notice %d", ++evaluated);
    log_line(LOG_ERROR, "error %d", ++evaluated);
    assert_int_equal(evaluated, 2);
    assert_string_equal(read_log(), "notice 1\nerror 2\n");
}

static void without_destinations_nothing_is_on(void **state)
{
    (void)state;
    struct config config = {.log_dest = LOG_DEST_NONE, .log_type = LOG_ALL};
    assert_int_equal(log_open(&config), 0);
    assert_false(log_is_on(LOG_ERROR));
}

static void before_it_is_opened_errors_go_to_stderr(void **state)
{
    (void)state;
    log_close();
    assert_true(log_is_on(LOG_ERROR) && log_is_on(LOG_NOTICE_));
    assert_false(log_is_on(LOG_DEBUG_));
}

static void stdout_and_stderr_get_whole_lines(void **state)
{
    (void)state;
    struct config config = {.log_dest = LOG_DEST_STDOUT | LOG_DEST_STDERR, .log_type = LOG_ALL};
    char out[160], err[160];
    snprintf(out, sizeof(out), "%s/out", folder);
    snprintf(err, sizeof(err), "%s/err", folder);
    int old_out = dup(STDOUT_FILENO), old_err = dup(STDERR_FILENO);
    int out_fd = open(out, O_RDWR | O_CREAT, 0600), err_fd = open(err, O_RDWR | O_CREAT, 0600);
    fflush(stdout);
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    int error = log_open(&config);
    log_line(LOG_NOTICE_, "here");
    dup2(old_out, STDOUT_FILENO);
    dup2(old_err, STDERR_FILENO);
    assert_int_equal(error, 0);
    assert_string_equal(read_path(out), "here\n");
    assert_string_equal(read_path(err), "here\n");
    close(old_out), close(old_err), close(out_fd), close(err_fd);
    unlink(out), unlink(err);
}

static uint32_t sink_types, sink_lines;
static char sink_last[LOG_LINE_BYTES];

static void sink(uint32_t type, const char *line)
{
    sink_types |= type;
    sink_lines++;
    snprintf(sink_last, sizeof(sink_last), "%s", line);
    log_line(LOG_WARNING_, "the sink has something to say");
}

static void topic_gets_lines_but_debug_and_its_own(void **state)
{
    (void)state;
    struct config config = config_of_file();
    config.log_dest = LOG_DEST_TOPIC | LOG_DEST_FILE;
    assert_int_equal(log_open(&config), 0);
    log_line(LOG_ERROR, "nobody takes it yet");
    log_set_topic_sink(sink);
    log_line(LOG_DEBUG_, "debug");
    log_line(LOG_INTERNAL, "internal");
    assert_int_equal(sink_lines, 0);
    log_line(LOG_SUBSCRIBE, "subscribed");
    assert_int_equal(sink_lines, 1);
    assert_int_equal(sink_types, LOG_SUBSCRIBE);
    assert_string_equal(sink_last, "subscribed");
    assert_int_equal(count(read_log(), "the sink has something to say\n"), 1);
    config.log_dest = LOG_DEST_TOPIC;
    assert_int_equal(log_open(&config), 0);
    assert_false(log_is_on(LOG_DEBUG_));
    assert_true(log_is_on(LOG_ERROR));
}

/* ---- the form of a line ---- */

static void lines_begin_with_seconds_since_1970_as_mosquittos_do(void **state)
{
    (void)state;
    struct config config = config_of_file();
    long long seconds;
    char rest[32];
    config.log_timestamp = true;
    assert_int_equal(log_open(&config), 0);
    long long before = time(NULL);
    log_line(LOG_NOTICE_, "hello");
    assert_int_equal(sscanf(read_log(), "%lld: %31s", &seconds, rest), 2);
    assert_true(seconds >= before && seconds <= time(NULL));
    assert_string_equal(rest, "hello");
}

static void time_is_written_in_the_format_asked_for(void **state)
{
    (void)state;
    struct config config = config_of_file();
    config.log_timestamp = true;
    config.log_timestamp_format = strdup("on %%d:");
    assert_int_equal(log_open(&config), 0);
    free(config.log_timestamp_format); /* the log keeps its own */
    log_line(LOG_NOTICE_, "hello");
    assert_string_equal(read_log(), "on %d:: hello\n");
}

static void each_line_has_the_time_of_its_own_second(void **state)
{
    (void)state;
    struct config config = config_of_file();
    char format[] = "%S", other[] = "[%S]";
    config.log_timestamp = true;
    config.log_timestamp_format = format;
    assert_int_equal(log_open(&config), 0);
    static const time_t seconds[] = {1700000007, 1700000007, 1700000008, 1700000007};
    for (int i = 0; i < 4; i++) {
        atomic_store(&wall_s, seconds[i]);
        log_line(LOG_NOTICE_, "%d", i);
    }
    config.log_timestamp_format = other;
    assert_int_equal(log_open(&config), 0);
    log_line(LOG_NOTICE_, "4");
    atomic_store(&wall_s, 0);
    assert_string_equal(read_log(), "27: 0\n27: 1\n28: 2\n27: 3\n[27]: 4\n");
}

static void format_that_yields_nothing_falls_back_to_seconds(void **state)
{
    (void)state;
    struct config config = config_of_file();
    char format[] = "%P%P"; /* empty in the C locale of some systems, am or pm in others */
    char wide[] = "%1000Y%1000Y";
    config.log_timestamp = true;
    config.log_timestamp_format = format;
    assert_int_equal(log_open(&config), 0);
    log_line(LOG_NOTICE_, "a");
    config.log_timestamp_format = wide;
    assert_int_equal(log_open(&config), 0);
    log_line(LOG_NOTICE_, "b");
    assert_int_equal(count(read_log(), ": a\n"), 1);
    assert_int_equal(count(read_log(), ": b\n"), 1);
    assert_true(strlen(read_log()) < 100);
}

static void control_characters_cannot_forge_lines_or_drive_a_terminal(void **state)
{
    (void)state;
    open_file_log();
    log_line(LOG_NOTICE_, "client %s connected", "a\n1700000000: b\x1B[2J\x7F\tc\xC2\x9Bz\xC3\xA9");
    assert_string_equal(
        read_log(), "client a\\x0a1700000000: b\\x1b[2J\\x7f\tc\\xc2\\x9bz\xC3\xA9 connected\n");
}

static void long_lines_are_cut_between_characters(void **state)
{
    (void)state;
    char *text = malloc(100001);
    for (int shift = 0; shift < 4; shift++) {
        memset(text, 'a', 100000);
        text[100000] = 0;
        for (size_t i = (size_t)shift; i + 1 < 100000; i += 2)
            memcpy(text + i, "\xC3\xA9", 2);
        open_file_log();
        log_line(LOG_NOTICE_, "%s", text);
        const char *line = read_log();
        size_t bytes = strlen(line);
        assert_true(bytes > LOG_LINE_BYTES - 8 && bytes <= LOG_LINE_BYTES);
        assert_string_equal(line + bytes - 4, "...\n");
        assert_int_equal((uint8_t)line[bytes - 5], 0xA9);
        unlink(path);
    }
    memset(text, '\n', 100000); /* each becomes four */
    open_file_log();
    log_line(LOG_NOTICE_, "%s", text);
    assert_true(strlen(read_log()) <= LOG_LINE_BYTES);
    assert_int_equal(count(read_log(), "\n"), 1);
    free(text);
}

static void a_line_of_the_longest_length_is_whole(void **state)
{
    (void)state;
    char text[LOG_LINE_BYTES + 1];
    for (size_t bytes = LOG_LINE_BYTES - 4; bytes < LOG_LINE_BYTES; bytes++) {
        memset(text, 'a', sizeof(text));
        text[bytes] = 0;
        open_file_log();
        log_line(LOG_NOTICE_, "%s", text);
        text[bytes] = '\n';
        text[bytes + 1] = 0;
        assert_string_equal(read_log(), text);
        unlink(path);
    }
}

/* ---- bursts ---- */

static void say(uint32_t lines)
{
    for (uint32_t i = 0; i < lines; i++)
        log_line(LOG_WARNING_, "again");
}

static void burst_is_held_back_and_the_next_line_says_how_much(void **state)
{
    (void)state;
    open_file_log();
    uint64_t before = log_held_back_lines();
    say(LOG_BURST + 23);
    assert_int_equal(count(read_log(), "\n"), LOG_BURST);
    assert_int_equal(count(read_log(), "held back"), 0);
    assert_int_equal(log_held_back_lines() - before, 23);
    clock_turn_ms(LOG_BURST_S * 1000);
    say(1);
    assert_int_equal(count(read_log(), "again (23 more like this were held back)\n"), 1);
    say(1);
    assert_int_equal(count(read_log(), "\n"), LOG_BURST + 2);
    assert_int_equal(count(read_log(), "held back"), 1);
}

static void other_places_are_not_held_back_with_it(void **state)
{
    (void)state;
    open_file_log();
    say(LOG_BURST + 2);
    log_line(LOG_WARNING_, "elsewhere");
    assert_int_equal(count(read_log(), "elsewhere\n"), 1);
    log_report_held_back(false); /* not yet: the burst may go on */
    assert_int_equal(count(read_log(), "held back"), 0);
    clock_turn_ms(LOG_BURST_S * 1000);
    log_report_held_back(false);
    assert_int_equal(count(read_log(), "again (1 more like this were held back)\n"), 1);
    log_report_held_back(false);
    assert_int_equal(count(read_log(), "held back"), 1);
}

static void what_is_held_back_at_the_end_is_told_in_the_middle_of_its_burst(void **state)
{
    (void)state;
    open_file_log();
    say(LOG_BURST + 24);
    log_report_held_back(true);
    assert_int_equal(count(read_log(), "again (23 more like this were held back)\n"), 1);
    log_report_held_back(true);
    assert_int_equal(count(read_log(), "held back"), 1);
}

static void lines_held_back_are_told_by_the_text_of_the_first(void **state)
{
    (void)state;
    open_file_log();
    for (uint32_t i = 1; i <= LOG_BURST + 3; i++)
        log_line(LOG_WARNING_, "client %u: 100%%s", i);
    clock_turn_ms(LOG_BURST_S * 1000);
    log_report_held_back(false);
    assert_non_null(strstr(read_log(), "client 101: 100%s (2 more like this were held back)\n"));
    assert_null(strstr(read_log(), "%u"));
}

static void arguments_of_lines_that_are_only_counted_are_not_evaluated(void **state)
{
    (void)state;
    uint32_t evaluated = 0;
    open_file_log();
    uint64_t before = log_held_back_lines();
    for (uint32_t i = 0; i < 200; i++)
        log_line(LOG_WARNING_, "number %u", ++evaluated);
    assert_int_equal(evaluated, LOG_BURST + 1); /* the first of those held back is kept */
    assert_int_equal(log_held_back_lines() - before, 100);
    clock_turn_ms(LOG_BURST_S * 1000);
    log_report_held_back(false);
    assert_int_equal(count(read_log(), "number 101 (99 more like this were held back)\n"), 1);
    log_line(LOG_WARNING_, "number %u", ++evaluated);
    assert_int_equal(evaluated, LOG_BURST + 2);
}

static void what_an_operator_switches_on_is_never_held_back(void **state)
{
    (void)state;
    open_file_log();
    for (uint32_t i = 0; i < LOG_BURST * 3; i++)
        log_line(LOG_DEBUG_, "debug");
    assert_int_equal(count(read_log(), "debug\n"), LOG_BURST * 3);
}

/* ---- the file ---- */

static void opening_again_follows_a_file_that_was_rotated(void **state)
{
    (void)state;
    char old[160];
    snprintf(old, sizeof(old), "%s.1", path);
    open_file_log();
    log_line(LOG_NOTICE_, "one");
    assert_int_equal(rename(path, old), 0);
    log_line(LOG_NOTICE_, "two");
    open_file_log();
    log_line(LOG_NOTICE_, "three");
    assert_string_equal(read_path(old), "one\ntwo\n");
    assert_string_equal(read_log(), "three\n");
    unlink(old);
}

static void a_file_that_cannot_be_opened_changes_nothing(void **state)
{
    (void)state;
    struct config config = config_of_file();
    open_file_log();
    config.log_type = 0;
    config.log_file = folder;
    assert_int_equal(log_open(&config), EISDIR);
    log_line(LOG_NOTICE_, "still here");
    assert_string_equal(read_log(), "still here\n");
}

static void a_file_that_is_given_up_is_closed(void **state)
{
    (void)state;
    struct config config = {.log_dest = LOG_DEST_NONE, .log_type = LOG_ALL};
    open_file_log();
    log_line(LOG_NOTICE_, "one");
    assert_int_equal(log_open(&config), 0);
    log_line(LOG_NOTICE_, "two");
    assert_string_equal(read_log(), "one\n");
    open_file_log();
    log_line(LOG_NOTICE_, "three");
    assert_string_equal(read_log(), "one\nthree\n");
}

static void lines_that_are_not_taken_are_counted(void **state)
{
    (void)state;
    struct config config = config_of_file();
    char full[] = "/dev/full";
    config.log_file = full;
    uint64_t before = log_lost_lines();
    assert_int_equal(log_open(&config), 0);
    log_line(LOG_NOTICE_, "into the void");
    assert_int_equal(log_lost_lines() - before, 1);
}

/* ---- threads ---- */

#define WRITERS 4
#define WRITES 2000

static _Atomic bool is_over;

static void *write_lines(void *name)
{
    for (int i = 0; i < WRITES; i++) {
        log_line(LOG_DEBUG_, "[%s %d]", (const char *)name, i);
        log_line(LOG_WARNING_, "warning");
    }
    return NULL;
}

static void *reopen(void *unused)
{
    char format[] = "%H:%M";
    struct config config = config_of_file();
    for (int i = 0; !atomic_load(&is_over); i++) {
        config.log_timestamp = i & 1;
        config.log_timestamp_format = i & 2 ? format : NULL;
        if (log_open(&config))
            abort();
        log_report_held_back(false);
        clock_turn_ms(1000);
    }
    return unused;
}

static void writers_and_reloads_do_not_disturb_each_other(void **state)
{
    (void)state;
    pthread_t writers[WRITERS], reloader;
    static const char *const names[WRITERS] = {"w0", "w1", "w2", "w3"};
    open_file_log();
    pthread_create(&reloader, NULL, reopen, NULL);
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&writers[i], NULL, write_lines, (void *)names[i]);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&is_over, true);
    pthread_join(reloader, NULL);
    const char *text = read_log();
    assert_int_equal(count(text, "["), WRITERS * WRITES); /* every line, and each whole */
    assert_int_equal(count(text, "]\n"), WRITERS * WRITES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(types_that_are_off_are_not_written_and_not_evaluated),
        TEST(without_destinations_nothing_is_on),
        TEST(before_it_is_opened_errors_go_to_stderr),
        TEST(stdout_and_stderr_get_whole_lines),
        TEST(topic_gets_lines_but_debug_and_its_own),
        TEST(lines_begin_with_seconds_since_1970_as_mosquittos_do),
        TEST(time_is_written_in_the_format_asked_for),
        TEST(each_line_has_the_time_of_its_own_second),
        TEST(format_that_yields_nothing_falls_back_to_seconds),
        TEST(control_characters_cannot_forge_lines_or_drive_a_terminal),
        TEST(long_lines_are_cut_between_characters),
        TEST(a_line_of_the_longest_length_is_whole),
        TEST(burst_is_held_back_and_the_next_line_says_how_much),
        TEST(other_places_are_not_held_back_with_it),
        TEST(what_is_held_back_at_the_end_is_told_in_the_middle_of_its_burst),
        TEST(lines_held_back_are_told_by_the_text_of_the_first),
        TEST(arguments_of_lines_that_are_only_counted_are_not_evaluated),
        TEST(what_an_operator_switches_on_is_never_held_back),
        TEST(opening_again_follows_a_file_that_was_rotated),
        TEST(a_file_that_cannot_be_opened_changes_nothing),
        TEST(a_file_that_is_given_up_is_closed),
        TEST(lines_that_are_not_taken_are_counted),
        TEST(writers_and_reloads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
