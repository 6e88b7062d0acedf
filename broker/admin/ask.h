/*
 * ask.h: a reactor asks another for what only that one may look at: its sessions.
 *
 *   asker's reactor                          owner's reactor
 *   ask_scan(from slot X) -- mail_ask -->    a list of questions; a job answers one per run:
 *                                            looks at up to SCAN_COST slots, writes up to
 *                                            SCAN_DOCUMENTS documents, 48 KiB
 *   asker->answered()    <-- mail_answer --  records, and the slot to go on from
 *
 * So a look at a million sessions is many small questions, each after the answer to the one before,
 * and holds neither reactor. An asker has at most one question under way. A session that moves to
 * another reactor while a scan goes on may be missed or told twice.
 *
 * Threads: an asker belongs to the reactor it was registered on, and is called there only.
 */
#ifndef ADMIN_ASK_H
#define ADMIN_ASK_H

#include "base/list.h"
#include "base/table.h"
#include "conn/broker.h"
#include "session/session.h"

#define SCAN_DOCUMENTS 32u

enum ask_state { ASK_ANY, ASK_CONNECTED, ASK_DISCONNECTED };

enum ask_what {
    ASK_DOCUMENTS,  /* of the sessions that match, from a slot on */
    ASK_COUNT,      /* how many match */
    ASK_DOCUMENT,   /* of one session, with its list */
    ASK_DISCONNECT, /* one client */
    ASK_DELETE,     /* one session, and its client */
};

enum ask_outcome {
    ASK_DONE,
    ASK_GONE,    /* there is no such session any more */
    ASK_OFFLINE, /* the client is not connected */
};

/* Which sessions of a reactor. */
struct ask_scan {
    enum ask_what what;
    uint16_t reactor;
    uint32_t slot;      /* from here on */
    uint32_t documents; /* at most */
    enum ask_state state;
    uint32_t idle_s;     /* more than this; 0: any */
    struct slice prefix; /* of the client id */
};

struct answer {
    enum ask_outcome outcome;
    uint32_t next_slot; /* 0: that was the last of this reactor */
    uint32_t count;
    struct slice records; /* for ask_next_record() */
};

struct ask_record {
    uint32_t slot;
    struct slice id, document;
};

struct asker {
    struct list link;       /* in desk->askers */
    struct table_node node; /* in desk->askers_by_id */
    uint32_t id;
    uint32_t asked_tick; /* of the question under way, 0: none */
    void (*answered)(struct worker *worker, struct asker *asker, const struct answer *answer);
    void (*free)(struct asker *asker); /* if it is registered still when the program ends */
};

/* What a worker needs to ask and answer; a part of struct admin_worker. */
struct ask_desk;

struct ask_desk *ask_desk_new(struct worker *worker);
/* Frees the askers, too. */
void ask_desk_free(struct ask_desk *desk);
/* Registers the mail handlers. */
void ask_install(struct reactor_group *group, uint16_t mail_ask, uint16_t mail_answer);

/* Every tick: a question that was lost for lack of memory is answered with ASK_GONE. */
void ask_tick(struct worker *worker);
void ask_register(struct worker *worker, struct asker *asker);
/* Answers that are under way will be thrown away. */
void ask_unregister(struct worker *worker, struct asker *asker);
/* False without memory: there will be no answer. */
bool ask_scan_post(struct worker *worker, struct asker *asker, const struct ask_scan *scan);
/* The same for one session, wherever it is now; `text`: the reason given to the client, or empty.
 */
bool ask_one_post(struct worker *worker, struct asker *asker, enum ask_what what, struct slice id,
                  struct slice text, bool *is_found);
/* Cuts the next record off. False at the end. */
bool ask_next_record(struct slice *records, struct ask_record *record);

#endif
