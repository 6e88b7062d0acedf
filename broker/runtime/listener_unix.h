/*
 * listener_unix.h: the file of a Unix socket: how it comes to its path, whose it is, how it goes.
 *
 * Who may connect is who may write to the file: its owner and its group (mode 0770, as mosquitto
 * has it), whatever the umask is. Started as root, the broker gives it to the user that it becomes.
 *
 * Only the file that was made here is given away or removed: it is known by device and inode, which
 * no other file can have while the socket is open.
 */
#ifndef RUNTIME_LISTENER_UNIX_H
#define RUNTIME_LISTENER_UNIX_H

#include "runtime/config.h"
#include "runtime/listener.h"

/* A socket that listens at the path config->address, in place of one that a broker has left there.
   -1: *step failed, with errno. Sets the umask for a moment: while there is one thread. */
int listener_unix_open(const struct config_listener *config, struct listener_file *file,
                       const char **step);
/* Changes owner and group of the file. Returns 0 or errno, ENOENT when another one is there. */
int listener_unix_give(const char *path, const struct listener_file *file, uid_t user, gid_t group);
/* Removes the file, if it is still there and may be removed. Before the socket is closed. */
void listener_unix_remove(const char *path, const struct listener_file *file);

#endif
