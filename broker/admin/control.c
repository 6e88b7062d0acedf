/*
 * control.c: see control.h. Takes requests in, and publishes answers.
 */
#include "admin/control.h"

#include <stdio.h>

#include "admin/admin_worker.h"
#include "admin/request.h"
#include "base/assert.h"
#include "base/mem.h"
#include "conn/publish.h"
#include "mqtt/property.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#define OUT_BYTES_MAX (8u << 20)
#define ANSWER_QOS 2u /* the subscription decides */

struct control {
    struct list requests;
    uint32_t count;
};

struct control *control_new(void)
{
    struct control *control = mem_must_zalloc(sizeof(*control));
    list_init(&control->requests);
    return control;
}

void control_free(struct control *control)
{
    mem_free(control);
}

void control_install(void)
{
    cJSON_Hooks hooks = {.malloc_fn = mem_alloc, .free_fn = mem_free};
    cJSON_InitHooks(&hooks);
}

/* ---- answers ---- */

static void publish_answer(struct worker *worker, const struct reply *reply, struct slice payload)
{
    struct publication publication = {
        .topic = slice_of(reply->bytes, reply->topic_bytes),
        .properties = slice_of(reply->bytes + reply->topic_bytes, reply->properties_bytes),
        .properties_forwarded_bytes = reply->properties_bytes,
        .payload = payload,
        .qos = ANSWER_QOS,
        .flags = reply->flags,
    };
    publish_message(worker, NULL, &publication);
    publication_fini(&publication);
}

static void answer_error(struct worker *worker, const struct reply *reply, const char *error)
{
    struct json out;
    json_init(&out, OUT_BYTES_MAX);
    json_open(&out, '{');
    json_key(&out, "responses");
    json_open(&out, '[');
    json_open(&out, '{');
    json_key(&out, "error");
    json_string(&out, slice_str(error));
    json_close(&out, '}');
    json_close(&out, ']');
    json_close(&out, '}');
    if (!out.is_full)
        publish_answer(worker, reply, json_text(&out));
    json_fini(&out);
}

/* Topic and correlation data of the answer. NULL: no memory. */
static struct reply *make_reply(struct slice topic, const struct property *correlation,
                                uint8_t flags)
{
    uint32_t properties = correlation ? 3 + (uint32_t)correlation->bytes.len : 0;
    struct reply *reply = mem_alloc(sizeof(*reply) + topic.len + properties);
    if (!reply)
        return NULL;
    *reply = (struct reply){
        .flags = flags, .topic_bytes = (uint32_t)topic.len, .properties_bytes = properties};
    memcpy(reply->bytes, topic.ptr, topic.len);
    if (!correlation)
        return reply;
    uint8_t *at = reply->bytes + topic.len;
    *at++ = PROPERTY_CORRELATION_DATA;
    *at++ = (uint8_t)(correlation->bytes.len >> 8);
    *at++ = (uint8_t)correlation->bytes.len;
    if (correlation->bytes.len)
        memcpy(at, correlation->bytes.ptr, correlation->bytes.len);
    return reply;
}

/* Whether the client may have answers sent there; *flags: how they are published. */
static bool may_answer_to(struct worker *worker, const struct session *session, struct slice topic,
                          uint8_t *flags)
{
    const struct auth *auth = worker->broker->auth;
    struct slice user =
        session->user ? slice_of(session->user->name, session->user->len) : slice_of(NULL, 0);
    bool is_ours = slice_starts_with(topic, SLICE_LIT(CONTROL_TOPIC "/"));
    *flags = is_ours ? MESSAGE_ADMIN_ONLY : 0;
    if (topic_name_check(topic) || (topic.ptr[0] == '$' && !is_ours))
        return false;
    return is_ours || !auth->has_access_checks ||
           auth_may(auth, session_id(session), user, topic, AUTH_WRITE);
}

/* The reply that a request asks for, or the usual one, with *error set when it may not have its
   own. NULL: no memory. */
static struct reply *find_reply(struct worker *worker, struct connection *connection,
                                const struct publication *publication, const char **error)
{
    struct property correlation, response;
    struct slice properties = publication->properties;
    bool has_correlation = property_find(properties, PROPERTY_CORRELATION_DATA, &correlation);
    const struct property *data = has_correlation ? &correlation : NULL;
    const char *mount = connection_listener(worker, connection)->mount_point;
    uint8_t flags;
    *error = NULL;
    if (!property_find(properties, PROPERTY_RESPONSE_TOPIC, &response))
        return make_reply(SLICE_LIT(CONTROL_RESPONSE_TOPIC), data, MESSAGE_ADMIN_ONLY);
    if (!may_answer_to(worker, connection->session, response.bytes, &flags)) {
        *error = "the Response Topic is not one that this client may publish to";
        return make_reply(SLICE_LIT(CONTROL_RESPONSE_TOPIC), data, MESSAGE_ADMIN_ONLY);
    }
    if (!mount || flags)
        return make_reply(response.bytes, data, flags);
    uint8_t topic[MQTT_STRING_BYTES_MAX];
    size_t mount_bytes = strlen(mount);
    if (mount_bytes + response.bytes.len > sizeof(topic))
        return NULL;
    memcpy(topic, mount, mount_bytes);
    memcpy(topic + mount_bytes, response.bytes.ptr, response.bytes.len);
    return make_reply(slice_of(topic, mount_bytes + response.bytes.len), data, flags);
}

/* ---- requests ---- */

static void request_forget(struct asker *asker)
{
    struct request *request = CONTAINER_OF(asker, struct request, asker);
    cJSON_Delete(request->json);
    json_fini(&request->out);
    mem_free(request->reply);
    mem_free(request);
}

static void request_done(struct request *request)
{
    struct worker *worker = request->worker;
    json_close(&request->out, ']');
    json_close(&request->out, '}');
    if (request->out.is_full)
        answer_error(worker, request->reply, "no memory for the answer");
    else
        publish_answer(worker, request->reply, json_text(&request->out));
    admin_of(worker)->control->count--;
    list_unlink(&request->link);
    ask_unregister(worker, &request->asker);
    request_forget(&request->asker);
}

static bool has_too_many(const struct control *control, const struct connection *by)
{
    uint32_t own = 0;
    for (const struct list *at = control->requests.next; at != &control->requests; at = at->next) {
        const struct request *request = CONTAINER_OF(at, struct request, link);
        own += request->by.handle == by->handle && request->by.generation == by->generation;
    }
    return own >= CONTROL_REQUESTS_PER_CLIENT || control->count >= CONTROL_REQUESTS_MAX;
}

/* Whether a string has the escape of a zero: a backslash that is escaped itself does not begin one. */
static bool has_zero(struct slice payload)
{
    const uint8_t *begin = payload.ptr, *end = begin + payload.len, *at = begin;
    while (at < end && (at = memmem(at, (size_t)(end - at), "\\u0000", 6)) != NULL) {
        const uint8_t *first = at;
        while (first > begin && first[-1] == '\\')
            first--;
        if ((at - first) % 2 == 0)
            return true;
        at++;
    }
    return false;
}

/* The tree, or NULL and what is wrong. */
static cJSON *parse(struct slice payload, char error[COMMAND_ERROR_BYTES])
{
    const char *end = NULL;
    if (payload.len > CONTROL_REQUEST_BYTES_MAX) {
        snprintf(error, COMMAND_ERROR_BYTES, "a request has at most %u bytes, this one has %zu",
                 CONTROL_REQUEST_BYTES_MAX, payload.len);
        return NULL;
    }
    if (!utf8_is_valid(payload) || has_zero(payload)) {
        snprintf(error, COMMAND_ERROR_BYTES, "the request is not UTF-8 without zeros");
        return NULL;
    }
    cJSON *json =
        payload.len ? cJSON_ParseWithLengthOpts((const char *)payload.ptr, payload.len, &end, false)
                    : NULL;
    const char *text = (const char *)payload.ptr, *text_end = text + payload.len;
    bool is_whole = json != NULL;
    for (; json && end < text_end; end++)
        is_whole = is_whole && strchr(" \t\r\n", *end) != NULL;
    if (is_whole)
        return json;
    snprintf(error, COMMAND_ERROR_BYTES, "the request is not JSON%s",
             json ? ": something follows it" : "");
    cJSON_Delete(json);
    return NULL;
}

/* The commands of a tree, or NULL and what is wrong. */
static const cJSON *find_commands(const cJSON *json, char error[COMMAND_ERROR_BYTES])
{
    const cJSON *commands = cJSON_GetObjectItemCaseSensitive(json, "commands");
    int count = cJSON_IsArray(commands) ? cJSON_GetArraySize(commands) : 0;
    const cJSON *other = json->child == commands && json->child ? json->child->next : json->child;
    struct slice name = slice_str(other && other->string ? other->string : "");
    name = utf8_cut(name, COMMAND_QUOTE_BYTES);
    if (!cJSON_IsObject(json) || !cJSON_IsArray(commands))
        snprintf(error, COMMAND_ERROR_BYTES,
                 "commands: expected an array of commands in an object");
    else if (count == 0 || count > (int)CONTROL_COMMANDS_MAX)
        snprintf(error, COMMAND_ERROR_BYTES, "commands: expected 1 to %u commands, got %d",
                 CONTROL_COMMANDS_MAX, count);
    else if (other)
        snprintf(error, COMMAND_ERROR_BYTES, "%.*s: expected nothing but commands, once",
                 SLICE_ARG(name));
    else
        return commands;
    return NULL;
}

/* Client id, address and user of the admin; cut where that is very long. */
static void tell_who(const struct connection *connection, char text[REQUEST_WHO_BYTES])
{
    char address[CONNECTION_ADDRESS_BYTES];
    const struct session_user *user = connection->session->user;
    struct slice id = utf8_cut(session_id(connection->session), REQUEST_WHO_BYTES / 3);
    struct slice name = user ? slice_of(user->name, user->len) : slice_of(NULL, 0);
    name = utf8_cut(name, REQUEST_WHO_BYTES / 3);
    snprintf(text, REQUEST_WHO_BYTES, "%.*s (%s)%s%.*s", SLICE_ARG(id),
             connection_address(connection, address), user ? ", user " : "", SLICE_ARG(name));
}

/* Takes json and reply. */
static void request_start(struct worker *worker, const struct connection *connection, cJSON *json,
                          const cJSON *commands, struct reply *reply)
{
    struct control *control = admin_of(worker)->control;
    struct request *request = mem_zalloc(sizeof(*request));
    if (!request) {
        answer_error(worker, reply, "no memory");
        cJSON_Delete(json);
        mem_free(reply);
        return;
    }
    request->asker.free = request_forget;
    request->worker = worker;
    request->by = (struct connection_ref){connection->handle, connection->generation};
    tell_who(connection, request->by_whom);
    request->json = json;
    request->next = commands->child;
    request->reply = reply;
    request->done = request_done;
    json_init(&request->out, OUT_BYTES_MAX);
    json_open(&request->out, '{');
    json_key(&request->out, "responses");
    json_open(&request->out, '[');
    control->count++;
    list_push_back(&control->requests, &request->link);
    ask_register(worker, &request->asker);
    request_run(request);
}

bool control_publish(struct worker *worker, struct connection *connection,
                     const struct publication *publication)
{
    char text[COMMAND_ERROR_BYTES];
    const char *error;
    cJSON *json = NULL;
    const cJSON *commands = NULL;
    if (!(connection->session->flags & SESSION_ADMIN) ||
        !slice_eq(publication->topic, SLICE_LIT(CONTROL_TOPIC)))
        return false;
    struct reply *reply = find_reply(worker, connection, publication, &error);
    if (!reply)
        return true; /* no memory: there is nothing to answer with */
    if (!error && has_too_many(admin_of(worker)->control, connection))
        error = "too many requests are under way: wait for their answers";
    if (!error) {
        error = text;
        json = parse(publication->payload, text);
        commands = json ? find_commands(json, text) : NULL;
    }
    if (commands) {
        request_start(worker, connection, json, commands, reply);
        return true;
    }
    answer_error(worker, reply, error);
    cJSON_Delete(json);
    mem_free(reply);
    return true;
}
