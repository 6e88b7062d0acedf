/*
 * config_table.h: the rows behind config.h, for broker/runtime/config*.c and their tests only.
 *
 * One row is one directive. Its default is text that goes through the same reader as a line of a
 * file, so that what the docs print is what the program does.
 */
#ifndef RUNTIME_CONFIG_TABLE_H
#define RUNTIME_CONFIG_TABLE_H

#include "base/slice.h"
#include "runtime/config.h"

enum config_scope {
    CONFIG_GLOBAL,   /* offset into struct config */
    CONFIG_LISTENER, /* offset into struct config_listener: of the section, or the default listener
                      */
    CONFIG_SECURITY, /* the same; said for all listeners unless per_listener_settings is true */
    CONFIG_DEFAULT_LISTENER, /* the same, of the default listener, wherever it stands */
};

enum config_type {
    CONFIG_BOOL,     /* true or false */
    CONFIG_NUMBER,   /* min to max */
    CONFIG_LIMIT,    /* min to max, or 0 or "unlimited" for no limit */
    CONFIG_TEXT,     /* UTF-8, at most max bytes, to the end of the line */
    CONFIG_PATH,     /* any bytes but NUL, at most max, to the end of the line */
    CONFIG_TOPIC,    /* as CONFIG_TEXT, without + and # */
    CONFIG_CHOICE,   /* one of `words` */
    CONFIG_FLAGS,    /* one or more of `words`, added up over lines */
    CONFIG_NAMES,    /* one or more names, added up over lines */
    CONFIG_VERSIONS, /* 3, 4, 5 separated by commas */
    CONFIG_DURATION, /* a number and one of h d w m y */
    CONFIG_FACILITY, /* 0 to 7 */
    CONFIG_DEST,     /* log_dest */
    CONFIG_SECTION,  /* listener */
    CONFIG_INCLUDE,  /* include_dir */
};

/* A word of a choice and what it stands for; the list ends with a NULL word. */
struct config_word {
    const char *word;
    uint32_t value;
    const char *missing; /* mosquitto has it, Dunlin does not: says so. NULL: valid */
};

struct config_directive {
    const char *name;
    const char *older_name; /* NULL: none */
    enum config_scope scope;
    enum config_type type;
    bool is_reloadable;
    bool takes_minus_one;     /* a limit for which mosquitto says "unlimited" as -1 */
    bool is_input_only;       /* its field is compared and kept by another row */
    uint8_t bytes;            /* of the field */
    uint32_t unit;            /* the field is the value times this; 0: 1 */
    size_t offset;            /* of the field */
    uint64_t min, max;        /* of the value as written; max is a length for texts */
    const char *default_text; /* NULL: unset */
    const struct config_word *words;
    const char *argument; /* for docs: COUNT, SECONDS ... */
    const char *sample;   /* a value that is valid, for tests and docs */
    const char *help;     /* sentences; *word* is not markup */
};

/* mosquitto's directives that Dunlin does not have. */
struct config_foreign {
    const char *name;
    bool is_prefix;
    const char *what; /* the part that is missing, as in "there are no bridges" */
};

extern const struct config_directive config_directives[];
extern const uint32_t config_directive_count;
extern const struct config_foreign config_foreigns[];
extern const uint32_t config_foreign_count;

/* The row by name or older name, NULL: none. */
const struct config_directive *config_find(struct slice name);
/* The row of mosquitto's that Dunlin does not have, NULL: none. */
const struct config_foreign *config_find_foreign(struct slice name);
/* The value with which a row of mosquitto's asks for nothing that is missing, in words; NULL: none. */
const char *config_harmless_value(const struct config_foreign *foreign);
/* Whether a line with this value asks for nothing that is missing. */
bool config_is_harmless(const struct config_foreign *foreign, struct slice value);
/* The name of a directive that is written much as `name`, NULL: none is near. */
const char *config_find_nearest(struct slice name);
/* True when several lines of the directive add up. */
bool config_is_list(const struct config_directive *row);

/* What a directive wants, as text: "a number from 0 to 2". Into `text`, cut to `bytes`. */
void config_describe_value(const struct config_directive *row, char *text, size_t bytes);

/* Reads `value` into the row's field of `base` (struct config or struct config_listener). False:
   `problem` says what is wrong, without naming the directive. Not for sections and includes. */
bool config_set_value(const struct config_directive *row, void *base, struct slice value,
                      char *problem, size_t problem_bytes);
/* Sets the fields of all rows of a scope to their defaults; `base` is zeroed memory. */
void config_set_defaults(void *base, enum config_scope scope);
/* The field as a line of a file would give it; freed by the caller. */
char *config_value_text(const struct config_directive *row, const void *base);
/* Copies a field from one struct to another, which owns its copy. */
void config_copy_value(const struct config_directive *row, void *to, const void *from);
/* Frees what the field owns. */
void config_free_value(const struct config_directive *row, void *base);

/* Writes `bytes` to `text` for people: control characters become '?', a long one is cut. */
const char *config_printable(struct slice bytes, char *text, size_t text_bytes);

/* Ends the program when there is no memory: the size of a config is the operator's. */
char *config_strdup(struct slice text);

#endif
