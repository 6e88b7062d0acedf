/* err.h: what an operation of the program itself can fail with. Faults of a peer are `struct
 * fault`. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define MUST_USE __attribute__((warn_unused_result))

/* Operating errors. ERR_OK is 0, so `if (err)` reads well. "Not yet" is never one of these. */
enum err {
    ERR_OK = 0,
    ERR_NOMEM,     /* no memory, or memory_limit would be passed */
    ERR_IO,        /* the system refused; errno says why */
    ERR_LIMIT,     /* a limit of ours was hit */
    ERR_INVALID,   /* the input makes no sense */
    ERR_NOT_FOUND, /* nothing by that name */
    ERR_EXISTS,    /* already there */
    ERR_CLOSED,    /* the peer is gone */
};

/* A short English text, static. */
static inline const char *err_text(enum err err)
{
    static const char *const texts[] = {
        [ERR_OK] = "ok",
        [ERR_NOMEM] = "out of memory",
        [ERR_IO] = "input/output error",
        [ERR_LIMIT] = "limit reached",
        [ERR_INVALID] = "invalid",
        [ERR_NOT_FOUND] = "not found",
        [ERR_EXISTS] = "exists already",
        [ERR_CLOSED] = "closed",
    };
    return texts[err];
}

#endif
