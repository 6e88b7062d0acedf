/*
 * log.c: lines to stderr, stdout, syslog, a file and the topic sink.
 *
 * How it works: what log_open() decides is kept in a few atomics (types, destinations, the format
 * of the time), so that writers take no lock of ours. The C library's, of the time zone
 * (localtime_r, strftime), a thread takes once a second, when it writes the time anew; that of
 * syslog(3) with each line, where lines go there. The log file keeps one descriptor number for the
 * life of the process: reopening puts the new file under the same number (dup3), so a writer that
 * read the number earlier writes into the old file or the new one, never into something else.
 * Formats of the time are kept for good once used, as another thread may be reading one.
 *
 * Of the lines that a site holds back only the first is formatted, and kept in the site.
 *
 * Threads: any may write; log_open(), log_close() and log_report_held_back() one at a time.
 * Cost: a line that is off, one relaxed load; a line held back, one load and one add; a line
 * written, one write(2) for each destination; a new second, one strftime(3) for each thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/config.h"
#include "runtime/log.h"
#include "runtime/log_text.h"

#define LOG_TYPES_DEFAULT (LOG_ERROR | LOG_WARNING_ | LOG_NOTICE_ | LOG_INFORMATION)
#define LOG_TYPES_LIMITED LOG_TYPES_DEFAULT
#define LOG_TYPES_NOT_ON_TOPICS (LOG_DEBUG_ | LOG_INTERNAL)

/* A format of the time that has been in use. */
struct log_format {
    struct log_format *next;
    char text[];
};

/* The time as a thread wrote it last: lines of one second begin alike. */
struct log_stamp {
    time_t now;
    const struct log_format *format;
    size_t bytes; /* 0: none yet */
    char text[LOG_LINE_BYTES / 4];
};

_Atomic uint32_t log_types_on = LOG_TYPES_DEFAULT;
static _Atomic uint32_t log_dests = LOG_DEST_STDERR;
static _Atomic bool log_has_time = true;
static const struct log_format *_Atomic log_time_format; /* NULL: seconds since 1970 */
static _Atomic int log_file_fd = -1;
static const char *_Atomic log_path; /* of the file, NULL: none */
static _Atomic uint32_t log_opened;  /* how often log_open() ran */
static void (*_Atomic log_topic_sink)(uint32_t type, const char *line);
static struct log_site *_Atomic log_held_sites;
static _Atomic uint64_t log_lost, log_held_back;
static pthread_mutex_t log_held_mutex = PTHREAD_MUTEX_INITIALIZER; /* texts of sites */

static struct log_format *log_formats; /* all that were used; log_open() only */
static _Thread_local bool log_is_in_sink;

/* ---- writing ---- */

void log_set_topic_sink(void (*sink)(uint32_t type, const char *line))
{
    atomic_store_explicit(&log_topic_sink, sink, memory_order_release);
}

uint64_t log_lost_lines(void)
{
    return atomic_load_explicit(&log_lost, memory_order_relaxed);
}

uint64_t log_held_back_lines(void)
{
    return atomic_load_explicit(&log_held_back, memory_order_relaxed);
}

static void write_line(int fd, const char *line, size_t bytes)
{
    ssize_t written;
    do
        written = write(fd, line, bytes);
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)bytes)
        atomic_fetch_add_explicit(&log_lost, 1, memory_order_relaxed);
}

static int syslog_priority(uint32_t type)
{
    switch (type) {
    case LOG_ERROR:
        return LOG_ERR;
    case LOG_WARNING_:
        return LOG_WARNING;
    case LOG_INFORMATION:
        return LOG_INFO;
    case LOG_DEBUG_:
    case LOG_INTERNAL:
        return LOG_DEBUG;
    default:
        return LOG_NOTICE;
    }
}

static void write_topic(uint32_t type, const char *line)
{
    void (*sink)(uint32_t, const char *) =
        atomic_load_explicit(&log_topic_sink, memory_order_acquire);
    if (!sink || log_is_in_sink || (type & LOG_TYPES_NOT_ON_TOPICS))
        return;
    log_is_in_sink = true;
    sink(type, line);
    log_is_in_sink = false;
}

/* Sends a finished line everywhere; `text` is where the line goes on after the time. */
static void write_everywhere(uint32_t type, char *line, size_t bytes, size_t text)
{
    uint32_t dests = atomic_load_explicit(&log_dests, memory_order_acquire);
    line[bytes] = '\n';
    if (dests & LOG_DEST_STDERR)
        write_line(STDERR_FILENO, line, bytes + 1);
    if (dests & LOG_DEST_STDOUT)
        write_line(STDOUT_FILENO, line, bytes + 1);
    if (dests & LOG_DEST_FILE)
        write_line(atomic_load_explicit(&log_file_fd, memory_order_acquire), line, bytes + 1);
    line[bytes] = 0;
    if (dests & LOG_DEST_SYSLOG)
        syslog(syslog_priority(type), "%s", line + text); /* has its own time */
    if (dests & LOG_DEST_TOPIC)
        write_topic(type, line);
}

/* Writes `now` and ": " as `format` has it; returns the length. */
static size_t format_time(char *text, size_t room, time_t now, const struct log_format *format)
{
    struct tm tm;
    size_t bytes =
        format && localtime_r(&now, &tm) ? strftime(text, room - 2, format->text, &tm) : 0;
    if (bytes == 0)
        bytes = (size_t)snprintf(text, room - 2, "%lld", (long long)now);
    memcpy(text + bytes, ": ", 2);
    return bytes + 2;
}

/* Writes the time and ": "; returns its length. */
static size_t write_time(char *line)
{
    static _Thread_local struct log_stamp stamp;
    if (!atomic_load_explicit(&log_has_time, memory_order_relaxed))
        return 0;
    const struct log_format *format = atomic_load_explicit(&log_time_format, memory_order_acquire);
    time_t now = time(NULL);
    if (stamp.bytes == 0 || stamp.now != now || stamp.format != format) {
        stamp.now = now;
        stamp.format = format;
        stamp.bytes = format_time(stamp.text, sizeof(stamp.text), now, format);
    }
    memcpy(line, stamp.text, stamp.bytes);
    return stamp.bytes;
}

static void write_text(uint32_t type, const char *text, uint32_t held_back)
{
    char line[LOG_LINE_BYTES + 1], note[64] = "";
    size_t begin = write_time(line);
    if (held_back)
        snprintf(note, sizeof(note), " (%u more like this were held back)", held_back);
    size_t note_bytes = strlen(note);
    size_t end =
        begin + log_text_escape(line + begin, LOG_LINE_BYTES - 1 - begin - note_bytes, text);
    memcpy(line + end, note, note_bytes);
    write_everywhere(type, line, end + note_bytes, begin);
}

/* ---- bursts ---- */

static uint32_t now_s(void)
{
    return (uint32_t)(clock_now_ms() / 1000);
}

/* True when one more line of the site may pass now. */
static bool take_turn(struct log_site *site)
{
    uint32_t now = now_s();
    uint64_t window = atomic_load_explicit(&site->window, memory_order_relaxed);
    for (;;) {
        uint64_t next;
        if ((int32_t)(now - (uint32_t)(window >> 32)) >= (int32_t)LOG_BURST_S)
            next = (uint64_t)now << 32 | 1;
        else if ((uint32_t)window < LOG_BURST)
            next = window + 1;
        else
            return false;
        if (atomic_compare_exchange_weak_explicit(&site->window, &window, next,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
}

bool log_counts_only(struct log_site *site, uint32_t type)
{
    uint32_t held_back = atomic_load_explicit(&site->held_back, memory_order_relaxed);
    if (LIKELY(held_back == 0) || !(type & LOG_TYPES_LIMITED))
        return false;
    uint64_t window = atomic_load_explicit(&site->window, memory_order_relaxed);
    if (now_s() - (uint32_t)(window >> 32) >= LOG_BURST_S || (uint32_t)window < LOG_BURST)
        return false;
    do {
        if (held_back == 0) /* they were reported just now */
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&site->held_back, &held_back, held_back + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_fetch_add_explicit(&log_held_back, 1, memory_order_relaxed);
    return true;
}

/* Links a site for the report, once. */
static void link_site(struct log_site *site, uint32_t type)
{
    if (atomic_load_explicit(&site->is_linked, memory_order_relaxed) ||
        atomic_exchange_explicit(&site->is_linked, true, memory_order_relaxed))
        return;
    site->type = type;
    site->next = atomic_load_explicit(&log_held_sites, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&log_held_sites, &site->next, site,
                                                  memory_order_release, memory_order_relaxed))
        continue;
}

/* Counts a line that is held back; keeps the first since the last report. */
static void hold_back(struct log_site *site, uint32_t type, const char *format, va_list args)
{
    atomic_fetch_add_explicit(&log_held_back, 1, memory_order_relaxed);
    if (atomic_load_explicit(&site->held_back, memory_order_relaxed) == 0) {
        pthread_mutex_lock(&log_held_mutex);
        vsnprintf(site->text, sizeof(site->text), format, args);
        pthread_mutex_unlock(&log_held_mutex);
    }
    atomic_fetch_add_explicit(&site->held_back, 1, memory_order_relaxed);
    link_site(site, type);
}

void log_write(struct log_site *site, uint32_t type, const char *format, ...)
{
    char text[LOG_LINE_BYTES + 8]; /* so that what is cut is seen to be too long */
    uint32_t held_back = 0;
    va_list args;
    va_start(args, format);
    if ((type & LOG_TYPES_LIMITED) && !take_turn(site)) {
        hold_back(site, type, format, args);
        va_end(args);
        return;
    }
    if (atomic_load_explicit(&site->held_back, memory_order_relaxed))
        held_back = atomic_exchange_explicit(&site->held_back, 0, memory_order_relaxed);
    int bytes = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (bytes >= 0)
        write_text(type, text, held_back);
}

/* Writes what a site holds back, if anything. */
static void report_site(struct log_site *site)
{
    char text[LOG_HELD_BYTES];
    pthread_mutex_lock(&log_held_mutex);
    memcpy(text, site->text, sizeof(text));
    pthread_mutex_unlock(&log_held_mutex);
    uint32_t held_back = atomic_exchange_explicit(&site->held_back, 0, memory_order_relaxed);
    if (held_back)
        write_text(site->type, text, held_back - 1);
}

void log_report_held_back(bool is_end)
{
    struct log_site *site = atomic_load_explicit(&log_held_sites, memory_order_acquire);
    for (; site; site = site->next) {
        uint32_t began =
            (uint32_t)(atomic_load_explicit(&site->window, memory_order_relaxed) >> 32);
        bool is_over = is_end || (int32_t)(now_s() - began) >= (int32_t)LOG_BURST_S;
        if (is_over && log_is_on(site->type))
            report_site(site);
    }
}

/* ---- destinations ---- */

/* Puts `path` under the log file's descriptor. Returns 0 or errno. */
static int open_file(const char *path)
{
    int kept = atomic_load_explicit(&log_file_fd, memory_order_relaxed);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return errno;
    if (kept < 0) {
        atomic_store_explicit(&log_file_fd, fd, memory_order_release);
        return 0;
    }
    int error = dup3(fd, kept, O_CLOEXEC) < 0 ? errno : 0;
    close(fd);
    return error;
}

/* Closes the file, if any, but keeps its descriptor's number. */
static void let_file_go(void)
{
    if (atomic_load_explicit(&log_file_fd, memory_order_relaxed) >= 0)
        open_file("/dev/null");
}

/* The same format as before keeps its memory; a new one gets its own, for good. */
static const struct log_format *keep_format(const char *text)
{
    if (!text)
        return NULL;
    for (struct log_format *format = log_formats; format; format = format->next)
        if (strcmp(format->text, text) == 0)
            return format;
    struct log_format *format = malloc(sizeof(*format) + strlen(text) + 1);
    BUG_ON(!format);
    strcpy(format->text, text);
    format->next = log_formats;
    return log_formats = format;
}

static void set_up(uint32_t types, bool has_time, const char *time_format, uint32_t dests)
{
    uint32_t nowhere = dests == LOG_DEST_TOPIC ? LOG_TYPES_NOT_ON_TOPICS : dests ? 0 : LOG_ALL;
    atomic_store_explicit(&log_types_on, types & ~nowhere, memory_order_relaxed);
    atomic_store_explicit(&log_has_time, has_time, memory_order_relaxed);
    atomic_store_explicit(&log_time_format, keep_format(time_format), memory_order_release);
    atomic_store_explicit(&log_dests, dests, memory_order_release);
}

/* A text that stays for good; the same text keeps its memory. */
static const char *keep_path(const char *path)
{
    return path ? keep_format(path)->text : NULL;
}

void log_follow(void)
{
    static _Thread_local uint32_t followed;
    uint32_t opened = atomic_load_explicit(&log_opened, memory_order_acquire);
    const char *path = atomic_load_explicit(&log_path, memory_order_relaxed);
    if (followed == opened)
        return;
    followed = opened;
    if (open_file(path ? path : "/dev/null"))
        open_file("/dev/null"); /* the main thread has told why */
}

int log_open(const struct config *config)
{
    uint32_t dests = config->log_dest;
    int error = dests & LOG_DEST_FILE && config->log_file ? open_file(config->log_file) : 0;
    if (error)
        return error;
    if (dests & LOG_DEST_SYSLOG)
        openlog("dunlin", LOG_PID | LOG_NDELAY, config->log_facility);
    set_up(config->log_type, config->log_timestamp, config->log_timestamp_format, dests);
    if (!(dests & LOG_DEST_FILE))
        let_file_go();
    if (!(dests & LOG_DEST_SYSLOG))
        closelog();
    if (config->reactor_descriptors == DESCRIPTORS_PRIVATE && log_file_descriptor() < 0)
        error = open_file("/dev/null"); /* its number is taken before reactors have their own */
    atomic_store_explicit(&log_path, dests & LOG_DEST_FILE ? keep_path(config->log_file) : NULL,
                          memory_order_relaxed);
    atomic_fetch_add_explicit(&log_opened, 1, memory_order_release);
    return error;
}

int log_file_descriptor(void)
{
    return atomic_load_explicit(&log_file_fd, memory_order_relaxed);
}

void log_close(void)
{
    set_up(LOG_TYPES_DEFAULT, true, NULL, LOG_DEST_STDERR);
    log_set_topic_sink(NULL);
    let_file_go();
    closelog();
}
