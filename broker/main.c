/*
 * main.c: from the command line to a running server.
 */
#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "runtime/config.h"
#include "runtime/host.h"
#include "runtime/listener.h"
#include "runtime/log.h"
#include "server.h"

#define MALLOC_MAPPED_BYTES (4 << 20) /* and above: blocks that are mapped by themselves */

/* Prints what is asked for and ends; false when nothing was. */
static bool print_and_end(const struct config_args *args)
{
    if (args->help)
        config_print_help();
    else if (args->version)
        config_print_version();
    else if (args->print == CONFIG_PRINT_MAN8)
        config_print_man8();
    else if (args->print == CONFIG_PRINT_MAN5)
        config_print_man5();
    else if (args->print == CONFIG_PRINT_MARKDOWN)
        config_print_markdown();
    else
        return false;
    return true;
}

/* Signals are waited for by the main thread only. */
static void block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Opens pid_file, if there is to be one; false when it cannot. */
static bool open_pid_file(const struct config *config, FILE **file)
{
    *file = NULL;
    if (!config->pid_file)
        return true;
    *file = fopen(config->pid_file, "we");
    if (!*file)
        fprintf(stderr, "dunlin: cannot write pid_file %s: %s\n", config->pid_file,
                strerror(errno));
    return *file;
}

static void write_pid(FILE *file)
{
    if (!file)
        return;
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
}

/* The folder may be root's, and we are not any more: an empty file names no process either. */
static void remove_pid_file(const char *path)
{
    if (!path || unlink(path) == 0 || errno == ENOENT)
        return;
    if (truncate(path, 0))
        log_line(LOG_WARNING_, "Cannot remove or empty pid_file %s: %s.", path, strerror(errno));
}

/* Whom root becomes: the configured user, or nobody where the default one does not exist; *user
   NULL: it stays what it is. False when there is no such user. */
static bool find_user(const struct config *config, const struct passwd **user)
{
    *user = NULL;
    if (geteuid() != 0 || !config->user || strcmp(config->user, "root") == 0)
        return true;
    *user = getpwnam(config->user);
    if (!*user && !config->is_user_given)
        *user = getpwnam("nobody");
    if (!*user)
        fprintf(stderr, "dunlin: user %s does not exist: make it, or set `user root`\n",
                config->user);
    return *user;
}

static void say_not_given(const char *what, const struct passwd *user, int error)
{
    log_line(LOG_WARNING_, "Cannot give %s to user %s: %s.", what, user->pw_name, strerror(error));
}

/* So that the user can write there later: a log that was rotated is made anew, a pid file emptied.
   Devices and the like are left alone. */
static void give_file(int fd, const char *what, const struct passwd *user)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
        return;
    if (fchown(fd, user->pw_uid, user->pw_gid))
        say_not_given(what, user, errno);
}

/* What root has opened, to the user. */
static void give_all(const struct server *server, FILE *pid_file, const struct passwd *user)
{
    give_file(log_file_descriptor(), "the log file", user);
    give_file(pid_file ? fileno(pid_file) : -1, "pid_file", user);
    int error = server_give_sockets(server, user->pw_uid, user->pw_gid);
    if (error)
        say_not_given("a Unix socket", user, error);
}

/* Root becomes the user, after ports and files are open. */
static bool drop_root(const struct config *config, const struct server *server, FILE *pid_file)
{
    const struct passwd *user;
    if (!find_user(config, &user))
        return false;
    if (!user) {
        if (geteuid() == 0)
            log_line(LOG_WARNING_, "dunlin runs as root: better give it a user of its own.");
        return true;
    }
    if (strcmp(user->pw_name, config->user) != 0)
        log_line(LOG_NOTICE_, "There is no user %s: runs as %s.", config->user, user->pw_name);
    give_all(server, pid_file, user);
    if (initgroups(user->pw_name, user->pw_gid) || setgid(user->pw_gid) || setuid(user->pw_uid)) {
        fprintf(stderr, "dunlin: cannot become user %s: %s\n", user->pw_name, strerror(errno));
        return false;
    }
    return true;
}

static void say_listener(const struct config_listener *listener)
{
    char name[CONFIG_LISTENER_NAME_BYTES];
    const char *protocol = listener->protocol == PROTOCOL_WEBSOCKETS ? " for WebSocket" : "";
    config_listener_name(listener, name);
    if (listener->port == 0)
        log_line(LOG_NOTICE_, "Listening on %s%s.", name, protocol);
    else
        log_line(LOG_NOTICE_, "Listening on %s port %s%s.",
                 listener->address ? listener->address : "all addresses", name, protocol);
}

static void look_at_host(struct host *host, const struct config *config)
{
    host_read(host, "");
    host_add_config(host, config, server_reactors(config));
}

/* How many sessions there is room for, and what is in the way of more. */
static void say_room(const struct config *config)
{
    struct host host;
    const struct host_check *wall;
    char text[HOST_TEXT_BYTES];
    look_at_host(&host, config);
    unsigned long long room = host_capacity(&host, &wall);
    if (wall)
        log_line(LOG_NOTICE_,
                 "Room for about %llu sessions; the first wall is %s (%s): dunlin --check-host N "
                 "says what to set for more.",
                 room, wall->name, host_value_text(wall, host.values[wall->value], text));
}

static void say_hello(const struct config *config, uint64_t descriptors, uint32_t tables)
{
    log_line(LOG_NOTICE_, "dunlin %s: up to %llu open files%s%s.", DUNLIN_VERSION,
             (unsigned long long)descriptors, tables > 1 ? " for each reactor" : "",
             config->is_default_listener
                 ? "; default configuration: this machine only, anonymous allowed"
                 : "");
    say_room(config);
    for (uint32_t i = 0; i < config->listener_count; i++)
        say_listener(&config->listeners[i]);
}

/* Into the background, when everything that can fail for the operator to see has been done. */
static bool go_background(const struct config_args *args)
{
    if (!args->daemon || daemon(1, 0) == 0)
        return true;
    fprintf(stderr, "dunlin: cannot run in the background: %s\n", strerror(errno));
    return false;
}

static struct server *make_server(struct config *config)
{
    char *error = NULL;
    struct server *server = server_new(config, &error);
    if (!server)
        fprintf(stderr, "dunlin: %s\n", error ? error : "cannot start");
    free(error);
    return server;
}

/* Very large blocks go back to the system when they are freed, and grow without copying. glibc raises
   this by itself otherwise, and then keeps hundreds of MB. Below are the packets of up to 2 MB that
   max_packet_size lets in at first: a reactor keeps room for a few, since pages that the kernel takes
   back and gives again for each cost 20 to 80 times what the packet does. */
static void tune_malloc(void)
{
    mallopt(M_MMAP_THRESHOLD, MALLOC_MAPPED_BYTES);
    mallopt(M_TRIM_THRESHOLD, 2 * MALLOC_MAPPED_BYTES);
}

static int run(struct config *config, const struct config_args *args)
{
    FILE *pid_file;
    block_signals();
    tune_malloc();
    uint64_t descriptors = listener_raise_descriptors();
    int error = log_open(config);
    if (error) {
        fprintf(stderr, "dunlin: cannot open the log %s: %s\n",
                config->log_file ? config->log_file : "", strerror(error));
        return 1;
    }
    struct server *server = make_server(config);
    if (!server)
        return 1;
    int status = 1;
    if (open_pid_file(config, &pid_file) && drop_root(config, server, pid_file) &&
        go_background(args)) {
        write_pid(pid_file);
        say_hello(config, descriptors, server_descriptor_tables(server));
        status = server_run(server, args);
        remove_pid_file(config->pid_file);
    }
    server_free(server);
    log_close();
    return status;
}

/* The file was read without an error: what is left is what only this machine knows. */
static int test_config(const struct config *config)
{
    const struct passwd *user;
    char *error = NULL;
    if (!find_user(config, &user))
        return 1;
    if (!server_may_have_tables(config, &error)) {
        fprintf(stderr, "dunlin: %s\n", error ? error : "cannot start");
        free(error);
        return 1;
    }
    printf("dunlin: the configuration is valid\n");
    return 0;
}

/* 0: so many sessions fit, or what they need was written; 1: they do not. */
static int check_host(const struct config *config, const struct config_args *args)
{
    struct host host;
    look_at_host(&host, config);
    if (!args->write_sysctl)
        return host_print(stdout, &host, args->check_sessions) ? 0 : 1;
    host_print_sysctl(stdout, &host, args->check_sessions);
    return 0;
}

/* What an operator did not say right: 1, but with --check-host, where that is an answer, 2. */
static int status_of_mistake(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--check-host") == 0 || strcmp(argv[i], "--write-sysctl") == 0)
            return 2;
    return 1;
}

int main(int argc, char **argv)
{
    struct config_args args;
    char *error = NULL;
    if (config_args_parse(argc, argv, &args, &error)) {
        fprintf(stderr, "dunlin: %s\n", error);
        free(error);
        return status_of_mistake(argc, argv);
    }
    if (print_and_end(&args))
        return 0;
    struct config *config = config_load(&args, &error);
    if (!config) {
        fprintf(stderr, "%s\n", error);
        free(error);
        return status_of_mistake(argc, argv);
    }
    if (args.test_config || args.check_sessions) {
        int status = args.check_sessions ? check_host(config, &args) : test_config(config);
        config_free(config);
        return status;
    }
    return run(config, &args);
}
