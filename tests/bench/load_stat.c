/* load_stat.c: percentiles of latencies, and what /proc says about the broker. */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "load_report.h"

/* Values below HIST_SUB have a cell each; above, each power of two has HIST_SUB cells. */
static uint32_t hist_cell(uint64_t ns)
{
    if (ns < HIST_SUB)
        return (uint32_t)ns;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(ns) - 5; /* 5: log2 of HIST_SUB */
    return HIST_SUB * shift + (uint32_t)(ns >> shift);
}

static double hist_value_ns(uint32_t cell)
{
    if (cell < HIST_SUB)
        return cell;
    uint32_t shift = cell / HIST_SUB - 1;
    return (double)((uint64_t)(cell - HIST_SUB * shift) << shift) + (double)(1ull << shift) / 2;
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->count[hist_cell(ns)]++;
    h->total++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

void hist_merge(struct hist *to, const struct hist *from)
{
    for (uint32_t i = 0; i < HIST_SIZE; i++)
        to->count[i] += from->count[i];
    to->total += from->total;
    if (from->max_ns > to->max_ns)
        to->max_ns = from->max_ns;
}

double hist_percentile_us(const struct hist *h, double percent)
{
    uint64_t rank = (uint64_t)((double)h->total * percent / 100), sum = 0;
    for (uint32_t i = 0; i < HIST_SIZE; i++) {
        sum += h->count[i];
        if (sum > rank)
            return hist_value_ns(i) / 1000;
    }
    return (double)h->max_ns / 1000;
}

static uint64_t thread_cpu_ns(int pid, const char *tid)
{
    char path[320];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, tid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    fclose(f);
    return ns;
}

uint64_t process_cpu_ns(int pid)
{
    char path[64];
    uint64_t sum = 0;
    struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = pid ? opendir(path) : NULL;
    if (!dir)
        return 0;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            sum += thread_cpu_ns(pid, entry->d_name);
    closedir(dir);
    return sum;
}

/* smaps_rollup is exact; statm may lag by some pages per thread. */
uint64_t process_rss_bytes(int pid)
{
    char line[256];
    unsigned long long kib = 0, pages = 0;
    snprintf(line, sizeof line, "/proc/%d/smaps_rollup", pid);
    FILE *f = pid ? fopen(line, "re") : NULL;
    if (f) {
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "Rss: %llu kB", &kib) == 1)
                break;
        fclose(f);
    }
    if (kib || !pid)
        return kib * 1024;
    snprintf(line, sizeof line, "/proc/%d/statm", pid);
    f = fopen(line, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
