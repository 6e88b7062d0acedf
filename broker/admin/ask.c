/*
 * ask.c: see ask.h.
 */
#include "admin/ask.h"

#include "admin/admin_worker.h"
#include "admin/document.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conn/attach.h"
#include "conn/worker.h"
#include "mqtt/reason.h"
#include "mqtt/utf8.h"
#include "runtime/log.h"

#define SCAN_COST 4096u /* a foreign or free slot costs 1, an own session OWN_COST */
#define OWN_COST 8u
#define ANSWER_BYTES 49152u /* no further document from here on */
#define ANSWER_BYTES_MAX (1u << 20)
#define ANSWER_BYTES_KEPT 65536u
#define MOVES_MAX 1000u
#define REASON_BYTES_MAX 256u
#define PATIENCE_TICKS 20u /* after so long an answer will not come any more */

struct mail_ask {
    uint32_t asker;
    uint32_t slot, generation;
    uint32_t documents, idle_s;
    uint32_t text_bytes;
    uint16_t from, moves;
    uint8_t what, state;
    uint8_t text[]; /* prefix, or reason */
};

struct mail_answer {
    uint32_t asker;
    uint32_t next_slot, count, record_bytes;
    uint8_t outcome;
    uint8_t records[];
};

struct record_head {
    uint32_t slot, id_bytes, document_bytes;
};

/* A question that waits for its turn. */
struct question {
    struct list link;
    struct mail_ask mail;
};

struct ask_desk {
    struct job job;
    struct worker *worker;
    struct list askers;
    struct table askers_by_id;
    struct list questions;
    uint32_t last_id;
    struct json records;
};

static uint16_t type_ask, type_answer; /* set once at the start */

/* ---- the owner's side ---- */

static bool scan_wants(struct worker *worker, const struct mail_ask *mail,
                       const struct session *session)
{
    if (mail->state != ASK_ANY && (mail->state == ASK_CONNECTED) != (session->sink != NULL))
        return false;
    if (!slice_starts_with(session_id(session), slice_of(mail->text, mail->text_bytes)))
        return false;
    return mail->idle_s == 0 || document_idle_s(worker, session) > mail->idle_s;
}

static void put_record(struct ask_desk *desk, const struct session *session, bool has_list)
{
    struct json *out = &desk->records;
    struct record_head head = {.slot = session->slot, .id_bytes = session->id_bytes};
    struct document_options options = {.has_list = has_list};
    uint32_t begin = out->len;
    json_raw(out, slice_of(&head, sizeof(head)));
    json_raw(out, session_id(session));
    uint32_t document = out->len;
    out->needs_comma = false;
    document_write(out, desk->worker, session, &options);
    if (out->is_full) { /* too long, or no memory: this one is left out */
        json_rewind(out, begin, false);
        return;
    }
    head.document_bytes = out->len - document;
    memcpy(out->bytes + begin, &head, sizeof(head));
}

static void answer_scan(struct ask_desk *desk, const struct mail_ask *mail,
                        struct mail_answer *answer)
{
    struct worker *worker = desk->worker;
    uint32_t end = atomic_load_explicit(&worker->broker->slots.end, memory_order_acquire);
    uint32_t slot = mail->slot ? mail->slot : 1;
    for (uint32_t cost = 0; slot < end && cost < SCAN_COST; slot++) {
        struct session *session = worker_own_session(worker, slot);
        cost += session ? OWN_COST : 1;
        if (!session || !scan_wants(worker, mail, session))
            continue;
        if (mail->what == ASK_DOCUMENTS) {
            if (answer->count == mail->documents || desk->records.len > ANSWER_BYTES)
                break;
            put_record(desk, session, false);
        }
        answer->count++;
    }
    answer->next_slot = slot < end ? slot : 0;
}

static void disconnect(struct worker *worker, struct connection *connection,
                       const struct mail_ask *mail)
{
    char reason[REASON_BYTES_MAX + 1];
    struct slice text = utf8_cut(slice_of(mail->text, mail->text_bytes), REASON_BYTES_MAX);
    memcpy(reason, text.ptr, text.len);
    reason[text.len] = 0;
    connection_close(worker, connection, CLOSE_ADMIN, close_reason_code(CLOSE_ADMIN),
                     text.len ? reason : NULL);
}

static void delete_session(struct worker *worker, struct session *session,
                           const struct mail_ask *mail)
{
    admin_of(worker)->is_deleting = true;
    if (session->sink)
        disconnect(worker, session->sink, mail);
    if (!(session->flags & SESSION_IS_ENDING)) {
        session->closed_why = CLOSE_ADMIN;
        log_line(LOG_NOTICE_, "Session of client %.*s ended: deleted by an admin.",
                 SLICE_ARG(session_id(session)));
        session_end(worker, session);
    }
    admin_of(worker)->is_deleting = false;
}

static void answer_one(struct ask_desk *desk, const struct mail_ask *mail,
                       struct mail_answer *answer)
{
    struct worker *worker = desk->worker;
    struct session *session = worker_own_session(worker, mail->slot);
    if (!session || session->generation != mail->generation) {
        answer->outcome = ASK_GONE;
        return;
    }
    answer->count = 1;
    if (mail->what == ASK_DOCUMENT)
        put_record(desk, session, true);
    else if (mail->what == ASK_DELETE)
        delete_session(worker, session, mail);
    else if (session->sink)
        disconnect(worker, session->sink, mail);
    else
        answer->outcome = ASK_OFFLINE;
}

static void post_answer(struct ask_desk *desk, uint16_t to, const struct mail_answer *answer)
{
    struct slice records = json_text(&desk->records);
    uint32_t bytes = (uint32_t)(sizeof(*answer) + records.len);
    struct mail_answer *mail = mailbox_post(desk->worker->reactor, to, type_answer, bytes);
    if (!mail) { /* at least say where to go on; and if even that fails, ask_tick() helps */
        records.len = 0;
        mail = mailbox_post(desk->worker->reactor, to, type_answer, sizeof(*answer));
    }
    if (!mail)
        return;
    *mail = *answer;
    mail->record_bytes = (uint32_t)records.len;
    if (records.len)
        memcpy(mail->records, records.ptr, records.len);
}

/* True when the session of the question is on its way, or somebody else's: the question goes after
   it. */
static bool follow(struct ask_desk *desk, struct mail_ask *mail)
{
    struct worker *worker = desk->worker;
    struct slot *slot = slot_of(&worker->broker->slots, mail->slot);
    if (atomic_load_explicit(&slot->generation, memory_order_acquire) != mail->generation)
        return false;
    uint16_t owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
    bool is_here = owner == worker->reactor->index &&
                   !atomic_load_explicit(&slot->is_moving, memory_order_acquire);
    if (is_here || mail->moves++ == MOVES_MAX)
        return false;
    uint32_t bytes = (uint32_t)sizeof(*mail) + mail->text_bytes;
    void *copy = mailbox_post(worker->reactor, owner, type_ask, bytes);
    if (!copy)
        return false;
    memcpy(copy, mail, bytes);
    return true;
}

static bool answer_next(struct reactor *reactor, struct job *job)
{
    struct ask_desk *desk = CONTAINER_OF(job, struct ask_desk, job);
    struct list *link = list_pop_front(&desk->questions);
    (void)reactor;
    if (!link)
        return true;
    struct question *question = CONTAINER_OF(link, struct question, link);
    struct mail_ask *mail = &question->mail;
    struct mail_answer answer = {.asker = mail->asker};
    bool is_scan = mail->what == ASK_DOCUMENTS || mail->what == ASK_COUNT;
    if (is_scan || !follow(desk, mail)) {
        json_reset(&desk->records, ANSWER_BYTES_KEPT);
        if (is_scan)
            answer_scan(desk, mail, &answer);
        else
            answer_one(desk, mail, &answer);
        post_answer(desk, mail->from, &answer);
    }
    mem_free(question);
    return list_is_empty(&desk->questions);
}

static void mail_ask(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct ask_desk *desk = admin_of(worker_of(reactor))->desk;
    const struct mail_ask *mail = payload;
    struct question *question = mem_alloc(offsetof(struct question, mail) + bytes);
    if (!question) {
        struct mail_answer answer = {.asker = mail->asker, .outcome = ASK_GONE};
        json_reset(&desk->records, ANSWER_BYTES_KEPT);
        post_answer(desk, mail->from, &answer);
        return;
    }
    memcpy(&question->mail, mail, bytes);
    list_push_back(&desk->questions, &question->link);
    reactor_job_add(reactor, &desk->job);
}

/* ---- the asker's side ---- */

/* Gives the asker an id that no answer under way is for. */
static void give_id(struct ask_desk *desk, struct asker *asker)
{
    asker->id = ++desk->last_id;
    table_add(&desk->askers_by_id, &asker->node, hash_number(asker->id));
}

/* NULL: nobody waits for that answer any more. */
static struct asker *find_asker(struct ask_desk *desk, uint32_t id)
{
    struct table_node *node = table_find(&desk->askers_by_id, hash_number(id));
    while (node && CONTAINER_OF(node, struct asker, node)->id != id)
        node = table_find_next(node);
    return node ? CONTAINER_OF(node, struct asker, node) : NULL;
}

static void mail_answer(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct worker *worker = worker_of(reactor);
    const struct mail_answer *mail = payload;
    struct asker *asker = find_asker(admin_of(worker)->desk, mail->asker);
    (void)bytes;
    if (!asker)
        return;
    struct answer answer = {
        .outcome = mail->outcome,
        .next_slot = mail->next_slot,
        .count = mail->count,
        .records = slice_of(mail->records, mail->record_bytes),
    };
    asker->asked_tick = 0;
    asker->answered(worker, asker, &answer);
}

/* The first asker who has waited too long, or NULL. */
static struct asker *ask_find_late(struct worker *worker)
{
    struct list *askers = &admin_of(worker)->desk->askers;
    for (struct list *at = askers->next; at != askers; at = at->next) {
        struct asker *asker = CONTAINER_OF(at, struct asker, link);
        if (asker->asked_tick && worker->reactor->now_tick - asker->asked_tick > PATIENCE_TICKS)
            return asker;
    }
    return NULL;
}

void ask_tick(struct worker *worker)
{
    struct ask_desk *desk = admin_of(worker)->desk;
    struct asker *asker;
    while ((asker = ask_find_late(worker)) != NULL) { /* `answered` may end any of them */
        struct answer answer = {.outcome = ASK_GONE};
        table_remove(&desk->askers_by_id, &asker->node);
        give_id(desk, asker); /* if it comes yet, it is nobody's */
        asker->asked_tick = 0;
        asker->answered(worker, asker, &answer);
    }
}

static bool post_ask(struct worker *worker, struct asker *asker, uint16_t to,
                     const struct mail_ask *head, struct slice text)
{
    uint32_t bytes = (uint32_t)(sizeof(*head) + text.len);
    struct mail_ask *mail = mailbox_post(worker->reactor, to, type_ask, bytes);
    if (!mail)
        return false;
    *mail = *head;
    mail->from = worker->reactor->index;
    mail->text_bytes = (uint32_t)text.len;
    if (text.len)
        memcpy(mail->text, text.ptr, text.len);
    asker->asked_tick = worker->reactor->now_tick;
    return true;
}

bool ask_scan_post(struct worker *worker, struct asker *asker, const struct ask_scan *scan)
{
    struct mail_ask mail = {
        .asker = asker->id,
        .slot = scan->slot,
        .documents = scan->documents < SCAN_DOCUMENTS ? scan->documents : SCAN_DOCUMENTS,
        .idle_s = scan->idle_s,
        .what = (uint8_t)scan->what,
        .state = (uint8_t)scan->state,
    };
    return post_ask(worker, asker, scan->reactor, &mail, scan->prefix);
}

bool ask_one_post(struct worker *worker, struct asker *asker, enum ask_what what, struct slice id,
                  struct slice text, bool *is_found)
{
    struct session_ref ref = session_table_find(worker->broker->sessions, id);
    *is_found = ref.slot != 0;
    if (!ref.slot)
        return false;
    struct mail_ask mail = {
        .asker = asker->id,
        .slot = ref.slot,
        .generation = ref.generation,
        .what = (uint8_t)what,
    };
    return post_ask(worker, asker, ref.owner, &mail, text);
}

bool ask_next_record(struct slice *records, struct ask_record *record)
{
    struct record_head head;
    if (records->len < sizeof(head))
        return false;
    memcpy(&head, records->ptr, sizeof(head));
    *records = slice_skip(*records, sizeof(head));
    record->slot = head.slot;
    record->id = slice_of(records->ptr, head.id_bytes);
    record->document = slice_of(records->ptr + head.id_bytes, head.document_bytes);
    *records = slice_skip(*records, head.id_bytes + head.document_bytes);
    return true;
}

void ask_register(struct worker *worker, struct asker *asker)
{
    struct ask_desk *desk = admin_of(worker)->desk;
    list_push_back(&desk->askers, &asker->link);
    give_id(desk, asker);
}

void ask_unregister(struct worker *worker, struct asker *asker)
{
    list_unlink(&asker->link);
    table_remove(&admin_of(worker)->desk->askers_by_id, &asker->node);
}

/* ---- life ---- */

struct ask_desk *ask_desk_new(struct worker *worker)
{
    struct ask_desk *desk = mem_must_zalloc(sizeof(*desk));
    desk->worker = worker;
    desk->job.run = answer_next;
    list_init(&desk->askers);
    list_init(&desk->questions);
    json_init(&desk->records, ANSWER_BYTES_MAX);
    return desk;
}

void ask_desk_free(struct ask_desk *desk)
{
    struct list *link;
    while ((link = list_pop_front(&desk->askers)) != NULL) {
        struct asker *asker = CONTAINER_OF(link, struct asker, link);
        asker->free(asker);
    }
    while ((link = list_pop_front(&desk->questions)) != NULL)
        mem_free(CONTAINER_OF(link, struct question, link));
    json_fini(&desk->records);
    table_fini(&desk->askers_by_id);
    mem_free(desk);
}

void ask_install(struct reactor_group *group, uint16_t ask, uint16_t answer)
{
    type_ask = ask;
    type_answer = answer;
    group->mail_handlers[ask] = mail_ask;
    group->mail_handlers[answer] = mail_answer;
}
