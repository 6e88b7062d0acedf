/*
 * config_print.c: the table for people: --help, dunlin.conf(5), Markdown. All to stdout.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "runtime/config_table.h"

void config_print_version(void)
{
    puts("dunlin " DUNLIN_VERSION);
}

/* ---- what rows say ---- */

/* The default in words. */
static const char *default_of(const struct config_directive *row)
{
    if (row->default_text)
        return row->default_text;
    if (row->offset == offsetof(struct config_listener, allow_anonymous) &&
        row->scope == CONFIG_SECURITY)
        return "true on the default loopback listener, else false";
    if (row->type == CONFIG_FACILITY)
        return "daemon";
    return "unset";
}

/* True when the default is a value and not a description of one. */
static bool has_default_value(const struct config_directive *row)
{
    return row->default_text != NULL;
}

static const char *scope_of(const struct config_directive *row)
{
    switch (row->scope) {
    case CONFIG_LISTENER:
        return "listener";
    case CONFIG_SECURITY:
        return "all listeners, or one (per_listener_settings)";
    case CONFIG_DEFAULT_LISTENER:
        return "default listener";
    default:
        return row->type == CONFIG_SECTION ? "opens a listener" : "global";
    }
}

/* Bounds in words, empty when there are none worth saying. */
static void bounds_of(const struct config_directive *row, char *text, size_t bytes)
{
    text[0] = 0;
    if (row->type == CONFIG_NUMBER || row->type == CONFIG_FACILITY)
        snprintf(text, bytes, "%" PRIu64 " to %" PRIu64, row->min, row->max);
    else if (row->type == CONFIG_LIMIT)
        snprintf(text, bytes, "%" PRIu64 " to %" PRIu64 ", or %s0 or unlimited", row->min, row->max,
                 row->takes_minus_one ? "-1, " : "");
    else if (row->type == CONFIG_DURATION)
        snprintf(text, bytes, "0 or unlimited: never");
    else if (row->type == CONFIG_TEXT || row->type == CONFIG_TOPIC || row->type == CONFIG_PATH)
        snprintf(text, bytes, "at most %" PRIu64 " bytes", row->max);
}

/* ---- --help ---- */

static const char help_head[] =
    "dunlin " DUNLIN_VERSION ", an MQTT broker (3.1, 3.1.1 and 5.0)\n"
    "\n"
    "Usage: dunlin [-c FILE] [-p PORT] [-d] [-v] [-q]\n"
    "       dunlin [-c FILE] --check-host N [--write-sysctl]\n"
    "\n"
    "  -c, --config-file FILE  read this configuration file\n"
    "  -p, --port PORT         the port of the default listener, instead of 1883\n"
    "  -d, --daemon            go to the background once the listeners are open\n"
    "  -v, --verbose           log everything, whatever the file says\n"
    "  -q, --quiet             log nothing, whatever else is said\n"
    "      --test-config       check the configuration and exit: 0 when it is good\n"
    "      --check-host N      say what this machine needs for N sessions: 0 when they fit, 1 "
    "when\n"
    "                          not, 2 when the question is wrong\n"
    "      --write-sysctl      with it: print a file for /etc/sysctl.d and a systemd drop-in "
    "instead\n"
    "      --version           print the version and exit\n"
    "  -h, --help              print this and exit\n"
    "\n"
    "Without -c it listens on 127.0.0.1:1883 and lets anyone on this machine in.\n"
    "\n"
    "Lines of the file are \"directive value\" (see dunlin.conf(5)); the defaults:\n"
    "\n";

void config_print_help(void)
{
    fputs(help_head, stdout);
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (has_default_value(row))
            printf("  %-30s %s\n", row->name, row->default_text);
        else
            printf("  %-30s (%s)\n", row->name, row->bytes ? default_of(row) : row->argument);
    }
}

/* ---- dunlin.conf(5) ---- */

/* Text as roff: backslashes and hyphens literal, no line taken for a request. */
static void print_roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void print_man5_row(const struct config_directive *row)
{
    char bounds[128];
    bounds_of(row, bounds, sizeof(bounds));
    printf(".TP\n.BI \"%s \" \"", row->name);
    print_roff(row->argument);
    fputs("\"\n", stdout);
    print_roff(row->help);
    fputs("\n", stdout);
    if (row->older_name)
        printf("Older name: %s.\n", row->older_name);
    if (*bounds) {
        printf("%c%s", bounds[0] == 'a' ? 'A' : bounds[0], bounds + 1);
        fputs(".\n", stdout);
    }
    if (row->type != CONFIG_SECTION && row->type != CONFIG_INCLUDE) {
        fputs("Default: ", stdout);
        print_roff(default_of(row));
        fputs(".\n", stdout);
    }
    fputs(row->is_reloadable ? "Reloaded on SIGHUP.\n" : "Read at start only.\n", stdout);
}

static const char man5_head[] =
    ".TH DUNLIN.CONF 5 \"\" \"dunlin " DUNLIN_VERSION "\" \"File Formats\"\n"
    ".SH NAME\n"
    "dunlin.conf \\- configuration of the dunlin MQTT broker\n"
    ".SH DESCRIPTION\n"
    "Each line is the name of a directive, blanks, and its value up to the end of the line.\n"
    "Values are not quoted; blanks around them do not count. A line that begins with # is a\n"
    "comment, and a comment has a line of its own. Lines may end as on Windows.\n"
    ".PP\n"
    "Names, units and meaning are those of\n"
    ".BR mosquitto.conf (5)\n"
    "wherever both brokers can do a thing, so that a file that is in use is a start. What Dunlin\n"
    "cannot do is an error that says so. A directive that takes one value can be given once.\n"
    ".PP\n"
    "In every limit 0 and the word\n"
    ".I unlimited\n"
    "mean that there is none. Sizes are bytes.\n"
    ".PP\n"
    "A\n"
    ".B listener\n"
    "line opens the section of that listener, and the listener directives below it are about it.\n"
    "Without any, the broker listens on 127.0.0.1 port 1883 and takes anonymous clients.\n"
    ".PP\n"
    "All errors of a file, up to 20, are reported at once with file and line;\n"
    ".B dunlin \\-\\-test\\-config \\-c\n"
    ".I FILE\n"
    "does nothing else. On SIGHUP the file is read again: what can change does, the rest is named\n"
    "in the log. A file with errors changes nothing.\n";

static const char man5_tail[] = ".SH EXAMPLES\n"
                                "One listener for the local network that asks no one for a name:\n"
                                ".PP\n"
                                ".nf\n"
                                ".RS\n"
                                "listener 1883\n"
                                "allow_anonymous true\n"
                                ".RE\n"
                                ".fi\n"
                                ".PP\n"
                                "Sensors on the network, dashboards on the machine itself:\n"
                                ".PP\n"
                                ".nf\n"
                                ".RS\n"
                                "max_queued_messages 100\n"
                                "queue_policy drop_oldest\n"
                                "memory_limit 2000000000\n"
                                "\n"
                                "listener 1883 192.168.1.10\n"
                                "listener_allow_anonymous true\n"
                                "max_connections 100000\n"
                                "\n"
                                "listener 0 /run/dunlin/dashboards.sock\n"
                                "listener_allow_anonymous true\n"
                                ".RE\n"
                                ".fi\n"
                                ".SH SEE ALSO\n"
                                ".BR dunlin (8),\n"
                                ".BR mosquitto.conf (5)\n";

static void print_man5_foreigns(void)
{
    fputs(
        "A line with one of these is an error, unless its value, in parentheses, asks for nothing\n"
        "that is missing:\n",
        stdout);
    for (uint32_t i = 0; i < config_foreign_count; i++) {
        const struct config_foreign *foreign = &config_foreigns[i];
        const char *taken = config_harmless_value(foreign);
        printf("%s%s%s%s%s%s\n", foreign->name, foreign->is_prefix ? "*" : "", taken ? " (" : "",
               taken ? taken : "", taken ? ")" : "", i + 1 < config_foreign_count ? "," : ".");
    }
}

void config_print_man5(void)
{
    static const struct {
        const char *title, *first;
    } groups[] = {
        {"LISTENERS", "listener"},
        {"CLIENTS", "per_listener_settings"},
        {"CONNECTIONS", "connect_timeout"},
        {"QUEUES", "max_inflight_messages"},
        {"RETAINED MESSAGES", "retain_available"},
        {"THE BROKER", "reactors"},
        {"THE LOG", "log_dest"},
    };
    uint32_t group = 0;
    fputs(man5_head, stdout);
    for (uint32_t i = 0; i < config_directive_count; i++) {
        const struct config_directive *row = &config_directives[i];
        if (group < ARRAY_COUNT(groups) && strcmp(row->name, groups[group].first) == 0)
            printf(".SH %s\n", groups[group++].title);
        print_man5_row(row);
    }
    fputs(".SH WHAT MOSQUITTO HAS AND DUNLIN DOES NOT\n", stdout);
    print_man5_foreigns();
    fputs(man5_tail, stdout);
}

/* ---- Markdown ---- */

/* Text in a cell of a table: a bar would end the cell. */
static void print_cell(const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            putchar('\\');
        putchar(*text);
    }
    fputs(" |", stdout);
}

static void print_code_cell(const char *text)
{
    fputs(" `", stdout);
    for (; *text; text++) {
        if (*text == '|')
            putchar('\\');
        putchar(*text);
    }
    fputs("` |", stdout);
}

static void print_markdown_row(const struct config_directive *row)
{
    char bounds[128];
    bounds_of(row, bounds, sizeof(bounds));
    fputs("|", stdout);
    print_code_cell(row->name);
    print_code_cell(row->argument);
    if (has_default_value(row))
        print_code_cell(row->default_text);
    else
        printf(" %s |", row->bytes ? default_of(row) : "");
    printf(" %s | %s | %s | ", bounds, scope_of(row), row->is_reloadable ? "yes" : "no");
    if (row->older_name)
        printf("(Older name: `%s`.) ", row->older_name);
    print_cell(row->help);
    fputs("\n", stdout);
}

void config_print_markdown(void)
{
    fputs("# Directives\n"
          "\n"
          "Made by `dunlin --print-directives` from the table in `broker/runtime/config_table.c`: "
          "change it there.\n"
          "\n"
          "A line of the configuration file is `directive value`; `#` begins a comment line. In "
          "limits `0` and `unlimited`\n"
          "mean that there is none. \"Reload\" says whether SIGHUP applies a change.\n"
          "\n"
          "| Directive | Value | Default | Bounds | About | Reload | What it does |\n"
          "| --- | --- | --- | --- | --- | --- | --- |\n",
          stdout);
    for (uint32_t i = 0; i < config_directive_count; i++)
        print_markdown_row(&config_directives[i]);
    fputs("\n"
          "## What mosquitto has and Dunlin does not\n"
          "\n"
          "A file with one of these is refused with a line that says so, unless its value asks for "
          "nothing that is missing:\n"
          "those that are taken, and do nothing, are in the second column.\n"
          "\n"
          "| Directive | Taken | Why not |\n"
          "| --- | --- | --- |\n",
          stdout);
    for (uint32_t i = 0; i < config_foreign_count; i++) {
        const struct config_foreign *foreign = &config_foreigns[i];
        const char *taken = config_harmless_value(foreign);
        printf("| `%s%s` | %s%s| %s |\n", foreign->name, foreign->is_prefix ? "*" : "",
               taken ? taken : "", taken ? " " : "", foreign->what);
    }
}
