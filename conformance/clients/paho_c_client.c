/*
 * paho_c_client.c: a real client of another make, Eclipse Paho C, driven through all it can do.
 *
 * Compiled twice by test_clients.py: as it stands with the synchronous library (paho-mqtt3c), and
 * with -DASYNC with the asynchronous one (paho-mqtt3a).
 *
 *     paho_c_client URI VERSION PREFIX           publishes, subscribes, checks; prints "ok NAME"
 *     paho_c_client URI VERSION PREFIX will      connects with a will, prints "ready", waits
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static struct {
    char topic[256], payload[256];
    int qos, retained;
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

static void keep(const char *topic, int length, const void *payload, int bytes, int qos,
                 int retained)
{
    pthread_mutex_lock(&lock);
    if (got_count < 64) {
        size_t n = length ? (size_t)length : strlen(topic);
        snprintf(got[got_count].topic, sizeof(got[0].topic), "%.*s", (int)n, topic);
        snprintf(got[got_count].payload, sizeof(got[0].payload), "%.*s", bytes,
                 (const char *)payload);
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

static client_t start(const char *uri, int version, const char *id, const char *will)
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
        o.cleanstart = 1;
    else
        o.cleansession = 1;
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
    int goal = done_count + 1;
    if (MQTTAsync_connect(c, &o) != MQTTASYNC_SUCCESS)
        die("connect");
    wait_for(&done_count, goal, "connect");
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

static client_t start(const char *uri, int version, const char *id, const char *will)
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
        o.cleanstart = 1;
    else
        o.cleansession = 1;
    if (will) {
        w.topicName = will;
        w.message = "paho is gone";
        w.qos = 1;
        o.will = &w;
    }
    if (version == 5) {
        MQTTResponse r = MQTTClient_connect5(c, &o, NULL, NULL);
        if (r.reasonCode != MQTTREASONCODE_SUCCESS)
            die("connect");
        MQTTResponse_free(r);
    } else if (MQTTClient_connect(c, &o) != MQTTCLIENT_SUCCESS) {
        die("connect");
    }
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
    wait_for(&got_count, 1, payload);
    pthread_mutex_lock(&lock);
    if (strcmp(got[0].topic, topic) || strcmp(got[0].payload, payload) || got[0].qos != qos ||
        got[0].retained != retained) {
        printf("got %s %s %d %d\n", got[0].topic, got[0].payload, got[0].qos, got[0].retained);
        die(payload);
    }
    memmove(got, got + 1, sizeof(got) - sizeof(got[0]));
    got_count--;
    pthread_mutex_unlock(&lock);
    printf("ok %s\n", payload);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *uri = argv[1], *prefix = argv[3];
    int version = atoi(argv[2]);
    char topic[200], other[200], shared[300], id[100];
    snprintf(id, sizeof(id), "%sp", prefix);
    snprintf(topic, sizeof(topic), "%s/a/b", prefix);
    snprintf(other, sizeof(other), "%s/kept", prefix);
    snprintf(shared, sizeof(shared), "$share/g/%s/work", prefix);
    if (argc > 4) {
        snprintf(topic, sizeof(topic), "%s/will", prefix);
        start(uri, version, id, topic);
        printf("ready\n");
        fflush(stdout);
        pause();
    }
    client_t c = start(uri, version, id, NULL);
    char filter[210];
    snprintf(filter, sizeof(filter), "%s/a/+", prefix);
    subscribe(c, version, filter, 2);
    const char *names[] = {"qos 0", "qos 1", "qos 2"};
    for (int qos = 0; qos < 3; qos++) {
        publish(c, version, topic, names[qos], qos, 0);
        expect(topic, names[qos], qos, 0);
    }
    publish(c, version, other, "retained", 1, 1);
    subscribe(c, version, other, 1);
    expect(other, "retained", 1, 1);
    publish(c, version, other, "", 1, 1);
    expect(other, "", 1, 0);
    subscribe(c, version, shared, 1);
    snprintf(topic, sizeof(topic), "%s/work", prefix);
    publish(c, version, topic, "shared", 1, 0);
    expect(topic, "shared", 1, 0);
    stop(c, version);
    printf("done\n");
    return 0;
}
