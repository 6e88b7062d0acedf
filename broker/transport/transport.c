/* transport.c: the table of transport.h. */
#include "transport/transport.h"

#include "transport/websocket.h"

const struct transport_ops *const transport_table[TRANSPORT_KINDS] = {
    [TRANSPORT_WEBSOCKET] = &websocket_ops,
};
