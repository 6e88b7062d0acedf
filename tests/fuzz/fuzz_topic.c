/*
 * fuzz_topic.c: any bytes as a filter and a name.
 *
 * Input: [filter] 0x0A [name]. Matching agrees with a model by recursion; a filter matches the name
 * that comes of putting words for its wildcards; levels add up to the text.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t level_len(struct slice s)
{
    const uint8_t *slash = s.len ? memchr(s.ptr, '/', s.len) : NULL;
    return slash ? (size_t)(slash - s.ptr) : s.len;
}

static bool model_matches(struct slice filter, struct slice name)
{
    for (;;) {
        size_t want = level_len(filter), have = level_len(name);
        if (want == 1 && filter.ptr[0] == '#')
            return true;
        if (!(want == 1 && filter.ptr[0] == '+') &&
            !slice_eq(slice_of(filter.ptr, want), slice_of(name.ptr, have)))
            return false;
        bool filter_ends = want == filter.len, name_ends = have == name.len;
        if (name_ends && !filter_ends) {
            struct slice rest = slice_skip(filter, want);
            return slice_eq(rest, SLICE_LIT("/#"));
        }
        if (filter_ends)
            return name_ends;
        filter = slice_skip(filter, want + 1);
        name = slice_skip(name, have + 1);
    }
}

static void check_levels(struct slice text)
{
    struct slice rest = text, level;
    bool started = false;
    size_t bytes = 0;
    uint32_t levels = 0;
    while (topic_next_level(&rest, &started, &level)) {
        BUG_ON(level.len && memchr(level.ptr, '/', level.len));
        bytes += level.len;
        levels++;
    }
    BUG_ON(bytes + levels - 1 != text.len);
    BUG_ON(levels != topic_level_count(text));
}

/* Puts a word for each wildcard: the filter's own literal. */
static void check_literal(struct slice filter)
{
    uint8_t *name = malloc(filter.len);
    BUG_ON(name == NULL);
    for (size_t i = 0; i < filter.len; i++)
        name[i] = filter.ptr[i] == '+' || filter.ptr[i] == '#' ? 'w' : filter.ptr[i];
    BUG_ON(topic_name_check(slice_of(name, filter.len)) != NULL);
    BUG_ON(!topic_matches(filter, slice_of(name, filter.len)));
    free(name);
}

static void check_filter(struct slice full, struct topic_filter *out, bool *is_valid)
{
    *is_valid = topic_filter_parse(full, out) == NULL;
    if (!*is_valid)
        return;
    BUG_ON(out->filter.len == 0 || out->is_shared != (out->share.len != 0));
    BUG_ON(out->filter.ptr + out->filter.len != full.ptr + full.len);
    bool has_wildcard = memchr(out->filter.ptr, '+', out->filter.len) ||
                        memchr(out->filter.ptr, '#', out->filter.len);
    BUG_ON(has_wildcard != out->has_wildcard);
    BUG_ON(topic_level_count(out->filter) > TOPIC_LEVELS_MAX);
    check_literal(out->filter);
}

static void check_name(struct slice name)
{
    bool is_legal = name.len > 0 && name.len <= MQTT_STRING_BYTES_MAX &&
                    topic_level_count(name) <= TOPIC_LEVELS_MAX &&
                    !memchr(name.ptr, '+', name.len) && !memchr(name.ptr, '#', name.len) &&
                    !memchr(name.ptr, 0, name.len);
    BUG_ON(is_legal != (topic_name_check(name) == NULL));
    BUG_ON(utf8_is_valid(name) && name.len && memchr(name.ptr, 0, name.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
    size_t filter_len = newline ? (size_t)(newline - data) : size;
    struct slice filter = slice_of(data, filter_len);
    struct slice name = slice_of(data + filter_len, size - filter_len);
    struct topic_filter parsed;
    bool is_valid;
    if (newline)
        name = slice_skip(name, 1);
    check_levels(filter);
    check_name(name);
    check_filter(filter, &parsed, &is_valid);
    if (!is_valid || topic_name_check(name) != NULL)
        return 0;
    uint8_t first = parsed.filter.ptr[0];
    bool is_hidden = name.ptr[0] == '$' && (first == '+' || first == '#');
    bool want = !is_hidden && model_matches(parsed.filter, name);
    BUG_ON(topic_matches(parsed.filter, name) != want);
    return 0;
}
