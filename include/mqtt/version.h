/* version.h: protocol levels as on the wire, packet types, and the limits the standard sets. */
#ifndef MQTT_VERSION_H
#define MQTT_VERSION_H

enum mqtt_version {
    MQTT_3_1 = 3, /* "MQIsdp" */
    MQTT_3_1_1 = 4,
    MQTT_5 = 5,
};

enum packet_type {
    PACKET_RESERVED = 0,
    PACKET_CONNECT,
    PACKET_CONNACK,
    PACKET_PUBLISH,
    PACKET_PUBACK,
    PACKET_PUBREC,
    PACKET_PUBREL,
    PACKET_PUBCOMP,
    PACKET_SUBSCRIBE,
    PACKET_SUBACK,
    PACKET_UNSUBSCRIBE,
    PACKET_UNSUBACK,
    PACKET_PINGREQ,
    PACKET_PINGRESP,
    PACKET_DISCONNECT,
    PACKET_AUTH,
    PACKET_TYPE_COUNT
};

#define MQTT_PACKET_BYTES_MAX \
    (268435455u + 5u) /* largest Remaining Length plus its fixed header \
                                                 */
#define MQTT_STRING_BYTES_MAX 65535u
#define MQTT_SUBSCRIPTION_ID_MAX 268435455u
#define MQTT_EXPIRY_NEVER 0xFFFFFFFFu /* session expiry: never ends */

#endif
