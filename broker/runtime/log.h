/*
 * log.h: what operators read. mosquitto's types and destinations; any thread; never blocks a
 * reactor on a lock that is held for longer than one write(2).
 *
 * Bursts: each call site passes at most LOG_BURST lines in LOG_BURST_S seconds, the rest is held
 * back and counted, and the next line that passes says how many were held back; when none comes,
 * the first that was held back is written late, with the number. Types that an operator switches on
 * to see everything (debug, subscribe, unsubscribe) are never held back.
 *
 * What a peer chose cannot forge or hide a line: control characters are written as \x0a, and a
 * line is cut at LOG_LINE_BYTES.
 */
#ifndef RUNTIME_LOG_H
#define RUNTIME_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdatomic.h>

struct config;

/* Types, as mosquitto's log_type directive. */
#define LOG_DEBUG_ 0x01u
#define LOG_INFORMATION 0x02u
#define LOG_NOTICE_ 0x04u
#define LOG_WARNING_ 0x08u
#define LOG_ERROR 0x10u
#define LOG_SUBSCRIBE 0x20u
#define LOG_UNSUBSCRIBE 0x40u
#define LOG_INTERNAL 0x80u
#define LOG_ALL 0xFFu

#define LOG_DEST_STDERR 0x01u
#define LOG_DEST_STDOUT 0x02u
#define LOG_DEST_SYSLOG 0x04u
#define LOG_DEST_FILE 0x08u
#define LOG_DEST_TOPIC 0x10u
#define LOG_DEST_NONE 0u

#define LOG_LINE_BYTES 4096u /* with its newline: what a pipe takes whole (PIPE_BUF) */

#define LOG_BURST 100u
#define LOG_BURST_S 10u
#define LOG_HELD_BYTES 240u /* of a line that stands for all that were held back */

/* The state of one call site's limiter; static, as it is linked once it has held something back. */
struct log_site {
    _Atomic uint64_t window; /* seconds at which the window began << 32 | lines in it */
    _Atomic uint32_t held_back;
    _Atomic bool is_linked;
    uint32_t type;             /* of the lines held back */
    struct log_site *next;     /* in the list of sites that held something back */
    char text[LOG_HELD_BYTES]; /* the first of them; under a mutex */
};

/* Opens destinations as configured; may be called again on reload (also reopens the file). Returns
   0 or errno: then the file could not be opened and everything goes on as before. Before the first
   call, errors to notices go to stderr. One thread at a time; others may log meanwhile. */
int log_open(const struct config *config);
/* Opens the file anew when log_open() did since the last call: for threads with a descriptor table of
   their own. */
void log_follow(void);
/* The log file's descriptor, -1: there is none; to give the file to another user. */
int log_file_descriptor(void);
/* Back to the state before the first log_open(). */
void log_close(void);
/* Writes one line, the first of those held back, for each call site that still holds lines back
   after its burst: call it every LOG_BURST_S seconds or so. `is_end`: for each that holds any, as no
   later call comes. */
void log_report_held_back(bool is_end);
/* Lines that a destination did not take (disk full, nobody reads the pipe), for metrics. */
uint64_t log_lost_lines(void);
/* Lines held back in bursts, for metrics. */
uint64_t log_held_back_lines(void);
/* Types that go anywhere; log_is_on() only. */
extern _Atomic uint32_t log_types_on;
/* True when a line of this type would go anywhere: checked first by log_line. One load. */
static inline bool log_is_on(uint32_t type)
{
    return type & atomic_load_explicit(&log_types_on, memory_order_relaxed);
}
/* For log_dest topic: called (any thread) with each line, never of type debug or internal. What the
   sink itself logs does not come back to it. NULL: none. */
void log_set_topic_sink(void (*sink)(uint32_t type, const char *line));

/* As log_line(), for a site of the caller's; `type` is one type. */
void log_write(struct log_site *site, uint32_t type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Counts one more of the lines that the site holds back, if that is all there is to do: its burst is over
   the limit, and the first such line is kept already. Any thread. */
bool log_counts_only(struct log_site *site, uint32_t type);

/* log_line(LOG_NOTICE_, "..."): one line, rate-limited per call site; no arguments evaluated when it is
 * off, nor when the line is only counted. */
#define log_line(type, ...)                                              \
    do {                                                                 \
        static struct log_site log_site_here;                            \
        if (log_is_on(type) && !log_counts_only(&log_site_here, (type))) \
            log_write(&log_site_here, (type), __VA_ARGS__);              \
    } while (0)

#endif
