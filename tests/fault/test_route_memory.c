/*
 * test_route_memory.c: routing when memory runs out at any allocation.
 *
 * The counted allocator is replaced by one that fails at a chosen call. The same work is done again
 * and again, failing one call later each time; whatever fails must say so, leave nothing half done,
 * and leave no byte behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "route/index.h"
#include "route/retained.h"

/* --- the allocator --- */

static _Atomic int64_t unturned;
_Atomic int64_t *clock_turned_ms = &unturned;

static int64_t calls_left = INT64_MAX; /* until one fails */
static int64_t blocks;

static void *counted(void *ptr)
{
    blocks += ptr != NULL;
    return ptr;
}

void *mem_alloc(size_t bytes)
{
    return calls_left-- == 0 ? NULL : counted(malloc(bytes));
}

void *mem_zalloc(size_t bytes)
{
    return calls_left-- == 0 ? NULL : counted(calloc(1, bytes));
}

void *mem_realloc(void *ptr, size_t bytes)
{
    if (calls_left-- == 0)
        return NULL;
    blocks += ptr == NULL;
    return realloc(ptr, bytes);
}

void mem_free(void *ptr)
{
    blocks -= ptr != NULL;
    free(ptr);
}

void *mem_must_zalloc(size_t bytes)
{
    return counted(calloc(1, bytes));
}

size_t mem_used_bytes(void)
{
    return 0;
}

size_t mem_used_bytes_max(void)
{
    return 0;
}

void mem_count(int64_t bytes)
{
    (void)bytes;
}

/* --- the index --- */

#define SUBSCRIBERS 140

static struct epoch_domain domain;
static struct slots slots;

static const char *const filters[] = {
    "a", "a/+", "a/+/b/+/#", "$share/g/a", "$share/h/+/a", "+/x/+", "+/x/y/z/#", "#",
};
#define FILTERS (sizeof(filters) / sizeof(filters[0]))

/* Many subscribers of a few filters, so that nodes, chunks, lists and groups are all made. Returns
 * how many allocations failed. */
static uint32_t index_work(struct index *index, struct epoch_participant *me)
{
    static struct index_place places[SUBSCRIBERS][FILTERS];
    static bool is_there[SUBSCRIBERS][FILTERS];
    uint32_t failed = 0;
    struct index_matches matches = {0};
    for (uint32_t i = 0; i < SUBSCRIBERS; i++) {
        for (uint32_t f = 0; f < FILTERS; f++) {
            struct topic_filter filter;
            index_subscriber subscriber = index_subscriber_make(i + 1, 0, 1, false, false);
            assert_null(topic_filter_parse(slice_str(filters[f]), &filter));
            enum err err = index_add(index, me, &filter, subscriber, &places[i][f]);
            assert_true(err == ERR_OK || err == ERR_NOMEM);
            is_there[i][f] = err == ERR_OK;
            failed += err != ERR_OK;
        }
    }
    struct index_query query = {.is_kept = true};
    failed += index_match(index, SLICE_LIT("a"), &query, &matches) != ERR_OK;
    index_check(index);
    for (uint32_t i = 0; i < SUBSCRIBERS; i++)
        for (uint32_t f = 0; f < FILTERS; f++)
            if (is_there[i][f])
                index_remove(index, me, &places[i][f]);
    index_check(index);
    index_matches_fini(&matches);
    return failed;
}

static void index_survives_any_failing_allocation(void **state)
{
    (void)state;
    slots_init(&slots);
    for (uint32_t i = 0; i < SUBSCRIBERS; i++)
        assert_int_equal(slots_alloc(&slots, &slots, 0), i + 1);
    int64_t before = blocks;
    uint32_t failed = 1;
    for (int64_t nth = 0; failed; nth++) {
        epoch_domain_init(&domain);
        struct epoch_participant *me = epoch_join(&domain, NULL);
        struct index *index = index_new(1, &slots, 1);
        calls_left = nth;
        failed = index_work(index, me);
        if (calls_left < 0) /* it failed somewhere, though growth of the table may pass it over */
            failed = 1;
        calls_left = INT64_MAX;
        epoch_drain(&domain);
        index_free(index);
        assert_int_equal(blocks, before);
    }
    slots_fini(&slots);
}

/* --- the retained store --- */

static uint32_t retained_work(struct retained *retained, struct epoch_participant *me)
{
    uint32_t failed = 0;
    struct message *message;
    for (uint32_t i = 0; i < 12; i++) {
        char topic[16];
        sprintf(topic, "t/%u", i % 8);
        struct publication pub = {.topic = slice_str(topic)};
        message = publication_message(&pub);
        failed += !message || retained_set(retained, me, message) != ERR_OK;
        publication_fini(&pub);
    }
    struct retained_cursor *cursor = retained_cursor_new(SLICE_LIT("#"));
    for (uint32_t tries = 0; cursor && tries < 20; tries++) {
        struct retained_visit visit = {.now_tick = 1, .nodes = 100};
        enum retained_step step = retained_cursor_next(retained, cursor, &visit, &message);
        if (step == RETAINED_MESSAGE)
            message_unref(message, 1);
        failed += step == RETAINED_AGAIN;
    }
    failed += !cursor;
    retained_cursor_free(cursor);
    retained_check(retained);
    for (uint32_t i = 0; i < 8; i++) {
        char topic[16];
        sprintf(topic, "t/%u", i);
        retained_clear(retained, me, slice_str(topic));
    }
    struct retained_stats stats;
    retained_stats(retained, &stats);
    assert_int_equal(stats.messages, 0);
    return failed;
}

static void retained_store_survives_any_failing_allocation(void **state)
{
    (void)state;
    int64_t before = blocks;
    uint32_t failed = 1;
    for (int64_t nth = 0; failed; nth++) {
        epoch_domain_init(&domain);
        struct epoch_participant *me = epoch_join(&domain, NULL);
        struct retained *retained = retained_new(1);
        calls_left = nth;
        failed = retained_work(retained, me);
        if (calls_left < 0)
            failed = 1;
        calls_left = INT64_MAX;
        epoch_drain(&domain);
        retained_free(retained);
        assert_int_equal(blocks, before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_survives_any_failing_allocation),
        cmocka_unit_test(retained_store_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
