/*
 * control.h: $CONTROL/sessions/v1: requests of admins about sessions, in mosquitto's way.
 *
 *   {"commands":[{"command":"listSessions","prefix":"pump-","limit":2,"correlationData":"a"}]}
 *   {"responses":[{"command":"listSessions","correlationData":"a","data":{"sessions":[...]}}]}
 *
 * The commands of a request are done one after the other, each by questions to the reactors that
 * hold the sessions (ask.h), and answered together: on the request's Response Topic, or to the
 * admins that are subscribed to $CONTROL/sessions/v1/response.
 *
 * Threads: the reactor of the client that asks.
 */
#ifndef ADMIN_CONTROL_H
#define ADMIN_CONTROL_H

#include "conn/broker.h"
#include "route/message.h"

#define CONTROL_TOPIC "$CONTROL/sessions/v1"
#define CONTROL_RESPONSE_TOPIC CONTROL_TOPIC "/response"
#define CONTROL_REQUEST_BYTES_MAX 65536u
#define CONTROL_COMMANDS_MAX 64u
#define CONTROL_REQUESTS_PER_CLIENT 8u
#define CONTROL_REQUESTS_MAX 64u /* of a reactor */

struct control;

struct control *control_new(void);
void control_free(struct control *control);
/* Lets cJSON count its memory; once, at the start. */
void control_install(void);
/* hooks.control: false when the client is no admin, or the topic is not ours. */
bool control_publish(struct worker *worker, struct connection *connection,
                     const struct publication *publication);

#endif
