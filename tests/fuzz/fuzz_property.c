/*
 * fuzz_property.c: any bytes as a property block of any packet.
 *
 * Input: [packet type][block]. A block that was accepted is walked to its last byte, and written
 * again property by property it is the same; what is forwarded of it would be accepted as well. A
 * block that was refused may still be walked without leaving it.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/packet.h"
#include "protocol/property_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes each property again, at the place where it was read. */
static void check_written_again(struct slice bytes)
{
    struct slice rest = bytes;
    struct property property, found;
    uint8_t *copy = malloc(bytes.len + 1), *end = copy;
    BUG_ON(copy == NULL);
    while (property_next(&rest, &property)) {
        BUG_ON(property_bytes(&property) != (size_t)(rest.ptr - bytes.ptr) - (size_t)(end - copy));
        end = property_write(end, &property);
        BUG_ON(!property_find(bytes, property.id, &found));
    }
    BUG_ON(rest.len != 0 || (size_t)(end - copy) != bytes.len);
    BUG_ON(bytes.len && memcmp(copy, bytes.ptr, bytes.len) != 0);
    free(copy);
}

static void check_forwarded(struct slice bytes, uint8_t block, bool is_legal)
{
    uint32_t len = property_forwarded_bytes(bytes);
    uint8_t *copy = malloc(len + 1);
    struct property property;
    BUG_ON(copy == NULL || len > bytes.len);
    BUG_ON(property_copy_forwarded(bytes, copy) != copy + len);
    struct slice forwarded = slice_of(copy, len);
    BUG_ON(property_forwarded_bytes(forwarded) != len);
    BUG_ON(property_find(forwarded, PROPERTY_TOPIC_ALIAS, &property));
    BUG_ON(property_find(forwarded, PROPERTY_MESSAGE_EXPIRY, &property));
    BUG_ON(property_find(forwarded, PROPERTY_WILL_DELAY, &property));
    if (is_legal)
        BUG_ON(property_check(forwarded, block) != NULL);
    /* a will's properties become those of a PUBLISH */
    if (is_legal && block == PROPERTY_BLOCK_WILL)
        BUG_ON(property_check(forwarded, PACKET_PUBLISH) != NULL);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct property property;
    if (size == 0)
        return 0;
    uint8_t block = data[0] & 15;
    struct slice bytes = slice_of(data + 1, size - 1), rest = bytes;
    const struct fault *fault = property_check(bytes, block);
    BUG_ON(fault && fault->reason != REASON_MALFORMED_PACKET &&
           fault->reason != REASON_PROTOCOL_ERROR);
    while (property_next(&rest, &property))
        BUG_ON(rest.ptr > data + size || rest.ptr + rest.len != data + size);
    if (!fault)
        check_written_again(bytes);
    check_forwarded(bytes, block, fault == NULL);
    return 0;
}
