/*
 * config_parse.c: lines into sections.
 *
 * A line is a directive, blanks, and its value up to the end of the line without the blanks around
 * it, as mosquitto reads it. Lines end with LF or CR LF; a byte order mark at the start is skipped;
 * a line that begins with '#' is a comment. Everything that is wrong is collected with its place,
 * so that an operator mends a file once and not line by line.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "runtime/config_parse.h"

#define SHOWN_BYTES 64
#define UNIX_PATH_MAX 107

/* ---- errors ---- */

bool config_has_enough_errors(const struct config_parse *parse)
{
    return parse->error_count >= CONFIG_ERRORS_MAX;
}

void config_complain(struct config_parse *parse, const struct config_place *place,
                     const char *format, ...)
{
    char raw[1024], text[1024], file[512], *joined;
    if (config_has_enough_errors(parse))
        return;
    parse->error_count++;
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof(raw), format, args);
    va_end(args);
    config_printable(slice_str(raw), text, sizeof(text));
    const char *before = parse->errors ? parse->errors : "";
    const char *newline = parse->errors ? "\n" : "";
    int bytes;
    if (place && place->line)
        bytes = asprintf(&joined, "%s%s%s:%u: %s", before, newline,
                         config_printable(slice_str(place->file), file, sizeof(file)), place->line,
                         text);
    else
        bytes = asprintf(&joined, "%s%s%s", before, newline, text);
    BUG_ON(bytes < 0);
    free(parse->errors);
    parse->errors = joined;
}

/* ---- listener lines ---- */

static bool read_port(struct slice text, uint16_t *port)
{
    uint32_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(text.ptr[i] - '0');
        if (value > UINT16_MAX)
            return false;
    }
    *port = (uint16_t)value;
    return text.len > 0;
}

/* NULL: fine; else what is wrong with the address of a listener on `port`. */
static const char *address_problem(uint16_t port, struct slice address)
{
    if (port == 0 && address.len == 0)
        return "port 0 is a Unix socket and needs its path";
    if (port == 0)
        return address.len > UNIX_PATH_MAX ? "the path of a Unix socket has at most 107 bytes"
                                           : NULL;
    if (memchr(address.ptr, ' ', address.len) || memchr(address.ptr, '\t', address.len))
        return "takes a port and one address";
    return address.len > 255 ? "an address has at most 255 bytes" : NULL;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static struct slice trim(struct slice text)
{
    while (text.len && is_blank(text.ptr[0]))
        text = slice_skip(text, 1);
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

/* Splits off the first word; the rest is trimmed. */
static struct slice split_word(struct slice line, struct slice *rest)
{
    size_t end = 0;
    while (end < line.len && !is_blank(line.ptr[end]))
        end++;
    *rest = trim(slice_skip(line, end));
    return slice_of(line.ptr, end);
}

static void parse_listener(struct config_parse *parse, struct slice value)
{
    struct slice address;
    struct slice port_text = split_word(value, &address);
    char shown[SHOWN_BYTES];
    parse->is_skipping = parse->section_count == 1 + CONFIG_LISTENERS_MAX;
    if (parse->is_skipping) {
        config_complain(parse, &parse->here, "listener: there can be at most %d listeners",
                        CONFIG_LISTENERS_MAX);
        return;
    }
    struct config_section *section = &parse->sections[parse->section_count++];
    section->place = parse->here;
    config_set_defaults(&section->listener, CONFIG_LISTENER);
    config_set_defaults(&section->listener, CONFIG_SECURITY);
    section->is_broken = true;
    if (value.len == 0) {
        config_complain(parse, &parse->here, "listener: needs a value: PORT [ADDRESS]");
        return;
    }
    if (!read_port(port_text, &section->listener.port)) {
        config_complain(parse, &parse->here,
                        "listener: \"%s\" is not a port from 1 to 65535, or 0 for a Unix socket",
                        config_printable(port_text, shown, sizeof(shown)));
        return;
    }
    const char *problem = address_problem(section->listener.port, address);
    if (problem) {
        config_complain(parse, &parse->here, "listener: %s", problem);
        return;
    }
    section->listener.address = address.len ? config_strdup(address) : NULL;
    section->is_broken = false;
}

/* ---- directives ---- */

uint32_t config_seen_index(const struct config_directive *row)
{
    uint32_t index = (uint32_t)(row - config_directives);
    if (row->scope == CONFIG_GLOBAL || row->bytes == 0)
        return index;
    for (uint32_t i = 0; i < index; i++)
        if (config_directives[i].scope != CONFIG_GLOBAL && config_directives[i].bytes &&
            config_directives[i].offset == row->offset)
            return i;
    return index;
}

/* What a row is written into, and where it is noted that it was. */
struct target {
    void *base;
    struct config_place *seen;
};

static struct target target_of(struct config_parse *parse, const struct config_directive *row)
{
    struct config_section *section = &parse->sections[parse->section_count - 1];
    bool is_for_all = row->scope == CONFIG_SECURITY && !parse->config->is_per_listener_settings;
    if (row->scope == CONFIG_GLOBAL)
        return (struct target){parse->config, parse->seen};
    if (is_for_all)
        return (struct target){&parse->security, parse->security_seen};
    if (row->scope == CONFIG_DEFAULT_LISTENER)
        section = &parse->sections[0];
    return (struct target){&section->listener, section->seen};
}

/* per_listener_settings decides where others go, so it comes first. */
static bool is_too_late(struct config_parse *parse, const struct config_directive *row)
{
    if (row->offset != offsetof(struct config, is_per_listener_settings) ||
        row->scope != CONFIG_GLOBAL || row->type != CONFIG_BOOL)
        return false;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_place *earlier = &parse->security_seen[i];
        if (!earlier->line)
            continue;
        config_complain(parse, &parse->here, "%s: has to come before %s, which is at %s:%u",
                        row->name, earlier->name, earlier->file, earlier->line);
        return true;
    }
    return false;
}

static void parse_value(struct config_parse *parse, const struct config_directive *row,
                        struct slice value)
{
    char problem[768];
    bool is_listeners = row->scope == CONFIG_LISTENER ||
                        (row->scope == CONFIG_SECURITY && parse->config->is_per_listener_settings);
    if ((parse->is_skipping && is_listeners) || is_too_late(parse, row))
        return;
    struct target target = target_of(parse, row);
    struct config_place *seen = &target.seen[config_seen_index(row)];
    if (seen->line && !config_is_list(row)) {
        config_complain(parse, &parse->here, "%s: is set already%s%s at %s:%u", row->name,
                        strcmp(seen->name, row->name) ? ", by " : "",
                        strcmp(seen->name, row->name) ? seen->name : "", seen->file, seen->line);
        return;
    }
    if (!seen->line && config_is_list(row))
        config_free_value(row, target.base); /* what is added up begins with the first line */
    if (!seen->line) {
        *seen = parse->here;
        seen->name = row->name;
    }
    if (!config_set_value(row, target.base, value, problem, sizeof(problem)))
        config_complain(parse, &parse->here, "%s: %s", row->name, problem);
}

static void parse_unknown(struct config_parse *parse, struct slice name, struct slice value)
{
    char shown[SHOWN_BYTES];
    config_printable(name, shown, sizeof(shown));
    const struct config_foreign *foreign = config_find_foreign(name);
    const char *nearest = config_find_nearest(name);
    if (foreign && config_is_harmless(foreign, value))
        return;
    if (foreign)
        config_complain(parse, &parse->here,
                        "%s: mosquitto has this directive, Dunlin does not: %s", shown,
                        foreign->what);
    else if (nearest)
        config_complain(parse, &parse->here, "unknown directive \"%s\" (did you mean %s?)", shown,
                        nearest);
    else
        config_complain(parse, &parse->here, "unknown directive \"%s\"", shown);
}

static void parse_include(struct config_parse *parse, struct slice value)
{
    struct config_place here = parse->here;
    if (value.len == 0 || value.len > config_find(SLICE_LIT("include_dir"))->max) {
        config_complain(parse, &parse->here, "include_dir: needs a value: DIRECTORY");
        return;
    }
    if (parse->depth > CONFIG_INCLUDES_MAX) {
        config_complain(parse, &parse->here, "include_dir: files are included %d deep already",
                        CONFIG_INCLUDES_MAX);
        return;
    }
    char *path = config_strdup(value);
    config_parse_dir(parse, path);
    free(path);
    parse->here = here;
}

static void parse_line(struct config_parse *parse, struct slice line)
{
    struct slice value;
    line = trim(line);
    if (line.len == 0 || line.ptr[0] == '#')
        return;
    if (memchr(line.ptr, 0, line.len)) {
        config_complain(parse, &parse->here, "the line has a NUL byte: is this a text file?");
        return;
    }
    if (memchr(line.ptr, '\r', line.len)) {
        config_complain(parse, &parse->here, "the line has a carriage return in its middle");
        return;
    }
    struct slice name = split_word(line, &value);
    const struct config_directive *row = config_find(name);
    if (!row)
        parse_unknown(parse, name, value);
    else if (row->type == CONFIG_SECTION)
        parse_listener(parse, value);
    else if (row->type == CONFIG_INCLUDE)
        parse_include(parse, value);
    else
        parse_value(parse, row, value);
}

/* Keeps a file's name for as long as places point to it. */
static const char *keep_name(struct config_parse *parse, const char *name)
{
    struct config_strings *names = &parse->names;
    names->items = reallocarray(names->items, (size_t)names->count + 1, sizeof(char *));
    BUG_ON(!names->items);
    return names->items[names->count++] = config_strdup(slice_str(name));
}

void config_parse_text(struct config_parse *parse, struct slice text, const char *name)
{
    if (slice_starts_with(text, SLICE_LIT("\xEF\xBB\xBF")))
        text = slice_skip(text, 3);
    parse->here = (struct config_place){.file = keep_name(parse, name)};
    while (text.len && !config_has_enough_errors(parse)) {
        const uint8_t *newline = memchr(text.ptr, '\n', text.len);
        struct slice line = slice_of(text.ptr, newline ? (size_t)(newline - text.ptr) : text.len);
        text = slice_skip(text, line.len + (newline ? 1 : 0));
        while (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        parse->here.line++;
        parse_line(parse, line);
    }
}
