/*
 * descriptor_table.c: see descriptor_table.h.
 *
 * unshare() makes namespaces as well, so containers forbid it (the seccomp profile that Docker has by
 * default, without CAP_SYS_ADMIN). close_range() is allowed there, and copies the table too when asked
 * to; the range that it closes is one in which nothing can be open.
 */
#include "runtime/descriptor_table.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <unistd.h>

int descriptor_table_leave(void)
{
    if (unshare(CLONE_FILES) == 0)
        return 0;
    int error = errno; /* it says more than ENOSYS of an old kernel */
    return close_range(UINT_MAX, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0 ? 0 : error;
}

static void *probe(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)descriptor_table_leave();
}

int descriptor_table_probe(void)
{
    pthread_t thread;
    void *result;
    int error = pthread_create(&thread, NULL, probe, NULL);
    if (error)
        return error;
    pthread_join(thread, &result);
    return (int)(intptr_t)result;
}
