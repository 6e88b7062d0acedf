/*
 * command.c: see command.h.
 */
#include "admin/command.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/utf8.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 1000u

/* What goes wrong is said once, about the field that is being read. */
struct reading {
    uint32_t number, reactors;
    char *error;
};

static bool fail(const struct reading *reading, const char *field, const char *expected,
                 const char *got)
{
    snprintf(reading->error, COMMAND_ERROR_BYTES, "commands[%u]%s%s: expected %s, got %s",
             reading->number, field[0] ? "." : "", field, expected, got);
    return false;
}

static const char *type_of(const cJSON *json)
{
    if (cJSON_IsString(json))
        return "string";
    if (cJSON_IsNumber(json))
        return "number";
    if (cJSON_IsBool(json))
        return "boolean";
    if (cJSON_IsNull(json))
        return "null";
    if (cJSON_IsArray(json))
        return "array";
    return json ? "object" : "nothing";
}

/* ---- fields ---- */

static bool read_text(const struct reading *reading, const char *field, const cJSON *json,
                      struct slice *out)
{
    if (!cJSON_IsString(json))
        return fail(reading, field, "a string", type_of(json));
    *out = slice_str(json->valuestring);
    return true;
}

static bool read_number(const struct reading *reading, const char *field, const cJSON *json,
                        uint32_t min, uint32_t max, uint32_t *out)
{
    char expected[64], got[48];
    bool is_number = cJSON_IsNumber(json);
    double value = is_number ? json->valuedouble : 0;
    if (is_number && value >= min && value <= max && value == (double)(uint32_t)value) {
        *out = (uint32_t)value;
        return true;
    }
    snprintf(expected, sizeof(expected), "a whole number from %u to %u", min, max);
    snprintf(got, sizeof(got), "%.17g", value);
    return fail(reading, field, expected, is_number ? got : type_of(json));
}

static bool set_client_id(const struct reading *reading, const cJSON *json, struct command *out)
{
    if (!read_text(reading, "clientId", json, &out->client_id))
        return false;
    return out->client_id.len || fail(reading, "clientId", "a client id", "an empty string");
}

static bool set_prefix(const struct reading *reading, const cJSON *json, struct command *out)
{
    return read_text(reading, "prefix", json, &out->prefix);
}

static bool set_reason(const struct reading *reading, const cJSON *json, struct command *out)
{
    return read_text(reading, "reason", json, &out->reason);
}

static bool set_correlation(const struct reading *reading, const cJSON *json, struct command *out)
{
    return read_text(reading, "correlationData", json, &out->correlation_data);
}

static bool set_state(const struct reading *reading, const cJSON *json, struct command *out)
{
    static const char *const names[] = {"all", "connected", "disconnected"};
    for (uint32_t i = 0; cJSON_IsString(json) && i < ARRAY_COUNT(names); i++) {
        if (strcmp(json->valuestring, names[i]) != 0)
            continue;
        out->state = (enum ask_state)i;
        return true;
    }
    return fail(reading, "state", "\"connected\", \"disconnected\" or \"all\"",
                cJSON_IsString(json) ? "another string" : type_of(json));
}

static bool set_idle(const struct reading *reading, const cJSON *json, struct command *out)
{
    return read_number(reading, "idleLongerThan", json, 0, UINT32_MAX, &out->idle_s);
}

static bool set_limit(const struct reading *reading, const cJSON *json, struct command *out)
{
    return read_number(reading, "limit", json, 1, LIMIT_MAX, &out->limit);
}

/* A whole number of digits only, with its end in *text. */
static bool read_digits(const char **text, uint32_t *out)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    unsigned long long value = strtoull(*text, &end, 10); /* stops at the greatest, if too many */
    *text = end;
    *out = (uint32_t)value;
    return value <= UINT32_MAX;
}

/* "reactor.slot", as finish_scan() of request.c writes it. */
static bool set_cursor(const struct reading *reading, const cJSON *json, struct command *out)
{
    const char *text = cJSON_IsString(json) ? json->valuestring : "";
    if (read_digits(&text, &out->cursor_reactor) && *text++ == '.' &&
        read_digits(&text, &out->cursor_slot) && !*text && out->cursor_reactor < reading->reactors)
        return true;
    return fail(reading, "cursor", "the cursor of an earlier answer",
                cJSON_IsString(json) ? "another string" : type_of(json));
}

/* ---- the tables ---- */

enum field_bit {
    FIELD_CLIENT_ID = 1,
    FIELD_PREFIX = 2,
    FIELD_STATE = 4,
    FIELD_IDLE = 8,
    FIELD_LIMIT = 16,
    FIELD_CURSOR = 32,
    FIELD_REASON = 64,
    FIELD_ALWAYS = 128,
};

#define FIELDS_OF_SCAN (FIELD_PREFIX | FIELD_STATE | FIELD_IDLE)

static const struct {
    const char *name;
    uint32_t bit;
    bool (*set)(const struct reading *reading, const cJSON *json, struct command *out);
} fields[] = {
    {"correlationData", FIELD_ALWAYS, set_correlation},
    {"clientId", FIELD_CLIENT_ID, set_client_id},
    {"prefix", FIELD_PREFIX, set_prefix},
    {"state", FIELD_STATE, set_state},
    {"idleLongerThan", FIELD_IDLE, set_idle},
    {"limit", FIELD_LIMIT, set_limit},
    {"cursor", FIELD_CURSOR, set_cursor},
    {"reason", FIELD_REASON, set_reason},
};

static const struct {
    const char *name;
    uint32_t known, required; /* field bits */
} commands[COMMAND_NAMES] = {
    [COMMAND_LIST] = {"listSessions", FIELDS_OF_SCAN | FIELD_LIMIT | FIELD_CURSOR, 0},
    [COMMAND_COUNT] = {"countSessions", FIELDS_OF_SCAN, 0},
    [COMMAND_GET] = {"getSession", FIELD_CLIENT_ID, FIELD_CLIENT_ID},
    [COMMAND_DISCONNECT] = {"disconnectSession", FIELD_CLIENT_ID | FIELD_REASON, FIELD_CLIENT_ID},
    [COMMAND_DELETE] = {"deleteSession", FIELD_CLIENT_ID | FIELD_REASON, FIELD_CLIENT_ID},
};

/* ---- reading ---- */

static bool fail_unknown(const struct reading *reading, const char *field, uint32_t known)
{
    char names[160] = "";
    struct slice name = utf8_cut(slice_str(field), COMMAND_QUOTE_BYTES);
    for (uint32_t i = 0; i < ARRAY_COUNT(fields); i++) {
        size_t used = strlen(names);
        if (fields[i].bit & (known | FIELD_ALWAYS))
            snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", fields[i].name);
    }
    snprintf(reading->error, COMMAND_ERROR_BYTES,
             "commands[%u].%.*s: no such field here; there are: %s", reading->number,
             SLICE_ARG(name), names);
    return false;
}

static bool read_field(const struct reading *reading, const cJSON *json, uint32_t known,
                       uint32_t *seen, struct command *out)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (strcmp(json->string, fields[i].name) != 0 || !(fields[i].bit & (known | FIELD_ALWAYS)))
            continue;
        if (*seen & fields[i].bit)
            return fail(reading, fields[i].name, "it once", "it twice");
        *seen |= fields[i].bit;
        return fields[i].set(reading, json, out);
    }
    return fail_unknown(reading, json->string, known);
}

static bool read_name(const struct reading *reading, const cJSON *json, struct command *out)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(json, "command");
    if (!cJSON_IsString(name))
        return fail(reading, "command", "the name of a command", type_of(name));
    for (uint32_t i = 0; i < COMMAND_NAMES; i++) {
        if (strcmp(name->valuestring, commands[i].name) != 0)
            continue;
        out->name = (enum command_name)i;
        return true;
    }
    struct slice text = utf8_cut(slice_str(name->valuestring), COMMAND_QUOTE_BYTES);
    snprintf(reading->error, COMMAND_ERROR_BYTES,
             "commands[%u].command: \"%.*s\" is unknown; there are: listSessions, countSessions, "
             "getSession, disconnectSession, deleteSession",
             reading->number, SLICE_ARG(text));
    return false;
}

bool command_parse(const cJSON *json, uint32_t number, uint32_t reactors, struct command *out,
                   char error[COMMAND_ERROR_BYTES])
{
    struct reading reading = {.number = number, .reactors = reactors, .error = error};
    *out = (struct command){.limit = LIMIT_DEFAULT};
    if (!cJSON_IsObject(json))
        return fail(&reading, "", "an object", type_of(json));
    const cJSON *correlation = cJSON_GetObjectItemCaseSensitive(json, "correlationData");
    if (cJSON_IsString(correlation)) /* errors are answered with it, too */
        out->correlation_data = slice_str(correlation->valuestring);
    if (!read_name(&reading, json, out))
        return false;
    uint32_t seen = 0, known = commands[out->name].known, required = commands[out->name].required;
    uint32_t names = 0;
    for (const cJSON *field = json->child; field; field = field->next) {
        bool is_name = strcmp(field->string, "command") == 0;
        if (is_name && names++)
            return fail(&reading, "command", "it once", "it twice");
        if (!is_name && !read_field(&reading, field, known, &seen, out))
            return false;
    }
    if ((seen & required) != required)
        return fail(&reading, "clientId", "a client id", "nothing");
    return true;
}
