/*
 * listener_resolve.c: the addresses that the name in a listener's section means.
 *
 * Asked once at the start, for all reactors; blocks as long as the resolver takes.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "runtime/listener.h"

/* Adds an address unless it is there. False: there is no room. */
static bool add_address(const struct addrinfo *from, struct listener_address *out, uint32_t max,
                        uint32_t *count)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (out[i].bytes == from->ai_addrlen &&
            memcmp(&out[i].name, from->ai_addr, from->ai_addrlen) == 0)
            return true;
    }
    if (*count == max || from->ai_addrlen > sizeof out->name)
        return false;
    memcpy(&out[*count].name, from->ai_addr, from->ai_addrlen);
    out[(*count)++].bytes = from->ai_addrlen;
    return true;
}

static enum err add_addresses(const struct addrinfo *list, struct listener_address *out,
                              uint32_t max, uint32_t *count)
{
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < ARRAY_COUNT(families); i++) {
        for (const struct addrinfo *at = list; at; at = at->ai_next) {
            if (at->ai_family == families[i] && !add_address(at, out, max, count))
                return ERR_LIMIT;
        }
    }
    return ERR_OK;
}

enum err listener_resolve(const struct config_listener *config, struct listener_address *out,
                          uint32_t max, uint32_t *count, char **error)
{
    *count = 0;
    *error = NULL;
    if (!config->address || strchr(config->address, '/'))
        return ERR_OK;
    struct addrinfo hints = {
        .ai_family = config->socket_domain, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list;
    int failed = getaddrinfo(config->address, NULL, &hints, &list);
    if (failed) {
        if (asprintf(error,
                     "cannot listen on port %u: the address %s is not known: %s (look at the "
                     "listener directive and socket_domain)",
                     config->port, config->address, gai_strerror(failed)) < 0)
            *error = NULL;
        return ERR_INVALID;
    }
    enum err err = add_addresses(list, out, max, count);
    freeaddrinfo(list);
    return err;
}
