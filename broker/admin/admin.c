/*
 * admin.c: see admin.h. Puts the parts of this folder behind the hooks of conn.
 */
#include "admin/admin.h"

#include "admin/admin_worker.h"
#include "admin/log_topics.h"
#include "base/mem.h"

enum admin_mail { MAIL_LOG_LINE = MAIL_APP_FIRST, MAIL_ASK, MAIL_ANSWER };

static void on_tick(struct worker *worker)
{
    struct admin_worker *admin = admin_of(worker);
    if (admin->sys)
        sys_tick(admin->sys, worker);
    watcher_tick(worker);
    ask_tick(worker);
}

static struct admin_worker *admin_worker_new(struct worker *worker)
{
    struct admin_worker *admin = mem_must_zalloc(sizeof(*admin));
    if (worker->reactor->index == 0)
        admin->sys = sys_new(worker->broker);
    admin->desk = ask_desk_new(worker);
    admin->changes = changes_new(worker);
    admin->watchers = watchers_new();
    admin->control = control_new();
    return admin;
}

static void admin_worker_free(struct admin_worker *admin)
{
    if (admin->sys)
        sys_free(admin->sys);
    watchers_free(admin->watchers);
    ask_desk_free(admin->desk);
    changes_free(admin->changes);
    control_free(admin->control);
    mem_free(admin);
}

void admin_install(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->group->count; i++)
        broker->workers[i].admin = admin_worker_new(&broker->workers[i]);
    broker->hooks = (struct broker_hooks){
        .session_changed = changes_note,
        .control = control_publish,
        .subscribed = watcher_subscribed,
        .unsubscribed = watcher_unsubscribed,
        .drained = watcher_drained,
        .tick = on_tick,
    };
    ask_install(broker->group, MAIL_ASK, MAIL_ANSWER);
    control_install();
    log_topics_install(broker, MAIL_LOG_LINE);
}

void admin_begin(struct broker *broker)
{
    struct worker *worker = &broker->workers[0];
    sys_begin(admin_of(worker)->sys, worker);
}

void admin_uninstall(struct broker *broker)
{
    log_topics_uninstall();
    for (uint32_t i = 0; i < broker->group->count; i++) {
        struct worker *worker = &broker->workers[i];
        if (worker->admin)
            admin_worker_free(worker->admin);
        worker->admin = NULL;
    }
}
