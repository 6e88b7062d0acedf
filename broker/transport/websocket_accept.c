/*
 * websocket_accept.c: the answer to a client's key (RFC 6455 section 4.2.2), with Mbed TLS, whose
 * functions used here are the same in 2.28 and 3.6.
 */
#include <mbedtls/base64.h>
#include <mbedtls/md.h>
#include <string.h>

#include "mqtt/websocket.h"
#include "transport/websocket.h"

#define SHA1_BYTES 20u

bool websocket_accept_key(struct slice key, char accept[WEBSOCKET_ACCEPT_BYTES])
{
    uint8_t text[WEBSOCKET_KEY_BYTES + sizeof(WEBSOCKET_GUID)];
    uint8_t hash[SHA1_BYTES];
    size_t written;
    const mbedtls_md_info_t *sha1 = mbedtls_md_info_from_type(MBEDTLS_MD_SHA1);
    if (!sha1 || key.len != WEBSOCKET_KEY_BYTES)
        return false;
    memcpy(text, key.ptr, key.len);
    memcpy(text + key.len, WEBSOCKET_GUID, sizeof(WEBSOCKET_GUID) - 1);
    return mbedtls_md(sha1, text, key.len + sizeof(WEBSOCKET_GUID) - 1, hash) == 0 &&
           mbedtls_base64_encode((uint8_t *)accept, WEBSOCKET_ACCEPT_BYTES, &written, hash,
                                 sizeof(hash)) == 0;
}
