/*
 * host_print.c: the table of checks for people: the report of --check-host, and what --write-sysctl
 * writes. Two lines for each check:
 *
 *   NO    fs.nr_open                               1048576   needed: >= 2000040
 *         sysctl -w fs.nr_open=2000040   # the ceiling of every limit of open files
 */
#include "runtime/host.h"

#include <string.h>

#include "base/assert.h"

#define MB 1000000u
#define PORT_RANGE "10240 65535"
#define UNIT_DESCRIPTORS 1048576u /* of docs/dunlin.service */

static const char *const words[] = {
    [HOST_FITS] = "ok",        [HOST_SHORT] = "NO",    [HOST_HURTS] = "hint",
    [HOST_FOR_TESTS] = "test", [HOST_NOT_KNOWN] = "?", [HOST_ABSENT] = "",
};

static unsigned long long number(uint64_t value)
{
    return value;
}

/* ---- values as text ---- */

const char *host_value_text(const struct host_check *check, uint64_t value,
                            char text[HOST_TEXT_BYTES])
{
    static const char *const units[] = {
        [HOST_NUMBER] = "",
        [HOST_BYTES] = " bytes",
        [HOST_PAGES] = " pages",
        [HOST_SECONDS] = " s",
    };
    if (value >= INT64_MAX)
        snprintf(text, HOST_TEXT_BYTES, "unlimited");
    else if (check->unit == HOST_YES)
        snprintf(text, HOST_TEXT_BYTES, value ? "yes" : "no");
    else if (check->unit == HOST_MEMORY)
        snprintf(text, HOST_TEXT_BYTES, "%llu MB", number(value / MB + (value % MB > 0)));
    else
        snprintf(text, HOST_TEXT_BYTES, "%llu%s", number(value), units[check->unit]);
    return text;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The first two of three sizes as they are, but not above the third. */
static void print_sizes(const struct host_check *check, const struct host *host, uint64_t value,
                        char text[HOST_TEXT_BYTES])
{
    uint64_t min = host->values[check->value - 2], standard = host->values[check->value - 1];
    snprintf(text, HOST_TEXT_BYTES, "%llu %llu %llu", number(least(min, value)),
             number(least(standard, value)), number(value));
}

const char *host_setting_text(const struct host_check *check, const struct host *host,
                              uint64_t value, char text[HOST_TEXT_BYTES])
{
    uint64_t found = host->is_known[check->value] ? host->values[check->value] : 0;
    if (check->set == HOST_SET_SIZES || (check->set == HOST_SET_TCP_MEM && value == found))
        print_sizes(check, host, value, text);
    else if (check->set == HOST_SET_TCP_MEM)
        snprintf(text, HOST_TEXT_BYTES, "%llu %llu %llu", number(value / 2), number(value / 3 * 2),
                 number(value));
    else if (check->set == HOST_SET_PORTS && value == found)
        snprintf(text, HOST_TEXT_BYTES, "%llu %llu", number(host->values[HOST_PORT_FIRST]),
                 number(host->values[HOST_PORT_LAST]));
    else if (check->set == HOST_SET_PORTS)
        snprintf(text, HOST_TEXT_BYTES, PORT_RANGE);
    else if (check->set == HOST_SET_UNIT && value >= INT64_MAX)
        snprintf(text, HOST_TEXT_BYTES, "infinity");
    else
        snprintf(text, HOST_TEXT_BYTES, "%llu", number(value));
    return text;
}

const char *host_key(const struct host_check *check, const struct host *host)
{
    bool is_of_listeners = check->value == HOST_MAX_CONNECTIONS && host->is_limited_by_listeners;
    return is_of_listeners ? "max_connections of the listeners, together" : check->key;
}

/* ---- the report ---- */

static void print_command(FILE *out, const struct host_check *check, const struct host *host,
                          uint64_t value)
{
    char text[HOST_TEXT_BYTES];
    host_setting_text(check, host, value, text);
    if (check->set == HOST_SET_WORDS)
        fputs(check->key, out);
    else if (check->set == HOST_SET_UNIT)
        fprintf(out, "%s=%s in the unit", check->key, text);
    else if (check->set == HOST_SET_DIRECTIVE)
        fprintf(out, "%s %s in dunlin.conf", host_key(check, host), text);
    else
        fprintf(out, strchr(text, ' ') ? "sysctl -w %s=\"%s\"" : "sysctl -w %s=%s", check->key,
                text);
}

static void print_check(FILE *out, const struct host_check *check, const struct host *host,
                        const struct host_result *result)
{
    char found[HOST_TEXT_BYTES], needed[HOST_TEXT_BYTES];
    host_value_text(check, result->found, found);
    host_value_text(check, result->needed, needed);
    fprintf(out, "  %-4s  %-36s  %-16s  needed: %s %s\n        ", words[result->verdict],
            check->name, result->verdict == HOST_NOT_KNOWN ? "not known" : found,
            check->is_ceiling ? "<=" : ">=", needed);
    print_command(out, check, host, result->to_set);
    fprintf(out, "   # %s\n", check->why);
}

/* How many checks ended how. */
struct tally {
    uint32_t counts[HOST_ABSENT + 1];
};

static void print_checks(FILE *out, const struct host *host, uint64_t sessions, struct tally *tally)
{
    const char *group = NULL;
    for (uint32_t i = 0; i < host_check_count; i++) {
        const struct host_check *check = &host_checks[i];
        struct host_result result = host_judge(check, host, sessions);
        group = check->group ? check->group : group;
        tally->counts[result.verdict]++;
        if (result.verdict == HOST_ABSENT)
            continue;
        if (group)
            fprintf(out, "\n%s\n", group);
        group = NULL;
        print_check(out, check, host, &result);
    }
}

static void print_end(FILE *out, const struct host *host, uint64_t sessions,
                      const struct tally *tally)
{
    const struct host_check *wall;
    char text[HOST_TEXT_BYTES];
    uint64_t capacity = host_capacity(host, &wall);
    bool fits = tally->counts[HOST_SHORT] == 0;
    fprintf(out, "\n%llu sessions %s.", number(sessions), fits ? "fit" : "do not fit");
    if (wall)
        fprintf(out, " There is room for %llu; then the first wall is %s (%s).", number(capacity),
                wall->name, host_value_text(wall, host->values[wall->value], text));
    fprintf(out, "\nWalls in the way: %u. Hints: %u. For load tests: %u. Not known: %u.\n",
            tally->counts[HOST_SHORT], tally->counts[HOST_HURTS], tally->counts[HOST_FOR_TESTS],
            tally->counts[HOST_NOT_KNOWN]);
}

bool host_print(FILE *out, const struct host *host, uint64_t sessions)
{
    struct tally tally = {{0}};
    fprintf(out,
            "What has to be true of this machine for %llu sessions (reactors: %u, listeners: %u)\n"
            "(ok; NO: they do not fit; hint: they do, and something hurts; test: for load "
            "generators here):\n",
            number(sessions), host->reactors, host->listeners);
    print_checks(out, host, sessions, &tally);
    print_end(out, host, sessions, &tally);
    return tally.counts[HOST_SHORT] == 0;
}

/* ---- sysctl.d ---- */

static const char sysctl_head[] =
    "# What %llu sessions of dunlin need of this machine; what suffices is as it was found.\n"
    "# Made by dunlin --check-host %llu --write-sysctl. As root:\n"
    "#   dunlin --check-host %llu --write-sysctl >/etc/sysctl.d/90-dunlin.conf\n"
    "#   sysctl --system\n"
    "# The lines that begin with \"#: \" are a drop-in for the service:\n"
    "#   mkdir -p /etc/systemd/system/dunlin.service.d\n"
    "#   sed -n 's/^#: //p' /etc/sysctl.d/90-dunlin.conf "
    ">/etc/systemd/system/dunlin.service.d/90-sessions.conf\n"
    "#   systemctl daemon-reload && systemctl restart dunlin\n";

/* A file for nft -f, as comments; nothing without a port. */
static void print_notrack_rules(FILE *out, const struct host *host)
{
    static const char *const chains[][3] = {{"in", "prerouting", "dport"},
                                            {"out", "output", "sport"}};
    if (host->port_count == 0)
        return;
    fputs("# Instead of a larger table: a file for nft -f that leaves MQTT out of connection "
          "tracking.\n"
          "# table inet dunlin {\n",
          out);
    for (uint32_t i = 0; i < ARRAY_COUNT(chains); i++) {
        fprintf(out, "#   chain %s { type filter hook %s priority raw; tcp %s { ", chains[i][0],
                chains[i][1], chains[i][2]);
        for (uint32_t j = 0; j < host->port_count; j++)
            fprintf(out, "%s%u", j ? ", " : "", host->ports[j]);
        fputs(" } notrack; }\n", out);
    }
    fputs("# }\n", out);
}

static bool is_sysctl(const struct host_check *check)
{
    return check->set == HOST_SET_SYSCTL || check->set == HOST_SET_TCP_MEM ||
           check->set == HOST_SET_SIZES || check->set == HOST_SET_PORTS;
}

/* What is for load tests only, or takes room away from other programs, is left to be uncommented. A
   key that may not be there is no error: "-". */
static void print_sysctl_row(FILE *out, const struct host_check *check, const struct host *host,
                             const struct host_result *result)
{
    char text[HOST_TEXT_BYTES];
    bool is_optional = check->is_optional || result->verdict == HOST_NOT_KNOWN;
    bool is_aside = check->class == HOST_TEST || check->set == HOST_SET_SIZES;
    if (result->verdict == HOST_ABSENT)
        return;
    if (check->set == HOST_SET_SIZES && result->verdict == HOST_NOT_KNOWN)
        return;
    if (check->value == HOST_CONNTRACK_MAX)
        print_notrack_rules(out, host);
    fprintf(out, "# %s\n%s%s%s = %s\n", check->why, is_aside ? "#" : "", is_optional ? "-" : "",
            check->key, host_setting_text(check, host, result->to_set, text));
}

/* The limits found are this process's, not the service's. That of open files is never set below that of
   the unit; those of the cgroup are named only when they are in the way here, and left to be
   uncommented, because a service may have none. */
static void print_unit_row(FILE *out, const struct host_check *check, const struct host *host,
                           const struct host_result *result)
{
    char text[HOST_TEXT_BYTES];
    uint64_t value = result->needed;
    if (check->value == HOST_NOFILE_HARD)
        value = value < UNIT_DESCRIPTORS ? UNIT_DESCRIPTORS : value;
    else if (result->verdict != HOST_SHORT)
        return;
    fprintf(out, check->value == HOST_NOFILE_HARD ? "#: %s=%s\n" : "#: #%s=%s\n", check->key,
            host_setting_text(check, host, value, text));
}

static void print_rows(FILE *out, const struct host *host, uint64_t sessions, bool is_unit)
{
    for (uint32_t i = 0; i < host_check_count; i++) {
        const struct host_check *check = &host_checks[i];
        struct host_result result = host_judge(check, host, sessions);
        if (is_unit && check->set == HOST_SET_UNIT)
            print_unit_row(out, check, host, &result);
        else if (!is_unit && is_sysctl(check))
            print_sysctl_row(out, check, host, &result);
    }
}

void host_print_sysctl(FILE *out, const struct host *host, uint64_t sessions)
{
    fprintf(out, sysctl_head, number(sessions), number(sessions), number(sessions));
    fputs("\n", out);
    print_rows(out, host, sessions, false);
    fputs("\n#: [Service]\n", out);
    print_rows(out, host, sessions, true);
}
