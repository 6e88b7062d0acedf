/*
 * request.c: see request.h.
 *
 *   run: next command -> parse -> begin -> question -> answered -> question -> ... -> next command
 *
 * An answer of more than ANSWER_BYTES_MAX is taken back, and an error stands in its place.
 */
#include "admin/request.h"

#include "base/assert.h"
#include "base/mem.h"
#include "runtime/log.h"

#define ANSWER_BYTES_MAX (4u << 20)

static const char no_session[] = "there is no session with this client id";

/* ---- one response ---- */

static void put_head(struct request *request, const cJSON *command)
{
    struct json *out = &request->out;
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(command, "command");
    request->begin = out->len;
    request->needs_comma = out->needs_comma;
    json_open(out, '{');
    if (cJSON_IsString(name)) {
        json_key(out, "command");
        json_string(out, slice_str(name->valuestring));
    }
    if (request->command.correlation_data.ptr) {
        json_key(out, "correlationData");
        json_string(out, request->command.correlation_data);
    }
}

static void put_error(struct request *request, const char *error)
{
    json_key(&request->out, "error");
    json_string(&request->out, slice_str(error));
    json_close(&request->out, '}');
}

/* Takes the response at hand back and puts an error there instead. */
static void replace_by_error(struct request *request, const char *error)
{
    json_rewind(&request->out, request->begin, request->needs_comma);
    put_head(request, request->at);
    put_error(request, error);
}

/* ---- listSessions, countSessions ---- */

static void finish_scan(struct request *request)
{
    struct json *out = &request->out;
    bool has_more = request->scan.reactor < request->worker->broker->group->count;
    if (request->command.name == COMMAND_COUNT) {
        json_key(out, "count");
        json_number(out, request->count);
    } else {
        json_close(out, ']');
        if (has_more) {
            json_key(out, "cursor");
            json_format(out, "%u.%u", request->scan.reactor, request->scan.slot);
        }
    }
    json_close(out, '}');
    json_close(out, '}');
}

/* The next question; false when the command is done. */
static bool scan_on(struct request *request)
{
    bool is_list = request->command.name == COMMAND_LIST;
    if ((is_list && request->count >= request->command.limit) ||
        request->scan.reactor == request->worker->broker->group->count) {
        finish_scan(request);
        return false;
    }
    request->scan.documents = request->command.limit - (uint32_t)request->count;
    if (ask_scan_post(request->worker, &request->asker, &request->scan))
        return true;
    replace_by_error(request, "no memory");
    return false;
}

static bool begin_scan(struct request *request)
{
    const struct command *command = &request->command;
    bool is_list = command->name == COMMAND_LIST;
    request->count = 0;
    request->scan = (struct ask_scan){
        .what = is_list ? ASK_DOCUMENTS : ASK_COUNT,
        .reactor = (uint16_t)command->cursor_reactor,
        .slot = command->cursor_slot,
        .state = command->state,
        .idle_s = command->idle_s,
        .prefix = command->prefix,
    };
    json_key(&request->out, "data");
    json_open(&request->out, '{');
    if (is_list) {
        json_key(&request->out, "sessions");
        json_open(&request->out, '[');
    }
    return scan_on(request);
}

static bool scan_answered(struct request *request, const struct answer *answer)
{
    struct slice records = answer->records;
    struct ask_record record;
    while (ask_next_record(&records, &record))
        json_value(&request->out, record.document);
    request->count += answer->count;
    request->scan.slot = answer->next_slot;
    if (answer->next_slot == 0)
        request->scan.reactor++;
    if (!request->out.is_full && request->out.len <= ANSWER_BYTES_MAX)
        return scan_on(request);
    replace_by_error(request, "the answer would be too large: ask for fewer sessions at a time");
    return false;
}

/* ---- getSession, disconnectSession, deleteSession ---- */

/* What was ended is told, with who wanted it. */
static void log_order(const struct request *request)
{
    const struct command *command = &request->command;
    if (command->name != COMMAND_GET)
        log_line(LOG_NOTICE_, "Admin %s: %s %.*s%s%.*s.", request->by_whom,
                 command->name == COMMAND_DELETE ? "deleteSession" : "disconnectSession",
                 SLICE_ARG(command->client_id), command->reason.len ? ": " : "",
                 SLICE_ARG(command->reason));
}

static bool begin_one(struct request *request)
{
    static const enum ask_what whats[COMMAND_NAMES] = {
        [COMMAND_GET] = ASK_DOCUMENT,
        [COMMAND_DISCONNECT] = ASK_DISCONNECT,
        [COMMAND_DELETE] = ASK_DELETE,
    };
    const struct command *command = &request->command;
    bool is_found;
    if (ask_one_post(request->worker, &request->asker, whats[command->name], command->client_id,
                     command->reason, &is_found))
        return true;
    replace_by_error(request, is_found ? "no memory" : no_session);
    return false;
}

static void one_answered(struct request *request, const struct answer *answer)
{
    struct slice records = answer->records;
    struct ask_record record;
    if (answer->outcome != ASK_DONE) {
        replace_by_error(request, answer->outcome == ASK_OFFLINE ? "the client is not connected"
                                                                 : no_session);
        return;
    }
    log_order(request);
    if (request->command.name == COMMAND_GET && ask_next_record(&records, &record)) {
        json_key(&request->out, "data");
        json_open(&request->out, '{');
        json_key(&request->out, "session");
        json_value(&request->out, record.document);
        json_close(&request->out, '}');
    }
    json_close(&request->out, '}');
}

/* ---- all commands ---- */

static bool is_scan(const struct command *command)
{
    return command->name == COMMAND_LIST || command->name == COMMAND_COUNT;
}

/* True when a question is under way; false when the next command is answered already. */
static bool begin_next(struct request *request)
{
    char error[COMMAND_ERROR_BYTES];
    request->at = request->next;
    request->next = request->at->next;
    bool is_good = command_parse(request->at, request->number++,
                                 request->worker->broker->group->count, &request->command, error);
    put_head(request, request->at);
    if (!is_good) {
        put_error(request, error);
        return false;
    }
    return is_scan(&request->command) ? begin_scan(request) : begin_one(request);
}

static void request_answered(struct worker *worker, struct asker *asker,
                             const struct answer *answer)
{
    struct request *request = CONTAINER_OF(asker, struct request, asker);
    bool is_waiting = is_scan(&request->command) && scan_answered(request, answer);
    (void)worker;
    if (!is_scan(&request->command))
        one_answered(request, answer);
    if (!is_waiting)
        request_run(request);
}

void request_run(struct request *request)
{
    request->asker.answered = request_answered;
    while (request->next) {
        if (begin_next(request))
            return;
    }
    request->done(request);
}
