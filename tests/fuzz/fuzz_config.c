/*
 * fuzz_config.c: any bytes as a configuration file: either a config, or errors, never both, and a
 * config that was accepted survives being compared, kept and freed.
 *
 * Included folders are left out: what they hold is the machine's and not the input's.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "runtime/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_not_change(void *ctx, const char *directive, bool is_reloadable,
                            const char *old_value, const char *new_value)
{
    (void)ctx, (void)directive, (void)is_reloadable, (void)old_value, (void)new_value;
    BUG_ON(true);
}

static void ignore_change(void *ctx, const char *directive, bool is_reloadable,
                          const char *old_value, const char *new_value)
{
    (void)ctx, (void)is_reloadable;
    BUG_ON(strlen(directive) == 0 || strcmp(old_value, new_value) == 0);
}

static void must_be_reloadable(void *ctx, const char *directive, bool is_reloadable,
                               const char *old_value, const char *new_value)
{
    (void)ctx, (void)directive, (void)old_value, (void)new_value;
    BUG_ON(!is_reloadable);
}

static void check_errors(const char *error)
{
    uint32_t lines = 1;
    BUG_ON(!error || !*error);
    for (; *error; error++) {
        lines += *error == '\n';
        BUG_ON((uint8_t)*error < 0x20 && *error != '\n');
    }
    BUG_ON(lines > 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *error = NULL;
    const char *text = (const char *)data;
    if (memmem(data, size, "include_dir", strlen("include_dir")))
        return 0;
    struct config *config = config_load_text(text, size, "fuzz.conf", &error);
    if (!config) {
        check_errors(error);
        free(error);
        return 0;
    }
    BUG_ON(error || config->listener_count == 0 || config->listener_count > CONFIG_LISTENERS_MAX);
    struct config *same = config_load_text(text, size, "fuzz.conf", &error);
    struct config *plain = config_load_text("listener 1884\n", 14, "plain.conf", &error);
    BUG_ON(!same || !plain);
    config_diff(config, same, must_not_change, NULL);
    config_diff(plain, config, ignore_change, NULL);
    config_keep_fixed(config, plain);
    config_diff(plain, config, must_be_reloadable, NULL);
    config_free(config);
    config_free(same);
    config_free(plain);
    return 0;
}
