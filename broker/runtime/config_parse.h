/*
 * config_parse.h: the state of reading a configuration, for broker/runtime/config*.c only.
 *
 * Lines fill sections: section 0 is the default listener, each 'listener' line opens the next. What
 * cannot be decided before the end of the file (which listeners there are, who inherits what) is
 * decided by config_load.c from the places at which directives were seen.
 */
#ifndef RUNTIME_CONFIG_PARSE_H
#define RUNTIME_CONFIG_PARSE_H

#include <sys/types.h>

#include "runtime/config_table.h"

#define CONFIG_ROWS_MAX 96
#define CONFIG_ERRORS_MAX 20
#define CONFIG_INCLUDES_MAX 8
#define CONFIG_FILE_BYTES_MAX (64u << 20)

/* Where a directive was seen; line 0: nowhere. */
struct config_place {
    const char *file;
    uint32_t line;
    const char *name; /* as written: of two directives for one field */
};

struct config_section {
    struct config_listener listener;
    struct config_place place; /* of the 'listener' line */
    bool is_broken;            /* that line was wrong */
    struct config_place seen[CONFIG_ROWS_MAX];
};

struct config_open_file {
    dev_t device;
    ino_t inode;
};

struct config_parse {
    struct config *config;
    struct config_section sections[1 + CONFIG_LISTENERS_MAX];
    uint32_t section_count;
    bool is_skipping; /* the section did not fit: its lines are not looked at */
    /* What allow_anonymous and its like say for all listeners. */
    struct config_listener security;
    struct config_place security_seen[CONFIG_ROWS_MAX];
    struct config_place seen[CONFIG_ROWS_MAX];

    struct config_place here;
    struct config_open_file open[1 + CONFIG_INCLUDES_MAX]; /* files being read, outermost first */
    uint32_t depth;                                        /* of them */
    struct config_strings names;                           /* of all files, for places */

    char *errors;
    uint32_t error_count;
};

/* Adds a line to the errors: about a place, or about none when `place` is NULL. */
void config_complain(struct config_parse *parse, const struct config_place *place,
                     const char *format, ...) __attribute__((format(printf, 3, 4)));
/* True when no more errors are wanted. */
bool config_has_enough_errors(const struct config_parse *parse);

/* Reads the lines of one file's text; `name` is what errors call it. */
void config_parse_text(struct config_parse *parse, struct slice text, const char *name);
/* Reads one file. An included one must be a regular file. */
void config_parse_file(struct config_parse *parse, const char *path, bool is_included);
/* Reads the *.conf of a directory. */
void config_parse_dir(struct config_parse *parse, const char *path);

/* Index of the row that stands for all rows with the same field. */
uint32_t config_seen_index(const struct config_directive *row);

#endif
