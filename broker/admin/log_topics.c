/*
 * log_topics.c: see log_topics.h.
 *
 *   log_line() on any thread -> sink: mail to reactor 0 -> publish, not retained, for 20 seconds
 *
 * The sink is called in the middle of anything, so it only sends mail, and at most LINES_MAX lines
 * are on their way; more are counted as lost. What publishing a line logs itself goes to the other
 * destinations only: a line never makes a line.
 */
#include "admin/log_topics.h"

#include "conn/publish.h"
#include "runtime/log.h"

#define LINES_MAX 4096u
#define LINE_EXPIRY_S 20u

struct line_mail {
    uint32_t type;
    uint32_t bytes;
    char text[LOG_LINE_BYTES];
};

static const struct {
    uint32_t type;
    const char *topic;
} topics[] = {
    {LOG_DEBUG_, "$SYS/broker/log/D"},
    {LOG_INFORMATION, "$SYS/broker/log/I"},
    {LOG_NOTICE_, "$SYS/broker/log/N"},
    {LOG_WARNING_, "$SYS/broker/log/W"},
    {LOG_ERROR, "$SYS/broker/log/E"},
    {LOG_SUBSCRIBE, "$SYS/broker/log/M/subscribe"},
    {LOG_UNSUBSCRIBE, "$SYS/broker/log/M/unsubscribe"},
};

/* The log has one sink for the program, which knows no broker. */
static struct reactor_group *_Atomic sink_group;
static uint16_t sink_mail;
static _Atomic uint32_t lines_under_way;
static _Thread_local bool is_publishing;

static void sink(uint32_t type, const char *text)
{
    struct reactor_group *group = atomic_load_explicit(&sink_group, memory_order_acquire);
    if (!group || is_publishing)
        return;
    if (atomic_fetch_add_explicit(&lines_under_way, 1, memory_order_relaxed) < LINES_MAX) {
        struct line_mail mail = {.type = type, .bytes = (uint32_t)strnlen(text, LOG_LINE_BYTES)};
        memcpy(mail.text, text, mail.bytes);
        if (!mailbox_send(group, 0, sink_mail, &mail,
                          (uint32_t)offsetof(struct line_mail, text) + mail.bytes))
            return;
    }
    atomic_fetch_sub_explicit(&lines_under_way, 1, memory_order_relaxed);
}

static void mail_line(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct worker *worker = worker_of(reactor);
    const struct line_mail *mail = payload;
    (void)bytes;
    atomic_fetch_sub_explicit(&lines_under_way, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < ARRAY_COUNT(topics); i++) {
        if (topics[i].type != mail->type)
            continue;
        struct publication publication = {
            .topic = slice_str(topics[i].topic),
            .payload = slice_of(mail->text, mail->bytes),
            .qos = 2,
            .expires_tick = expiry_tick(worker, LINE_EXPIRY_S),
        };
        is_publishing = true;
        publish_message(worker, NULL, &publication);
        is_publishing = false;
        publication_fini(&publication);
    }
}

void log_topics_install(struct broker *broker, uint16_t mail)
{
    sink_mail = mail;
    broker->group->mail_handlers[mail] = mail_line;
    atomic_store_explicit(&lines_under_way, 0, memory_order_relaxed);
    atomic_store_explicit(&sink_group, broker->group, memory_order_release);
    log_set_topic_sink(sink);
}

void log_topics_uninstall(void)
{
    log_set_topic_sink(NULL);
    atomic_store_explicit(&sink_group, NULL, memory_order_release);
}
