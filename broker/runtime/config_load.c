/*
 * config_load.c: from what was read to the config that the broker runs with: which listeners there
 * are, what they inherit, what the command line overrides; and comparing two configs for a reload.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>

#include "base/assert.h"
#include "runtime/config_parse.h"
#include "runtime/log.h"

#define DEFAULT_PORT 1883
#define LOOPBACK "127.0.0.1"

static bool is_of_listener(const struct config_directive *row)
{
    return row->scope != CONFIG_GLOBAL;
}

/* Rows that stand for a field: compared, kept, copied. */
static bool is_state(const struct config_directive *row)
{
    return row->bytes && !row->is_input_only;
}

static uint32_t seen_index(const char *name)
{
    return config_seen_index(config_find(slice_str(name)));
}

/* ---- deciding what was left open ---- */

/* A listener takes over what was said for all listeners and not by itself. */
static void inherit(struct config_parse *parse, struct config_section *section, bool is_local)
{
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        uint32_t index = config_seen_index(row);
        if (row->scope != CONFIG_SECURITY || section->seen[index].line)
            continue;
        if (parse->security_seen[index].line)
            config_copy_value(row, &section->listener, &parse->security);
        else if (row->offset == offsetof(struct config_listener, allow_anonymous))
            section->listener.allow_anonymous = is_local;
    }
}

static bool is_default_listener_wanted(const struct config_parse *parse)
{
    const struct config_section *section = &parse->sections[0];
    return section->seen[seen_index("port")].line || section->seen[seen_index("bind_address")].line;
}

/* The default listener is off: lines about it are in the wrong place, and would be lost. */
static void complain_of_lost_lines(struct config_parse *parse)
{
    for (uint32_t i = 0; i < config_directive_count; i++) {
        struct config_place *place = &parse->sections[0].seen[i];
        if (place->line)
            config_complain(parse, place,
                            "%s: is about a listener and comes before the first 'listener' line; "
                            "move it below that line, or add 'port' to open the default listener",
                            place->name);
    }
}

static bool is_same_address(const struct config_listener *a, const struct config_listener *b)
{
    return a->port == b->port &&
           strcmp(a->address ? a->address : "", b->address ? b->address : "") == 0;
}

/* Two listeners at one address would share its connections, each with its own settings. */
static void complain_of_twins(struct config_parse *parse, uint32_t first)
{
    for (uint32_t i = first; i < parse->section_count; i++) {
        for (uint32_t j = first; j < i; j++) {
            const struct config_section *one = &parse->sections[i], *other = &parse->sections[j];
            if (one->is_broken || other->is_broken ||
                !is_same_address(&one->listener, &other->listener))
                continue;
            config_complain(parse, &one->place,
                            j ? "listener: port %u at this address is taken by the listener at "
                                "%s:%u"
                              : "listener: port %u at this address is the default listener's",
                            one->listener.port, other->place.file, other->place.line);
            break;
        }
    }
}

/* -p is the port of the default listener; where there is none, it may only repeat what is there. */
static void apply_port(struct config_parse *parse, const struct config_args *args, bool has_default)
{
    if (has_default) {
        parse->sections[0].listener.port = (uint16_t)args->port;
        return;
    }
    for (uint32_t i = 1; i < parse->section_count; i++)
        if (parse->sections[i].listener.port == args->port)
            return;
    config_complain(parse, NULL,
                    "-p %u: the configuration file opens listeners of its own, and none has this "
                    "port; leave out -p, or add 'listener %u' to the file",
                    args->port, args->port);
}

static void resolve_listeners(struct config_parse *parse, const struct config_args *args)
{
    struct config *config = parse->config;
    bool is_wanted = is_default_listener_wanted(parse);
    bool is_local = !is_wanted && parse->section_count == 1;
    uint32_t first = is_local || is_wanted ? 0 : 1;
    if (is_local)
        parse->sections[0].listener.address = config_strdup(SLICE_LIT(LOOPBACK));
    if (first == 1)
        complain_of_lost_lines(parse);
    if (args && args->port)
        apply_port(parse, args, first == 0);
    complain_of_twins(parse, first);
    if (parse->section_count - first > CONFIG_LISTENERS_MAX)
        config_complain(parse, &parse->sections[CONFIG_LISTENERS_MAX].place,
                        "listener: there can be at most %d listeners, with the default one",
                        CONFIG_LISTENERS_MAX);
    if (parse->errors)
        return;
    for (uint32_t i = first; i < parse->section_count; i++) {
        inherit(parse, &parse->sections[i], is_local);
        config->listeners[config->listener_count++] = parse->sections[i].listener;
        parse->sections[i].listener = (struct config_listener){0}; /* its texts moved */
    }
    config->is_default_listener = is_local;
}

static void resolve_globals(struct config_parse *parse, const struct config_args *args)
{
    struct config *config = parse->config;
    config->is_user_given = parse->seen[seen_index("user")].line != 0;
    config->allow_zero_length_clientid = parse->security.allow_zero_length_clientid;
    config->auto_id_prefix = config_strdup(slice_str(parse->security.auto_id_prefix));
    if (!parse->seen[seen_index("log_facility")].line)
        config->log_facility = LOG_DAEMON;
    if (args && args->daemon && !parse->seen[seen_index("log_dest")].line)
        config->log_dest = LOG_DEST_SYSLOG;
    if (config->reactor_descriptors == DESCRIPTORS_PRIVATE && config->log_dest & LOG_DEST_SYSLOG)
        config_complain(parse, NULL,
                        "reactor_descriptors private: not together with log_dest "
                        "syslog (also the default of -d), choose another log_dest");
    if (args && args->verbose)
        config->log_type = LOG_ALL;
    if (args && args->quiet)
        config->log_type = 0;
}

/* ---- loading ---- */

static void set_listener_defaults(struct config_listener *listener)
{
    config_set_defaults(listener, CONFIG_LISTENER);
    config_set_defaults(listener, CONFIG_SECURITY);
}

static struct config_parse *parse_new(void)
{
    struct config_parse *parse = calloc(1, sizeof(*parse));
    BUG_ON(!parse || config_directive_count > CONFIG_ROWS_MAX);
    parse->config = calloc(1, sizeof(*parse->config));
    BUG_ON(!parse->config);
    config_set_defaults(parse->config, CONFIG_GLOBAL);
    set_listener_defaults(&parse->security);
    set_listener_defaults(&parse->sections[0].listener);
    parse->sections[0].listener.port = DEFAULT_PORT;
    parse->section_count = 1;
    return parse;
}

static void free_listener(struct config_listener *listener)
{
    for (uint32_t i = 0; i < config_directive_count; i++)
        if (is_of_listener(&config_directives[i]))
            config_free_value(&config_directives[i], listener);
}

/* Frees all but the config, which is the result when there are no errors. */
static struct config *parse_finish(struct config_parse *parse, const struct config_args *args,
                                   char **error)
{
    resolve_listeners(parse, args);
    resolve_globals(parse, args);
    struct config *config = parse->config;
    *error = parse->errors;
    if (parse->errors) {
        config_free(config);
        config = NULL;
    }
    free_listener(&parse->security);
    for (uint32_t i = 0; i < parse->section_count; i++)
        free_listener(&parse->sections[i].listener);
    for (uint32_t i = 0; i < parse->names.count; i++)
        free(parse->names.items[i]);
    free(parse->names.items);
    free(parse);
    return config;
}

struct config *config_load(const struct config_args *args, char **error)
{
    struct config_parse *parse = parse_new();
    if (args->config_file)
        config_parse_file(parse, args->config_file, false);
    return parse_finish(parse, args, error);
}

struct config *config_load_text(const char *text, size_t bytes, const char *name, char **error)
{
    struct config_parse *parse = parse_new();
    parse->depth = 1; /* the text counts as a file, as the outermost does */
    config_parse_text(parse, slice_of(text, bytes), name);
    return parse_finish(parse, NULL, error);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (uint32_t i = 0; i < config->listener_count; i++)
        free_listener(&config->listeners[i]);
    for (uint32_t i = 0; i < config_directive_count; i++)
        if (!is_of_listener(&config_directives[i]))
            config_free_value(&config_directives[i], config);
    free(config->auto_id_prefix);
    free(config);
}

const char *config_listener_name(const struct config_listener *listener,
                                 char buffer[CONFIG_LISTENER_NAME_BYTES])
{
    if (listener->port == 0 && listener->address)
        snprintf(buffer, CONFIG_LISTENER_NAME_BYTES, "%s", listener->address);
    else
        snprintf(buffer, CONFIG_LISTENER_NAME_BYTES, "%u", listener->port);
    return buffer;
}

/* ---- comparing ---- */

typedef void changed_fn(void *ctx, const char *directive, bool is_reloadable, const char *old_value,
                        const char *new_value);

static char *listener_name(const struct config_listener *listener)
{
    char *name;
    BUG_ON(asprintf(&name, "%u%s%s", listener->port, listener->address ? " " : "",
                    listener->address ? listener->address : "") < 0);
    return name;
}

/* The listener of `config` at the same port and address, NULL: none. */
static const struct config_listener *find_listener(const struct config *config,
                                                   const struct config_listener *wanted)
{
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (is_same_address(&config->listeners[i], wanted))
            return &config->listeners[i];
    }
    return NULL;
}

static void diff_row(const struct config_directive *row, const void *before, const void *after,
                     const char *name, changed_fn *changed, void *ctx)
{
    char *old_value = config_value_text(row, before);
    char *new_value = config_value_text(row, after);
    if (strcmp(old_value, new_value))
        changed(ctx, name, row->is_reloadable, *old_value ? old_value : "unset",
                *new_value ? new_value : "unset");
    free(old_value);
    free(new_value);
}

static void diff_listener(const struct config_listener *before, const struct config_listener *after,
                          changed_fn *changed, void *ctx)
{
    char *listener = listener_name(before);
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        char *name;
        if (!is_state(row) || !is_of_listener(row))
            continue;
        BUG_ON(asprintf(&name, "%s (listener %s)", row->name, listener) < 0);
        diff_row(row, before, after, name, changed, ctx);
        free(name);
    }
    free(listener);
}

void config_diff(const struct config *before, const struct config *after, changed_fn *changed,
                 void *ctx)
{
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (is_state(row) && !is_of_listener(row))
            diff_row(row, before, after, row->name, changed, ctx);
    }
    for (uint32_t i = 0; i < before->listener_count; i++) {
        const struct config_listener *listener = &before->listeners[i];
        const struct config_listener *other = find_listener(after, listener);
        char *name = listener_name(listener);
        if (other)
            diff_listener(listener, other, changed, ctx);
        else
            changed(ctx, "listener", false, name, "none");
        free(name);
    }
    for (uint32_t i = 0; i < after->listener_count; i++) {
        char *name = listener_name(&after->listeners[i]);
        if (!find_listener(before, &after->listeners[i]))
            changed(ctx, "listener", false, "none", name);
        free(name);
    }
}

/* A copy of `before` with what a reload may change taken from `after`, which may be NULL. */
static void keep_listener(struct config_listener *kept, const struct config_listener *before,
                          const struct config_listener *after)
{
    *kept = (struct config_listener){.port = before->port};
    kept->address = before->address ? config_strdup(slice_str(before->address)) : NULL;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (is_state(row) && is_of_listener(row))
            config_copy_value(row, kept, row->is_reloadable && after ? after : before);
    }
}

void config_keep_fixed(struct config *after, const struct config *before)
{
    struct config_listener kept[CONFIG_LISTENERS_MAX] = {0};
    for (uint32_t i = 0; i < before->listener_count; i++)
        keep_listener(&kept[i], &before->listeners[i], find_listener(after, &before->listeners[i]));
    for (uint32_t i = 0; i < after->listener_count; i++)
        free_listener(&after->listeners[i]);
    memcpy(after->listeners, kept, sizeof(kept[0]) * before->listener_count);
    after->listener_count = before->listener_count;
    after->is_default_listener = before->is_default_listener;
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (is_state(row) && !is_of_listener(row) && !row->is_reloadable)
            config_copy_value(row, after, before);
    }
    after->is_user_given = before->is_user_given;
}
