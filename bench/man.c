/* man.c: dunlin-bench(1), from the tables of options and scenarios. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

static const char head[] =
    ".TH DUNLIN-BENCH 1 \"\" \"dunlin " DUNLIN_VERSION "\" \"User Commands\"\n"
    ".SH NAME\n"
    "dunlin-bench \\- makes load on an MQTT broker, and measures what becomes of it\n"
    ".SH SYNOPSIS\n"
    ".B dunlin-bench\n"
    ".I SCENARIO\n"
    ".RI [ OPTION ...]\n"
    ".SH DESCRIPTION\n"
    "Connects very many clients to a broker, any broker, and lets them do what the scenario says.\n"
    "Every message has a number and a time in its payload, so that what is lost, duplicated or "
    "out\n"
    "of order is counted, and latencies are known. Use it with a broker that is yours: it is made\n"
    "to bring one to its limits.\n";

static const char tail[] =
    ".SH LATENCY\n"
    "In an\n"
    ".I open loop\n"
    "(\\-\\-rate) the clients send at their pace whatever the broker does, and a latency is\n"
    "counted from when a message was due, not from when it was written: when the broker stops for\n"
    "a second, every message of that second has it counted. This is what sensors experience. How\n"
    "late the tool itself sent is reported too: when that is much of the latency, the pace is "
    "more\n"
    "than this machine or this number of threads can make.\n"
    ".PP\n"
    "What was due within a step has its latency counted in that step also when it is sent or\n"
    "arrives after its end; the units and seconds of a step are those until its end. After the\n"
    "last step what is late may still be sent, and arrive: until nothing has moved for five\n"
    "seconds. What is missing then is\n"
    ".BR lost ,\n"
    "what could not be sent or begun\n"
    ".BR unsent .\n"
    ".PP\n"
    "In a\n"
    ".I closed loop\n"
    "(\\-\\-window) each publisher sends the next message when an earlier one has arrived. It "
    "finds\n"
    "the most that a broker can do; a latency then says how long the queue is.\n"
    ".SH LIMITS OF THIS MACHINE\n"
    "Each connection takes a descriptor, and the limit of them counts for each thread here, since\n"
    "every thread has a descriptor table of its own: with a limit of 20,000,\n"
    ".B \\-\\-threads 64\n"
    "holds more than a million connections. Each takes a port of its source address as well:\n"
    ".B \\-\\-source 127.0.0.2-127.0.0.65\n"
    "has 64 times as many as one address. The kernel gives out every second port first; when half\n"
    "of them are taken, each connection searches all of them, and connecting becomes very slow.\n"
    "Memory is about 200 bytes for each client, beside the kernel's.\n"
    ".SH OUTPUT\n"
    "On standard output, a line for each step of the scenario: how many of what, how long, and\n"
    "percentiles of latency in microseconds. With\n"
    ".B \\-\\-pid\n"
    "the broker's CPU time for each, and in percent of a core; its memory; and, where the broker "
    "is\n"
    "Dunlin, how long a turn of its loop took at most. Progress is shown on standard error while\n"
    "that is a terminal.\n"
    ".PP\n"
    "Memory per connection is how much the process has grown, and means something for a broker "
    "that "
    "has\n"
    "just been started: one that has had clients uses again what they left. The report says so "
    "where\n"
    "Dunlin tells in $SYS that it had some.\n"
    ".PP\n"
    "The loop delay is told in $SYS at the end of each\n"
    ".BR sys_interval ,\n"
    "for that interval. One that began before the run is not counted, and the last one is waited\n"
    "for, so a run has to be longer than that interval (10 seconds by default): for short runs "
    "set\n"
    "it to 1 in the broker's configuration.\n"
    ".PP\n"
    "What is not known, as the figures of a broker that has died, is a dash, and null in JSON.\n"
    ".PP\n"
    "With\n"
    ".B \\-\\-json\n"
    "one line: the options, every counter, and the steps by their names. A counter's name is that\n"
    "in the following list.\n";

static const char status[] =
    ".SH EXIT STATUS\n"
    ".TP\n"
    ".B 0\n"
    "All went well.\n"
    ".TP\n"
    ".B 1\n"
    "It could not be done: no connection, no such process, too few ports or descriptors.\n"
    ".TP\n"
    ".B 2\n"
    "The command line is wrong.\n"
    ".TP\n"
    ".B 3\n"
    "Something was lost, duplicated, out of order, not answered, not sent when it was due, refused "
    "or\n"
    "closed, or a step did\n"
    "not come to its end.\n"
    ".SH EXAMPLES\n"
    "Ten thousand sensors with a reading each two seconds, and what they cost:\n"
    ".PP\n"
    ".nf\n"
    ".RS\n"
    "dunlin-bench telemetry \\-\\-clients 10000 \\-\\-rate 5000 \\-\\-pid $(pidof dunlin)\n"
    ".RE\n"
    ".fi\n"
    ".PP\n"
    "The memory of a session, with 100,000 of them on this machine:\n"
    ".PP\n"
    ".nf\n"
    ".RS\n"
    "dunlin-bench connect \\-\\-clients 100000 \\-\\-threads 8 \\-\\-source 127.0.0.2-127.0.0.9 "
    "\\\n"
    "    \\-\\-pid $(pidof dunlin)\n"
    ".RE\n"
    ".fi\n"
    ".PP\n"
    "What comes out of a broker at most, from 50 publishers to 50 subscribers at QoS 1:\n"
    ".PP\n"
    ".nf\n"
    ".RS\n"
    "dunlin-bench pairs \\-\\-clients 50 \\-\\-qos 1 \\-\\-window 64\n"
    ".RE\n"
    ".fi\n"
    ".SH SEE ALSO\n"
    ".BR dunlin (8),\n"
    ".BR dunlin.conf (5)\n";

/* Text as a line of roff: hyphens are minus signs where options are named. */
static void print_text(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '-')
            putchar('\\');
        putchar(*text);
    }
}

static void print_sentence(const char *text)
{
    printf("%c", toupper((unsigned char)*text));
    print_text(text + 1);
}

static void print_scenarios(void)
{
    fputs(".SH SCENARIOS\n", stdout);
    for (size_t i = 0; scenario_at(i); i++) {
        const struct scenario *s = scenario_at(i);
        printf(".TP\n.B %s\n", s->name);
        print_sentence(s->text);
        printf(".\n.B \\-\\-clients\nis the number of %s, %u by default.\n", s->clients_text,
               s->clients);
    }
}

static void print_options(void)
{
    fputs(".SH OPTIONS\n", stdout);
    for (size_t i = 0; option_at(i); i++) {
        const struct option_row *row = option_at(i);
        printf(".TP\n.BR \\-\\-");
        print_text(row->name);
        if (row->argument)
            printf(" \" \" \\fI%s\\fR", row->argument);
        putchar('\n');
        print_sentence(row->text);
        fputs(".\n", stdout);
        if (row->scenarios)
            printf("Scenarios: %.*s.\n", (int)strlen(row->scenarios) - 2, row->scenarios + 1);
        if (row->initial) {
            fputs("Default: ", stdout);
            print_text(row->initial);
            fputs(".\n", stdout);
        }
    }
    fputs(".TP\n.B \\-\\-help\nPrints scenarios and options, and exits.\n"
          ".TP\n.B \\-\\-tool\\-version\nPrints the version of dunlin-bench, and exits.\n",
          stdout);
}

static void print_counters(void)
{
#define X(name, text)              \
    printf(".TP\n.B %s\n", #name); \
    print_sentence(text);          \
    fputs(".\n", stdout);
    COUNTS(X)
#undef X
}

void options_print_man1(void)
{
    fputs(head, stdout);
    print_scenarios();
    print_options();
    fputs(tail, stdout);
    print_counters();
    fputs(status, stdout);
}
