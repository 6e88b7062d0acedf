/* test_inflight_model.c: session/inflight.h against a list in order of sending, searched from its
 * start. */
#include "tests/unit/session/testing.h"

#include "session/inflight.h"

#define STEPS 150000u
#define MOST 700u

struct sent {
    uint32_t number;
    uint16_t packet_id;
    uint8_t state;
};

struct model {
    struct inflight inflight;
    struct sent sent[MOST];
    uint32_t count, next;
    uint64_t seed;
};

static struct sent *find(struct model *m, uint16_t packet_id)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->sent[i].packet_id == packet_id)
            return &m->sent[i];
    }
    return NULL;
}

static void add(struct model *m)
{
    uint8_t qos = (uint8_t)(1 + random_below(&m->seed, 2));
    struct delivery delivery = delivery_numbered(m->next, qos);
    struct inflight_entry *entry = inflight_add_take(&m->inflight, &delivery);
    assert_non_null(entry);
    assert_true(entry->packet_id != 0 && !find(m, entry->packet_id));
    m->sent[m->count++] =
        (struct sent){.number = m->next++, .packet_id = entry->packet_id, .state = entry->state};
}

/* PUBREC, PUBACK, PUBCOMP: for the oldest, the newest, or any. */
static void acknowledge(struct model *m)
{
    uint32_t which = random_below(&m->seed, 3), at = which == 1 ? m->count - 1 : 0;
    if (which == 2)
        at = random_below(&m->seed, m->count);
    struct sent *sent = &m->sent[at];
    struct inflight_entry *entry = inflight_find(&m->inflight, sent->packet_id);
    assert_non_null(entry);
    assert_int_equal(entry->state, sent->state);
    if (sent->state != INFLIGHT_AWAIT_PUBCOMP)
        assert_int_equal(message_number(entry->delivery.message), sent->number);
    if (sent->state == INFLIGHT_AWAIT_PUBREC) {
        inflight_release_message(&m->inflight, entry);
        entry->state = sent->state = INFLIGHT_AWAIT_PUBCOMP;
        return;
    }
    inflight_remove(&m->inflight, entry);
    m->count--;
    memmove(sent, sent + 1, (m->count - at) * sizeof(*sent));
}

static void assert_same(struct model *m)
{
    uint32_t count;
    inflight_check(&m->inflight);
    assert_int_equal(m->inflight.count, m->count);
    uint16_t *ids = inflight_in_order(&m->inflight, &count);
    assert_int_equal(count, m->count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(ids[i], m->sent[i].packet_id);
    mem_free(ids);
}

static void inflight_does_what_a_list_does(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof(*m));
    m->seed = 0x1F1167;
    uint32_t window = 20;
    for (uint32_t i = 0; i < STEPS; i++) {
        if (i % 3000 == 0)
            window = random_below(&m->seed, i % 6000 ? 30 : MOST);
        uint16_t stranger = (uint16_t)random_next(&m->seed);
        assert_int_equal(inflight_find(&m->inflight, stranger) != NULL, find(m, stranger) != NULL);
        if (m->count < window && random_below(&m->seed, 5))
            add(m);
        else if (m->count)
            acknowledge(m);
        if (random_below(&m->seed, 20000) == 0) {
            inflight_clear(&m->inflight);
            m->count = 0;
        }
        if (i % 100 == 0)
            assert_same(m);
    }
    inflight_clear(&m->inflight);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(inflight_does_what_a_list_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
