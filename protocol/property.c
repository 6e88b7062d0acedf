/*
 * property.c: the 27 properties of MQTT 5.0: one table, and what follows from it.
 *
 *     block:  [identifier][value] [identifier][value] ...      identifiers are all below 128
 *     value:  Byte | Two Byte | Four Byte | Variable Byte Integer | String | Binary | String Pair
 *
 * A block is walked once. For each identifier a row says of which type the value is (so how to read
 * it), in which packets it may stand, and between which bounds. What was seen is a mask of 64 bits,
 * so finding a repetition costs nothing. Faults are generated from the same rows, so that the log
 * names the property.
 *
 * Cost: 3 to 6 ns per property and the UTF-8 check of its strings. Pure; any thread.
 * Sections 2.2.2 and the property lists of each packet. [MQTT-3.3.4-6] [MQTT-3.3.2-14]
 * [MQTT-3.3.2-18]
 */
#include "mqtt/property.h"

#include "protocol/property_set.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

enum value_type {
    VALUE_NONE, /* no such property */
    VALUE_BYTE,
    VALUE_U16,
    VALUE_U32,
    VALUE_VARINT,
    VALUE_STRING,
    VALUE_TOPIC, /* a string that is a topic name */
    VALUE_BINARY,
    VALUE_PAIR,
    VALUE_TYPE_COUNT
};

#define IN(packet) (1u << PACKET_##packet)
#define WILL (1u << PROPERTY_BLOCK_WILL)
#define NOWHERE 0u
#define MESSAGE (IN(PUBLISH) | WILL)
#define HANDSHAKE (IN(CONNECT) | IN(CONNACK))
#define ANSWERS                                                                      \
    (IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | \
     IN(UNSUBACK) | IN(DISCONNECT) | IN(AUTH))

#define EVERYWHERE (MESSAGE | ANSWERS | IN(CONNECT) | IN(SUBSCRIBE) | IN(UNSUBSCRIBE))

#define U16_MAX 0xFFFFu
#define U32_MAX 0xFFFFFFFFu

/* X(NAME, "name", type, blocks where it is legal, those of them where only a server may write it,
     may be repeated, least and largest number, clause) */
#define PROPERTY_TABLE(X)                                                                          \
    X(PAYLOAD_FORMAT, "Payload Format Indicator", BYTE, MESSAGE, NOWHERE, false, 0, 1,             \
      "3.3.2.3.2")                                                                                 \
    X(MESSAGE_EXPIRY, "Message Expiry Interval", U32, MESSAGE, NOWHERE, false, 0, U32_MAX,         \
      "3.3.2.3.3")                                                                                 \
    X(CONTENT_TYPE, "Content Type", STRING, MESSAGE, NOWHERE, false, 0, 0, "3.3.2.3.9")            \
    X(RESPONSE_TOPIC, "Response Topic", TOPIC, MESSAGE, NOWHERE, false, 0, 0, "MQTT-3.3.2-14")     \
    X(CORRELATION_DATA, "Correlation Data", BINARY, MESSAGE, NOWHERE, false, 0, 0, "3.3.2.3.6")    \
    X(SUBSCRIPTION_ID, "Subscription Identifier", VARINT, IN(PUBLISH) | IN(SUBSCRIBE),             \
      IN(PUBLISH), false, 1, MQTT_SUBSCRIPTION_ID_MAX, "3.8.2.1.2")                                \
    X(SESSION_EXPIRY, "Session Expiry Interval", U32, HANDSHAKE | IN(DISCONNECT), NOWHERE, false,  \
      0, U32_MAX, "3.1.2.11.2")                                                                    \
    X(ASSIGNED_CLIENT_ID, "Assigned Client Identifier", STRING, IN(CONNACK), NOWHERE, false, 0, 0, \
      "3.2.2.3.7")                                                                                 \
    X(SERVER_KEEP_ALIVE, "Server Keep Alive", U16, IN(CONNACK), NOWHERE, false, 0, U16_MAX,        \
      "3.2.2.3.14")                                                                                \
    X(AUTHENTICATION_METHOD, "Authentication Method", STRING, HANDSHAKE | IN(AUTH), NOWHERE,       \
      false, 0, 0, "3.1.2.11.9")                                                                   \
    X(AUTHENTICATION_DATA, "Authentication Data", BINARY, HANDSHAKE | IN(AUTH), NOWHERE, false, 0, \
      0, "3.1.2.11.10")                                                                            \
    X(REQUEST_PROBLEM_INFORMATION, "Request Problem Information", BYTE, IN(CONNECT), NOWHERE,      \
      false, 0, 1, "3.1.2.11.7")                                                                   \
    X(WILL_DELAY, "Will Delay Interval", U32, WILL, NOWHERE, false, 0, U32_MAX, "3.1.3.2.2")       \
    X(REQUEST_RESPONSE_INFORMATION, "Request Response Information", BYTE, IN(CONNECT), NOWHERE,    \
      false, 0, 1, "3.1.2.11.6")                                                                   \
    X(RESPONSE_INFORMATION, "Response Information", STRING, IN(CONNACK), NOWHERE, false, 0, 0,     \
      "3.2.2.3.15")                                                                                \
    X(SERVER_REFERENCE, "Server Reference", STRING, IN(CONNACK) | IN(DISCONNECT), IN(DISCONNECT),  \
      false, 0, 0, "3.14.2.2.5")                                                                   \
    X(REASON_STRING, "Reason String", STRING, ANSWERS, NOWHERE, false, 0, 0, "3.4.2.2.2")          \
    X(RECEIVE_MAXIMUM, "Receive Maximum", U16, HANDSHAKE, NOWHERE, false, 1, U16_MAX,              \
      "3.1.2.11.3")                                                                                \
    X(TOPIC_ALIAS_MAXIMUM, "Topic Alias Maximum", U16, HANDSHAKE, NOWHERE, false, 0, U16_MAX,      \
      "3.1.2.11.5")                                                                                \
    X(TOPIC_ALIAS, "Topic Alias", U16, IN(PUBLISH), NOWHERE, false, 0, U16_MAX, "3.3.2.3.4")       \
    X(MAXIMUM_QOS, "Maximum QoS", BYTE, IN(CONNACK), NOWHERE, false, 0, 1, "3.2.2.3.4")            \
    X(RETAIN_AVAILABLE, "Retain Available", BYTE, IN(CONNACK), NOWHERE, false, 0, 1, "3.2.2.3.5")  \
    X(USER, "User Property", PAIR, EVERYWHERE, NOWHERE, true, 0, 0, "3.3.2.3.7")                   \
    X(MAXIMUM_PACKET_SIZE, "Maximum Packet Size", U32, HANDSHAKE, NOWHERE, false, 1, U32_MAX,      \
      "3.1.2.11.4")                                                                                \
    X(WILDCARD_AVAILABLE, "Wildcard Subscription Available", BYTE, IN(CONNACK), NOWHERE, false, 0, \
      1, "3.2.2.3.11")                                                                             \
    X(SUBSCRIPTION_ID_AVAILABLE, "Subscription Identifiers Available", BYTE, IN(CONNACK), NOWHERE, \
      false, 0, 1, "3.2.2.3.12")                                                                   \
    X(SHARED_AVAILABLE, "Shared Subscription Available", BYTE, IN(CONNACK), NOWHERE, false, 0, 1,  \
      "3.2.2.3.13")

struct property_rule {
    uint8_t type; /* enum value_type */
    bool may_repeat;
    uint32_t blocks, server_blocks;
    uint32_t number_min, number_max;
};

static const struct property_rule rules[PROPERTY_ID_LIMIT] = {
#define X(name, text, type, blocks, server_blocks, may_repeat, min, max, clause) \
    [PROPERTY_##name] = {VALUE_##type, may_repeat, blocks, server_blocks, min, max},
    PROPERTY_TABLE(X)
#undef X
};

/* One fault of each kind per property. */
struct property_faults {
    struct fault misplaced, repeated, value;
};

static const struct property_faults faults[PROPERTY_ID_LIMIT] = {
#define X(name, text, type, blocks, server_blocks, may_repeat, min, max, clause)      \
    [PROPERTY_##name] = {                                                             \
        {REASON_MALFORMED_PACKET, "2.2.2.2", text " does not belong in this packet"}, \
        {REASON_PROTOCOL_ERROR, clause, text " is given more than once"},             \
        {REASON_PROTOCOL_ERROR, clause, text " has a value that is not allowed"},     \
    },
    PROPERTY_TABLE(X)
#undef X
};

FAULT(unknown_property, MALFORMED_PACKET, "2.2.2.2", "unknown property identifier");
FAULT(value_cut_short, MALFORMED_PACKET, "2.2.2", "property value passes the end of its block");
FAULT(id_from_client, PROTOCOL_ERROR, "MQTT-3.3.4-6", "Subscription Identifier from a client");
FAULT(reference_from_client, PROTOCOL_ERROR, "3.14.2.2.5", "Server Reference from a client");

/* Reading values: bounds and form, not meaning. */

typedef const struct fault *value_reader(struct reader *r, struct property *out);

static const struct fault *read_byte(struct reader *r, struct property *out)
{
    uint8_t value;
    if (!reader_u8(r, &value))
        return &value_cut_short;
    out->number = value;
    return NULL;
}

static const struct fault *read_u16(struct reader *r, struct property *out)
{
    uint16_t value;
    if (!reader_u16(r, &value))
        return &value_cut_short;
    out->number = value;
    return NULL;
}

static const struct fault *read_u32(struct reader *r, struct property *out)
{
    return reader_u32(r, &out->number) ? NULL : &value_cut_short;
}

static const struct fault *read_varint(struct reader *r, struct property *out)
{
    return reader_varint(r, &out->number);
}

static const struct fault *read_binary(struct reader *r, struct property *out)
{
    return reader_binary(r, &out->bytes) ? NULL : &value_cut_short;
}

static const struct fault *read_pair(struct reader *r, struct property *out)
{
    bool is_whole = reader_binary(r, &out->bytes) && reader_binary(r, &out->value);
    return is_whole ? NULL : &value_cut_short;
}

/* Checking values against their row. */

typedef const struct fault *value_checker(const struct property *property);

static const struct fault *check_number(const struct property *property)
{
    const struct property_rule *rule = &rules[property->id];
    bool is_legal = property->number >= rule->number_min && property->number <= rule->number_max;
    return is_legal ? NULL : &faults[property->id].value;
}

static const struct fault *check_string(const struct property *property)
{
    return utf8_is_valid(property->bytes) ? NULL : &fault_not_utf8;
}

static const struct fault *check_topic(const struct property *property)
{
    struct slice topic = property->bytes;
    if (!utf8_is_valid(topic))
        return &fault_not_utf8;
    if (topic.len == 0 || memchr(topic.ptr, '+', topic.len) || memchr(topic.ptr, '#', topic.len))
        return &faults[property->id].value;
    return NULL;
}

static const struct fault *check_binary(const struct property *property)
{
    (void)property;
    return NULL;
}

static const struct fault *check_pair(const struct property *property)
{
    bool is_text = utf8_is_valid(property->bytes) && utf8_is_valid(property->value);
    return is_text ? NULL : &fault_not_utf8; /* [MQTT-1.5.7-1] */
}

struct value_operations {
    value_reader *read;
    value_checker *check;
    uint8_t width;   /* of a number, 0 when it varies */
    uint8_t strings; /* how many length-prefixed runs of bytes */
};

static const struct value_operations operations[VALUE_TYPE_COUNT] = {
    [VALUE_BYTE] = {read_byte, check_number, 1, 0},
    [VALUE_U16] = {read_u16, check_number, 2, 0},
    [VALUE_U32] = {read_u32, check_number, 4, 0},
    [VALUE_VARINT] = {read_varint, check_number, 0, 0},
    [VALUE_STRING] = {read_binary, check_string, 0, 1},
    [VALUE_TOPIC] = {read_binary, check_topic, 0, 1},
    [VALUE_BINARY] = {read_binary, check_binary, 0, 1},
    [VALUE_PAIR] = {read_pair, check_pair, 0, 2},
};

/* A property that may not stand here: which of the ways is it? */
static const struct fault *misplaced(uint8_t id, uint8_t block)
{
    bool is_from_server = rules[id].server_blocks >> block & 1;
    if (is_from_server)
        return id == PROPERTY_SUBSCRIPTION_ID ? &id_from_client : &reference_from_client;
    return &faults[id].misplaced;
}

const struct fault *property_set_read(struct slice block_bytes, uint8_t block,
                                      struct property_set *set)
{
    struct reader r = reader_of(block_bytes);
    uint64_t seen = 0;
    while (r.at < r.end) {
        uint8_t id = *r.at++;
        if (UNLIKELY(id >= PROPERTY_ID_LIMIT || rules[id].type == VALUE_NONE))
            return &unknown_property;
        const struct property_rule *rule = &rules[id];
        if (UNLIKELY(!((rule->blocks & ~rule->server_blocks) >> block & 1)))
            return misplaced(id, block);
        if (UNLIKELY(seen >> id & 1 && !rule->may_repeat))
            return &faults[id].repeated;
        seen |= UINT64_C(1) << id;

        struct property *property = &set->of[id];
        property->id = id;
        const struct fault *fault = operations[rule->type].read(&r, property);
        if (LIKELY(fault == NULL))
            fault = operations[rule->type].check(property);
        if (UNLIKELY(fault != NULL))
            return fault;
    }
    set->seen = seen;
    return NULL;
}

const struct fault *property_check(struct slice block_bytes, uint8_t block)
{
    struct property_set set;
    return property_set_read(block_bytes, block, &set);
}

bool property_next(struct slice *rest, struct property *out)
{
    struct reader r = reader_of(*rest);
    *out = (struct property){0};
    if (!reader_u8(&r, &out->id) || out->id >= PROPERTY_ID_LIMIT ||
        rules[out->id].type == VALUE_NONE)
        return false;
    if (operations[rules[out->id].type].read(&r, out) != NULL)
        return false;
    *rest = reader_rest(&r);
    return true;
}

bool property_find(struct slice block_bytes, uint8_t id, struct property *out)
{
    while (property_next(&block_bytes, out)) {
        if (out->id == id)
            return true;
    }
    return false;
}

/* Forwarding: what is not in this mask belongs to the hop, not to the message. */

#define NOT_FORWARDED                                                               \
    (UINT64_C(1) << PROPERTY_TOPIC_ALIAS | UINT64_C(1) << PROPERTY_MESSAGE_EXPIRY | \
     UINT64_C(1) << PROPERTY_SUBSCRIPTION_ID | UINT64_C(1) << PROPERTY_WILL_DELAY)

/* Moves over one property without taking it apart. False at the end of the block. */
static inline bool skip_property(struct reader *r, uint8_t *id)
{
    struct slice bytes;
    uint32_t number;
    if (!reader_u8(r, id) || *id >= PROPERTY_ID_LIMIT)
        return false;
    const struct value_operations *op = &operations[rules[*id].type];
    if (op->strings)
        return reader_binary(r, &bytes) && (op->strings == 1 || reader_binary(r, &bytes));
    if (op->width == 0)
        return rules[*id].type == VALUE_VARINT && reader_varint(r, &number) == NULL;
    bool is_whole = reader_left(r) >= op->width;
    r->at += is_whole ? op->width : 0;
    return is_whole;
}

/* Cuts the next run of neighbours that are all forwarded off *r. False at the end of the block. */
static bool next_forwarded_run(struct reader *r, struct slice *run)
{
    uint8_t id;
    *run = slice_of(r->at, 0);
    while (skip_property(r, &id)) {
        if (NOT_FORWARDED >> id & 1) {
            if (run->len)
                return true;
            run->ptr = r->at;
        } else {
            run->len = (size_t)(r->at - run->ptr);
        }
    }
    return run->len != 0;
}

uint32_t property_forwarded_bytes(struct slice block_bytes)
{
    struct reader r = reader_of(block_bytes);
    uint32_t bytes = 0;
    struct slice run;
    while (next_forwarded_run(&r, &run))
        bytes += (uint32_t)run.len;
    return bytes;
}

uint8_t *property_copy_forwarded(struct slice block_bytes, uint8_t *dst)
{
    struct reader r = reader_of(block_bytes);
    struct slice run;
    while (next_forwarded_run(&r, &run))
        dst = put_bytes(dst, run);
    return dst;
}

/* Writing. */

size_t property_bytes(const struct property *property)
{
    const struct value_operations *op = &operations[rules[property->id].type];
    if (op->strings) {
        size_t value_len = op->strings == 2 ? property->value.len : 0;
        if (property->bytes.len > MQTT_STRING_BYTES_MAX || value_len > MQTT_STRING_BYTES_MAX)
            return 0;
        return 1 + op->strings * 2u + property->bytes.len + value_len;
    }
    if (check_number(property) != NULL)
        return 0;
    return 1 + (op->width ? op->width : varint_bytes(property->number));
}

uint8_t *property_write(uint8_t *dst, const struct property *property)
{
    const struct value_operations *op = &operations[rules[property->id].type];
    dst = put_u8(dst, property->id);
    if (op->strings) {
        dst = put_binary(dst, property->bytes);
        return op->strings == 2 ? put_binary(dst, property->value) : dst;
    }
    if (op->width == 0)
        return put_varint(dst, property->number);
    for (int shift = 8 * (op->width - 1); shift >= 0; shift -= 8)
        dst = put_u8(dst, (uint8_t)(property->number >> shift));
    return dst;
}
