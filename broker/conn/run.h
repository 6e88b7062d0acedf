/*
 * run.h: PUBLISH packets of one topic that follow each other in one read.
 *
 * A client that publishes fast has many of them in what one read brings, and the second one's way is
 * the first one's: same publisher, same topic, same turn. When the first was passed on as it came
 * (QoS 0, not retained, no properties) to exactly one session, those that follow with the same
 * header, topic included, are passed on in one piece of bytes: into the output of its client, or
 * into a record of mail when another reactor has it. All packets of a record go one way, whoever
 * published them and to whichever topic: what decides it is the subscription and the form, and the
 * sizes, which are in the record's head. So of a record, too, the first packet goes the long way.
 *
 * Everything that could differ from packet to packet, and every limit of either side, ends the run:
 * the packet at which it ends goes the long way, where drops, refusals and faults have their place.
 * So there is nothing here that the long way would have done otherwise but at another cost:
 * tests/unit/conn/test_run.c sends the same bytes both ways.
 */
#ifndef CONN_RUN_H
#define CONN_RUN_H

#include "conn/connection.h"
#include "mqtt/frame.h"

/* At most so many packets; the clock is looked at after each run. */
#define RUN_PACKETS_MAX 64u
/* Of packets in one record of mail. */
#define RUN_MAIL_BYTES 8192u

/* `frame` was handled just now, and worker->passed says where it went; `in` is what follows it in
   the buffer. Handles the packets at its start that go the same way, and returns how many bytes they
   are: 0 when there are none. Reactor's thread. */
size_t run_follow(struct worker *worker, struct connection *connection, const struct frame *frame,
                  struct slice in);
/* Mails the publication's packet to where worker->passed says. False: no memory. Reactor's thread. */
bool run_mail_packet(struct worker *worker, const struct publication *publication);
/* MAIL_RUN */
void run_mail(struct reactor *reactor, void *payload, uint32_t bytes);

#endif
