/*
 * netstat.h: connections that the kernel threw away before we could accept them. The kernel counts
 * them for the whole machine (its network namespace) only.
 */
#ifndef RUNTIME_NETSTAT_H
#define RUNTIME_NETSTAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct netstat {
    uint64_t listen_overflows; /* a listen queue was full */
    uint64_t listen_drops;     /* the same, or another reason */
};

/* From the text of /proc/net/netstat; false when it does not say. Pure. */
bool netstat_parse(struct slice text, struct netstat *out);
/* The file, to be kept open: what it tells is of interest when no more files can be opened. -1: there
   is none. */
int netstat_open(void);
/* Reads it anew; some ten microseconds. */
bool netstat_read(int fd, struct netstat *out);

#endif
