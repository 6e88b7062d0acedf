/*
 * log_text.h: what a peer wrote, made fit for a log: one line, nothing a terminal would obey.
 *
 * Control characters (C0 but the tab, DEL, and C1 in UTF-8) are written as \x0a; other bytes pass.
 */
#ifndef RUNTIME_LOG_TEXT_H
#define RUNTIME_LOG_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Writes `text` into `room` bytes (at least 16), without a NUL at its end; what does not fit is cut
   between characters and ends with "...". Returns the length. Pure. */
static inline size_t log_text_escape(char *line, size_t room, const char *text)
{
    size_t used = 0, cut = 0; /* `cut`: the last place from which "..." would fit */
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        int is_c1 = at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0;
        char piece[12];
        int bytes = 1;
        piece[0] = (char)*at;
        if (is_c1)
            bytes = snprintf(piece, sizeof(piece), "\\x%02x\\x%02x", at[0], at[1]);
        else if ((*at < 0x20 && *at != '\t') || *at == 0x7F)
            bytes = snprintf(piece, sizeof(piece), "\\x%02x", *at);
        if ((*at & 0xC0) != 0x80 && used + 3 <= room)
            cut = used;
        if (used + (size_t)bytes > room) {
            for (int i = 0; i < 3; i++)
                line[cut++] = '.';
            return cut;
        }
        for (int i = 0; i < bytes; i++)
            line[used++] = piece[i];
        at += is_c1 ? 2 : 1;
    }
    return used;
}

#endif
