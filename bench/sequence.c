/* sequence.c: see sequence.h. */
#include "bench/sequence.h"

#include <stdlib.h>

struct sequence_past {
    uint32_t bits; /* a power of two; bit n % bits is for the highest n below `next` */
    uint64_t seen[];
};

static bool past_has(const struct sequence_past *p, uint64_t number)
{
    return p->seen[number % p->bits / 64] >> number % 64 & 1;
}

static void past_set(struct sequence_past *p, uint64_t number, bool seen)
{
    uint64_t *word = &p->seen[number % p->bits / 64], bit = 1ull << number % 64;
    *word = seen ? *word | bit : *word & ~bit;
}

static struct sequence_past *past_new(uint32_t bits)
{
    struct sequence_past *p = bench_zalloc(1, sizeof *p + bits / 8);
    p->bits = bits;
    return p;
}

/* Makes the bitmap reach back over `span` numbers below `next`, if it may. */
static void sequence_reach(struct sequence *s, uint64_t span)
{
    uint32_t bits = s->past ? s->past->bits : SEQUENCE_BITS_MIN;
    while (bits < span && bits < SEQUENCE_BITS_MAX)
        bits *= 2;
    if (s->past && bits == s->past->bits)
        return;
    struct sequence_past *old = s->past;
    s->past = past_new(bits);
    uint64_t had = old ? old->bits : 0;
    for (uint64_t i = 1; i <= bits && i <= s->next; i++)
        past_set(s->past, s->next - i, i > had || past_has(old, s->next - i));
    free(old);
}

/* Moves `missing` up over what has come. */
static void sequence_settle(struct sequence *s)
{
    while (s->missing < s->next && past_has(s->past, s->missing))
        s->missing++;
}

/* `number` came and those between `next` and it did not. */
static void sequence_skip(struct sequence *s, uint64_t number)
{
    sequence_reach(s, number + 1 - s->missing);
    uint32_t bits = s->past->bits;
    uint64_t first = number - s->next > bits ? number - bits : s->next;
    for (uint64_t n = first; n < number; n++)
        past_set(s->past, n, false);
}

static void sequence_advance(struct sequence *s, uint64_t number)
{
    if (number > s->next || (s->past && number + 1 - s->missing > s->past->bits))
        sequence_skip(s, number);
    past_set(s->past, number, true);
    s->next = number + 1;
    if (s->next - s->missing > s->past->bits)
        s->missing = s->next - s->past->bits;
    sequence_settle(s);
}

enum sequence_seen sequence_note(struct sequence *s, uint64_t number)
{
    if (LIKELY(number == s->next && s->missing == s->next)) {
        if (s->past)
            past_set(s->past, number, true);
        s->missing = ++s->next;
        return SEQUENCE_NEW;
    }
    if (number >= s->next) {
        sequence_advance(s, number);
        return SEQUENCE_NEW;
    }
    if (number < s->missing || past_has(s->past, number))
        return SEQUENCE_AGAIN;
    past_set(s->past, number, true);
    sequence_settle(s);
    return SEQUENCE_LATE;
}

void sequence_fini(struct sequence *s)
{
    free(s->past);
    *s = (struct sequence){0};
}
