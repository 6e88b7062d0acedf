/*
 * decode_connect.c: CONNECT, section 3.1 of all three versions.
 *
 *     [name][level][flags][keep alive] [properties: 5.0]
 *     [client id] [[will properties: 5.0][will topic][will payload]] [user name] [password]
 *
 * Read in that order, one function per part; flags are judged before the payload is touched. MQTT
 * 3.1 came before most of the rules: its clients may leave out a user name or password that the
 * flags announce, and its reserved bits mean nothing. Pure; any thread.
 * [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] to [MQTT-3.1.2-13]
 * [MQTT-3.1.2-16] to [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12]
 * [MQTT-3.1.4-1]; 3.1.1: [MQTT-3.1.2-22]
 */
#include "mqtt/packet.h"

#include "mqtt/topic.h"
#include "protocol/property_set.h"
#include "protocol/reader.h"

#define FLAG_RESERVED 0x01u
#define FLAG_CLEAN_START 0x02u
#define FLAG_WILL 0x04u
#define FLAG_WILL_QOS 0x18u
#define FLAG_WILL_RETAIN 0x20u
#define FLAG_PASSWORD 0x40u
#define FLAG_USER_NAME 0x80u
#define WILL_QOS_SHIFT 3

#define LEVEL_BRIDGE_BIT 0x80u

FAULT(unknown_name, UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-1", "unknown protocol name");
FAULT(unknown_level, UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2", "unsupported protocol level");
FAULT(reserved_flag, MALFORMED_PACKET, "MQTT-3.1.2-3", "reserved connect flag is set");
FAULT(will_qos_alone, MALFORMED_PACKET, "MQTT-3.1.2-11", "will QoS without a will");
FAULT(will_qos_3, MALFORMED_PACKET, "MQTT-3.1.2-12", "will QoS is 3");
FAULT(will_retain_alone, MALFORMED_PACKET, "MQTT-3.1.2-13", "will retain without a will");
FAULT(password_alone, MALFORMED_PACKET, "MQTT-3.1.2-22", "password without a user name");
FAULT(no_client_id, MALFORMED_PACKET, "MQTT-3.1.3-3", "client identifier is missing");
FAULT(no_will, MALFORMED_PACKET, "MQTT-3.1.2-9", "will topic or payload is missing");
FAULT(no_user_name, MALFORMED_PACKET, "MQTT-3.1.2-17", "user name is missing");
FAULT(no_password, MALFORMED_PACKET, "MQTT-3.1.2-19", "password is missing");
FAULT(surplus_user_name, MALFORMED_PACKET, "MQTT-3.1.2-16", "fields that no flag announces");
FAULT(surplus_password, MALFORMED_PACKET, "MQTT-3.1.2-18", "fields that no flag announces");
FAULT(data_alone, PROTOCOL_ERROR, "3.1.2.11.10",
      "Authentication Data without Authentication Method");

/* The protocols that we speak, and in whose CONNACK form we refuse their other levels. */
struct protocol {
    const char *name;
    uint8_t level_min, level_max;
    uint8_t older_form, newer_form;
};

static const struct protocol protocols[] = {
    {"MQTT", MQTT_3_1_1, MQTT_5, MQTT_3_1_1, MQTT_5},
    {"MQIsdp", MQTT_3_1, MQTT_3_1, MQTT_3_1_1, MQTT_3_1_1},
};

static const struct protocol *find_protocol(struct slice name)
{
    for (size_t i = 0; i < ARRAY_COUNT(protocols); i++) {
        if (slice_eq(name, slice_str(protocols[i].name)))
            return &protocols[i];
    }
    return NULL;
}

static const struct fault *read_protocol(struct reader *r, struct packet_connect *out)
{
    struct slice name;
    uint8_t level;
    if (!reader_binary(r, &name) || !reader_u8(r, &level))
        return &fault_cut_short;
    const struct protocol *protocol = find_protocol(name);
    if (!protocol)
        return &unknown_name;
    out->is_bridge = level & LEVEL_BRIDGE_BIT;
    level &= (uint8_t)~LEVEL_BRIDGE_BIT;
    bool is_older = level<protocol->level_min, is_newer = level> protocol->level_max;
    out->version = is_older ? protocol->older_form : is_newer ? protocol->newer_form : level;
    return is_older || is_newer ? &unknown_level : NULL;
}

/* 3.1 has nothing to say against odd flags, except for a QoS that does not exist. */
static const struct fault *check_flags(uint8_t flags, uint8_t version)
{
    bool has_will = flags & FLAG_WILL;
    if ((flags & FLAG_WILL_QOS) == FLAG_WILL_QOS)
        return &will_qos_3;
    if (version != MQTT_5 && (flags & FLAG_PASSWORD) && !(flags & FLAG_USER_NAME))
        return &password_alone;
    if (version == MQTT_3_1)
        return NULL;
    if (flags & FLAG_RESERVED)
        return &reserved_flag;
    if (!has_will && (flags & FLAG_WILL_QOS))
        return &will_qos_alone;
    if (!has_will && (flags & FLAG_WILL_RETAIN))
        return &will_retain_alone;
    return NULL;
}

/* What holds when no property says otherwise. */
static void set_defaults(struct packet_connect *out)
{
    bool is_kept = out->version != MQTT_5 && !out->clean_start;
    out->session_expiry_s = is_kept ? MQTT_EXPIRY_NEVER : 0;
    out->receive_maximum = UINT16_MAX;
    out->packet_bytes_max = MQTT_PACKET_BYTES_MAX;
    out->request_problem_information = true;
}

static const struct fault *read_properties(struct reader *r, struct packet_connect *out)
{
    struct property_set set;
    const struct fault *fault = reader_property_block(r, &out->properties);
    if (!fault)
        fault = property_set_read(out->properties, PACKET_CONNECT, &set);
    if (fault)
        return fault;
    out->has_session_expiry = property_set_has(&set, PROPERTY_SESSION_EXPIRY);
    out->session_expiry_s = property_set_number(&set, PROPERTY_SESSION_EXPIRY, 0);
    out->receive_maximum =
        (uint16_t)property_set_number(&set, PROPERTY_RECEIVE_MAXIMUM, out->receive_maximum);
    out->packet_bytes_max =
        property_set_number(&set, PROPERTY_MAXIMUM_PACKET_SIZE, out->packet_bytes_max);
    out->topic_alias_maximum = (uint16_t)property_set_number(&set, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
    out->request_response_information =
        property_set_number(&set, PROPERTY_REQUEST_RESPONSE_INFORMATION, 0);
    out->request_problem_information =
        property_set_number(&set, PROPERTY_REQUEST_PROBLEM_INFORMATION, 1);
    out->has_auth_method = property_set_has(&set, PROPERTY_AUTHENTICATION_METHOD);
    out->auth_method = property_set_bytes(&set, PROPERTY_AUTHENTICATION_METHOD);
    out->auth_data = property_set_bytes(&set, PROPERTY_AUTHENTICATION_DATA);
    if (!out->has_auth_method && property_set_has(&set, PROPERTY_AUTHENTICATION_DATA))
        return &data_alone;
    return NULL;
}

static const struct fault *read_header(struct reader *r, struct packet_connect *out, uint8_t *flags)
{
    const struct fault *fault = read_protocol(r, out);
    if (fault)
        return fault;
    if (!reader_u8(r, flags))
        return &fault_cut_short;
    fault = check_flags(*flags, out->version);
    if (fault)
        return fault;
    if (!reader_u16(r, &out->keepalive_s))
        return &fault_cut_short;
    out->clean_start = *flags & FLAG_CLEAN_START;
    set_defaults(out);
    return out->version == MQTT_5 ? read_properties(r, out) : NULL;
}

static const struct fault *read_will_properties(struct reader *r, struct packet_will *will)
{
    struct property_set set;
    const struct fault *fault = reader_property_block(r, &will->properties);
    if (!fault)
        fault = property_set_read(will->properties, PROPERTY_BLOCK_WILL, &set);
    if (fault)
        return fault;
    will->delay_s = property_set_number(&set, PROPERTY_WILL_DELAY, 0);
    will->has_expiry = property_set_has(&set, PROPERTY_MESSAGE_EXPIRY);
    will->expiry_s = property_set_number(&set, PROPERTY_MESSAGE_EXPIRY, 0);
    will->payload_is_utf8 = property_set_number(&set, PROPERTY_PAYLOAD_FORMAT, 0);
    return NULL;
}

static const struct fault *read_will(struct reader *r, uint8_t flags, struct packet_connect *out)
{
    struct packet_will *will = &out->will;
    if (!(flags & FLAG_WILL))
        return NULL;
    will->present = true;
    will->qos = (flags & FLAG_WILL_QOS) >> WILL_QOS_SHIFT;
    will->retain = flags & FLAG_WILL_RETAIN;
    if (reader_left(r) == 0)
        return &no_will;
    const struct fault *fault = out->version == MQTT_5 ? read_will_properties(r, will) : NULL;
    if (fault)
        return fault;
    if (!reader_binary(r, &will->topic) || !reader_binary(r, &will->payload))
        return &no_will;
    return utf8_is_valid(will->topic) ? topic_name_check(will->topic) : &fault_not_utf8;
}

/* True when a field that the flags announce may be missing: 3.1, at the payload's end. */
static bool may_be_missing(const struct reader *r, uint8_t version)
{
    return version == MQTT_3_1 && reader_left(r) == 0;
}

static const struct fault *read_credentials(struct reader *r, uint8_t flags,
                                            struct packet_connect *out)
{
    if ((flags & FLAG_USER_NAME) && !may_be_missing(r, out->version)) {
        out->has_user_name = true;
        if (!reader_binary(r, &out->user_name))
            return &no_user_name;
        if (!utf8_is_valid(out->user_name))
            return &fault_not_utf8;
    }
    if ((flags & FLAG_PASSWORD) && !may_be_missing(r, out->version)) {
        out->has_password = true;
        if (!reader_binary(r, &out->password))
            return &no_password;
    }
    return NULL;
}

static const struct fault *check_end(const struct reader *r, uint8_t flags)
{
    if (reader_left(r) == 0)
        return NULL;
    if (!(flags & FLAG_USER_NAME))
        return &surplus_user_name;
    return flags & FLAG_PASSWORD ? &fault_surplus : &surplus_password;
}

const struct fault *decode_connect(struct slice body, struct packet_connect *out)
{
    struct reader r = reader_of(body);
    uint8_t flags;
    *out = (struct packet_connect){0};
    const struct fault *fault = read_header(&r, out, &flags);
    if (fault)
        return fault;
    if (reader_left(&r) == 0)
        return &no_client_id;
    fault = reader_string(&r, &out->client_id);
    if (!fault)
        fault = read_will(&r, flags, out);
    if (!fault)
        fault = read_credentials(&r, flags, out);
    return fault ? fault : check_end(&r, flags);
}
