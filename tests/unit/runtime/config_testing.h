/* config_testing.h: what the tests of the configuration share: loading text, and asking for errors.
 */
#ifndef TESTS_RUNTIME_CONFIG_TESTING_H
#define TESTS_RUNTIME_CONFIG_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/config_table.h"

/* Loads text that must be good. The text is handed over in memory of exactly its size. */
static inline struct config *load_bytes(const char *text, size_t bytes)
{
    char *error = NULL, *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, text, bytes);
    struct config *config = config_load_text(copy, bytes, "test.conf", &error);
    free(copy);
    if (!config)
        print_error("%s\n", error);
    assert_non_null(config);
    assert_null(error);
    return config;
}

static inline struct config *load(const char *text)
{
    return load_bytes(text, strlen(text));
}

/* Loads text that must not be good; returns the errors, freed by the caller. */
static inline char *errors_of_bytes(const char *text, size_t bytes)
{
    char *error = NULL, *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, text, bytes);
    struct config *config = config_load_text(copy, bytes, "test.conf", &error);
    free(copy);
    if (config)
        print_error("accepted: %.200s\n", text);
    assert_null(config);
    assert_non_null(error);
    return error;
}

static inline void assert_has(const char *text, const char *part)
{
    bool has_part = strstr(text, part) != NULL;
    if (!has_part)
        print_error("\"%s\"\ndoes not have \"%s\"\n", text, part);
    assert_true(has_part);
}

/* The text is refused with exactly these errors. */
static inline void assert_refused(const char *text, const char *errors)
{
    char *error = errors_of_bytes(text, strlen(text));
    assert_string_equal(error, errors);
    free(error);
}

/* The text is refused, and the errors have this in them. */
static inline void assert_refused_with(const char *text, const char *part)
{
    char *error = errors_of_bytes(text, strlen(text));
    assert_has(error, part);
    free(error);
}

static inline uint32_t count_lines(const char *text)
{
    uint32_t count = 1;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

#endif
