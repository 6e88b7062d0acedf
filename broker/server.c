/*
 * server.c: see server.h.
 *
 * The main thread sleeps in sigwaitinfo() and does what is nobody's in particular: reload, and the
 * order of stopping: refuse new ones -> DISCONNECT 0x8B to all and wills by the rules, each reactor
 * its own -> stop the reactors -> free.
 */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conn/announced.h"
#include "conn/connection.h"
#include "conn/review.h"
#include "conn/worker.h"
#include "runtime/descriptor_table.h"
#include "runtime/log.h"

#define DRAIN_MS 5000u
#define INDEX_SHARDS 64u
#define RETAINED_SHARDS 64u

/* Where sockets are opened, one for each reactor. */
struct place {
    uint16_t index;  /* of the config's listener */
    bool is_named;   /* it has an address of its own: one of a name's */
    bool is_open;    /* at least once */
    bool is_missing; /* this machine does not have the address */
    struct listener_address address;
};

struct server {
    struct broker broker;
    struct config *first_config; /* lives to the end: listeners look at their part of it */
    struct place places[LISTENERS_MAX];
    uint32_t place_count;
};

/* A configuration that a reload has replaced: reactors may look at it until their turn ends. */
struct old_config {
    struct epoch_item item;
    struct config *config;
};

uint32_t server_reactors(const struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t count = config->reactors ? config->reactors : (uint32_t)(cores > 0 ? cores : 1);
    return count < REACTORS_MAX ? count : REACTORS_MAX;
}

bool server_may_have_tables(const struct config *config, char **error)
{
    int refused = config->reactor_descriptors == DESCRIPTORS_PRIVATE ? descriptor_table_probe() : 0;
    if (refused &&
        asprintf(error,
                 "reactor_descriptors private: a thread cannot leave the table of "
                 "descriptors: unshare(CLONE_FILES): %s. Allow unshare or close_range in "
                 "the container's seccomp profile, or set `reactor_descriptors shared`",
                 strerror(refused)) < 0)
        *error = NULL;
    return !refused;
}

static bool is_unix(const struct config_listener *config)
{
    return config->port == 0 && config->address;
}

/* Adds a place for each address of a listener's name, or one for a listener without a name. */
static bool find_places_of(struct server *server, uint16_t index, char **error)
{
    const struct config_listener *config = &server->first_config->listeners[index];
    struct listener_address addresses[LISTENERS_MAX];
    uint32_t count = 0, room = LISTENERS_MAX - server->place_count;
    enum err err =
        is_unix(config) ? ERR_OK : listener_resolve(config, addresses, room, &count, error);
    if (err == ERR_LIMIT || room == 0) {
        if (asprintf(error, "cannot listen on port %u: there are more than %d addresses in all",
                     config->port, LISTENERS_MAX) < 0)
            *error = NULL;
        return false;
    }
    for (uint32_t i = 0; i < count && !err; i++)
        server->places[server->place_count++] =
            (struct place){.index = index, .is_named = true, .address = addresses[i]};
    if (count == 0 && !err)
        server->places[server->place_count++] = (struct place){.index = index};
    return !err;
}

static bool find_places(struct server *server, char **error)
{
    for (uint32_t i = 0; i < server->first_config->listener_count; i++) {
        if (!find_places_of(server, (uint16_t)i, error))
            return false;
    }
    return true;
}

static enum err open_place(struct server *server, struct worker *worker, struct place *place,
                           char **error)
{
    struct listener *listener = &worker->listeners[worker->listener_count];
    const struct config *config = server->first_config;
    listener->io.kind = IO_LISTENER;
    listener->on_accept = connection_accept;
    listener->address = place->is_named ? &place->address : NULL;
    enum err err = listener_open(listener, worker->reactor, &config->listeners[place->index],
                                 place->index, error);
    if (err)
        return err;
    listener_set_nodelay(listener, config->set_tcp_nodelay);
    place->is_open = true;
    worker->listener_count++;
    return ERR_OK;
}

/* Whether the name of a place that cannot be opened has another address that can, or may yet. */
static bool has_other_place(const struct server *server, const struct place *place)
{
    for (uint32_t i = 0; i < server->place_count; i++) {
        const struct place *other = &server->places[i];
        if (other->index == place->index && other != place && !other->is_missing)
            return true;
    }
    return false;
}

/* Reactor 0 is the first, and finds out which addresses this machine does not have: they are passed
   over when there are others of the name. */
static bool open_listeners(struct server *server, struct worker *worker, char **error)
{
    for (uint32_t i = 0; i < server->place_count; i++) {
        struct place *place = &server->places[i];
        bool is_elsewhere = is_unix(&server->first_config->listeners[place->index]) &&
                            worker->reactor->index != 0; /* a Unix socket has one owner */
        if (place->is_missing || is_elsewhere)
            continue;
        enum err err = open_place(server, worker, place, error);
        place->is_missing = err == ERR_NOT_FOUND && !place->is_open;
        if (place->is_missing && has_other_place(server, place)) {
            log_line(LOG_NOTICE_, "One of several addresses is passed over: %s.",
                     *error ? *error : "");
            free(*error);
            *error = NULL;
        } else if (err) {
            return false;
        }
    }
    return true;
}

static void old_config_free(struct epoch_item *item, void *ctx)
{
    struct old_config *old = CONTAINER_OF(item, struct old_config, item);
    (void)ctx;
    config_free(old->config);
    mem_free(old);
}

static void on_old_config(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct old_config *old;
    BUG_ON(bytes != sizeof(old));
    memcpy(&old, payload, sizeof(old));
    epoch_defer(reactor->epoch, &old->item, old_config_free);
}

/* Frees it after a grace period; without memory for that it stays. */
static void retire_config(struct server *server, struct config *config)
{
    if (config == server->first_config)
        return;
    struct old_config *old = mem_zalloc(sizeof(*old));
    if (!old)
        return;
    old->config = config;
    if (mailbox_send(server->broker.group, 0, MAIL_OLD_CONFIG, &old, sizeof(old)))
        mem_free(old);
}

static void make_tables(struct server *server)
{
    struct broker *broker = &server->broker;
    uint32_t count = broker->group->count;
    hash_seed_choose();
    slots_init(&broker->slots);
    broker->index = index_new(INDEX_SHARDS, &broker->slots, count);
    broker->retained = retained_new(RETAINED_SHARDS);
    broker->sessions = session_table_new(&broker->slots);
    broker->auth = auth_new();
    announced_init(broker, server->first_config);
    BUG_ON(!broker->index || !broker->retained);
    broker->started_ms = clock_now_ms();
    broker->started_wall_s = (uint64_t)time(NULL);
    broker->workers = aligned_alloc(_Alignof(struct worker), count * sizeof(struct worker));
    BUG_ON(!broker->workers);
    memset(broker->workers, 0, count * sizeof(struct worker));
    for (uint32_t i = 0; i < count; i++)
        worker_init(&broker->workers[i], broker, &broker->group->reactors[i]);
    worker_install(broker->group);
    broker->group->mail_handlers[MAIL_OLD_CONFIG] = on_old_config;
    admin_install(broker);
}

/* Why so many reactors cannot be made, by errno; NULL without memory. */
static char *explain_group(uint32_t reactors)
{
    int error = errno;
    struct rlimit limit = {0};
    char *text;
    getrlimit(RLIMIT_NOFILE, &limit);
    int bytes =
        error == EMFILE
            ? asprintf(&text,
                       "cannot make %u reactors: they need %u descriptors, beside those of "
                       "listeners and clients, and the limit is %llu: raise it (ulimit -n, "
                       "LimitNOFILE in the unit file), or set `reactors` to fewer",
                       reactors, reactors * REACTOR_DESCRIPTORS, (unsigned long long)limit.rlim_cur)
            : asprintf(&text, "cannot make %u reactors: %s%s", reactors, strerror(error),
                       error == ENFILE   ? ": raise fs.file-max"
                       : error == ENOSPC ? ": raise fs.epoll.max_user_watches"
                                         : "");
    return bytes < 0 ? NULL : text;
}

struct server *server_new(struct config *config, char **error)
{
    if (!server_may_have_tables(config, error)) {
        config_free(config);
        return NULL;
    }
    struct server *server = mem_must_zalloc(sizeof(*server));
    server->first_config = config;
    atomic_store(&server->broker.config, config);
    server->broker.group = reactor_group_new(server_reactors(config), &worker_hooks);
    if (!server->broker.group) {
        *error = explain_group(server_reactors(config));
        config_free(config);
        mem_free(server);
        return NULL;
    }
    server->broker.group->has_private_descriptors =
        config->reactor_descriptors == DESCRIPTORS_PRIVATE;
    make_tables(server);
    if (!find_places(server, error)) {
        server_free(server);
        return NULL;
    }
    for (uint32_t i = 0; i < server->broker.group->count; i++) {
        if (!open_listeners(server, &server->broker.workers[i], error)) {
            server_free(server);
            return NULL;
        }
    }
    return server;
}

uint32_t server_descriptor_tables(const struct server *server)
{
    const struct reactor_group *group = server->broker.group;
    return group->has_private_descriptors ? group->count : 1;
}

int server_give_sockets(const struct server *server, uid_t user, gid_t group)
{
    const struct worker *worker = &server->broker.workers[0]; /* Unix sockets are reactor 0's */
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        int error = listener_give(&worker->listeners[i], user, group);
        if (error)
            return error;
    }
    return 0;
}

struct changes {
    uint32_t applied;
    uint32_t after_restart;
};

static void log_change(void *ctx, const char *directive, bool is_reloadable, const char *old_value,
                       const char *new_value)
{
    struct changes *changes = ctx;
    (*(is_reloadable ? &changes->applied : &changes->after_restart))++;
    log_line(is_reloadable ? LOG_NOTICE_ : LOG_WARNING_, "Reload: %s: %s -> %s%s.", directive,
             old_value, new_value, is_reloadable ? "" : " needs a restart and stays as it was");
}

/* False when it cannot: lines go on where they went. */
static bool open_log_anew(const struct config *config)
{
    int error = log_open(config);
    if (error)
        log_line(LOG_ERROR, "Reload: cannot open the log %s: %s.",
                 config->log_file ? config->log_file : "", strerror(error));
    return !error;
}

/* One line for each line of `errors`. */
static void log_bad_file(const char *errors)
{
    while (errors && *errors) {
        size_t bytes = strcspn(errors, "\n");
        log_line(LOG_ERROR, "Reload: %.*s", (int)bytes, errors);
        errors += bytes + (errors[bytes] == '\n');
    }
    log_line(LOG_ERROR, "Reload: nothing changed.");
}

static void log_done(const struct changes *changes, bool has_log)
{
    char later[48] = "";
    if (changes->after_restart)
        snprintf(later, sizeof later, ", %u more after a restart", changes->after_restart);
    log_line(has_log ? LOG_NOTICE_ : LOG_ERROR, "Reload: done%s, %u change%s%s%s.",
             has_log ? "" : " in part", changes->applied, changes->applied == 1 ? "" : "s", later,
             has_log ? "" : "; the log stays as it was");
}

/* What clients are told of, and is kept to towards those who are here. */
static void change_announced(struct server *server, struct config *config,
                             const struct config *before, struct changes *changes)
{
    if (announced_change(&server->broker, config))
        return;
    config->max_packet_bytes = before->max_packet_bytes;
    config->receive_maximum = before->receive_maximum;
    config->retain_available = before->retain_available;
    changes->after_restart++;
    log_line(LOG_WARNING_,
             "Reload: max_packet_size, receive_maximum and retain_available had %u "
             "different sets of values: a new one needs a restart, and they stay as they were.",
             ANNOUNCED_MAX);
}

static void reload(struct server *server, const struct config_args *args)
{
    char *error = NULL;
    struct config *config = config_load(args, &error);
    struct config *before = atomic_load(&server->broker.config);
    struct changes changes = {0};
    bool is_ok = config;
    if (config) {
        change_announced(server, config, before, &changes);
        config_diff(before, config, log_change, &changes);
    }
    if (changes.applied) {
        config_keep_fixed(config, before);
        bool needs_review = review_is_needed(before, config);
        atomic_store_explicit(&server->broker.config, config, memory_order_release);
        if (needs_review)
            review_ask(&server->broker);
        retire_config(server, before);
    } else {
        config_free(config);
    }
    /* A log that was rotated is opened anew, whatever became of the rest. */
    bool has_log = open_log_anew(broker_config(&server->broker));
    if (!is_ok)
        log_bad_file(error);
    else
        log_done(&changes, has_log);
    free(error);
}

static bool is_drained(struct server *server)
{
    return atomic_load(&server->broker.workers_drained) == server->broker.group->count;
}

static void drain(struct server *server)
{
    log_line(
        LOG_NOTICE_, "dunlin %s stops: says good-bye to %llu clients.", DUNLIN_VERSION,
        (unsigned long long)reactor_group_metric(server->broker.group, METRIC_CLIENTS_CONNECTED));
    atomic_store_explicit(&server->broker.is_draining, true, memory_order_release);
    uint64_t until_ns = clock_real_ns() + DRAIN_MS * 1000000ull;
    while (!is_drained(server) && clock_real_ns() < until_ns)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    reactor_group_stop(server->broker.group);
    reactor_group_join(server->broker.group);
}

int server_run(struct server *server, const struct config_args *args)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    admin_begin(&server->broker);
    if (reactor_group_start(server->broker.group)) {
        fprintf(stderr, "dunlin: cannot start reactors: %s\n", strerror(errno));
        return 1;
    }
    for (;;) {
        int got = sigwaitinfo(&signals, NULL);
        if (got == SIGHUP)
            reload(server, args);
        else if (got > 0)
            break;
    }
    drain(server);
    log_report_held_back(true); /* of the last burst, often that of the good-byes */
    log_line(LOG_NOTICE_, "dunlin %s stopped.", DUNLIN_VERSION);
    return 0;
}

/* Sessions that are left: taken out of the index at once, nobody reads any more. */
static void free_sessions(struct broker *broker)
{
    uint32_t end = atomic_load(&broker->slots.end);
    for (uint32_t id = 1; id < end; id++) {
        struct session *session = slot_object(slot_of(&broker->slots, id));
        if (session)
            worker_free_session(&broker->workers[0], session);
    }
}

void server_free(struct server *server)
{
    struct broker *broker = &server->broker;
    struct config *config = atomic_load(&broker->config);
    epoch_drain(broker->group->epochs);
    free_sessions(broker);
    admin_uninstall(broker);
    for (uint32_t i = 0; i < broker->group->count; i++) {
        struct worker *worker = &broker->workers[i];
        for (uint32_t l = 0; l < worker->listener_count; l++)
            listener_close(&worker->listeners[l], worker->reactor);
        worker_fini(worker);
    }
    epoch_drain(broker->group->epochs);
    session_table_free(broker->sessions);
    index_free(broker->index);
    retained_free(broker->retained);
    auth_free(broker->auth);
    reactor_group_free(broker->group);
    slots_fini(&broker->slots);
    free(broker->workers);
    if (config != server->first_config)
        config_free(config);
    config_free(server->first_config);
    mem_free(server);
}
