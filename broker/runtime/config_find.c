/*
 * config_find.c: finding directives by name: those of the table, those that only mosquitto has, and
 * the nearest name to one that nobody has.
 *
 * Cost: linear in the table; a file is read at start and on SIGHUP only.
 */
#include <string.h>

#include "base/assert.h"
#include "runtime/config_table.h"

#define NAME_BYTES_MAX 40 /* of names worth comparing */

static const char persistence[] = "messages and sessions are kept in memory";
static const char auth[] = "there are no password files yet";
static const char acl[] = "there are no access control lists yet";
static const char plugins[] = "there are no plugins";
static const char tls[] = "there is no TLS yet";
static const char psk[] = "there is no pre-shared-key TLS yet";
static const char bridges[] = "there are no bridges";
static const char proxy[] = "the PROXY protocol is not there yet";
static const char buffers[] = "connections own no buffer that could be sized";
static const char ignored[] = "mosquitto itself ignores it";

static const char any_value[] = "any value";

const struct config_foreign config_foreigns[] = {
    {"acl_file", false, acl},
    {"address", false, bridges},
    {"addresses", false, bridges},
    {"auth_opt_", true, plugins},
    {"auth_plugin", false, plugins},
    {"auth_plugin_deny_special_chars", false, plugins},
    {"autosave_interval", false, persistence},
    {"autosave_on_changes", false, persistence},
    {"bridge_", true, bridges},
    {"cafile", false, tls},
    {"capath", false, tls},
    {"certfile", false, tls},
    {"ciphers", false, tls},
    {"ciphers_tls1.3", false, tls},
    {"cleansession", false, bridges},
    {"clientid", false, bridges},
    {"connection", false, bridges},
    {"crlfile", false, tls},
    {"dhparamfile", false, tls},
    {"disable_client_cert_date_checks", false, tls},
    {"enable_control_api", false, "$CONTROL/broker/v1 is not there"},
    {"enable_proxy_protocol", false, proxy},
    {"global_plugin", false, plugins},
    {"http_dir", false, "it does not serve files over HTTP"},
    {"idle_timeout", false, bridges},
    {"keepalive_interval", false, bridges},
    {"keyfile", false, tls},
    {"local_cleansession", false, bridges},
    {"local_clientid", false, bridges},
    {"local_password", false, bridges},
    {"local_username", false, bridges},
    {"notification_topic", false, bridges},
    {"notifications", false, bridges},
    {"notifications_local_only", false, bridges},
    {"packet_buffer_size", false, buffers},
    {"packet_max_auth", false, "max_packet_size is for all packets"},
    {"packet_max_connect", false, "max_packet_size is for all packets"},
    {"packet_max_simple", false, "max_packet_size is for all packets"},
    {"packet_max_sub", false, "max_packet_size is for all packets"},
    {"password", false, bridges},
    {"password_file", false, auth},
    {"persistence", false, persistence},
    {"persistence_file", false, persistence},
    {"persistence_location", false, persistence},
    {"plugin", false, plugins},
    {"plugin_load", false, plugins},
    {"plugin_opt_", true, plugins},
    {"plugin_use", false, plugins},
    {"proxy_protocol_v2_require_tls", false, proxy},
    {"psk_file", false, psk},
    {"psk_hint", false, psk},
    {"remote_clientid", false, bridges},
    {"remote_password", false, bridges},
    {"remote_username", false, bridges},
    {"require_certificate", false, tls},
    {"restart_timeout", false, bridges},
    {"retained_persistence", false, persistence},
    {"retry_interval", false, ignored},
    {"round_robin", false, bridges},
    {"start_type", false, bridges},
    {"store_clean_interval", false, ignored},
    {"threshold", false, bridges},
    {"tls_engine", false, tls},
    {"tls_engine_kpass_sha1", false, tls},
    {"tls_keyform", false, tls},
    {"tls_version", false, tls},
    {"topic", false, bridges},
    {"try_private", false, bridges},
    {"use_identity_as_username", false, tls},
    {"use_subject_as_username", false, tls},
    {"use_username_as_clientid", false, "client ids are the clients' own"},
    {"username", false, bridges},
    {"websockets_headers_size", false, "WebSocket requests have at most 8192 bytes"},
    {"websockets_log_level", false, "WebSocket has no log of its own"},
    {"websockets_origin", false, "the origin of WebSocket clients is not checked"},
};

const uint32_t config_foreign_count = ARRAY_COUNT(config_foreigns);

/* Values of them that say "not", or that mean nothing without another line, which is refused. */
static const struct {
    const char *name, *value; /* "false", or any */
} harmless[] = {
    {"autosave_interval", any_value},
    {"autosave_on_changes", any_value},
    {"disable_client_cert_date_checks", "false"},
    {"enable_control_api", "false"},
    {"persistence", "false"},
    {"persistence_file", any_value},
    {"persistence_location", any_value},
    {"proxy_protocol_v2_require_tls", "false"},
    {"require_certificate", "false"},
    {"retained_persistence", "false"},
    {"retry_interval", any_value},
    {"store_clean_interval", any_value},
    {"use_identity_as_username", "false"},
    {"use_subject_as_username", "false"},
    {"use_username_as_clientid", "false"},
    {"websockets_headers_size", "0"},
    {"websockets_log_level", "0"},
};

const struct config_directive *config_find(struct slice name)
{
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (slice_eq(name, slice_str(row->name)))
            return row;
        if (row->older_name && slice_eq(name, slice_str(row->older_name)))
            return row;
    }
    return NULL;
}

const struct config_foreign *config_find_foreign(struct slice name)
{
    for (uint32_t i = 0; i < config_foreign_count; i++) {
        const struct config_foreign *foreign = &config_foreigns[i];
        struct slice known = slice_str(foreign->name);
        if (foreign->is_prefix ? slice_starts_with(name, known) : slice_eq(name, known))
            return foreign;
    }
    return NULL;
}

const char *config_harmless_value(const struct config_foreign *foreign)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(harmless); i++)
        if (strcmp(harmless[i].name, foreign->name) == 0)
            return harmless[i].value;
    return NULL;
}

bool config_is_harmless(const struct config_foreign *foreign, struct slice value)
{
    const char *taken = config_harmless_value(foreign);
    if (!taken || value.len == 0)
        return false;
    bool is_bool = strcmp(taken, "false") == 0;
    return taken == any_value || slice_eq(value, slice_str(taken)) ||
           (is_bool && slice_eq(value, SLICE_LIT("0")));
}

static uint32_t min3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t least = a < b ? a : b;
    return least < c ? least : c;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

/* How many letters have to be added, removed or changed to make `a` into `b`, which has no capitals;
   those of `a` do not count. */
static uint32_t edit_distance(struct slice a, struct slice b)
{
    uint32_t row[NAME_BYTES_MAX + 1];
    BUG_ON(b.len > NAME_BYTES_MAX);
    for (uint32_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (uint32_t i = 1; i <= a.len; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            uint32_t changed = diagonal + (lower(a.ptr[i - 1]) != b.ptr[j - 1]);
            diagonal = row[j];
            row[j] = min3(row[j] + 1, row[j - 1] + 1, changed);
        }
    }
    return row[b.len];
}

const char *config_find_nearest(struct slice name)
{
    if (name.len > NAME_BYTES_MAX)
        return NULL;
    const char *nearest = NULL;
    uint32_t best = (uint32_t)name.len / 3 + 1; /* more than that is another word */
    for (uint32_t i = 0; i < config_directive_count; i++) {
        uint32_t distance = edit_distance(name, slice_str(config_directives[i].name));
        if (distance > best || (nearest && distance == best))
            continue;
        best = distance;
        nearest = config_directives[i].name;
    }
    return nearest;
}

bool config_is_list(const struct config_directive *row)
{
    return row->type == CONFIG_FLAGS || row->type == CONFIG_NAMES || row->type == CONFIG_DEST ||
           row->type == CONFIG_SECTION || row->type == CONFIG_INCLUDE;
}
