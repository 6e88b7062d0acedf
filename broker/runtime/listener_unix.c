/*
 * listener_unix.c: see listener_unix.h.
 */
#include "runtime/listener_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UMASK_OF_SOCKETS 0007

/* Removes what a broker that is gone has left at the path; false with errno when that may not be.
 */
static bool remove_stale(const struct sockaddr_un *name)
{
    struct stat st;
    if (lstat(name->sun_path, &st) < 0)
        return errno == ENOENT;
    if (!S_ISSOCK(st.st_mode)) {
        errno = ENOTSOCK;
        return false;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return false;
    bool is_alive =
        connect(probe, (const struct sockaddr *)name, sizeof *name) == 0 || errno != ECONNREFUSED;
    close(probe);
    if (!is_alive)
        return unlink(name->sun_path) == 0;
    errno = EADDRINUSE;
    return false;
}

static int failed(const char **step, const char *what, int fd)
{
    int error = errno;
    *step = what;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

/* The file is made with its final mode: a chmod() could follow what somebody has put in its place. */
static bool bind_for_group(int fd, const struct sockaddr_un *name)
{
    mode_t before = umask(UMASK_OF_SOCKETS);
    bool is_bound = bind(fd, (const struct sockaddr *)name, sizeof *name) == 0;
    umask(before);
    return is_bound;
}

int listener_unix_open(const struct config_listener *config, struct listener_file *file,
                       const char **step)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;
    size_t bytes = strlen(config->address);
    if (bytes >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return failed(step, "path", -1);
    }
    memcpy(name.sun_path, config->address, bytes + 1);
    if (!remove_stale(&name))
        return failed(step, "path", -1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(step, "socket", fd);
    if (!bind_for_group(fd, &name))
        return failed(step, "bind", fd);
    if (lstat(name.sun_path, &st) < 0)
        return failed(step, "stat", fd);
    *file = (struct listener_file){.device = st.st_dev, .inode = st.st_ino};
    int backlog = config->backlog > 0 ? config->backlog : SOMAXCONN;
    return listen(fd, backlog) < 0 ? failed(step, "listen", fd) : fd;
}

static bool is_ours(const struct stat *st, const struct listener_file *file)
{
    return S_ISSOCK(st->st_mode) && st->st_dev == file->device && st->st_ino == file->inode;
}

int listener_unix_give(const char *path, const struct listener_file *file, uid_t user, gid_t group)
{
    struct stat st;
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = 0;
    if (fstat(fd, &st) < 0)
        error = errno;
    else if (!is_ours(&st, file))
        error = ENOENT;
    else if (fchownat(fd, "", user, group, AT_EMPTY_PATH) < 0)
        error = errno;
    close(fd);
    return error;
}

void listener_unix_remove(const char *path, const struct listener_file *file)
{
    struct stat st;
    if (lstat(path, &st) == 0 && is_ours(&st, file))
        unlink(path);
}
