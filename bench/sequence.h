/*
 * sequence.h: which numbers of a stream have come, to tell lost, duplicate and late ones apart.
 *
 *   0 1 2 3 ... missing ........ next
 *   all came    | some did not   | none came      a bitmap, a ring, holds what lies between
 *
 * A stream in order needs 24 bytes and no bitmap. It gets one at the first gap, and that grows
 * until it reaches back to the first number that is missing, or to SEQUENCE_BITS_MAX: what is
 * missing further back is given up, and taken for a duplicate if it comes after all.
 *
 * One owner. Cost: a compare and an add for the number that was expected.
 */
#ifndef BENCH_SEQUENCE_H
#define BENCH_SEQUENCE_H

#include "bench/base.h"

#define SEQUENCE_BITS_MIN 256u
#define SEQUENCE_BITS_MAX 65536u

enum sequence_seen {
    SEQUENCE_NEW,  /* higher than all before */
    SEQUENCE_LATE, /* new, and came after a higher one */
    SEQUENCE_AGAIN /* came before */
};

/* All zero is a stream of which nothing has come. */
struct sequence {
    uint64_t next;    /* above the highest that came */
    uint64_t missing; /* all below came or were given up; `next` while nothing is missing */
    struct sequence_past *past;
};

enum sequence_seen sequence_note(struct sequence *s, uint64_t number);
void sequence_fini(struct sequence *s);

#endif
