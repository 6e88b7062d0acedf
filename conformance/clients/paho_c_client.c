/*
 * paho_c_client.c: a real client of another make, Eclipse Paho C, driven through all it can do.
 *
 * Compiled twice by test_clients.py: as it stands with the synchronous library (paho-mqtt3c), and
 * with -DASYNC with the asynchronous one (paho-mqtt3a).
 *
 *     paho_c_client URI VERSION PREFIX           publishes, subscribes, checks; prints "ok NAME"
 *     paho_c_client URI VERSION PREFIX will      connects with a will, prints "ready", waits
 *     paho_c_client URI VERSION PREFIX session   leaves a session, and comes back to it
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef ASYNC
#include <MQTTAsync.h>
#define MAKE MQTTAsync_createWithOptions
#else
#include <MQTTClient.h>
#endif

#define WAIT_S 20
#define TRIES 3
#define LARGE 1000000
#define EXPIRY_S 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static struct {
    char topic[256], payload[256]; /* the beginning of it */
    int bytes, qos, retained;
    unsigned long sum;
} got[64];
static int got_count, done_count, failed;

static void die(const char *what)
{
    printf("failed %s\n", what);
    fflush(stdout);
    _exit(1);
}

/* Waits until *count >= goal. */
static void wait_for(const int *count, int goal, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&lock);
    while (*count < goal && !failed)
        if (pthread_cond_timedwait(&bell, &lock, &until) != 0)
            die(what);
    pthread_mutex_unlock(&lock);
    if (failed)
        die(what);
}

static unsigned long sum_of(const char *bytes, int count)
{
    unsigned long sum = 1469598103934665603UL;
    for (int i = 0; i < count; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * 1099511628211UL;
    return sum;
}

static void keep(const char *topic, int length, const void *payload, int bytes, int qos,
                 int retained)
{
    pthread_mutex_lock(&lock);
    if (got_count < 64) {
        size_t n = length ? (size_t)length : strlen(topic);
        snprintf(got[got_count].topic, sizeof(got[0].topic), "%.*s", (int)n, topic);
        snprintf(got[got_count].payload, sizeof(got[0].payload), "%.*s", bytes,
                 (const char *)payload);
        got[got_count].bytes = bytes;
        got[got_count].sum = sum_of(payload, bytes);
        got[got_count].qos = qos;
        got[got_count].retained = retained;
        got_count++;
    }
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
}

#ifdef ASYNC

typedef MQTTAsync client_t;

static int arrived(void *ctx, char *topic, int length, MQTTAsync_message *m)
{
    (void)ctx;
    keep(topic, length, m->payload, m->payloadlen, m->qos, m->retained);
    MQTTAsync_freeMessage(&m);
    MQTTAsync_free(topic);
    return 1;
}

static void finish(int bad)
{
    pthread_mutex_lock(&lock);
    done_count++;
    failed |= bad;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
}

static void good3(void *c, MQTTAsync_successData *d)
{
    (void)c, (void)d, finish(0);
}
static void bad3(void *c, MQTTAsync_failureData *d)
{
    (void)c, (void)d, finish(1);
}
static void good5(void *c, MQTTAsync_successData5 *d)
{
    (void)c, (void)d, finish(0);
}
static void bad5(void *c, MQTTAsync_failureData5 *d)
{
    (void)c, (void)d, finish(1);
}

static MQTTAsync_responseOptions options(int version)
{
    MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
    if (version == 5) {
        o.onSuccess5 = good5;
        o.onFailure5 = bad5;
    } else {
        o.onSuccess = good3;
        o.onFailure = bad3;
    }
    return o;
}

static client_t start(const char *uri, int version, const char *id, const char *will, int lasts)
{
    client_t c;
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    create.MQTTVersion = version;
    if (MAKE(&c, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create) != MQTTASYNC_SUCCESS)
        die("create");
    MQTTAsync_setCallbacks(c, NULL, NULL, arrived, NULL);
    MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions o5 = MQTTAsync_connectOptions_initializer5;
    if (version == 5)
        o = o5;
    MQTTAsync_willOptions w = MQTTAsync_willOptions_initializer;
    o.MQTTVersion = version;
    if (version == 5)
        o.cleanstart = !lasts;
    else
        o.cleansession = !lasts;
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
    expiry.value.integer4 = EXPIRY_S;
    if (lasts)
        MQTTProperties_add(&properties, &expiry);
    if (will) {
        w.topicName = will;
        w.message = "paho is gone";
        w.qos = 1;
        o.will = &w;
    }
    if (version == 5) {
        o.onSuccess5 = good5;
        o.onFailure5 = bad5;
    } else {
        o.onSuccess = good3;
        o.onFailure = bad3;
    }
    if (version == 5)
        o.connectProperties = &properties;
    int goal = done_count + 1;
    if (MQTTAsync_connect(c, &o) != MQTTASYNC_SUCCESS)
        die("connect");
    wait_for(&done_count, goal, "connect");
    MQTTProperties_free(&properties);
    return c;
}

static void subscribe(client_t c, int version, const char *filter, int qos)
{
    MQTTAsync_responseOptions o = options(version);
    int goal = done_count + 1;
    if (MQTTAsync_subscribe(c, filter, qos, &o) != MQTTASYNC_SUCCESS)
        die("subscribe");
    wait_for(&done_count, goal, "subscribe");
}

static void publish(client_t c, int version, const char *topic, const char *text, int qos,
                    int keep_it)
{
    MQTTAsync_responseOptions o = options(version);
    int goal = done_count + 1;
    if (MQTTAsync_send(c, topic, (int)strlen(text), text, qos, keep_it, &o) != MQTTASYNC_SUCCESS)
        die("publish");
    wait_for(&done_count, goal, "publish");
}

static void stop(client_t c, int version)
{
    MQTTAsync_disconnectOptions o = MQTTAsync_disconnectOptions_initializer;
    if (version == 5)
        o.onSuccess5 = good5;
    else
        o.onSuccess = good3;
    int goal = done_count + 1;
    MQTTAsync_disconnect(c, &o);
    wait_for(&done_count, goal, "disconnect");
    MQTTAsync_destroy(&c);
}

#else

typedef MQTTClient client_t;

static int arrived(void *ctx, char *topic, int length, MQTTClient_message *m)
{
    (void)ctx;
    keep(topic, length, m->payload, m->payloadlen, m->qos, m->retained);
    MQTTClient_freeMessage(&m);
    MQTTClient_free(topic);
    return 1;
}

/* 0, the server's reason, or MQTTCLIENT_FAILURE when the library lost sight of its own connection: its
   threads can take each other's sockets while one of them connects (paho.mqtt.c, issue 881). */
static int connect_once(client_t c, int version, MQTTClient_connectOptions *o,
                        MQTTProperties *properties)
{
    if (version != 5)
        return MQTTClient_connect(c, o);
    MQTTResponse r = MQTTClient_connect5(c, o, properties, NULL);
    int code = (int)r.reasonCode;
    MQTTResponse_free(r);
    return code;
}

static client_t start(const char *uri, int version, const char *id, const char *will, int lasts)
{
    client_t c;
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = version;
    if (MQTTClient_createWithOptions(&c, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create))
        die("create");
    MQTTClient_setCallbacks(c, NULL, NULL, arrived, NULL);
    MQTTClient_connectOptions o = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions o5 = MQTTClient_connectOptions_initializer5;
    if (version == 5)
        o = o5;
    MQTTClient_willOptions w = MQTTClient_willOptions_initializer;
    o.MQTTVersion = version;
    if (version == 5)
        o.cleanstart = !lasts;
    else
        o.cleansession = !lasts;
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
    expiry.value.integer4 = EXPIRY_S;
    if (lasts)
        MQTTProperties_add(&properties, &expiry);
    if (will) {
        w.topicName = will;
        w.message = "paho is gone";
        w.qos = 1;
        o.will = &w;
    }
    int code = MQTTCLIENT_FAILURE;
    for (int i = 0; i < TRIES && code == MQTTCLIENT_FAILURE; i++)
        code = connect_once(c, version, &o, &properties);
    if (code) {
        printf("reason %d\n", code);
        die("connect");
    }
    MQTTProperties_free(&properties);
    return c;
}

static void subscribe(client_t c, int version, const char *filter, int qos)
{
    if (version == 5) {
        MQTTResponse r = MQTTClient_subscribe5(c, filter, qos, NULL, NULL);
        if ((int)r.reasonCode != qos)
            die("subscribe");
        MQTTResponse_free(r);
    } else if (MQTTClient_subscribe(c, filter, qos) != MQTTCLIENT_SUCCESS) {
        die("subscribe");
    }
}

static void publish(client_t c, int version, const char *topic, const char *text, int qos,
                    int keep_it)
{
    MQTTClient_deliveryToken token = 0;
    if (version == 5) {
        MQTTResponse r =
            MQTTClient_publish5(c, topic, (int)strlen(text), text, qos, keep_it, NULL, &token);
        if (r.reasonCode != MQTTREASONCODE_SUCCESS)
            die("publish");
        MQTTResponse_free(r);
    } else if (MQTTClient_publish(c, topic, (int)strlen(text), text, qos, keep_it, &token)) {
        die("publish");
    }
    if (qos && MQTTClient_waitForCompletion(c, token, WAIT_S * 1000L))
        die("completion");
}

static void stop(client_t c, int version)
{
    if (version == 5)
        MQTTClient_disconnect5(c, 5000, MQTTREASONCODE_NORMAL_DISCONNECTION, NULL);
    else
        MQTTClient_disconnect(c, 5000);
    MQTTClient_destroy(&c);
}

#endif

static void expect(const char *topic, const char *payload, int qos, int retained)
{
    int bytes = (int)strlen(payload);
    wait_for(&got_count, 1, topic);
    pthread_mutex_lock(&lock);
    if (strcmp(got[0].topic, topic) || got[0].bytes != bytes ||
        got[0].sum != sum_of(payload, bytes) || got[0].qos != qos || got[0].retained != retained) {
        printf("got %s %s (%d bytes) %d %d\n", got[0].topic, got[0].payload, got[0].bytes,
               got[0].qos, got[0].retained);
        die(topic);
    }
    memmove(got, got + 1, sizeof(got) - sizeof(got[0]));
    got_count--;
    pthread_mutex_unlock(&lock);
    printf("ok %.20s\n", payload);
}

static const char *topic_of(const char *prefix, const char *name)
{
    static char text[8][300];
    static int next;
    char *topic = text[next++ % 8];
    snprintf(topic, sizeof(text[0]), "%s/%s", prefix, name);
    return topic;
}

static void connect_with_will(const char *uri, int version, const char *prefix)
{
    start(uri, version, topic_of(prefix, "p"), topic_of(prefix, "will"), 0);
    printf("ready\n");
    fflush(stdout);
    pause();
}

static void leave_and_return(const char *uri, int version, const char *prefix)
{
    const char *id = topic_of(prefix, "p"), *topic = topic_of(prefix, "a");
    client_t c = start(uri, version, id, NULL, 1);
    subscribe(c, version, topic, 1);
    stop(c, version);
    client_t other = start(uri, version, topic_of(prefix, "other"), NULL, 0);
    publish(other, version, topic, "meanwhile", 1, 0);
    stop(other, version);
    c = start(uri, version, id, NULL, 1);
    expect(topic, "meanwhile", 1, 0);
    stop(c, version);
}

static void publish_and_subscribe(const char *uri, int version, const char *prefix)
{
    const char *topic = topic_of(prefix, "a/b"), *kept = topic_of(prefix, "kept");
    client_t c = start(uri, version, topic_of(prefix, "p"), NULL, 0);
    subscribe(c, version, topic_of(prefix, "a/+"), 2);
    const char *names[] = {"qos 0", "qos 1", "qos 2"};
    for (int qos = 0; qos < 3; qos++) {
        publish(c, version, topic, names[qos], qos, 0);
        expect(topic, names[qos], qos, 0);
    }
    publish(c, version, kept, "retained", 1, 1);
    subscribe(c, version, kept, 1);
    expect(kept, "retained", 1, 1);
    publish(c, version, kept, "", 1, 1);
    expect(kept, "", 1, 0);
    const char *work = topic_of(prefix, "work");
    subscribe(c, version, topic_of("$share/g", work), 1);
    publish(c, version, work, "shared", 1, 0);
    expect(work, "shared", 1, 0);
    static char large[LARGE + 1];
    for (int i = 0; i < LARGE; i++)
        large[i] = (char)('a' + i % 23);
    for (int qos = 1; qos < 3; qos++) {
        publish(c, version, topic, large, qos, 0);
        expect(topic, large, qos, 0);
    }
    stop(c, version);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *uri = argv[1], *prefix = argv[3], *mode = argc > 4 ? argv[4] : "";
    int version = atoi(argv[2]);
    if (!strcmp(mode, "will"))
        connect_with_will(uri, version, prefix);
    else if (!strcmp(mode, "session"))
        leave_and_return(uri, version, prefix);
    else
        publish_and_subscribe(uri, version, prefix);
    printf("done\n");
    return 0;
}
