/*
 * test_authenticate.c: enhanced authentication through the seam of auth/auth.h (section 4.12), with
 * a method of several steps that only tests have.
 */
#include "tests/unit/conn/harness.h"

#include "auth/auth.h"

#define NEVER 0xFFFFFFFFu

/*
 * "THREE": the client says "1", "2", "3"; each is answered by "ok1", "ok2", and the last one lets it
 * in with "ok3". Anything else is refused. The reply lies in the exchange, so one that is read after
 * its end is seen by the sanitizer.
 */
struct exchange {
    uint32_t step;
    char reply[8];
};

static uint32_t exchanges; /* that are open */

static enum auth_verdict three_step(void *ctx, void **state, struct slice data, struct slice *reply,
                                    struct slice *user_name)
{
    struct exchange *exchange = *state;
    (void)ctx;
    if (!exchange) {
        *state = exchange = calloc(1, sizeof(*exchange));
        exchanges++;
    }
    exchange->step++;
    if (data.len == 3 && slice_eq(data, SLICE_LIT("bad")))
        return AUTH_BAD_CREDENTIALS;
    if (data.len != 1 || data.ptr[0] != '0' + exchange->step)
        return AUTH_DENY;
    snprintf(exchange->reply, sizeof(exchange->reply), "ok%u", exchange->step);
    *reply = slice_str(exchange->reply);
    if (exchange->step < 3)
        return AUTH_CONTINUE;
    *user_name = SLICE_LIT("anna");
    return AUTH_ALLOW;
}

static void three_end(void *ctx, void *state)
{
    (void)ctx;
    memset(state, 0x5A, sizeof(struct exchange));
    free(state);
    exchanges--;
}

static struct harness *harness_with_method(uint32_t reactors)
{
    static const struct auth_method three = {.name = "THREE", .step = three_step, .end = three_end};
    struct harness *h = harness_new(reactors, "");
    assert_int_equal(auth_add_method(h->broker.auth, &three), ERR_OK);
    return h;
}

static void end_all(struct harness *h)
{
    harness_free(h);
    assert_int_equal(exchanges, 0);
}

static void send_auth(struct client *client, uint8_t code, const char *method, const char *data)
{
    struct packet p = {0}, properties = {0};
    if (method)
        put_u8(&properties, 0x15), put_string(&properties, method);
    if (data)
        put_u8(&properties, 0x16), put_string(&properties, data);
    put_u8(&p, code);
    put_properties(&p, &properties);
    client_send_packet(client, 0xF0, &p);
    harness_settle(client->harness);
}

/* AUTH with this code, our method and this data came. */
static void expect_auth(struct client *client, uint8_t code, const char *data)
{
    uint8_t expected[64];
    client_expect(client, PACKET_AUTH);
    struct packet properties = {0};
    put_u8(&properties, 0x15);
    put_string(&properties, "THREE");
    put_u8(&properties, 0x16);
    put_string(&properties, data);
    expected[0] = code;
    expected[1] = (uint8_t)properties.len;
    memcpy(expected + 2, properties.bytes, properties.len);
    assert_int_equal(client->body_len, properties.len + 2);
    assert_memory_equal(client->body, expected, client->body_len);
}

static bool has_bytes(const struct client *client, const char *text)
{
    return memmem(client->body, client->body_len, text, strlen(text)) != NULL;
}

static void expect_refused(struct client *client, uint8_t code)
{
    client_expect(client, PACKET_CONNACK);
    assert_int_equal(client->body[1], code);
    client_expect_closed(client);
}

static struct client *begin(struct harness *h, uint32_t reactor, const char *id, const char *data)
{
    struct client *client = client_new(h, reactor);
    client_connect_as(
        client,
        (struct connect){.id = id, .expiry_s = NEVER, .auth_method = "THREE", .auth_data = data});
    harness_settle(h);
    return client;
}

/* Connected by all three steps. */
static struct client *authenticated(struct harness *h, const char *id)
{
    struct client *client = begin(h, 0, id, "1");
    expect_auth(client, 0x18, "ok1");
    send_auth(client, 0x18, "THREE", "2");
    expect_auth(client, 0x18, "ok2");
    send_auth(client, 0x18, "THREE", "3");
    client_expect(client, PACKET_CONNACK);
    assert_int_equal(client->body[1], 0);
    return client;
}

static void authentication_of_three_steps_ends_with_connack(void **state)
{
    (void)state;
    struct harness *h = harness_with_method(1);
    struct client *client = authenticated(h, "A");
    assert_true(has_bytes(client, "THREE")); /* [MQTT-4.12.0-5] */
    assert_true(has_bytes(client, "ok3"));
    struct session *session = harness_session(h, "A", NULL);
    assert_true(slice_eq(slice_of(session->user->name, session->user->len), SLICE_LIT("anna")));
    assert_true(session->user->is_verified);
    assert_int_equal(exchanges, 0);
    end_all(h);
}

/* The data for CONNACK is still there when the session had to be fetched first. */
static void authentication_with_takeover_keeps_its_data_for_connack(void **state)
{
    (void)state;
    struct harness *h = harness_with_method(2);
    client_of(h, 1, "A", NEVER);
    struct client *client = authenticated(h, "A");
    assert_int_equal(client->body[0], 1);
    assert_true(has_bytes(client, "ok3"));
    end_all(h);
}

static void authentication_method_that_is_not_known_is_refused(void **state)
{
    (void)state; /* [MQTT-4.12.0-1] */
    struct harness *h = harness_with_method(1);
    struct client *client = client_new(h, 0);
    client_connect_as(client, (struct connect){.id = "A", .auth_method = "FOUR"});
    harness_settle(h);
    expect_refused(client, REASON_BAD_AUTHENTICATION_METHOD);
    end_all(h);
}

static void authentication_that_fails_is_refused_at_any_step(void **state)
{
    (void)state; /* [MQTT-4.12.0-4] */
    struct harness *h = harness_with_method(1);
    expect_refused(begin(h, 0, "A", "x"), REASON_NOT_AUTHORIZED);
    expect_refused(begin(h, 0, "A", "bad"), REASON_BAD_USER_NAME_OR_PASSWORD);
    struct client *client = begin(h, 0, "A", "1");
    expect_auth(client, 0x18, "ok1");
    send_auth(client, 0x18, "THREE", "bad");
    expect_refused(client, REASON_BAD_USER_NAME_OR_PASSWORD);
    assert_null(harness_session(h, "A", NULL));
    end_all(h);
}

static void authentication_goes_on_only_with_its_method_and_code(void **state)
{
    (void)state; /* [MQTT-4.12.0-3] [MQTT-4.12.0-5] */
    struct harness *h = harness_with_method(1);
    static const struct {
        uint8_t code;
        const char *method;
    } wrong[] = {{0x19, "THREE"}, {0x00, "THREE"}, {0x18, "FOUR"}, {0x18, NULL}};
    for (uint32_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct client *client = begin(h, 0, "A", "1");
        expect_auth(client, 0x18, "ok1");
        send_auth(client, wrong[i].code, wrong[i].method, "2");
        expect_refused(client, REASON_PROTOCOL_ERROR);
    }
    end_all(h);
}

static void authentication_allows_no_other_packet_meanwhile(void **state)
{
    (void)state; /* [MQTT-3.1.2-30] */
    struct harness *h = harness_with_method(1);
    struct client *client = begin(h, 0, "A", "1");
    expect_auth(client, 0x18, "ok1");
    client_publish(client, "t", "x", 0, 0);
    harness_settle(h);
    client_expect_closed(client);
    client = begin(h, 0, "A", "1");
    expect_auth(client, 0x18, "ok1");
    client_disconnect(client, 0); /* this one is allowed */
    harness_settle(h);
    client_expect_closed(client);
    assert_int_equal(harness_closed(h, CLOSE_CLIENT_DISCONNECT), 1);
    end_all(h);
}

static void authentication_that_is_left_hanging_ends_in_time(void **state)
{
    (void)state;
    struct harness *h = harness_with_method(1);
    struct client *client = begin(h, 0, "A", "1");
    expect_auth(client, 0x18, "ok1");
    harness_pass_s(h, h->config->connect_timeout_s + 2);
    client_expect_closed(client);
    assert_int_equal(harness_closed(h, CLOSE_CONNECT_TIMEOUT), 1);
    end_all(h);
}

static void auth_without_method_in_connect_is_a_protocol_error(void **state)
{
    (void)state; /* [MQTT-4.12.0-7] */
    struct harness *h = harness_with_method(1);
    struct client *client = client_of(h, 0, "A", 0);
    send_auth(client, 0x19, "THREE", "1");
    client_expect(client, PACKET_DISCONNECT);
    assert_int_equal(client->body[0], REASON_PROTOCOL_ERROR);
    client_expect_closed(client);
    end_all(h);
}

static void auth_before_connect_is_closed_without_a_word(void **state)
{
    (void)state;
    struct harness *h = harness_with_method(1);
    struct client *client = client_new(h, 0);
    send_auth(client, 0x18, "THREE", "1");
    client_expect_nothing(client);
    assert_true(client->is_gone);
    end_all(h);
}

static void reauthentication_runs_while_messages_flow(void **state)
{
    (void)state; /* section 4.12.1 */
    struct harness *h = harness_with_method(1);
    struct client *client = authenticated(h, "A"), *p = client_of(h, 0, "P", 0);
    client_subscribe(client, "t", 1);
    send_auth(client, 0x19, "THREE", "1");
    expect_auth(client, 0x18, "ok1");
    client_publish(p, "t", "meanwhile", 1, 1);
    harness_settle(h);
    client_ack(client, PACKET_PUBACK, client_expect_publish(client, "meanwhile").packet_id);
    client_publish(client, "t", "own", 0, 0);
    harness_settle(h);
    client_expect_publish(client, "own");
    send_auth(client, 0x18, "THREE", "2");
    expect_auth(client, 0x18, "ok2");
    send_auth(client, 0x18, "THREE", "3");
    expect_auth(client, 0x00, "ok3");
    assert_int_equal(exchanges, 0);
    send_auth(client, 0x19, "THREE", "1"); /* and again */
    expect_auth(client, 0x18, "ok1");
    end_all(h);
}

static void reauthentication_that_fails_ends_the_connection(void **state)
{
    (void)state; /* [MQTT-4.12.1-2] */
    struct harness *h = harness_with_method(1);
    struct client *client = authenticated(h, "A");
    send_auth(client, 0x19, "THREE", "1");
    expect_auth(client, 0x18, "ok1");
    send_auth(client, 0x18, "THREE", "wrong");
    client_expect(client, PACKET_DISCONNECT);
    assert_int_equal(client->body[0], REASON_NOT_AUTHORIZED);
    client_expect_closed(client);
    assert_int_equal(harness_closed(h, CLOSE_NOT_AUTHORIZED), 1);
    assert_non_null(harness_session(h, "A", NULL)); /* its session lives on */
    end_all(h);
}

static void reauthentication_needs_the_method_of_connect(void **state)
{
    (void)state; /* [MQTT-4.12.1-1] */
    struct harness *h = harness_with_method(1);
    static const struct {
        uint8_t code;
        const char *method;
    } wrong[] = {{0x19, "FOUR"}, {0x19, NULL}, {0x18, "THREE"}, {0x00, "THREE"}};
    for (uint32_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct client *client = authenticated(h, "A");
        send_auth(client, wrong[i].code, wrong[i].method, "1");
        client_expect(client, PACKET_DISCONNECT);
        assert_int_equal(client->body[0], REASON_PROTOCOL_ERROR);
        client_expect_closed(client);
    }
    end_all(h);
}

static void reauthentication_ends_with_its_connection(void **state)
{
    (void)state;
    struct harness *h = harness_with_method(2);
    struct client *client = authenticated(h, "A");
    send_auth(client, 0x19, "THREE", "1");
    expect_auth(client, 0x18, "ok1");
    assert_int_equal(exchanges, 1);
    client_coming_back(h, 1, "A", NEVER); /* taken over in the middle */
    harness_settle(h);
    assert_int_equal(exchanges, 0);
    client_expect(client, PACKET_DISCONNECT);
    assert_int_equal(client->body[0], 0x8E);
    end_all(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(authentication_of_three_steps_ends_with_connack),
        cmocka_unit_test(authentication_with_takeover_keeps_its_data_for_connack),
        cmocka_unit_test(authentication_method_that_is_not_known_is_refused),
        cmocka_unit_test(authentication_that_fails_is_refused_at_any_step),
        cmocka_unit_test(authentication_goes_on_only_with_its_method_and_code),
        cmocka_unit_test(authentication_allows_no_other_packet_meanwhile),
        cmocka_unit_test(authentication_that_is_left_hanging_ends_in_time),
        cmocka_unit_test(auth_without_method_in_connect_is_a_protocol_error),
        cmocka_unit_test(auth_before_connect_is_closed_without_a_word),
        cmocka_unit_test(reauthentication_runs_while_messages_flow),
        cmocka_unit_test(reauthentication_that_fails_ends_the_connection),
        cmocka_unit_test(reauthentication_needs_the_method_of_connect),
        cmocka_unit_test(reauthentication_ends_with_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
