/* pace.c: see pace.h. */
#include "bench/pace.h"

uint64_t pace_behind(const struct pace *p, uint64_t end_ns)
{
    struct pace last = *p;
    if (!p->start_ns || p->per_second == 0 || pace_due_ns(p) >= end_ns)
        return 0;
    last.count = (uint64_t)((double)(end_ns - p->start_ns) * p->per_second / (double)SECOND_NS);
    while (last.count > p->count && pace_due_ns(&last) >= end_ns)
        last.count--;
    while (pace_due_ns(&last) < end_ns)
        last.count++;
    return last.count - p->count;
}
