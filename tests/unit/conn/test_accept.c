/*
 * test_accept.c: connections that the system does not let us keep (conn/connection.c,
 * runtime/listener_accept.c).
 */
#include "tests/unit/conn/harness.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

static bool has_no_watches;

/* In place of the C library's. */
int epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event)
{
    if (!has_no_watches || what != EPOLL_CTL_ADD)
        return (int)syscall(SYS_epoll_ctl, epoll_fd, what, fd, event);
    errno = ENOSPC;
    return -1;
}

/* Lets the log end in a file, from now on; *before: what stderr was. */
static FILE *log_into_file(struct harness *h, int *before)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    *before = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    h->config->log_dest = LOG_DEST_STDERR;
    assert_int_equal(log_open(h->config), 0);
    return file;
}

static void without_watches_connections_are_closed_counted_and_told_of_once(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "listener 1883\nallow_anonymous true\n");
    char text[4096], byte;
    int before;
    FILE *log = log_into_file(h, &before);
    has_no_watches = true;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(recv(client_new(h, 0)->fd, &byte, 1, MSG_DONTWAIT), 0);
    has_no_watches = false;
    dup2(before, STDERR_FILENO);
    close(before);
    ssize_t bytes = pread(fileno(log), text, sizeof text - 1, 0);
    fclose(log);
    assert_true(bytes > 0);
    text[bytes] = 0;
    assert_non_null(strstr(text, "fs.epoll.max_user_watches"));
    assert_ptr_equal(strchr(text, '\n'), text + bytes - 1); /* one line */
    assert_int_equal(harness_metric(h, METRIC_ACCEPT_WATCHES), 3);
    assert_int_equal(harness_metric(h, METRIC_ACCEPT_MEMORY), 0);
    assert_int_equal(atomic_load(&h->broker.connections), 0);
    h->config->log_dest = 0;
    assert_int_equal(log_open(h->config), 0);
    client_of(h, 0, "C", 0); /* who comes later is served */
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_watches_connections_are_closed_counted_and_told_of_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
