/*
 * config_args.c: the command line, with mosquitto's flags.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "runtime/config_parse.h"

enum flag_effect { FLAG_SETS, FLAG_PRINTS, FLAG_FILE, FLAG_PORT, FLAG_SESSIONS };

struct flag {
    const char *name, *longer;
    enum flag_effect effect;
    size_t offset;           /* of the bool that FLAG_SETS */
    enum config_print print; /* of FLAG_PRINTS */
};

#define SETS(field) FLAG_SETS, offsetof(struct config_args, field), CONFIG_PRINT_NONE
#define PRINTS(what) FLAG_PRINTS, 0, what

static const struct flag flags[] = {
    {"-c", "--config-file", FLAG_FILE, 0, CONFIG_PRINT_NONE},
    {"-p", "--port", FLAG_PORT, 0, CONFIG_PRINT_NONE},
    {"-d", "--daemon", SETS(daemon)},
    {"-v", "--verbose", SETS(verbose)},
    {"-q", "--quiet", SETS(quiet)},
    {"-h", "--help", SETS(help)},
    {"--version", NULL, SETS(version)},
    {"--test-config", NULL, SETS(test_config)},
    {"--check-host", NULL, FLAG_SESSIONS, 0, CONFIG_PRINT_NONE},
    {"--write-sysctl", NULL, SETS(write_sysctl)},
    {"--print-man8", NULL, PRINTS(CONFIG_PRINT_MAN8)},
    {"--print-man5", NULL, PRINTS(CONFIG_PRINT_MAN5)},
    {"--print-directives", NULL, PRINTS(CONFIG_PRINT_MARKDOWN)},
};

static const struct flag *find_flag(const char *text)
{
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
        if (strcmp(text, flags[i].name) == 0 ||
            (flags[i].longer && strcmp(text, flags[i].longer) == 0))
            return &flags[i];
    return NULL;
}

static enum err refuse(char **error, const char *format, const char *text)
{
    char shown[128];
    config_printable(slice_str(text), shown, sizeof(shown));
    BUG_ON(asprintf(error, format, shown) < 0);
    return ERR_INVALID;
}

static enum err set_port(struct config_args *args, const char *value, char **error)
{
    char *end;
    if (args->port)
        return refuse(error,
                      "-p %s: there is a -p already; further ports are 'listener' lines of "
                      "the configuration file",
                      value);
    unsigned long port = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || port < 1 || port > UINT16_MAX)
        return refuse(error, "-p %s: a port is a number from 1 to 65535", value);
    args->port = (uint32_t)port;
    return ERR_OK;
}

static enum err set_sessions(struct config_args *args, const char *value, char **error)
{
    char *end;
    unsigned long long sessions = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || sessions < 1 ||
        sessions > CONFIG_CHECK_SESSIONS_MAX)
        return refuse(error, "--check-host %s: sessions are a number from 1 to 1000000000", value);
    args->check_sessions = sessions;
    return ERR_OK;
}

static enum err set_value(struct config_args *args, const struct flag *flag, const char *value,
                          char **error)
{
    if (!value)
        return refuse(error, "%s needs a value; see dunlin --help", flag->name);
    if (flag->effect == FLAG_PORT)
        return set_port(args, value, error);
    if (flag->effect == FLAG_SESSIONS)
        return set_sessions(args, value, error);
    if (args->config_file)
        return refuse(
            error, "-c %s: there is a -c already; further files are read by 'include_dir'", value);
    if (!*value)
        return refuse(error, "%s needs the path of a file", flag->name);
    args->config_file = value;
    return ERR_OK;
}

enum err config_args_parse(int argc, char **argv, struct config_args *args, char **error)
{
    *args = (struct config_args){0};
    *error = NULL;
    for (int i = 1; i < argc; i++) {
        const struct flag *flag = find_flag(argv[i]);
        enum err err = ERR_OK;
        if (!flag)
            return refuse(error, "unknown option '%s'; see dunlin --help", argv[i]);
        if (flag->effect == FLAG_SETS)
            *(bool *)((char *)args + flag->offset) = true;
        else if (flag->effect == FLAG_PRINTS)
            args->print = flag->print;
        else
            err = set_value(args, flag, i + 1 < argc ? argv[++i] : NULL, error);
        if (err)
            return err;
    }
    if (args->write_sysctl && !args->check_sessions)
        return refuse(error, "%s goes with --check-host and a number of sessions",
                      "--write-sysctl");
    return ERR_OK;
}
