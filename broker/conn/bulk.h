/*
 * bulk.h: a SUBSCRIBE or UNSUBSCRIBE with very many filters, worked off in slices; the client is
 * not read meanwhile.
 */
#ifndef CONN_BULK_H
#define CONN_BULK_H

#include "conn/connection.h"

#define BULK_FROM 128u /* filters handled at once; more become a job */

/* Takes over a checked list of `count` filters. `type`: PACKET_SUBSCRIBE or PACKET_UNSUBSCRIBE. */
void bulk_start(struct worker *worker, struct connection *connection, uint8_t type,
                uint16_t packet_id, uint32_t subscription_id, struct slice filters, uint32_t count);
/* The connection is being freed: the job ends by itself. */
void bulk_abandon(struct connection *connection);
/* Handles one filter of the list; returns its code. */
uint8_t bulk_step(struct worker *worker, struct connection *connection, uint8_t type,
                  struct slice *rest, uint32_t subscription_id);
/* Sends SUBACK or UNSUBACK, and starts what waits for it (retained messages). */
void bulk_answer(struct worker *worker, struct connection *connection, uint8_t type,
                 uint16_t packet_id, struct slice codes);

#endif
