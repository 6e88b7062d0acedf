/*
 * metrics.c: names, reason codes and help texts, made from the tables in metrics.h.
 *
 * Threads: any; all of it is constant.
 */
#include "base/assert.h"
#include "runtime/metrics.h"

struct metric_row {
    const char *topic, *help;
};

struct close_row {
    const char *name, *help;
    uint8_t code;
};

static const struct metric_row metric_rows[METRIC_COUNT] = {
#define X(name, topic, help) [METRIC_##name] = {topic, help},
    METRIC_TABLE(X)
#undef X
};

static const char *const drop_names[DROP_COUNT] = {
#define X(name, text, help) [DROP_##name] = text,
    DROP_TABLE(X)
#undef X
};

static const struct close_row close_rows[CLOSE_COUNT] = {
#define X(name, text, reason, help) [CLOSE_##name] = {text, help, reason},
    CLOSE_TABLE(X)
#undef X
};

const char *drop_reason_name(enum drop_reason reason)
{
    BUG_ON(reason >= DROP_COUNT);
    return drop_names[reason];
}

const char *close_reason_name(enum close_reason reason)
{
    BUG_ON(reason >= CLOSE_COUNT);
    return close_rows[reason].name;
}

const char *close_reason_help(enum close_reason reason)
{
    BUG_ON(reason >= CLOSE_COUNT);
    return close_rows[reason].help;
}

uint8_t close_reason_code(enum close_reason reason)
{
    BUG_ON(reason >= CLOSE_COUNT);
    return close_rows[reason].code;
}

const char *metric_topic(enum metric metric)
{
    BUG_ON(metric >= METRIC_COUNT);
    return metric_rows[metric].topic;
}

const char *metric_help(enum metric metric)
{
    BUG_ON(metric >= METRIC_COUNT);
    return metric_rows[metric].help;
}
