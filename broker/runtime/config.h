/*
 * config.h: what the operator asked for: mosquitto's directives, one row each in one table.
 *
 * The row makes the parser, --help, the man page, docs and tests. A loaded config never changes: a
 * reload loads a new one, lets config_keep_fixed() put back what only a restart can change, and
 * swaps the pointers. Sizes are bytes, times seconds, 0 is "no limit" in every limit and the word
 * "unlimited" means the same.
 *
 * Threads: none of its own; a loaded config may be read by any thread.
 */
#ifndef RUNTIME_CONFIG_H
#define RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CONFIG_LISTENERS_MAX 64
#define CONFIG_CHECK_SESSIONS_MAX 1000000000u /* of --check-host */
#define CONFIG_AUTO_ID_PREFIX_MAX 50          /* bytes of auto_id_prefix */

enum config_queue_policy { QUEUE_DROP_NEWEST, QUEUE_DROP_OLDEST, QUEUE_DISCONNECT };
enum config_share_policy { SHARE_ROUND_ROBIN, SHARE_STICKY, SHARE_HASH_TOPIC };
enum config_protocol { PROTOCOL_MQTT, PROTOCOL_WEBSOCKETS };
enum config_descriptors { DESCRIPTORS_SHARED, DESCRIPTORS_PRIVATE };
enum config_retain_source { RETAIN_SOURCE_UNCHECKED, RETAIN_SOURCE_CHECKED };

struct config_strings {
    char **items;
    uint32_t count;
};

/* One `listener PORT [ADDRESS]` section, or the default listener. */
struct config_listener {
    uint16_t port;        /* 0: a Unix socket at `address` */
    char *address;        /* host to bind, NULL: all addresses */
    char *bind_interface; /* NULL: any */
    int socket_domain;    /* AF_UNSPEC, AF_INET, AF_INET6 */
    uint8_t protocol;     /* enum config_protocol */
    uint32_t max_connections;
    bool allow_anonymous;            /* resolved from listener_allow_anonymous, allow_anonymous,
                                        per_listener_settings */
    bool allow_zero_length_clientid; /* resolved in the same way: this one counts */
    char *mount_point;               /* prefix for the topics of its clients, NULL: none */
    uint8_t versions;                /* accept_protocol_versions: bit (1 << enum mqtt_version) */
    uint8_t qos_max;
    uint16_t topic_alias_max;        /* from clients (max_topic_alias), default 10 */
    uint16_t topic_alias_broker_max; /* to clients (max_topic_alias_broker), default 10 */
    char *auto_id_prefix;            /* NULL: the global one */
    int backlog;
    /* Of its sockets and those they accept; 0: as the kernel has it. */
    uint32_t receive_buffer_bytes, send_buffer_bytes;
    uint32_t tcp_keepalive_s;
    uint32_t tcp_user_timeout_ms; /* the directive is in seconds */
    uint32_t tcp_defer_accept_s;
};

struct config {
    struct config_listener listeners[CONFIG_LISTENERS_MAX];
    uint32_t listener_count;
    bool is_default_listener; /* no listener was configured: loopback only, anonymous allowed */

    uint32_t reactors;           /* 0: one per core */
    uint8_t reactor_descriptors; /* enum config_descriptors */
    uint32_t global_max_connections, global_max_clients;
    uint16_t max_keepalive_s;       /* 0: any */
    uint32_t connect_timeout_s;     /* from accept to CONNECT */
    uint32_t max_packet_bytes;      /* max_packet_size, 0: the standard's */
    uint32_t message_bytes_max;     /* message_size_limit, 0: none */
    uint32_t max_inflight_messages; /* default 20 */
    uint64_t max_inflight_bytes;
    uint32_t max_queued_messages; /* default 1000 */
    uint64_t max_queued_bytes;
    bool queue_qos0_messages;
    uint32_t receive_maximum; /* what clients may have in flight to us; default 20 as
                                 max_inflight_messages */
    uint8_t queue_policy;     /* enum config_queue_policy */
    uint8_t share_policy;     /* enum config_share_policy */
    uint64_t memory_limit_bytes;
    bool retain_available;
    uint32_t retain_expiry_s; /* how often expired retained messages are swept out (the directive
                                 is in minutes), 0: only when they are touched */
    bool check_retain_source;
    uint64_t persistent_client_expiration_s; /* 0: never */
    bool upgrade_outgoing_qos;
    bool allow_zero_length_clientid; /* what listeners inherit */
    char *auto_id_prefix;            /* default "auto-" */
    char *clientid_prefixes;         /* NULL: any */
    bool allow_duplicate_messages;
    bool set_tcp_nodelay;
    uint32_t sys_interval_s; /* 0: no $SYS */
    bool connection_messages;
    struct config_strings admin_users;
    char *server_reference;     /* sent with USE_ANOTHER_SERVER / SERVER_MOVED while draining, NULL:
                                   none */
    char *response_information; /* response topic prefix given on request, NULL: none */

    uint32_t log_dest; /* LOG_DEST_* bits */
    char *log_file;
    uint32_t log_type; /* LOG_* bits */
    bool log_timestamp;
    char *log_timestamp_format; /* strftime, NULL: seconds since 1970 */
    int log_facility;
    char *pid_file;
    char *user;         /* root becomes this user; default "dunlin" */
    bool is_user_given; /* false: the default, used only where that user exists; else stay */
    bool is_per_listener_settings;
};

/* How a listener is called in logs: its port, or the path of its Unix socket. */
#define CONFIG_LISTENER_NAME_BYTES 112
const char *config_listener_name(const struct config_listener *listener,
                                 char buffer[CONFIG_LISTENER_NAME_BYTES]);

/* The texts that the program prints about itself, made from the table. */
enum config_print {
    CONFIG_PRINT_NONE,
    CONFIG_PRINT_MAN8,
    CONFIG_PRINT_MAN5,
    CONFIG_PRINT_MARKDOWN
};

/* What the command line says. */
struct config_args {
    const char *config_file; /* -c */
    uint32_t port;           /* -p, 0: not given */
    bool daemon, verbose, quiet, test_config;
    bool help, version;
    uint64_t check_sessions; /* --check-host, 0: not given */
    bool write_sysctl;       /* with it */
    enum config_print print; /* --print-man8, --print-man5, --print-directives */
};

/* Reads the command line; args->config_file points into argv. ERR_INVALID: *error is a line that
   says what to do; the caller calls free(). */
enum err config_args_parse(int argc, char **argv, struct config_args *args, char **error) MUST_USE;

/* Loads defaults, then the file (may be NULL) and what it includes, then the command line.
   NULL: *error holds up to 20 lines "file:line: what is wrong (did you mean ...?)", no newline
   after the last; the caller calls free(). */
struct config *config_load(const struct config_args *args, char **error);
/* The same from memory, for tests and fuzzing; `name` stands for the file in errors. */
struct config *config_load_text(const char *text, size_t bytes, const char *name, char **error);
/* NULL is fine. */
void config_free(struct config *config);

/* Names the directives in which two configs differ: calls `changed` for each with its reloadability
   and the two values as text. Those of a listener read "max_qos (listener 1883)"; a listener that
   was added or removed is "listener" with "none" on one side. */
void config_diff(const struct config *before, const struct config *after,
                 void (*changed)(void *ctx, const char *directive, bool is_reloadable,
                                 const char *old_value, const char *new_value),
                 void *ctx);

/* Puts back into `after` what a reload cannot change, taken from `before`; `after` then holds what
   the broker runs with. Afterwards `before` is as it was and both are freed as usual. */
void config_keep_fixed(struct config *after, const struct config *before);

/* Prints to stdout: --help; --version; dunlin(8) and dunlin.conf(5) as man pages; the table as
   Markdown for docs. */
void config_print_help(void);
void config_print_version(void);
void config_print_man8(void);
void config_print_man5(void);
void config_print_markdown(void);

#endif
