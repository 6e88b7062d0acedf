/*
 * command.h: one command of a control request, read from JSON and checked field by field.
 *
 * Commands and the fields each of them knows are one table. Pure but for cJSON's memory.
 */
#ifndef ADMIN_COMMAND_H
#define ADMIN_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "admin/ask.h"
#include "base/slice.h"

#define COMMAND_QUOTE_BYTES 64u /* of what the client wrote, in an error */
#define COMMAND_ERROR_BYTES 512u

enum command_name {
    COMMAND_LIST,
    COMMAND_COUNT,
    COMMAND_GET,
    COMMAND_DISCONNECT,
    COMMAND_DELETE,
    COMMAND_NAMES
};

/* Slices point into the JSON tree. */
struct command {
    enum command_name name;
    struct slice client_id, prefix, reason;
    enum ask_state state;
    uint32_t idle_s;
    uint32_t limit;
    uint32_t cursor_reactor, cursor_slot; /* 0.0: from the beginning */
    struct slice correlation_data;        /* ptr NULL: none */
};

/* Reads commands[number]; cursors are good for so many reactors. False: `error` names the field and
   what is wrong with it; *out holds the correlation data if that was readable. */
bool command_parse(const cJSON *json, uint32_t number, uint32_t reactors, struct command *out,
                   char error[COMMAND_ERROR_BYTES]);

#endif
