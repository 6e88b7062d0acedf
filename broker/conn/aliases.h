/*
 * aliases.h: topic aliases of one connection, both directions, made when the first is used
 * (section 3.3.2.3.4).
 */
#ifndef CONN_ALIASES_H
#define CONN_ALIASES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct aliases;

void aliases_free(struct aliases *aliases);
/* From the client: alias (1..max) stands for topic from now on. Copies the topic. */
enum err aliases_set_in(struct aliases **aliases, uint16_t alias, uint16_t max,
                        struct slice topic) MUST_USE;
/* The topic behind a client's alias; false when there is none. */
bool aliases_get_in(const struct aliases *aliases, uint16_t alias, struct slice *topic);
/* To the client: the alias for a topic. Returns 0 when none is to be used; *is_known: the client
   has it already, so the topic itself is left out. Gives new ones out while there are any. */
uint16_t aliases_out(struct aliases **aliases, uint16_t max, struct slice topic, bool *is_known);
/* The packet with the alias that was just given out new was not sent. */
void aliases_out_undo(struct aliases *aliases);

#endif
