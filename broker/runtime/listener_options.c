/*
 * listener_options.c: see listener_options.h. One row for each option of a socket.
 *
 * Threads: any; called while listeners are opened.
 */
#include "runtime/listener_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "runtime/log.h"

struct option_row {
    const char *directive;
    int level, option;
    size_t offset;       /* of the uint32_t in struct config_listener */
    const char *ceiling; /* NULL, or the setting above which the kernel does not go */
};

#define OF(field) offsetof(struct config_listener, field)

static const struct option_row rows[] = {
    {"socket_receive_buffer", SOL_SOCKET, SO_RCVBUF, OF(receive_buffer_bytes), "net.core.rmem_max"},
    {"socket_send_buffer", SOL_SOCKET, SO_SNDBUF, OF(send_buffer_bytes), "net.core.wmem_max"},
    {"tcp_keepalive", SOL_SOCKET, SO_KEEPALIVE, OF(tcp_keepalive_s), NULL}, /* on, if not 0 */
    {"tcp_keepalive", IPPROTO_TCP, TCP_KEEPIDLE, OF(tcp_keepalive_s), NULL},
    {"tcp_user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, OF(tcp_user_timeout_ms), NULL},
    {"tcp_defer_accept", IPPROTO_TCP, TCP_DEFER_ACCEPT, OF(tcp_defer_accept_s), NULL},
};

static uint32_t wanted(const struct option_row *row, const struct config_listener *config)
{
    uint32_t value;
    memcpy(&value, (const char *)config + row->offset, sizeof(value));
    return value;
}

const char *listener_set_options(int fd, const struct config_listener *config)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        int value = (int)wanted(&rows[i], config);
        if (value && setsockopt(fd, rows[i].level, rows[i].option, &value, sizeof(value)) < 0)
            return rows[i].directive;
    }
    return NULL;
}

/* The kernel doubles what it is asked for, to have room for its own records. */
static void check_buffer(int fd, const struct option_row *row, uint32_t asked)
{
    int given = 0;
    socklen_t bytes = sizeof(given);
    if (getsockopt(fd, row->level, row->option, &given, &bytes) < 0 ||
        (uint64_t)given >= 2ull * asked)
        return;
    log_line(LOG_WARNING_, "%s %u: the kernel gives %d bytes only; raise %s.", row->directive,
             asked, given / 2, row->ceiling);
}

void listener_check_buffers(int fd, const struct config_listener *config)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t asked = wanted(&rows[i], config);
        if (rows[i].ceiling && asked)
            check_buffer(fd, &rows[i], asked);
    }
}
