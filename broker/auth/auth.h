/*
 * auth.h: who may connect, and what they may do: a chain of checkers, asked in order.
 *
 * A checker allows, denies, or leaves it to the next. When all leave it, a client is let in if it
 * is anonymous and the listener allows that. Enhanced authentication (section 4.12) is a table of
 * methods; each exchange has a state of its own that the connection keeps.
 *
 * Threads: called on any reactor; checkers are read-only after start or take care of themselves.
 * Checks do not block.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

enum auth_verdict {
    AUTH_NEXT, /* not mine to say */
    AUTH_ALLOW,
    AUTH_DENY,            /* NOT_AUTHORIZED */
    AUTH_BAD_CREDENTIALS, /* BAD_USER_NAME_OR_PASSWORD */
    AUTH_CONTINUE,        /* methods only: send the data and wait for the client's */
};

struct auth_client {
    struct slice client_id;
    bool has_user_name, has_password;
    struct slice user_name, password;
    uint8_t listener;
    bool is_anonymous_allowed;
    bool is_loopback;
};

enum auth_access { AUTH_READ, AUTH_WRITE, AUTH_SUBSCRIBE };

struct auth_checker {
    const char *name;
    void *ctx;
    /* At CONNECT. May be NULL. */
    enum auth_verdict (*connect)(void *ctx, const struct auth_client *client);
    /* For a topic or filter. May be NULL. On the path of every message: must be fast. */
    enum auth_verdict (*access)(void *ctx, struct slice client_id, struct slice user_name,
                                struct slice topic, enum auth_access access);
    void (*free)(void *ctx);
};

/* One exchange of an authentication method in progress. */
struct auth_exchange;

struct auth_method {
    const char *name; /* as in Authentication Method */
    void *ctx;
    /* Begins (CONNECT or re-authentication) or goes on with the client's data. *state is the
       exchange's own, NULL at first; end() frees it. *reply points to data for AUTH or CONNACK,
       valid until the next call. ALLOW, DENY, BAD_CREDENTIALS or CONTINUE. */
    enum auth_verdict (*step)(void *ctx, void **state, struct slice data, struct slice *reply,
                              struct slice *user_name);
    void (*end)(void *ctx, void *state);
};

#define AUTH_CHECKERS_MAX 8u
#define AUTH_METHODS_MAX 8u

struct auth {
    struct auth_checker checkers[AUTH_CHECKERS_MAX];
    uint32_t checker_count;
    bool has_access_checks; /* any checker has access(): otherwise publishes skip it */
    struct auth_method methods[AUTH_METHODS_MAX];
    uint32_t method_count;
    bool has_users; /* some checker knows users: admin_users then means verified ones */
};

struct auth *auth_new(void);
void auth_free(struct auth *auth);
/* Before the reactors start. ERR_LIMIT when the table is full. */
enum err auth_add_checker(struct auth *auth, const struct auth_checker *checker) MUST_USE;
enum err auth_add_method(struct auth *auth, const struct auth_method *method) MUST_USE;

/* ALLOW, DENY or BAD_CREDENTIALS. *is_verified: a checker knew the user's password. */
enum auth_verdict auth_connect(const struct auth *auth, const struct auth_client *client,
                               bool *is_verified);
bool auth_may(const struct auth *auth, struct slice client_id, struct slice user_name,
              struct slice topic, enum auth_access access);
/* NULL when there is no such method. */
const struct auth_method *auth_method_find(const struct auth *auth, struct slice name);

#endif
