/*
 * admin_worker.h: what a worker keeps for this folder, in worker->admin.
 */
#ifndef ADMIN_ADMIN_WORKER_H
#define ADMIN_ADMIN_WORKER_H

#include "admin/ask.h"
#include "admin/changes.h"
#include "admin/control.h"
#include "admin/sys.h"
#include "admin/watcher.h"

struct admin_worker {
    struct sys *sys; /* reactor 0 only */
    struct ask_desk *desk;
    struct changes *changes;
    struct watchers *watchers;
    struct control *control;
    bool is_deleting; /* an admin's deleteSession is being done: why the session ends */
};

static inline struct admin_worker *admin_of(struct worker *worker)
{
    return worker->admin;
}

#endif
