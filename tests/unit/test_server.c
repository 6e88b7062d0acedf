/* test_server.c: server.h: what is made before the first thread is started. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "runtime/log.h"
#include "server.h"

static void a_server_chooses_the_seed_of_its_tables(void **state)
{
    (void)state;
    char folder[] = "/tmp/dunlin-test-XXXXXX", text[128], path[64], *error = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof text, "listener 0 %s/socket\nreactors 2\nlog_dest none\n", folder);
    struct config *config = config_load_text(text, strlen(text), "test", &error);
    assert_non_null(config);
    assert_int_equal(log_open(config), 0);
    hash_seed = 0;
    struct server *server = server_new(config, &error);
    assert_non_null(server);
    assert_true(hash_seed != 0);
    server_free(server);
    snprintf(path, sizeof path, "%s/socket", folder);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_chooses_the_seed_of_its_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
