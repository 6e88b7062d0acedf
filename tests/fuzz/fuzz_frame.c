/*
 * fuzz_frame.c: any bytes as a stream of packets.
 *
 * Input: [version and limit][stream]. Whatever a whole stream says of its first packet, every
 * beginning of it says the same or asks for more, and nothing outside is pointed at.
 */
#include "base/assert.h"
#include "mqtt/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS_MAX 64

static void check_ready(struct slice in, const struct frame *frame)
{
    BUG_ON(frame->size > in.len || frame->size < 2);
    BUG_ON(frame->body.ptr + frame->body.len != in.ptr + frame->size);
    BUG_ON(frame->body.len > frame->size - 2);
    BUG_ON(frame->type != in.ptr[0] >> 4 || frame->flags != (in.ptr[0] & 15));
}

/* What a beginning of `in` says, when the whole of it said `whole`. */
static void check_cut(struct slice in, size_t len, uint8_t version, uint32_t limit,
                      enum frame_result whole, const struct frame *whole_frame,
                      const struct fault *whole_fault)
{
    struct frame frame;
    const struct fault *fault = NULL;
    enum frame_result result = frame_next(slice_of(in.ptr, len), version, limit, &frame, &fault);
    if (whole == FRAME_READY) {
        BUG_ON(result != (len < whole_frame->size ? FRAME_SHORT : FRAME_READY));
        BUG_ON(frame.size != 0 && frame.size != whole_frame->size);
    } else {
        BUG_ON(result == FRAME_READY);
        BUG_ON(result == FRAME_BAD && (whole != FRAME_BAD || fault != whole_fault));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t versions[] = {0, MQTT_3_1, MQTT_3_1_1, MQTT_5};
    if (size == 0)
        return 0;
    uint8_t version = versions[data[0] & 3];
    uint32_t limit = data[0] & 4 ? 100 : MQTT_PACKET_BYTES_MAX;
    struct slice in = slice_of(data + 1, size - 1);
    for (;;) {
        struct frame frame;
        const struct fault *fault = NULL;
        enum frame_result result = frame_next(in, version, limit, &frame, &fault);
        BUG_ON((result == FRAME_BAD) != (fault != NULL));
        BUG_ON(result == FRAME_SHORT && frame.size != 0 && frame.size <= in.len);
        BUG_ON(result != FRAME_BAD && frame.size > limit);
        for (size_t len = 0; len <= in.len && len < CUTS_MAX; len++)
            check_cut(in, len, version, limit, result, &frame, fault);
        if (result != FRAME_READY)
            return 0;
        check_ready(in, &frame);
        in = slice_skip(in, frame.size);
    }
}
