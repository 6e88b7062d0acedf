/*
 * options.c: the command line, from one table: a row makes the parser, --help and the manual page.
 *
 * What a scenario does not use is an error, not ignored.
 */
#include "bench/options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

enum option_type { TYPE_U32, TYPE_REAL, TYPE_TEXT, TYPE_SWITCH, TYPE_VERSION };

#define AT(field) offsetof(struct options, field)
#define FLOWS " pairs fanin fanout shared telemetry "
#define HOLDS " connect ping storm scale "

static const struct option_row rows[] = {
    {"host", "NAME", TYPE_TEXT, AT(host), 0, 0, "127.0.0.1", NULL, "where the broker listens"},
    {"port", "PORT", TYPE_U32, AT(port), 1, 65535, "1883", NULL, "and on which port"},
    {"version", "V", TYPE_VERSION, AT(version), 3, 5, "3.1.1", NULL, "of MQTT: 3.1, 3.1.1 or 5"},
    {"websocket", NULL, TYPE_SWITCH, AT(websocket), 0, 0, NULL, NULL,
     "MQTT over WebSocket, at the path /mqtt"},
    {"username", "NAME", TYPE_TEXT, AT(username), 0, 0, NULL, NULL, "for brokers that want one"},
    {"password", "TEXT", TYPE_TEXT, AT(password), 0, 0, NULL, NULL,
     "the same for all clients; other users of this machine can see it in the list of processes"},
    {"clients", "N", TYPE_U32, AT(clients), 1, 1 << 24, NULL, NULL,
     "what they are depends on the scenario, see above"},
    {"dashboards", "D", TYPE_U32, AT(dashboards), 1, 1 << 20, "10", " telemetry ",
     "subscribers with a wildcard, each to its share of the sensors"},
    {"members", "M", TYPE_U32, AT(members), 1, 1 << 20, "10", " shared ",
     "subscribers that share the messages"},
    {"groups", "G", TYPE_U32, AT(groups), 1, 1 << 16, "1", " fanin fanout shared ",
     "so many of the scenario side by side"},
    {"topics", "M", TYPE_U32, AT(topics), 1, 1 << 28, "10000", " retained ",
     "retained messages, in all"},
    {"filters", "M", TYPE_U32, AT(filters), 1, 1 << 28, "100000", " subscribe ",
     "filters, in all; spread over the clients"},
    {"qos", "Q", TYPE_U32, AT(qos), 0, 2, "0", NULL, "of messages and subscriptions"},
    {"payload", "BYTES", TYPE_U32, AT(payload_bytes), 24, 1 << 24, "64", NULL,
     "of each message; the first 24 are the tool's own"},
    {"window", "W", TYPE_U32, AT(window), 1, 65535, "16", FLOWS "retained subscribe ",
     "closed loop: each publisher keeps so many messages in flight. Latency is counted from the "
     "write: it says how long the queue is"},
    {"rate", "R", TYPE_REAL, AT(rate), 0, 1e9, NULL, FLOWS "connect ping churn scale ",
     "open loop: so many a second, all clients together, whatever the broker does. Latency is "
     "counted from when each was due. 0: as fast as it goes"},
    {"seconds", "S", TYPE_REAL, AT(seconds), 0.01, 1e6, "3", NULL, "how long is measured"},
    {"warmup", "S", TYPE_REAL, AT(warmup_s), 0, 1e6, "1", NULL, "before that"},
    {"pid", "PID", TYPE_U32, AT(pid), 1, 1 << 30, NULL, NULL,
     "the broker's process on this machine: its CPU, memory and loop delay are measured"},
    {"threads", "N", TYPE_U32, AT(threads), 1, 1024, "1", NULL,
     "that make the load. Each has a descriptor table of its own, so that N threads hold N times "
     "as many connections as the limit of descriptors says"},
    {"source", "A[-B]", TYPE_TEXT, AT(source), 0, 0, NULL, NULL,
     "IPv4 addresses to connect from, as 127.0.0.2-127.0.0.65: each has its own ports"},
    {"opening", "N", TYPE_U32, AT(opening), 0, 1 << 24, "32", NULL,
     "connections being made at once, in each thread; 0: all. Not with a rate, and not in a storm"},
    {"timeout", "S", TYPE_REAL, AT(timeout_s), 0.1, 1e6, "30", NULL,
     "a connection that takes longer is tried again, as is a cycle of churn; a step without "
     "progress for so long is over"},
    {"keepalive", "S", TYPE_U32, AT(keepalive_s), 0, 65535, "60", NULL,
     "of the clients; the scenarios that hold connections send PINGREQ when three quarters are up"},
    {"witnesses", "N", TYPE_U32, AT(witnesses), 0, 1000, NULL, NULL,
     "pairs of clients beside the scenario, in a thread of their own, with 100 messages a second "
     "each: the latency that others have meanwhile; as root at real-time priority, so that they do "
     "not wait for the load"},
    {"ping-every", "S", TYPE_REAL, AT(ping_every_s), 0.1, 1e6, "60", " scale ",
     "seconds between the PINGREQs of a client that rests, where keepalive wants none sooner"},
    {"cut", "PERCENT", TYPE_U32, AT(cut_percent), 1, 100, "10", " scale ",
     "of the connections that are cut at once, to come back at once"},
    {"own-topics", NULL, TYPE_SWITCH, AT(own_topics), 0, 0, NULL, " fanin ",
     "a topic for each publisher, and a wildcard to subscribe to them"},
    {"commands", NULL, TYPE_SWITCH, AT(commands), 0, 0, NULL, " telemetry ",
     "each sensor subscribes to a topic of its own as well, where commands to it would come"},
    {"no-publish", NULL, TYPE_SWITCH, AT(no_publish), 0, 0, NULL, " churn ",
     "a cycle is connect, subscribe, close"},
    {"hold", NULL, TYPE_SWITCH, AT(hold), 0, 0, NULL, HOLDS "telemetry ",
     "stay connected after the report until standard input ends; telemetry sends no PINGREQ, and "
     "wants a long --keepalive then"},
    {"gather", "US", TYPE_U32, AT(gather_us), 0, 100000, "0", NULL,
     "microseconds to sleep before each turn, so that more comes at once"},
    {"bare", NULL, TYPE_SWITCH, AT(bare), 0, 0, NULL, " pairs fanin fanout ",
     "no MQTT: against the relay of Dunlin's source, tests/bench/relay"},
    {"json", NULL, TYPE_SWITCH, AT(json), 0, 0, NULL, NULL,
     "one line of JSON instead of the table"},
    {"quiet", NULL, TYPE_SWITCH, AT(quiet), 0, 0, NULL, NULL, "no progress on the terminal"},
};

_Static_assert(ARRAY_COUNT(rows) <= 63, "`given` has a bit for each, and '?' is none of them");

enum { KEY_HELP = 1000, KEY_VERSION, KEY_MAN };

const struct option_row *option_at(size_t index)
{
    return index < ARRAY_COUNT(rows) ? &rows[index] : NULL;
}

static void usage_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void usage_fail(const char *format, ...)
{
    va_list args;
    fputs("dunlin-bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry dunlin-bench --help\n", stderr);
    exit(2);
}

/* ---- values ---- */

static double parse_number(const struct option_row *row, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    bool whole = row->type == TYPE_REAL || value == (double)(uint64_t)value;
    if (end == text || *end || !(value >= row->min && value <= row->max) || !whole)
        usage_fail("--%s: %s is not a %snumber from %.12g to %.12g", row->name, text,
                   row->type == TYPE_U32 ? "whole " : "", row->min, row->max);
    return value;
}

static uint32_t parse_version(const char *text)
{
    static const struct {
        const char *text;
        uint32_t level;
    } versions[] = {{"3", 3}, {"3.1", 3}, {"3.1.1", 4}, {"4", 4}, {"5", 5}, {"5.0", 5}};
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++)
        if (strcmp(versions[i].text, text) == 0)
            return versions[i].level;
    usage_fail("--version: there is no MQTT %s; there are 3.1, 3.1.1 and 5", text);
}

static void option_set(struct options *o, const struct option_row *row, const char *value)
{
    void *field = (char *)o + row->offset;
    switch ((enum option_type)row->type) {
    case TYPE_U32:
        *(uint32_t *)field = (uint32_t)parse_number(row, value);
        break;
    case TYPE_REAL:
        *(double *)field = parse_number(row, value);
        break;
    case TYPE_TEXT:
        *(const char **)field = value;
        break;
    case TYPE_SWITCH:
        *(bool *)field = true;
        break;
    case TYPE_VERSION:
        *(uint32_t *)field = parse_version(value);
        break;
    }
}

static uint32_t parse_address(const char *text)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1)
        usage_fail("--source: %s is not an IPv4 address", text);
    return ntohl(address.s_addr);
}

static void parse_source(struct options *o)
{
    char first[32];
    const char *dash = o->source ? strchr(o->source, '-') : NULL;
    size_t len = dash ? (size_t)(dash - o->source) : strlen(o->source ? o->source : "");
    if (!o->source)
        return;
    snprintf(first, sizeof first, "%.*s", (int)(len < 31 ? len : 31), o->source);
    o->source_first = parse_address(first);
    uint32_t last = dash ? parse_address(dash + 1) : o->source_first;
    if (last < o->source_first || last - o->source_first > 65535)
        usage_fail("--source: %s is not a range of 1 to 65536 addresses", o->source);
    o->source_count = last - o->source_first + 1;
}

/* ---- the command line ---- */

static bool row_is_for(const struct option_row *row, const char *scenario)
{
    char name[32];
    snprintf(name, sizeof name, " %s ", scenario);
    return !row->scenarios || strstr(row->scenarios, name);
}

static bool is_given(const struct options *o, size_t offset)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].offset == offset)
            return o->given >> i & 1;
    return false;
}

static void options_print(int key) __attribute__((noreturn));
static void options_print(int key)
{
    if (key == KEY_HELP)
        options_print_help(stdout);
    else if (key == KEY_VERSION)
        printf("dunlin-bench %s\n", DUNLIN_VERSION);
    else
        options_print_man1();
    bench_flush();
    exit(0);
}

static void options_read(struct options *o, int argc, char **argv)
{
    struct option table[ARRAY_COUNT(rows) + 4] = {{0}};
    size_t i = 0;
    int key;
    for (; i < ARRAY_COUNT(rows); i++)
        table[i] = (struct option){rows[i].name, rows[i].argument != NULL, NULL, (int)i};
    table[i++] = (struct option){"help", 0, NULL, KEY_HELP};
    table[i++] = (struct option){"tool-version", 0, NULL, KEY_VERSION};
    table[i] = (struct option){"print-man1", 0, NULL, KEY_MAN};
    while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (key >= KEY_HELP)
            options_print(key);
        if (key < 0 || key >= (int)ARRAY_COUNT(rows)) /* '?', after a line on stderr */
            usage_fail("the command line is not understood");
        option_set(o, &rows[key], optarg);
        o->given |= 1ull << key;
    }
}

void options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){0};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].initial)
            option_set(o, &rows[i], rows[i].initial);
    options_read(o, argc, argv);
    if (optind == argc)
        usage_fail("which scenario? They are listed by --help");
    if (optind + 1 < argc)
        usage_fail("one scenario, not \"%s\" as well", argv[optind + 1]);
    o->scenario = argv[optind];
    parse_source(o);
}

void options_complete(struct options *o)
{
    const struct scenario *s = scenario_find(o->scenario);
    if (!s)
        usage_fail("there is no scenario \"%s\"", o->scenario);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (o->given >> i & 1 && !row_is_for(&rows[i], o->scenario))
            usage_fail("--%s is not for %s but for:%s", rows[i].name, o->scenario,
                       rows[i].scenarios);
    bool paced = is_given(o, AT(rate)) && o->rate > 0, windowed = is_given(o, AT(window));
    if (paced && windowed)
        usage_fail("--rate is an open loop and --window a closed one: one of them");
    if (!is_given(o, AT(rate)) && !windowed)
        o->rate = s->rate;
    if (!is_given(o, AT(clients)))
        o->clients = s->clients;
    if (!is_given(o, AT(witnesses)))
        o->witnesses = s->witnesses;
    if (o->bare && (o->qos || o->witnesses || o->websocket))
        usage_fail("--bare is for QoS 0 and has no witnesses, and no --websocket");
    if (o->password && !o->username && o->version != 5)
        usage_fail("--password wants --username as well, before MQTT 5");
}

/* ---- help ---- */

static void print_wrapped(FILE *to, const char *text)
{
    const int indent = 22, width = 78;
    int column = indent;
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (column > indent && column + 1 + len > width) {
            fprintf(to, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', to);
            column++;
        }
        fprintf(to, "%.*s", len, text);
        column += len;
        text += len + strspn(text + len, " ");
    }
}

static void print_option(FILE *to, const struct option_row *row)
{
    char head[64], text[512], scenarios[96] = "";
    snprintf(head, sizeof head, "--%s %s", row->name, row->argument ? row->argument : "");
    if (row->scenarios)
        snprintf(scenarios, sizeof scenarios, "%.*s: ", (int)strlen(row->scenarios) - 2,
                 row->scenarios + 1);
    snprintf(text, sizeof text, "%s%s%s%s", scenarios, row->text, row->initial ? "; default " : "",
             row->initial ? row->initial : "");
    fprintf(to, "  %-20s", head);
    print_wrapped(to, text);
    fputc('\n', to);
}

void options_print_help(FILE *to)
{
    fputs("Usage: dunlin-bench SCENARIO [OPTION...]\n"
          "Makes load on an MQTT broker, and measures what becomes of it.\n\nScenarios:\n",
          to);
    for (size_t i = 0; scenario_at(i); i++) {
        const struct scenario *s = scenario_at(i);
        char text[512];
        snprintf(text, sizeof text, "%s; --clients: %s, default %u", s->text, s->clients_text,
                 s->clients);
        fprintf(to, "  %-20s", s->name);
        print_wrapped(to, text);
        fputc('\n', to);
    }
    fputs("\nOptions:\n", to);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        print_option(to, &rows[i]);
    fputs("  --help              this text\n"
          "  --tool-version      of dunlin-bench\n"
          "\nExit status: 0 when all went well, 1 when it could not be done, 2 for a command\n"
          "line that is wrong, 3 when something was lost, duplicated, out of order,\n"
          "not answered, not sent when it was due, refused or closed.\n",
          to);
}
