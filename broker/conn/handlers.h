/* handlers.h: one handler for each packet that a client may send. dispatch.c says which is called
 * in which state. */
#ifndef CONN_HANDLERS_H
#define CONN_HANDLERS_H

#include "conn/connection.h"

typedef void (*packet_handler)(struct worker *worker, struct connection *connection,
                               const struct frame *frame);

void on_connect(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_publish(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_puback(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_pubrec(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_pubrel(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_pubcomp(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_subscribe(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_unsubscribe(struct worker *worker, struct connection *connection,
                    const struct frame *frame);
void on_pingreq(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_disconnect(struct worker *worker, struct connection *connection, const struct frame *frame);
void on_auth(struct worker *worker, struct connection *connection, const struct frame *frame);

#endif
