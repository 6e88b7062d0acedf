/*
 * session_table.h: client id -> session slot, for all reactors.
 *
 * 64 shards by xxHash of the client id; each a mutex, held for one look-up, and an open-addressing
 * table of 8-byte entries (slot, part of the hash). Client ids are compared in the sessions, whose
 * memory stays until they are removed here.
 */
#ifndef SESSION_SESSION_TABLE_H
#define SESSION_SESSION_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/slots.h"
#include "session/session.h"

struct session_table;

/* A session as others may hold it. */
struct session_ref {
    uint32_t slot; /* 0: none */
    uint32_t generation;
    uint16_t owner; /* at the time of looking */
};

struct session_table *session_table_new(struct slots *slots);
void session_table_free(struct session_table *table);

/* The session of an id. Any thread. */
struct session_ref session_table_find(struct session_table *table, struct slice id);
/* Puts `fresh` (with its slot) in under its id. When there is one already: with `replace` it is put
   out of the table and told in *old, otherwise ERR_EXISTS and it is told in *old. Any thread. */
enum err session_table_insert(struct session_table *table, struct session *fresh, bool replace,
                              struct session_ref *old) MUST_USE;
/* Takes exactly this session out; false when it is not there (replaced already). Its owner only. */
bool session_table_remove(struct session_table *table, struct session *session);
uint64_t session_table_count(struct session_table *table);
void session_table_check(struct session_table *table);

#endif
