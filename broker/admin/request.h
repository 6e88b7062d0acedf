/*
 * request.h: a control request under way, and where its answer goes.
 */
#ifndef ADMIN_REQUEST_H
#define ADMIN_REQUEST_H

#include "admin/ask.h"
#include "admin/command.h"
#include "admin/json.h"
#include "conn/connection.h"

#define REQUEST_WHO_BYTES 512

/* Where an answer goes. */
struct reply {
    uint8_t flags; /* MESSAGE_* */
    uint32_t topic_bytes, properties_bytes;
    uint8_t bytes[]; /* topic, then a block of properties: Correlation Data, or nothing */
};

struct request {
    struct asker asker; /* first member */
    struct list link;
    struct worker *worker;
    struct connection_ref by;
    char by_whom[REQUEST_WHO_BYTES]; /* for the log: the client may be gone before the end */
    cJSON *json;                     /* owned */
    const cJSON *at, *next;          /* the command at hand, and the one after it */
    uint32_t number;                 /* of the next */
    struct command command;          /* at hand */
    struct ask_scan scan;            /* of listSessions and countSessions */
    uint64_t count;                  /* sessions listed or counted so far */
    uint32_t begin;                  /* of the command's response in `out` */
    bool needs_comma;                /* at `begin` */
    struct json out;
    struct reply *reply; /* owned */
    void (*done)(struct request *request);
};

/* Does the commands from request->next on; request->done() is called at the end, perhaps at once.
   `out` stands inside of the list of responses. */
void request_run(struct request *request);

#endif
