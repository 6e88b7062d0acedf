/* process.c: see process.h. */
#include "bench/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    const struct dirent *entry;
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

/* Counted in ticks of 10 ms or so: for spans of seconds. The program's name may have blanks and brackets. */
uint64_t process_user_ns(int pid)
{
    char line[1024], path[64];
    unsigned long long ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = pid ? fopen(path, "re") : NULL;
    if (!f)
        return 0;
    const char *rest = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu", &ticks) != 1)
        ticks = 0;
    fclose(f);
    return ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* smaps_rollup is exact; statm may lag by some pages per thread, but others may read it too. */
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
