/*
 * listener_options.h: what a listener's directives say about its sockets. All of it is set on the
 * listening socket, before it listens; accepted sockets inherit it, so that a connection costs no
 * further call to the system.
 */
#ifndef RUNTIME_LISTENER_OPTIONS_H
#define RUNTIME_LISTENER_OPTIONS_H

#include "runtime/config.h"

/* Sets what is not 0. NULL, or the directive that the kernel refused, with errno. */
const char *listener_set_options(int fd, const struct config_listener *config);
/* Logs which buffers the kernel made smaller than asked for, and the setting that allows more. */
void listener_check_buffers(int fd, const struct config_listener *config);

#endif
