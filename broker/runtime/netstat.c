/*
 * netstat.c: see netstat.h. The file has a line of names, then one of numbers, for each group:
 *
 *   TcpExt: SyncookiesSent ... ListenOverflows ListenDrops ...
 *   TcpExt: 0 ... 12 14 ...
 */
#include "runtime/netstat.h"

#include <fcntl.h>
#include <unistd.h>

#define NETSTAT_BYTES 16384u

/* Cuts the next word, ended by `end`, off `rest`. */
static struct slice cut(struct slice *rest, char end)
{
    const uint8_t *at = rest->len ? memchr(rest->ptr, end, rest->len) : NULL;
    struct slice word = slice_of(rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len);
    *rest = slice_skip(*rest, word.len + (at ? 1 : 0));
    return word;
}

static uint64_t number_of(struct slice word)
{
    uint64_t number = 0;
    for (size_t i = 0; i < word.len && word.ptr[i] >= '0' && word.ptr[i] <= '9'; i++)
        number = number * 10 + (uint64_t)(word.ptr[i] - '0');
    return number;
}

static bool parse_group(struct slice names, struct slice numbers, struct netstat *out)
{
    uint32_t found = 0;
    while (names.len && numbers.len) {
        struct slice name = cut(&names, ' ');
        uint64_t number = number_of(cut(&numbers, ' '));
        if (slice_eq(name, SLICE_LIT("ListenOverflows"))) {
            out->listen_overflows = number;
            found++;
        } else if (slice_eq(name, SLICE_LIT("ListenDrops"))) {
            out->listen_drops = number;
            found++;
        }
    }
    return found == 2;
}

bool netstat_parse(struct slice text, struct netstat *out)
{
    while (text.len) {
        struct slice names = cut(&text, '\n'), numbers = cut(&text, '\n');
        if (slice_starts_with(names, SLICE_LIT("TcpExt: ")) &&
            slice_starts_with(numbers, SLICE_LIT("TcpExt: ")))
            return parse_group(names, numbers, out);
    }
    return false;
}

int netstat_open(void)
{
    return open("/proc/net/netstat", O_RDONLY | O_CLOEXEC);
}

bool netstat_read(int fd, struct netstat *out)
{
    char text[NETSTAT_BYTES];
    size_t bytes = 0;
    ssize_t got;
    while (bytes < sizeof(text) &&
           (got = pread(fd, text + bytes, sizeof(text) - bytes, (off_t)bytes)) > 0)
        bytes += (size_t)got;
    return netstat_parse(slice_of(text, bytes), out);
}
