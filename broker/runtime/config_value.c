/*
 * config_value.c: one value of a directive: from text into its field, and from its field to text.
 *
 * Every kind of value has a reader here that says what is wrong in words an operator can act on; a
 * value that is refused leaves its field as it was.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "base/assert.h"
#include "mqtt/utf8.h"
#include "mqtt/version.h"
#include "runtime/config_table.h"
#include "runtime/log.h"

#define SHOWN_BYTES 48 /* of a value in an error */

/* ---- text ---- */

char *config_strdup(struct slice text)
{
    char *copy = malloc(text.len + 1);
    BUG_ON(!copy);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return copy;
}

const char *config_printable(struct slice bytes, char *text, size_t text_bytes)
{
    size_t room = text_bytes - 4;
    size_t count = bytes.len < room ? bytes.len : room;
    while (count < bytes.len && count && (bytes.ptr[count] & 0xC0) == 0x80)
        count--; /* a character is not cut in two */
    for (size_t i = 0; i < count; i++)
        text[i] = bytes.ptr[i] < 0x20 || bytes.ptr[i] == 0x7F ? '?' : (char)bytes.ptr[i];
    strcpy(text + count, count < bytes.len ? "..." : "");
    return text;
}

struct problem {
    char *text;
    size_t bytes;
};

/* Says what is wrong; returns false so that a reader can return with it. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct problem *problem,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem->text, problem->bytes, format, args);
    va_end(args);
    return false;
}

static bool refuse_value(struct problem *problem, const struct config_directive *row,
                         struct slice value)
{
    char shown[SHOWN_BYTES], wanted[512];
    config_describe_value(row, wanted, sizeof(wanted));
    return refuse(problem, "\"%s\" is not %s", config_printable(value, shown, sizeof(shown)),
                  wanted);
}

/* The next word of `rest`, which moves behind it; empty at the end. */
static struct slice next_word(struct slice *rest, const char *separators)
{
    size_t begin = 0;
    while (begin < rest->len && strchr(separators, rest->ptr[begin]))
        begin++;
    size_t end = begin;
    while (end < rest->len && !strchr(separators, rest->ptr[end]))
        end++;
    struct slice word = slice_of(rest->ptr + begin, end - begin);
    *rest = slice_skip(*rest, end);
    return word;
}

#define BLANKS " \t"

/* ---- fields ---- */

static void *field_of(const struct config_directive *row, void *base)
{
    return (char *)base + row->offset;
}

static char **text_field(const struct config_directive *row, void *base)
{
    return field_of(row, base);
}

static void store_number(const struct config_directive *row, void *base, uint64_t value)
{
    void *field = field_of(row, base);
    value *= row->unit ? row->unit : 1;
    switch (row->bytes) {
    case 0:
        return;
    case 1:
        *(uint8_t *)field = (uint8_t)value;
        return;
    case 2:
        *(uint16_t *)field = (uint16_t)value;
        return;
    case 4:
        *(uint32_t *)field = (uint32_t)value;
        return;
    default:
        *(uint64_t *)field = value;
    }
}

/* The field as a number, not divided by its unit. */
static uint64_t load_number(const struct config_directive *row, const void *base)
{
    const void *field = (const char *)base + row->offset;
    switch (row->bytes) {
    case 1:
        return *(const uint8_t *)field;
    case 2:
        return *(const uint16_t *)field;
    case 4:
        return *(const uint32_t *)field;
    default:
        return *(const uint64_t *)field;
    }
}

/* ---- readers ---- */

/* Digits only. False: not a number; one that does not fit is UINT64_MAX. */
static bool read_digits(struct slice text, uint64_t *value)
{
    bool is_too_large = false;
    *value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        is_too_large |= __builtin_mul_overflow(*value, (uint64_t)10, value);
        is_too_large |= __builtin_add_overflow(*value, (uint64_t)(text.ptr[i] - '0'), value);
    }
    if (is_too_large)
        *value = UINT64_MAX;
    return text.len > 0;
}

static bool is_unlimited(const struct config_directive *row, struct slice value)
{
    return slice_eq(value, SLICE_LIT("unlimited")) || slice_eq(value, SLICE_LIT("0")) ||
           (row->takes_minus_one && slice_eq(value, SLICE_LIT("-1")));
}

static bool read_bool(const struct config_directive *row, void *base, struct slice value,
                      struct problem *problem)
{
    bool is_true = slice_eq(value, SLICE_LIT("true")) || slice_eq(value, SLICE_LIT("1"));
    if (!is_true && !slice_eq(value, SLICE_LIT("false")) && !slice_eq(value, SLICE_LIT("0")))
        return refuse_value(problem, row, value);
    *(bool *)field_of(row, base) = is_true;
    return true;
}

static bool read_number(const struct config_directive *row, void *base, struct slice value,
                        struct problem *problem)
{
    uint64_t number;
    if (row->type == CONFIG_LIMIT && is_unlimited(row, value)) {
        store_number(row, base, 0);
        return true;
    }
    if (!read_digits(value, &number) || number < row->min || number > row->max)
        return refuse_value(problem, row, value);
    store_number(row, base, number);
    return true;
}

static bool read_facility(const struct config_directive *row, void *base, struct slice value,
                          struct problem *problem)
{
    uint64_t number;
    if (!read_digits(value, &number) || number > row->max)
        return refuse_value(problem, row, value);
    store_number(row, base, (uint64_t)LOG_LOCAL0 + (number << 3));
    return true;
}

static bool read_duration(const struct config_directive *row, void *base, struct slice value,
                          struct problem *problem)
{
    static const struct {
        char letter;
        uint32_t seconds;
    } units[] = {
        {'s', 1}, {'h', 3600}, {'d', 86400}, {'w', 604800}, {'m', 2592000}, {'y', 31536000},
    };
    uint64_t number;
    if (is_unlimited(row, value)) {
        store_number(row, base, 0);
        return true;
    }
    for (size_t i = 0; value.len && i < ARRAY_COUNT(units); i++) {
        if (value.ptr[value.len - 1] != units[i].letter)
            continue;
        if (!read_digits(slice_of(value.ptr, value.len - 1), &number) || number < row->min ||
            number > row->max)
            break;
        store_number(row, base, number * units[i].seconds);
        return true;
    }
    return refuse_value(problem, row, value);
}

static bool read_text(const struct config_directive *row, void *base, struct slice value,
                      struct problem *problem)
{
    char **field = text_field(row, base);
    if (value.len > row->max)
        return refuse(problem, "the value has %zu bytes, the longest is %" PRIu64, value.len,
                      row->max);
    if (row->type != CONFIG_PATH && !utf8_is_valid(value))
        return refuse(problem, "the value is not UTF-8");
    if (row->type == CONFIG_TOPIC &&
        (memchr(value.ptr, '#', value.len) || memchr(value.ptr, '+', value.len)))
        return refuse_value(problem, row, value);
    free(*field);
    *field = config_strdup(value);
    return true;
}

/* NULL: no such word. */
static const struct config_word *find_word(const struct config_directive *row, struct slice word)
{
    for (const struct config_word *known = row->words; known->word; known++)
        if (slice_eq(word, slice_str(known->word)))
            return known;
    return NULL;
}

static bool read_choice(const struct config_directive *row, void *base, struct slice value,
                        struct problem *problem)
{
    const struct config_word *word = find_word(row, value);
    if (!word)
        return refuse_value(problem, row, value);
    if (word->missing)
        return refuse(problem, "%s", word->missing);
    store_number(row, base, word->value);
    return true;
}

static bool read_flags(const struct config_directive *row, void *base, struct slice value,
                       struct problem *problem)
{
    uint64_t flags = load_number(row, base);
    for (struct slice name = next_word(&value, BLANKS); name.len;
         name = next_word(&value, BLANKS)) {
        const struct config_word *word = find_word(row, name);
        if (!word)
            return refuse_value(problem, row, name);
        flags = strcmp(word->word, "none") ? flags | word->value : 0;
    }
    store_number(row, base, flags);
    return true;
}

static bool read_names(const struct config_directive *row, void *base, struct slice value,
                       struct problem *problem)
{
    struct config_strings *names = field_of(row, base);
    if (!utf8_is_valid(value))
        return refuse(problem, "the value is not UTF-8");
    for (struct slice name = next_word(&value, BLANKS); name.len;
         name = next_word(&value, BLANKS)) {
        if (name.len > row->max)
            return refuse(problem, "a name has %zu bytes, the longest is %" PRIu64, name.len,
                          row->max);
        if ((names->count & (names->count - 1)) == 0) { /* full at powers of two */
            size_t room = names->count ? (size_t)names->count * 2 : 1;
            names->items = reallocarray(names->items, room, sizeof(char *));
            BUG_ON(!names->items);
        }
        names->items[names->count++] = config_strdup(name);
    }
    return true;
}

static bool read_versions(const struct config_directive *row, void *base, struct slice value,
                          struct problem *problem)
{
    uint64_t versions = 0;
    for (struct slice word = next_word(&value, ", \t"); word.len;
         word = next_word(&value, ", \t")) {
        uint64_t version;
        if (!read_digits(word, &version) || version < MQTT_3_1 || version > MQTT_5)
            return refuse_value(problem, row, word);
        versions |= 1u << version;
    }
    if (versions == 0)
        return refuse(problem, "names no version");
    store_number(row, base, versions);
    return true;
}

static bool read_dest_file(const struct config_directive *row, struct config *config,
                           struct slice path, struct problem *problem)
{
    if (path.len == 0)
        return refuse(problem, "\"file\" needs the path of the file");
    if (path.len > row->max)
        return refuse(problem, "the path has %zu bytes, the longest is %" PRIu64, path.len,
                      row->max);
    if (config->log_file && !slice_eq(path, slice_str(config->log_file)))
        return refuse(problem, "there can be one log file only");
    free(config->log_file);
    config->log_file = config_strdup(path);
    config->log_dest |= LOG_DEST_FILE;
    return true;
}

static bool read_dest(const struct config_directive *row, void *base, struct slice value,
                      struct problem *problem)
{
    struct config *config = base;
    struct slice rest = value;
    struct slice name = next_word(&rest, BLANKS);
    const struct config_word *word = find_word(row, name);
    if (!word)
        return refuse_value(problem, row, name);
    if (word->missing)
        return refuse(problem, "%s", word->missing);
    if (word->value == LOG_DEST_FILE)
        return read_dest_file(row, config, rest.len ? slice_skip(rest, 1) : rest, problem);
    if (rest.len)
        return refuse(problem, "takes one destination a line");
    config->log_dest = word->value == LOG_DEST_NONE ? 0 : config->log_dest | word->value;
    if (word->value == LOG_DEST_NONE) {
        free(config->log_file);
        config->log_file = NULL;
    }
    return true;
}

static bool takes_rest_of_line(enum config_type type)
{
    return type == CONFIG_TEXT || type == CONFIG_PATH || type == CONFIG_TOPIC ||
           type == CONFIG_FLAGS || type == CONFIG_NAMES || type == CONFIG_VERSIONS ||
           type == CONFIG_DEST;
}

bool config_set_value(const struct config_directive *row, void *base, struct slice value,
                      char *problem_text, size_t problem_bytes)
{
    static bool (*const readers[])(const struct config_directive *, void *, struct slice,
                                   struct problem *) = {
        [CONFIG_BOOL] = read_bool,         [CONFIG_NUMBER] = read_number,
        [CONFIG_LIMIT] = read_number,      [CONFIG_TEXT] = read_text,
        [CONFIG_PATH] = read_text,         [CONFIG_TOPIC] = read_text,
        [CONFIG_CHOICE] = read_choice,     [CONFIG_FLAGS] = read_flags,
        [CONFIG_NAMES] = read_names,       [CONFIG_VERSIONS] = read_versions,
        [CONFIG_DURATION] = read_duration, [CONFIG_FACILITY] = read_facility,
        [CONFIG_DEST] = read_dest,
    };
    struct problem problem = {problem_text, problem_bytes};
    BUG_ON((size_t)row->type >= ARRAY_COUNT(readers) || !readers[row->type]);
    if (value.len == 0) {
        char wanted[512];
        config_describe_value(row, wanted, sizeof(wanted));
        return refuse(&problem, "needs a value: %s", wanted);
    }
    struct slice rest = value;
    struct slice first = next_word(&rest, BLANKS);
    if (rest.len && !takes_rest_of_line(row->type)) {
        char shown[SHOWN_BYTES];
        struct slice extra = next_word(&rest, BLANKS);
        return refuse(&problem, "takes one value, \"%s\" is one too many%s",
                      config_printable(extra, shown, sizeof(shown)),
                      extra.ptr[0] == '#' ? " (a comment needs a line of its own)" : "");
    }
    return readers[row->type](row, base, takes_rest_of_line(row->type) ? value : first, &problem);
}

void config_set_defaults(void *base, enum config_scope scope)
{
    char problem[256];
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (row->scope == scope && row->bytes && row->default_text)
            BUG_ON(!config_set_value(row, base, slice_str(row->default_text), problem,
                                     sizeof(problem)));
    }
}

/* ---- to text ---- */

static void describe_words(const struct config_directive *row, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "one of");
    for (const struct config_word *word = row->words; word->word && used < bytes; word++)
        if (!word->missing)
            used += (size_t)snprintf(text + used, bytes - used, "%s %s",
                                     word == row->words ? "" : ",", word->word);
}

void config_describe_value(const struct config_directive *row, char *text, size_t bytes)
{
    switch (row->type) {
    case CONFIG_BOOL:
        snprintf(text, bytes, "true or false");
        return;
    case CONFIG_NUMBER:
    case CONFIG_FACILITY:
        snprintf(text, bytes, "a number from %" PRIu64 " to %" PRIu64, row->min, row->max);
        return;
    case CONFIG_LIMIT:
        snprintf(text, bytes,
                 "a number from %" PRIu64 " to %" PRIu64 ", or %s0 or unlimited for no limit",
                 row->min, row->max, row->takes_minus_one ? "-1, " : "");
        return;
    case CONFIG_DURATION:
        snprintf(text, bytes,
                 "a number from %" PRIu64 " to %" PRIu64
                 " followed by s, h, d, w, m or y, or 0 or unlimited",
                 row->min, row->max);
        return;
    case CONFIG_VERSIONS:
        snprintf(text, bytes, "3, 4 or 5, or several of them separated by commas");
        return;
    case CONFIG_CHOICE:
    case CONFIG_FLAGS:
    case CONFIG_DEST:
        describe_words(row, text, bytes);
        return;
    case CONFIG_TOPIC:
        snprintf(text, bytes, "a topic prefix without + and #");
        return;
    default:
        snprintf(text, bytes, "%s", row->argument);
    }
}

/* Appends formatted text to what `*text` owns. */
__attribute__((format(printf, 2, 3))) static void append(char **text, const char *format, ...)
{
    char *added, *joined;
    va_list args;
    va_start(args, format);
    int bytes = vasprintf(&added, format, args);
    va_end(args);
    BUG_ON(bytes < 0 || asprintf(&joined, "%s%s%s", *text, **text ? " " : "", added) < 0);
    free(added);
    free(*text);
    *text = joined;
}

static void append_words(char **text, const struct config_directive *row, uint64_t flags)
{
    if (row->type != CONFIG_CHOICE && flags == 0)
        append(text, "none");
    else if (row->type == CONFIG_FLAGS && flags == LOG_ALL)
        append(text, "all");
    else
        for (const struct config_word *word = row->words; word->word; word++)
            if (row->type == CONFIG_CHOICE ? word->value == flags
                                           : word->value && (flags & word->value) == word->value)
                append(text, "%s", word->word);
}

/* In the largest of days, hours and seconds that gives a whole number. */
static void append_duration(char **text, uint64_t seconds)
{
    if (seconds % 3600)
        append(text, "%" PRIu64 "s", seconds);
    else if (seconds % 86400)
        append(text, "%" PRIu64 "h", seconds / 3600);
    else
        append(text, "%" PRIu64 "d", seconds / 86400);
}

static void append_number(char **text, const struct config_directive *row, uint64_t value)
{
    if (row->type == CONFIG_FACILITY && value == LOG_DAEMON)
        append(text, "daemon");
    else if (row->type == CONFIG_FACILITY)
        append(text, "%" PRIu64, (value - LOG_LOCAL0) >> 3);
    else if (row->type != CONFIG_NUMBER && value == 0)
        append(text, "unlimited");
    else if (row->type == CONFIG_DURATION)
        append_duration(text, value);
    else
        append(text, "%" PRIu64, value / (row->unit ? row->unit : 1));
}

static void append_versions(char **text, uint64_t versions)
{
    char list[8] = "";
    size_t used = 0;
    for (uint32_t version = MQTT_3_1; version <= MQTT_5; version++) {
        if (!(versions & (1u << version)))
            continue;
        if (used)
            list[used++] = ',';
        list[used++] = (char)('0' + version);
    }
    append(text, "%s", list);
}

static void append_text(char **text, const struct config_directive *row, const void *base)
{
    if (row->type == CONFIG_NAMES) {
        const struct config_strings *names =
            (const struct config_strings *)((const char *)base + row->offset);
        for (uint32_t i = 0; i < names->count; i++)
            append(text, "%s", names->items[i]);
        return;
    }
    const char *value = *(char *const *)((const char *)base + row->offset);
    if (value)
        append(text, "%s", value);
}

char *config_value_text(const struct config_directive *row, const void *base)
{
    char *text = config_strdup(SLICE_LIT(""));
    if (row->bytes == 0)
        return text;
    switch (row->type) {
    case CONFIG_BOOL:
        append(&text, "%s", load_number(row, base) ? "true" : "false");
        break;
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_TOPIC:
    case CONFIG_NAMES:
        append_text(&text, row, base);
        break;
    case CONFIG_DEST:
        append_words(&text, row, load_number(row, base));
        if (((const struct config *)base)->log_file)
            append(&text, "%s", ((const struct config *)base)->log_file);
        break;
    case CONFIG_CHOICE:
    case CONFIG_FLAGS:
        append_words(&text, row, load_number(row, base));
        break;
    case CONFIG_VERSIONS:
        append_versions(&text, load_number(row, base));
        break;
    default:
        append_number(&text, row, load_number(row, base));
    }
    return text;
}

/* ---- copies ---- */

void config_free_value(const struct config_directive *row, void *base)
{
    if (row->type == CONFIG_NAMES) {
        struct config_strings *names = field_of(row, base);
        for (uint32_t i = 0; i < names->count; i++)
            free(names->items[i]);
        free(names->items);
        *names = (struct config_strings){0};
    } else if (row->type == CONFIG_DEST) {
        struct config *config = base;
        free(config->log_file);
        config->log_file = NULL;
        config->log_dest = 0;
    } else if (row->type == CONFIG_TEXT || row->type == CONFIG_PATH || row->type == CONFIG_TOPIC) {
        char **text = text_field(row, base);
        free(*text);
        *text = NULL;
    } else if (row->bytes) {
        memset(field_of(row, base), 0, row->bytes);
    }
}

void config_copy_value(const struct config_directive *row, void *to, const void *from)
{
    const void *source = (const char *)from + row->offset;
    BUG_ON(row->type == CONFIG_NAMES || row->type == CONFIG_DEST); /* a reload changes these */
    config_free_value(row, to);
    if (row->type == CONFIG_TEXT || row->type == CONFIG_PATH || row->type == CONFIG_TOPIC) {
        const char *text = *(char *const *)source;
        *text_field(row, to) = text ? config_strdup(slice_str(text)) : NULL;
    } else {
        memcpy(field_of(row, to), source, row->bytes);
    }
}
