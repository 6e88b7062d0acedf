/*
 * announced.c: see announced.h.
 */
#include "conn/announced.h"

_Static_assert(ANNOUNCED_MAX == UINT8_MAX + 1, "a byte says which");

static struct announced announced_of(const struct config *config)
{
    return (struct announced){
        .packet_bytes_max =
            config->max_packet_bytes ? config->max_packet_bytes : MQTT_PACKET_BYTES_MAX,
        .receive_maximum = config->receive_maximum ? (uint16_t)config->receive_maximum : UINT16_MAX,
        .has_retain = config->retain_available,
    };
}

static bool is_same(const struct announced *a, const struct announced *b)
{
    return a->packet_bytes_max == b->packet_bytes_max && a->receive_maximum == b->receive_maximum &&
           a->has_retain == b->has_retain;
}

void announced_init(struct broker *broker, const struct config *config)
{
    broker->announced[0] = announced_of(config);
    broker->announced_count = 1;
}

bool announced_change(struct broker *broker, const struct config *config)
{
    struct announced wanted = announced_of(config);
    uint32_t i = 0;
    while (i < broker->announced_count && !is_same(&broker->announced[i], &wanted))
        i++;
    if (i == ANNOUNCED_MAX)
        return false;
    if (i == broker->announced_count)
        broker->announced[broker->announced_count++] = wanted;
    atomic_store_explicit(&broker->announced_now, (uint8_t)i, memory_order_release);
    return true;
}

void announced_take(struct worker *worker, struct connection *connection)
{
    connection->io.of_app =
        atomic_load_explicit(&worker->broker->announced_now, memory_order_acquire);
}
