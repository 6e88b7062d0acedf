/*
 * config_table.c: the one table of directives. Everything else (reader, --help, man pages, docs,
 * tests) follows from its rows.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "mqtt/version.h"
#include "runtime/config_table.h"
#include "runtime/log.h"

#define OF(field) \
    .offset = offsetof(struct config, field), .bytes = (uint8_t)sizeof(((struct config *)0)->field)
#define OF_LISTENER(field)                             \
    .offset = offsetof(struct config_listener, field), \
    .bytes = (uint8_t)sizeof(((struct config_listener *)0)->field)

#define TEXT_MAX 1024
#define PATH_LENGTH_MAX 4095

static const struct config_word queue_policies[] = {
    {"drop_newest", QUEUE_DROP_NEWEST, NULL},
    {"drop_oldest", QUEUE_DROP_OLDEST, NULL},
    {"disconnect", QUEUE_DISCONNECT, NULL},
    {NULL, 0, NULL},
};

static const struct config_word share_policies[] = {
    {"round_robin", SHARE_ROUND_ROBIN, NULL},
    {"sticky", SHARE_STICKY, NULL},
    {"hash_topic", SHARE_HASH_TOPIC, NULL},
    {NULL, 0, NULL},
};

static const struct config_word descriptor_tables[] = {
    {"shared", DESCRIPTORS_SHARED, NULL},
    {"private", DESCRIPTORS_PRIVATE, NULL},
    {NULL, 0, NULL},
};

static const struct config_word domains[] = {
    {"ipv4", AF_INET, NULL},
    {"ipv6", AF_INET6, NULL},
    {NULL, 0, NULL},
};

static const struct config_word protocols[] = {
    {"mqtt", PROTOCOL_MQTT, NULL},
    {"websockets", PROTOCOL_WEBSOCKETS, NULL},
    {"http_api", 0, "Dunlin does not have mosquitto's HTTP API"},
    {NULL, 0, NULL},
};

static const struct config_word log_types[] = {
    {"error", LOG_ERROR, NULL},
    {"warning", LOG_WARNING_, NULL},
    {"notice", LOG_NOTICE_, NULL},
    {"information", LOG_INFORMATION, NULL},
    {"debug", LOG_DEBUG_, NULL},
    {"subscribe", LOG_SUBSCRIBE, NULL},
    {"unsubscribe", LOG_UNSUBSCRIBE, NULL},
    {"internal", LOG_INTERNAL, NULL},
    {"websockets", 0, NULL}, /* valid in mosquitto's files; there is nothing of that kind to log */
    {"none", 0, NULL},
    {"all", LOG_ALL, NULL},
    {NULL, 0, NULL},
};

static const struct config_word log_dests[] = {
    {"stderr", LOG_DEST_STDERR, NULL},
    {"stdout", LOG_DEST_STDOUT, NULL},
    {"syslog", LOG_DEST_SYSLOG, NULL},
    {"file", LOG_DEST_FILE, NULL},
    {"topic", LOG_DEST_TOPIC, NULL},
    {"none", LOG_DEST_NONE, NULL},
    {"dlt", 0, "Dunlin does not log to DLT"},
    {"android", 0, "Dunlin does not log to Android's logd"},
    {NULL, 0, NULL},
};

/* clang-format off */
const struct config_directive config_directives[] = {
/* ---- listeners ------------------------------------------------------------------------------ */
{ .name = "listener", .scope = CONFIG_GLOBAL, .type = CONFIG_SECTION, .is_input_only = true,
  .max = 65535, .argument = "PORT [ADDRESS]", .sample = "1883 127.0.0.1",
  .help = "Opens a listener's own section: the listener directives that follow, up to the next "
          "'listener' line, are about it. ADDRESS is an IP address or a host name, whose "
          "addresses are all listened on; without it the listener takes connections everywhere. With port 0, ADDRESS is the path of a Unix "
          "socket, to which the broker's user and group may connect." },
{ .name = "port", .scope = CONFIG_DEFAULT_LISTENER, .type = CONFIG_NUMBER, OF_LISTENER(port),
  .is_input_only = true, .min = 1, .max = 65535, .default_text = "1883", .argument = "PORT",
  .sample = "1884",
  .help = "The older way to set up one listener: opens the default listener on this port, on all "
          "addresses unless 'bind_address' says otherwise." },
{ .name = "bind_address", .scope = CONFIG_DEFAULT_LISTENER, .type = CONFIG_TEXT,
  OF_LISTENER(address), .is_input_only = true, .max = 255, .argument = "ADDRESS",
  .sample = "127.0.0.1",
  .help = "The older way to say where the default listener takes connections." },
{ .name = "bind_interface", .scope = CONFIG_LISTENER, .type = CONFIG_TEXT,
  OF_LISTENER(bind_interface), .max = 15, .argument = "DEVICE", .sample = "lo",
  .help = "Takes connections on this network interface only." },
{ .name = "socket_domain", .scope = CONFIG_LISTENER, .type = CONFIG_CHOICE,
  OF_LISTENER(socket_domain), .words = domains, .argument = "ipv4|ipv6", .sample = "ipv4",
  .help = "Keeps the listener to one version of IP. Without it, both." },
{ .name = "protocol", .scope = CONFIG_LISTENER, .type = CONFIG_CHOICE, .words = protocols,
  OF_LISTENER(protocol), .default_text = "mqtt", .argument = "mqtt|websockets",
  .sample = "websockets",
  .help = "What the listener speaks: MQTT over TCP, or MQTT over WebSocket, at any path. Clients "
          "have to offer the subprotocol 'mqtt', or 'mqttv3.1'." },
{ .name = "accept_protocol_versions", .scope = CONFIG_LISTENER, .type = CONFIG_VERSIONS,
  OF_LISTENER(versions), .is_reloadable = true, .default_text = "3,4,5",
  .argument = "VERSION[,VERSION...]", .sample = "4,5",
  .help = "The protocol versions that clients may speak: 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is "
          "MQTT 5.0." },
{ .name = "max_connections", .scope = CONFIG_LISTENER, .type = CONFIG_LIMIT,
  OF_LISTENER(max_connections), .takes_minus_one = true, .min = 1, .max = INT32_MAX,
  .default_text = "unlimited", .argument = "COUNT", .sample = "10000",
  .help = "How many connections the listener holds at a time." },
{ .name = "max_qos", .older_name = "maximum_qos", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(qos_max), .max = 2, .default_text = "2", .argument = "QOS", .sample = "1",
  .help = "The highest QoS that clients may publish with and are granted. MQTT 5 clients are told; "
          "one that publishes above it is disconnected." },
{ .name = "max_topic_alias", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(topic_alias_max), .max = 65535, .default_text = "10", .argument = "COUNT",
  .sample = "100",
  .help = "How many topic aliases an MQTT 5 client may set. 0: none." },
{ .name = "max_topic_alias_broker", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(topic_alias_broker_max), .max = 65535, .default_text = "10", .argument = "COUNT",
  .sample = "100",
  .help = "How many topic aliases the broker sets towards an MQTT 5 client, within what the client "
          "takes. 0: none." },
{ .name = "mount_point", .scope = CONFIG_LISTENER, .type = CONFIG_TOPIC, OF_LISTENER(mount_point),
  .max = TEXT_MAX, .argument = "PREFIX", .sample = "site1/",
  .help = "Put in front of every topic of the listener's clients, and taken off again in what they "
          "receive: they see and reach only what is below it, and none of them is an admin. Write the '/' at its "
          "end yourself." },
{ .name = "backlog", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER, OF_LISTENER(backlog),
  .min = 1, .max = 65535, .default_text = "4096", .argument = "COUNT", .sample = "1000",
  .help = "How many connections may wait in the kernel to be accepted; net.core.somaxconn is its "
          "ceiling. Raise both for fleets that reconnect all at once." },
{ .name = "socket_receive_buffer", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(receive_buffer_bytes), .max = 1u << 30, .default_text = "0", .argument = "BYTES",
  .sample = "16384",
  .help = "How much a client may have sent that the broker has not read yet (SO_RCVBUF); "
          "net.core.rmem_max is its ceiling. 0: the kernel chooses, and adapts it to each "
          "connection between the sizes of net.ipv4.tcp_rmem. An idle connection takes none of "
          "it. No effect on Unix sockets." },
{ .name = "socket_send_buffer", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(send_buffer_bytes), .max = 1u << 30, .default_text = "0", .argument = "BYTES",
  .sample = "16384",
  .help = "How much the kernel holds for a client that does not read (SO_SNDBUF); "
          "net.core.wmem_max is its ceiling. 0: the kernel chooses, up to the last size of "
          "net.ipv4.tcp_wmem. Smaller ones make 'max_queued_messages' count sooner. No effect on "
          "Unix sockets." },
{ .name = "tcp_keepalive", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(tcp_keepalive_s), .max = 32767, .default_text = "0", .argument = "SECONDS",
  .sample = "300",
  .help = "After how long without a byte the kernel probes whether the client is still there: for "
          "clients that connect with keepalive 0. How often it probes is for "
          "net.ipv4.tcp_keepalive_intvl and _probes to say, or 'tcp_user_timeout'. 0: never. No "
          "effect on Unix sockets." },
{ .name = "tcp_user_timeout", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(tcp_user_timeout_ms), .unit = 1000, .max = 86400, .default_text = "0",
  .argument = "SECONDS", .sample = "60",
  .help = "How long the network may leave what the broker sent, or a probe of 'tcp_keepalive', "
          "unacknowledged before the connection is closed. 0: the kernel's, some 15 minutes. No "
          "effect on Unix sockets." },
{ .name = "tcp_defer_accept", .scope = CONFIG_LISTENER, .type = CONFIG_NUMBER,
  OF_LISTENER(tcp_defer_accept_s), .max = 255, .default_text = "0", .argument = "SECONDS",
  .sample = "5",
  .help = "Connections are accepted when their first bytes are there, or after about so long "
          "without: one wake-up less for each CONNECT, and probes that say nothing are not seen "
          "at all. While they wait they fill the queue of half-open connections. 0: at once. No "
          "effect on Unix sockets." },
{ .name = "listener_allow_anonymous", .scope = CONFIG_LISTENER, .type = CONFIG_BOOL,
  OF_LISTENER(allow_anonymous), .is_reloadable = true, .is_input_only = true,
  .argument = "true|false", .sample = "true",
  .help = "As 'allow_anonymous', for this listener whatever else is said." },
{ .name = "listener_auto_id_prefix", .scope = CONFIG_LISTENER, .type = CONFIG_TEXT,
  OF_LISTENER(auto_id_prefix), .is_reloadable = true, .is_input_only = true,
  .max = CONFIG_AUTO_ID_PREFIX_MAX, .argument = "PREFIX", .sample = "guest-",
  .help = "As 'auto_id_prefix', for this listener." },

/* ---- who may connect ------------------------------------------------------------------------ */
{ .name = "per_listener_settings", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL,
  OF(is_per_listener_settings), .is_reloadable = true, .default_text = "false",
  .argument = "true|false", .sample = "false",
  .help = "With true, 'allow_anonymous', 'allow_zero_length_clientid' and 'auto_id_prefix' are "
          "about the listener in whose section they stand; with false, about all listeners "
          "wherever they stand. Comes before all of these." },
{ .name = "allow_anonymous", .scope = CONFIG_SECURITY, .type = CONFIG_BOOL,
  OF_LISTENER(allow_anonymous), .is_reloadable = true, .argument = "true|false",
  .sample = "true",
  .help = "Whether clients may connect that nothing vouches for. There are no password files yet, so "
          "these are all of them, with a user name or without: false lets nobody in. Without this "
          "line: true as long as the broker listens on its default loopback address only, false as "
          "soon as the file sets up a listener. Who is connected stays when a reload changes it." },
{ .name = "allow_zero_length_clientid", .scope = CONFIG_SECURITY, .type = CONFIG_BOOL,
  OF_LISTENER(allow_zero_length_clientid), .is_reloadable = true, .default_text = "true",
  .argument = "true|false", .sample = "false",
  .help = "Whether clients may leave the client id to the broker." },
{ .name = "auto_id_prefix", .scope = CONFIG_SECURITY, .type = CONFIG_TEXT,
  OF_LISTENER(auto_id_prefix), .is_reloadable = true, .max = CONFIG_AUTO_ID_PREFIX_MAX,
  .default_text = "auto-", .argument = "PREFIX", .sample = "guest-",
  .help = "How the client ids that the broker makes begin, at most 50 bytes; 32 random hexadecimal "
          "digits follow." },
{ .name = "clientid_prefixes", .scope = CONFIG_GLOBAL, .type = CONFIG_TEXT, OF(clientid_prefixes),
  .is_reloadable = true, .max = TEXT_MAX, .argument = "PREFIX", .sample = "sensor-",
  .help = "Only clients whose id begins with this may connect. Ids that the broker makes are no "
          "exception: set 'auto_id_prefix' as well, or clients without an id are refused." },
{ .name = "admin_users", .scope = CONFIG_GLOBAL, .type = CONFIG_NAMES, OF(admin_users),
  .is_reloadable = true, .max = TEXT_MAX, .argument = "NAME [NAME...]", .sample = "ada grace",
  .help = "The users who may look into sessions and end them through $SYS/broker/sessions and "
          "$CONTROL/sessions/v1. Without it, clients on the loopback may. Several lines add up. A reload "
          "holds for those who are connected, too." },
{ .name = "global_max_connections", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(global_max_connections), .is_reloadable = true, .takes_minus_one = true, .min = 1,
  .max = INT32_MAX, .default_text = "unlimited", .argument = "COUNT", .sample = "100000",
  .help = "How many connections all listeners together hold at a time." },
{ .name = "global_max_clients", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(global_max_clients), .is_reloadable = true, .takes_minus_one = true, .min = 1,
  .max = INT32_MAX, .default_text = "unlimited", .argument = "COUNT", .sample = "1000000",
  .help = "How many sessions there are at a time, connected or not." },
{ .name = "persistent_client_expiration", .scope = CONFIG_GLOBAL, .type = CONFIG_DURATION,
  OF(persistent_client_expiration_s), .is_reloadable = true, .min = 1, .max = 1000000,
  .default_text = "unlimited", .argument = "NUMBER{s|h|d|w|m|y}", .sample = "14d",
  .help = "Ends sessions whose client has been away for longer than this, whatever expiry the "
          "client asked for: seconds, hours, days, weeks, months of 30 days or years of 365 days. After "
          "a reload it holds for clients that are away already, too; who came under a shorter one keeps "
          "that until the next CONNECT." },

/* ---- connections ---------------------------------------------------------------------------- */
{ .name = "connect_timeout", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT, OF(connect_timeout_s),
  .is_reloadable = true, .min = 1, .max = 65535, .default_text = "30", .argument = "SECONDS",
  .sample = "10",
  .help = "How long a connection may take to send its CONNECT before it is closed." },
{ .name = "max_keepalive", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT, OF(max_keepalive_s),
  .is_reloadable = true, .min = 10, .max = 65535, .default_text = "unlimited",
  .argument = "SECONDS", .sample = "3600",
  .help = "The longest keepalive. An MQTT 5 client that asks for more, or for none, is told to use "
          "this one; an older client is refused." },
{ .name = "max_packet_size", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT, OF(max_packet_bytes),
  .is_reloadable = true, .min = 20, .max = MQTT_PACKET_BYTES_MAX, .default_text = "2000000",
  .argument = "BYTES", .sample = "1000000",
  .help = "The largest packet that clients may send. MQTT 5 clients are told; one that sends a "
          "larger one is disconnected. Without a limit, the standard's 268435460 bytes: a packet of "
          "200 MB keeps its reactor from the other clients for a second. A reload changes it for "
          "clients that connect from then on." },
{ .name = "message_size_limit", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(message_bytes_max), .is_reloadable = true, .min = 1, .max = 268435455,
  .default_text = "unlimited", .argument = "BYTES", .sample = "100000",
  .help = "The largest payload that is passed on. A larger one is acknowledged, with an error to "
          "MQTT 5 clients, counted and dropped." },
{ .name = "set_tcp_nodelay", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL, OF(set_tcp_nodelay),
  .is_reloadable = true, .default_text = "false", .argument = "true|false", .sample = "true",
  .help = "Switches Nagle's algorithm off for new connections: lower latency, more packets." },
{ .name = "server_reference", .scope = CONFIG_GLOBAL, .type = CONFIG_TEXT, OF(server_reference),
  .is_reloadable = true, .max = TEXT_MAX, .argument = "HOST[:PORT] ...",
  .sample = "b.example.org:1883",
  .help = "Another broker that MQTT 5 clients are pointed to when this one shuts down: DISCONNECT "
          "and CONNACK with reason code 0x9C (use another server) and this Server Reference." },
{ .name = "response_information", .scope = CONFIG_GLOBAL, .type = CONFIG_TOPIC,
  OF(response_information), .is_reloadable = true, .max = TEXT_MAX, .argument = "PREFIX",
  .sample = "replies/",
  .help = "What MQTT 5 clients are given to build response topics from, when they ask." },

/* ---- queues --------------------------------------------------------------------------------- */
{ .name = "max_inflight_messages", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(max_inflight_messages), .is_reloadable = true, .min = 1, .max = 65535,
  .default_text = "20", .argument = "COUNT", .sample = "100",
  .help = "How many QoS 1 and 2 messages may be on their way to a client at a time, within what "
          "the client takes. 1 keeps strict order." },
{ .name = "max_inflight_bytes", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(max_inflight_bytes), .is_reloadable = true, .min = 1, .max = INT64_MAX,
  .default_text = "unlimited", .argument = "BYTES", .sample = "1000000",
  .help = "The same by size. A larger message goes alone." },
{ .name = "receive_maximum", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT, OF(receive_maximum),
  .is_reloadable = true, .min = 1, .max = 65535, .default_text = "20", .argument = "COUNT",
  .sample = "100",
  .help = "How many QoS 1 and 2 messages a client may have on their way to the broker at a time. "
          "MQTT 5 clients are told. Without a limit, the standard's 65535. A reload changes it for "
          "clients that connect from then on." },
{ .name = "max_queued_messages", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(max_queued_messages), .is_reloadable = true, .min = 1, .max = UINT32_MAX,
  .default_text = "1000", .argument = "COUNT", .sample = "100",
  .help = "How many messages may wait for a client, beyond those in flight." },
{ .name = "max_queued_bytes", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT, OF(max_queued_bytes),
  .is_reloadable = true, .min = 1, .max = INT64_MAX, .default_text = "unlimited",
  .argument = "BYTES", .sample = "1000000",
  .help = "The same by size; what is reached first counts." },
{ .name = "queue_qos0_messages", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL,
  OF(queue_qos0_messages), .is_reloadable = true, .default_text = "false",
  .argument = "true|false", .sample = "true",
  .help = "Whether QoS 0 messages wait for a client that is away." },
{ .name = "queue_policy", .scope = CONFIG_GLOBAL, .type = CONFIG_CHOICE, OF(queue_policy),
  .is_reloadable = true, .words = queue_policies, .default_text = "drop_newest",
  .argument = "drop_newest|drop_oldest|disconnect", .sample = "drop_oldest",
  .help = "What gives way when a client's queue is full, after QoS 0 messages did: the message "
          "that arrives, the one that waited longest, or the client's connection." },
{ .name = "share_policy", .scope = CONFIG_GLOBAL, .type = CONFIG_CHOICE, OF(share_policy),
  .is_reloadable = true, .words = share_policies, .default_text = "round_robin",
  .argument = "round_robin|sticky|hash_topic", .sample = "sticky",
  .help = "Which member of a shared subscription gets a message: the next in turn that can take "
          "one, the same as long as it can, or the same for each topic." },
{ .name = "upgrade_outgoing_qos", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL,
  OF(upgrade_outgoing_qos), .is_reloadable = true, .default_text = "false",
  .argument = "true|false", .sample = "true",
  .help = "Delivers with the QoS of the subscription even when the message was published with "
          "less, which the standard does not provide for." },
{ .name = "allow_duplicate_messages", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL,
  OF(allow_duplicate_messages), .is_reloadable = true, .default_text = "true",
  .argument = "true|false", .sample = "false",
  .help = "Whether a client whose subscriptions overlap may get a message once for each of them." },
{ .name = "memory_limit", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT, OF(memory_limit_bytes),
  .is_reloadable = true, .min = 1048576, .max = INT64_MAX, .default_text = "unlimited",
  .argument = "BYTES", .sample = "1000000000",
  .help = "The most memory that the broker takes. Publishers are slowed before it is reached." },

/* ---- retained messages ---------------------------------------------------------------------- */
{ .name = "retain_available", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL, OF(retain_available),
  .is_reloadable = true, .default_text = "true", .argument = "true|false", .sample = "false",
  .help = "Whether messages may be retained, and are given to those who subscribe. With false, a "
          "client that tries is disconnected. MQTT 5 clients are told. A reload changes it for "
          "clients that connect from then on." },
{ .name = "retain_expiry_interval", .scope = CONFIG_GLOBAL, .type = CONFIG_LIMIT,
  OF(retain_expiry_s), .unit = 60, .is_reloadable = true, .min = 1, .max = 1000000,
  .default_text = "unlimited", .argument = "MINUTES", .sample = "60",
  .help = "How often retained messages whose expiry has passed are swept out. Without it they go "
          "when they are next looked at; nobody receives them either way." },
{ .name = "check_retain_source", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL,
  OF(check_retain_source), .is_reloadable = true, .default_text = "true",
  .argument = "true|false", .sample = "false",
  .help = "Whether a retained message is sent only if its publisher may still publish there; until there are access rules, everyone may." },

/* ---- the broker ----------------------------------------------------------------------------- */
{ .name = "reactors", .scope = CONFIG_GLOBAL, .type = CONFIG_NUMBER, OF(reactors), .max = 128,
  .default_text = "0", .argument = "COUNT", .sample = "2",
  .help = "How many threads serve connections. 0: one per core." },
{ .name = "reactor_descriptors", .scope = CONFIG_GLOBAL, .type = CONFIG_CHOICE,
  OF(reactor_descriptors), .words = descriptor_tables, .default_text = "shared",
  .argument = "shared|private", .sample = "private",
  .help = "Whether all reactors share the process's table of descriptors, or each has one of its own: "
          "the limit of open files then holds for each reactor instead of for all together, and no "
          "lock of the table is shared. For limits that cannot be raised: with 64 reactors of 20,000 "
          "descriptors, 1.2 million connections. Not together with 'log_dest syslog'." },
{ .name = "sys_interval", .scope = CONFIG_GLOBAL, .type = CONFIG_NUMBER, OF(sys_interval_s),
  .is_reloadable = true, .max = 65535, .default_text = "10", .argument = "SECONDS",
  .sample = "60",
  .help = "How often the figures below $SYS/broker are published. 0: never." },
{ .name = "pid_file", .scope = CONFIG_GLOBAL, .type = CONFIG_PATH, OF(pid_file),
  .max = PATH_LENGTH_MAX, .argument = "FILE", .sample = "/run/dunlin/dunlin.pid",
  .help = "Where to write the process id. The broker does not start when it cannot." },
{ .name = "user", .scope = CONFIG_GLOBAL, .type = CONFIG_TEXT, OF(user), .max = 255,
  .default_text = "dunlin", .argument = "NAME", .sample = "root",
  .help = "Started as root, the broker becomes this user after opening its listeners, log and pid "
          "file; Unix sockets and the two files it gives to that user. A user named here must exist; where the default one "
          "does not, it becomes 'nobody'. 'root' stays root. Started as anyone else, it stays." },
{ .name = "include_dir", .scope = CONFIG_GLOBAL, .type = CONFIG_INCLUDE, .is_input_only = true,
  .max = PATH_LENGTH_MAX, .argument = "DIRECTORY", .sample = "/etc/dunlin/conf.d",
  .help = "Reads every file of the directory whose name ends in .conf, at this point, in "
          "alphabetical order, that is A a B b. Up to 8 deep." },

/* ---- the log -------------------------------------------------------------------------------- */
{ .name = "log_dest", .scope = CONFIG_GLOBAL, .type = CONFIG_DEST, OF(log_dest),
  .is_reloadable = true, .max = PATH_LENGTH_MAX, .words = log_dests, .default_text = "stderr",
  .argument = "stderr|stdout|syslog|topic|none|file FILE", .sample = "stdout",
  .help = "Where lines go; several lines add up, 'none' takes back those before it. 'topic' is "
          "$SYS/broker/log/ with E, W, N, I or M below it. A file is opened anew on SIGHUP. In the "
          "background (-d), syslog is the default." },
{ .name = "log_type", .scope = CONFIG_GLOBAL, .type = CONFIG_FLAGS, OF(log_type),
  .is_reloadable = true, .words = log_types,
  .default_text = "error warning notice information",
  .argument = "error|warning|notice|information|debug|subscribe|unsubscribe|internal|none|all",
  .sample = "error warning",
  .help = "What is logged; several lines add up, 'none' takes back those before it. 'debug' is each "
          "packet received and sent, and messages dropped by the rules (expired, QoS 0 for who is "
          "away); its lines are never held back. Nothing is of type 'internal' so far." },
{ .name = "log_timestamp", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL, OF(log_timestamp),
  .is_reloadable = true, .default_text = "true", .argument = "true|false", .sample = "false",
  .help = "Whether lines begin with the time." },
{ .name = "log_timestamp_format", .scope = CONFIG_GLOBAL, .type = CONFIG_TEXT,
  OF(log_timestamp_format), .is_reloadable = true, .max = 200, .argument = "FORMAT",
  .sample = "%Y-%m-%dT%H:%M:%S",
  .help = "How the time is written, as in strftime(3). Without it, seconds since 1970." },
{ .name = "log_facility", .scope = CONFIG_GLOBAL, .type = CONFIG_FACILITY, OF(log_facility),
  .is_reloadable = true, .max = 7, .argument = "NUMBER", .sample = "5",
  .help = "The syslog facility: 5 is local5. Without it, daemon." },
{ .name = "connection_messages", .scope = CONFIG_GLOBAL, .type = CONFIG_BOOL,
  OF(connection_messages), .is_reloadable = true, .default_text = "true",
  .argument = "true|false", .sample = "false",
  .help = "Whether connects and disconnects are logged." },
};
/* clang-format on */

const uint32_t config_directive_count = ARRAY_COUNT(config_directives);
