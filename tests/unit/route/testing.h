/* testing.h: what the tests of routing share: cmocka, an index with its surroundings. */
#ifndef TESTS_UNIT_ROUTE_TESTING_H
#define TESTS_UNIT_ROUTE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "route/index.h"
#include "runtime/config.h"

struct rig {
    struct slots slots;
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct index *index;
    struct index_matches matches;
    struct index_query query;
};

static inline int rig_setup(void **state)
{
    struct rig *rig = aligned_alloc(64, sizeof(*rig)); /* as the domain wants it */
    memset(rig, 0, sizeof(*rig));
    slots_init(&rig->slots);
    epoch_domain_init(&rig->domain);
    rig->me = epoch_join(&rig->domain, NULL);
    rig->index = index_new(8, &rig->slots, 3);
    rig->query.is_kept = true;
    *state = rig;
    return 0;
}

/* Every test leaves an index that passes its check. */
static inline int rig_teardown(void **state)
{
    struct rig *rig = *state;
    index_check(rig->index);
    epoch_drain(&rig->domain);
    index_free(rig->index);
    index_matches_fini(&rig->matches);
    slots_fini(&rig->slots);
    free(rig);
    return 0;
}

/* A session that can take messages. */
static inline uint32_t rig_slot(struct rig *rig)
{
    uint32_t slot = slots_alloc(&rig->slots, rig, 0);
    slot_of(&rig->slots, slot)->ready = SLOT_READY;
    return slot;
}

static inline enum err rig_try_add(struct rig *rig, uint32_t slot, const char *full,
                                   struct index_place *place)
{
    struct topic_filter filter;
    assert_null(topic_filter_parse(slice_str(full), &filter));
    return index_add(rig->index, rig->me, &filter, index_subscriber_make(slot, 0, 1, false, false),
                     place);
}

static inline struct index_place rig_add(struct rig *rig, uint32_t slot, const char *full)
{
    struct index_place place;
    assert_int_equal(rig_try_add(rig, slot, full, &place), ERR_OK);
    return place;
}

/* How many get this topic. */
static inline uint32_t rig_match(struct rig *rig, const char *topic)
{
    assert_int_equal(index_match(rig->index, slice_str(topic), &rig->query, &rig->matches), ERR_OK);
    return rig->matches.count;
}

/* The slot of the one who gets it; fails when it is not exactly one. */
static inline uint32_t rig_match_one(struct rig *rig, const char *topic)
{
    assert_int_equal(rig_match(rig, topic), 1);
    return index_subscriber_slot(rig->matches.items[0].subscriber);
}

#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

#endif
