/* options.h: the command line, from one table. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdio.h>

#include "bench/base.h"

struct options {
    const char *scenario;
    const char *host;
    const char *username, *password;
    const char *source;
    uint32_t port;
    uint32_t source_first, source_count; /* host order; count 0: the system chooses */
    uint32_t pid;                        /* the broker's; 0: not measured */
    uint32_t version;                    /* 3, 4, 5 */
    uint32_t qos;
    uint32_t payload_bytes;
    uint32_t window; /* 0: a pace */
    uint32_t clients;
    uint32_t dashboards, members, groups;
    uint32_t topics, filters;
    uint32_t threads;
    uint32_t opening; /* connections being made at once, each thread; 0: all */
    uint32_t witnesses;
    uint32_t cut_percent;
    uint32_t keepalive_s;
    uint32_t gather_us;
    double rate; /* a second, all clients together; 0: no pace */
    double seconds, warmup_s, timeout_s, ping_every_s;
    bool websocket;
    bool own_topics, commands, no_publish, hold, bare;
    bool json, quiet;
    uint64_t given; /* bit i: row i of the table was on the command line */
};

/* Fills `o`, or says what is wrong and ends the program with status 2; --help and --version end it
 * with 0. What depends on the scenario is checked and completed by options_complete(). */
void options_parse(struct options *o, int argc, char **argv);
void options_complete(struct options *o);
void options_print_help(FILE *to);
void options_print_man1(void);

/* A row of the table, for those that print it. */
struct option_row {
    const char *name;
    const char *argument; /* NULL: a switch */
    uint8_t type;         /* enum option_type, options.c */
    uint16_t offset;
    double min, max;
    const char *initial;   /* default as text; NULL: none */
    const char *scenarios; /* names with blanks around; NULL: all */
    const char *text;
};
const struct option_row *option_at(size_t index); /* NULL behind the last */

#endif
