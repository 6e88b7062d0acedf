/*
 * auth.c: see auth.h. Asks the chain; decides what is left over.
 */
#include "auth/auth.h"

#include "base/assert.h"
#include "base/mem.h"

struct auth *auth_new(void)
{
    return mem_must_zalloc(sizeof(struct auth));
}

void auth_free(struct auth *auth)
{
    for (uint32_t i = 0; i < auth->checker_count; i++) {
        if (auth->checkers[i].free)
            auth->checkers[i].free(auth->checkers[i].ctx);
    }
    mem_free(auth);
}

enum err auth_add_checker(struct auth *auth, const struct auth_checker *checker)
{
    if (auth->checker_count == AUTH_CHECKERS_MAX)
        return ERR_LIMIT;
    auth->checkers[auth->checker_count++] = *checker;
    auth->has_access_checks |= checker->access != NULL;
    return ERR_OK;
}

enum err auth_add_method(struct auth *auth, const struct auth_method *method)
{
    if (auth->method_count == AUTH_METHODS_MAX)
        return ERR_LIMIT;
    auth->methods[auth->method_count++] = *method;
    return ERR_OK;
}

enum auth_verdict auth_connect(const struct auth *auth, const struct auth_client *client,
                               bool *is_verified)
{
    *is_verified = false;
    for (uint32_t i = 0; i < auth->checker_count; i++) {
        const struct auth_checker *checker = &auth->checkers[i];
        enum auth_verdict verdict =
            checker->connect ? checker->connect(checker->ctx, client) : AUTH_NEXT;
        if (verdict == AUTH_NEXT)
            continue;
        *is_verified = verdict == AUTH_ALLOW && client->has_user_name;
        return verdict;
    }
    return client->is_anonymous_allowed ? AUTH_ALLOW : AUTH_DENY;
}

bool auth_may(const struct auth *auth, struct slice client_id, struct slice user_name,
              struct slice topic, enum auth_access access)
{
    for (uint32_t i = 0; i < auth->checker_count; i++) {
        const struct auth_checker *checker = &auth->checkers[i];
        enum auth_verdict verdict =
            checker->access ? checker->access(checker->ctx, client_id, user_name, topic, access)
                            : AUTH_NEXT;
        if (verdict != AUTH_NEXT)
            return verdict == AUTH_ALLOW;
    }
    return true;
}

const struct auth_method *auth_method_find(const struct auth *auth, struct slice name)
{
    for (uint32_t i = 0; i < auth->method_count; i++) {
        if (slice_eq(name, slice_str(auth->methods[i].name)))
            return &auth->methods[i];
    }
    return NULL;
}
