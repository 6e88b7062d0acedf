/*
 * authenticate.c: see authenticate.h; also AUTH and DISCONNECT from clients.
 *
 * Re-authentication keeps its exchange in a small pending_connect while other traffic goes on.
 */
#include "conn/authenticate.h"

#include "base/mem.h"
#include "conn/attach.h"
#include "conn/handlers.h"
#include "conn/send.h"
#include "mqtt/encode.h"
#include "runtime/log.h"
#include "session/session.h"

static const struct fault fault_auth_unasked = {REASON_PROTOCOL_ERROR, "MQTT-4.12.0-7",
                                                "AUTH without an authentication method in CONNECT"};
static const struct fault fault_auth_method = {REASON_PROTOCOL_ERROR, "MQTT-4.12.0-5",
                                               "AUTH with another method than CONNECT"};
static const struct fault fault_auth_code = {REASON_PROTOCOL_ERROR, "MQTT-4.12.0-3",
                                             "AUTH with a reason code that does not fit"};
static const struct fault fault_expiry = {REASON_PROTOCOL_ERROR, "3.14.2.2.2",
                                          "DISCONNECT sets a session expiry after CONNECT had 0"};

static bool is_named_admin(const struct config *config, struct slice user)
{
    for (uint32_t i = 0; i < config->admin_users.count; i++) {
        if (slice_eq(user, slice_str(config->admin_users.items[i])))
            return true;
    }
    return false;
}

/* What a client says of itself, and how far that can be believed. */
struct claim {
    uint8_t listener;
    bool is_local, is_verified;
    struct slice user; /* NULL: none */
};

/* Admins: those named, once users are known; before that whoever is on this machine. Nobody on a
   listener with a mount point. */
static bool is_admin(struct worker *worker, const struct claim *claim)
{
    const struct config *config = broker_config(worker->broker);
    bool has_users = worker->broker->auth->has_users;
    if (config->listeners[claim->listener].mount_point)
        return false; /* it is to see and reach only what is below it */
    if (!has_users && config->admin_users.count == 0)
        return claim->is_local;
    return claim->user.ptr && is_named_admin(config, claim->user) &&
           (claim->is_verified || (!has_users && claim->is_local));
}

static void decide_admin(struct worker *worker, struct connection *connection)
{
    struct pending_connect *pending = connection->pending;
    struct claim claim = {
        .listener = connection->listener,
        .is_local = connection_is_loopback(connection),
        .is_verified = pending->is_verified,
        .user = pending->has_user_name ? pending->user_name : slice_of(NULL, 0),
    };
    pending->is_admin = is_admin(worker, &claim);
}

/* The same of a session, by what it keeps of its last connection. */
static bool is_session_admin(struct worker *worker, const struct session *session)
{
    const struct session_user *user = session->user;
    struct claim claim = {
        .listener = session->listener,
        .is_local = session->flags & SESSION_LOCAL,
        .is_verified = user && user->is_verified,
        .user = user ? slice_of(user->name, user->len) : slice_of(NULL, 0),
    };
    return is_admin(worker, &claim);
}

void authenticate_again(struct worker *worker, struct session *session)
{
    bool was = session->flags & SESSION_ADMIN, is = is_session_admin(worker, session);
    if (LIKELY(was == is))
        return;
    session->flags ^= SESSION_ADMIN;
    if (!session->sink)
        return;
    char address[CONNECTION_ADDRESS_BYTES];
    log_line(LOG_NOTICE_, "Client %.*s (%s) is %s: admin_users has changed.",
             SLICE_ARG(session_id(session)), connection_address(session->sink, address),
             is ? "an admin now" : "no longer an admin");
}

static void accept_client(struct worker *worker, struct connection *connection)
{
    decide_admin(worker, connection);
    attach_begin(worker, connection);
}

static void send_auth(struct worker *worker, struct connection *connection, uint8_t code,
                      struct slice method, struct slice data)
{
    size_t room = 64 + method.len + data.len;
    uint8_t *packet = mem_alloc(room);
    if (!packet) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    size_t bytes = encode_auth(packet, room, connection->packet_bytes_max, code, method, data);
    send_packet(worker, connection, packet, bytes);
    mem_free(packet);
}

/* The user that a method found out replaces the one of CONNECT. */
static bool take_user(struct connection *connection, struct slice user)
{
    struct pending_connect *pending = connection->pending;
    pending->is_verified = true;
    if (user.len == 0)
        return true;
    struct pending_connect *grown =
        mem_realloc(pending, sizeof(*grown) + pending->client_id.len + user.len);
    if (!grown)
        return false;
    grown->client_id.ptr = grown->bytes;
    memcpy(grown->bytes + grown->client_id.len, user.ptr, user.len);
    grown->user_name = slice_of(grown->bytes + grown->client_id.len, user.len);
    grown->has_user_name = true;
    connection->pending = grown;
    return true;
}

/* One step of an exchange before CONNACK. */
static void step_connect(struct worker *worker, struct connection *connection, struct slice data)
{
    struct pending_connect *pending = connection->pending;
    const struct auth_method *method = pending->method;
    struct slice reply = {0}, user = {0};
    enum auth_verdict verdict =
        method->step(method->ctx, &pending->method_state, data, &reply, &user);
    if (verdict == AUTH_CONTINUE) {
        connection->state = CONNECTION_AUTHENTICATING;
        send_auth(worker, connection, REASON_CONTINUE_AUTHENTICATION, slice_str(method->name),
                  reply);
    } else if (verdict == AUTH_ALLOW && take_user(connection, user) &&
               connection_rare(connection)) {
        connection->pending->auth_reply = reply;
        connection->rare->auth_method = method;
        accept_client(worker, connection);
    } else {
        attach_refuse(worker, connection,
                      verdict == AUTH_BAD_CREDENTIALS ? REASON_BAD_USER_NAME_OR_PASSWORD
                                                      : REASON_NOT_AUTHORIZED,
                      NULL);
    }
}

/* Why a CONNECT without enhanced authentication is refused, for its sender and for the log. */
static const char *refusal_text(struct worker *worker, const struct auth_client *client,
                                enum auth_verdict verdict)
{
    if (verdict == AUTH_BAD_CREDENTIALS)
        return "the user name or the password is wrong";
    if (client->is_anonymous_allowed)
        return NULL;
    if (!client->has_user_name)
        return "anonymous clients need 'allow_anonymous true' in the configuration";
    return worker->broker->auth->has_users ? "the user is not known"
                                           : "no users are known here: clients need "
                                             "'allow_anonymous true' in the configuration";
}

void authenticate_connect(struct worker *worker, struct connection *connection,
                          const struct packet_connect *packet)
{
    struct pending_connect *pending = connection->pending;
    if (packet->has_auth_method) {
        pending->method = auth_method_find(worker->broker->auth, packet->auth_method);
        if (!pending->method)
            attach_refuse(worker, connection, REASON_BAD_AUTHENTICATION_METHOD,
                          NULL); /* [MQTT-4.12.0-1] */
        else
            step_connect(worker, connection, packet->auth_data);
        return;
    }
    struct auth_client client = {
        .client_id = pending->client_id,
        .has_user_name = packet->has_user_name,
        .has_password = packet->has_password,
        .user_name = packet->user_name,
        .password = packet->password,
        .listener = connection->listener,
        .is_anonymous_allowed = connection_listener(worker, connection)->allow_anonymous,
        .is_loopback = connection_is_loopback(connection),
    };
    enum auth_verdict verdict = auth_connect(worker->broker->auth, &client, &pending->is_verified);
    if (verdict == AUTH_ALLOW)
        accept_client(worker, connection);
    else
        attach_refuse(worker, connection,
                      verdict == AUTH_BAD_CREDENTIALS ? REASON_BAD_USER_NAME_OR_PASSWORD
                                                      : REASON_NOT_AUTHORIZED,
                      refusal_text(worker, &client, verdict));
}

/* One step of re-authentication on a live connection (section 4.12.1). */
static void step_again(struct worker *worker, struct connection *connection, struct slice data)
{
    struct pending_connect *pending = connection->pending;
    const struct auth_method *method = pending->method;
    struct slice reply = {0}, user = {0};
    enum auth_verdict verdict =
        method->step(method->ctx, &pending->method_state, data, &reply, &user);
    if (verdict == AUTH_CONTINUE) {
        send_auth(worker, connection, REASON_CONTINUE_AUTHENTICATION, slice_str(method->name),
                  reply);
        return;
    }
    if (verdict == AUTH_ALLOW) {
        send_auth(worker, connection, REASON_SUCCESS, slice_str(method->name), reply);
        attach_forget_pending(worker, connection);
        return;
    }
    connection_close(worker, connection, CLOSE_NOT_AUTHORIZED, REASON_NOT_AUTHORIZED,
                     NULL); /* [MQTT-4.12.1-2] */
}

/* What the client came in by; NULL: not by enhanced authentication. */
static const struct auth_method *method_of(const struct connection *connection)
{
    return connection->rare ? connection->rare->auth_method : NULL;
}

static const struct fault *check_auth(const struct connection *connection,
                                      const struct packet_auth *packet)
{
    bool is_connected = connection->state == CONNECTION_CONNECTED;
    const struct auth_method *method =
        is_connected ? method_of(connection) : connection->pending->method;
    if (!method)
        return &fault_auth_unasked;
    if (!packet->has_method || !slice_eq(packet->method, slice_str(method->name)))
        return &fault_auth_method;
    bool is_running = connection->pending != NULL;
    uint8_t expected = is_running ? REASON_CONTINUE_AUTHENTICATION : REASON_REAUTHENTICATE;
    return packet->reason == expected ? NULL : &fault_auth_code;
}

void on_auth(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_auth packet;
    bool is_connected = connection->state == CONNECTION_CONNECTED;
    const struct fault *fault = decode_auth(frame->body, &packet);
    if (!fault)
        fault = check_auth(connection, &packet);
    if (fault && is_connected) {
        connection_fault(worker, connection, fault);
    } else if (fault) {
        attach_refuse(worker, connection, fault->reason,
                      fault->text); /* no DISCONNECT before CONNACK */
    } else if (!is_connected) {
        step_connect(worker, connection, packet.data);
    } else {
        if (!connection->pending)
            connection->pending = mem_zalloc(sizeof(*connection->pending));
        if (!connection->pending) {
            connection_close_plain(worker, connection, CLOSE_MEMORY);
            return;
        }
        connection->pending->method = method_of(connection);
        step_again(worker, connection, packet.data);
    }
}

/* DISCONNECT may change the session's expiry, but not from 0. */
static const struct fault *take_expiry(struct session *session,
                                       const struct packet_disconnect *packet)
{
    if (!packet->has_session_expiry)
        return NULL;
    if (session->expiry_s == 0 && packet->session_expiry_s)
        return &fault_expiry;
    session->expiry_s = packet->session_expiry_s;
    return NULL;
}

void on_disconnect(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_disconnect packet;
    struct session *session = connection->session;
    const struct fault *fault = decode_disconnect(frame->body, connection->version, &packet);
    if (!fault && session)
        fault = take_expiry(session, &packet);
    if (fault) {
        connection_fault(worker, connection, fault);
        return;
    }
    if (packet.reason == REASON_SUCCESS && session && session->will) {
        will_free(session->will); /* [MQTT-3.14.4-3] */
        session->will = NULL;
    }
    connection_close(worker, connection, CLOSE_CLIENT_DISCONNECT, packet.reason,
                     packet.reason ? reason_text(packet.reason) : NULL);
}
