/*
 * pages.c: runs of pages straight from the system.
 *
 *   regions[0] ---> | head | 1 1 1 1 . . 1 1 k k k . | 16 MiB, mapped once and never unmapped
 *   regions[1] ---> | head | k k k k . . . . . . . . |
 *                     1: in use   k: free, and kept as it is   .: free, without memory
 *
 * A run is 2^n pages at a multiple of 2^n, the lowest that is free: so those of a burst lie above those of before, and
 * regions do not fall apart. A freed run is kept as it is, since whoever comes next may take it: a page that is
 * given back and got again costs a fault, and giving back costs a call. pages_trim() gives back, from the top, what was
 * not needed between two of its rounds; half of it each time, so a burst is forgotten within seconds. Neighbours go with one
 * call (MADV_DONTNEED), and stay mapped: the number of mappings, which the system bounds (vm.max_map_count), does not grow.
 *
 * Invariants (pages_check): the head's pages are in use; no page is both in use and kept; `used` and `kept` are the
 * numbers of bits; below `lowest` of a size no region has room for a run of it.
 * Cost: a look at one word for each 64 pages, in the region that has room, up to the first that fits. To give back costs
 * 0.1 to 0.8 us a page in large pieces, and up to 38 us a page in small ones where the processor's tables of pages are
 * made by software (a virtual machine inside another).
 * Threads: any; one mutex, below which nothing is taken.
 */
#include "runtime/pages.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/mem.h"

/* Sanitizers get malloc instead, which shows them leaks and late uses. Tests of what follows say PAGES_ARE_REAL. */
#if (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)) && !defined(PAGES_ARE_REAL)

void *pages_alloc(size_t bytes)
{
    size_t run = PAGES_BYTES_MIN;
    while (run < bytes)
        run *= 2;
    return aligned_alloc(run, run);
}

void pages_free(void *run, size_t bytes)
{
    (void)bytes;
    free(run);
}

void pages_trim_begin(void)
{
}

bool pages_trim(void)
{
    return false;
}

struct pages_stats pages_stats(void)
{
    return (struct pages_stats){0};
}

void pages_check(void)
{
}

#else

#define REGION_BYTES ((size_t)16 * 1024 * 1024)
#define REGION_PAGES ((uint32_t)(REGION_BYTES / PAGES_BYTES_MIN))
#define REGION_WORDS (REGION_PAGES / 64)
#define REGIONS_MAX 8192u /* 128 GiB */
#define SIZES 7u          /* of runs: 1 to 64 pages */
#define TRIM_PAGES_MAX 512u

/* The first bytes of a region. */
struct region {
    uint64_t bits[REGION_WORDS];      /* in use */
    uint64_t kept_bits[REGION_WORDS]; /* free, with what was in it */
    uint32_t number, used, kept;
};
#define HEAD_PAGES ((sizeof(struct region) + PAGES_BYTES_MIN - 1) / PAGES_BYTES_MIN)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct region *regions[REGIONS_MAX];
static uint32_t region_count;
static uint32_t lowest[SIZES];
static size_t kept;  /* pages, in all regions */
static size_t spare; /* the fewest kept since pages_trim_begin() */
static size_t due;   /* to be given back in this round */

/* A run that is not there yet, or an old one. */
struct place {
    struct region *region;
    uint32_t word;
    uint64_t bits;
};

/* The size of the run: 2^it pages. */
static uint32_t size_of(size_t bytes)
{
    BUG_ON(bytes == 0 || bytes > PAGES_BYTES_MAX);
    uint32_t size = 0;
    while ((size_t)PAGES_BYTES_MIN << size < bytes)
        size++;
    return size;
}

static uint64_t bits_of(uint32_t pages)
{
    return pages == 64 ? UINT64_MAX : (1ull << pages) - 1;
}

static uint32_t count_bits(uint64_t bits)
{
    return (uint32_t)__builtin_popcountll(bits);
}

static char *page_address(struct region *region, uint32_t page)
{
    return (char *)region + (size_t)page * PAGES_BYTES_MIN;
}

static void *place_address(const struct place *place)
{
    return page_address(place->region, place->word * 64 + (uint32_t)__builtin_ctzll(place->bits));
}

static struct place place_of(void *run, uint32_t pages)
{
    uintptr_t address = (uintptr_t)run;
    uint32_t page = (uint32_t)(address % REGION_BYTES / PAGES_BYTES_MIN);
    struct region *region = (struct region *)(address - address % REGION_BYTES);
    return (struct place){region, page / 64, bits_of(pages) << page % 64};
}

/* ---- regions ---- */

/* Address space of twice the size has one that is aligned; the rest goes back. Of huge pages the system would
   fill again what is given back here. */
static struct region *region_map(void)
{
    char *all = mmap(NULL, 2 * REGION_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    size_t before = (REGION_BYTES - (uintptr_t)all % REGION_BYTES) % REGION_BYTES;
    if (before)
        munmap(all, before);
    if (REGION_BYTES - before)
        munmap(all + before + REGION_BYTES, REGION_BYTES - before);
    madvise(all + before, REGION_BYTES, MADV_NOHUGEPAGE);
    return (struct region *)(all + before);
}

static struct region *region_add(void)
{
    struct region *region = region_count < REGIONS_MAX ? region_map() : NULL;
    if (!region)
        return NULL;
    region->bits[0] = bits_of(HEAD_PAGES); /* the rest is zero, as it comes */
    region->used = HEAD_PAGES;
    region->number = region_count;
    regions[region_count++] = region;
    return region;
}

static bool region_find(struct region *region, uint32_t pages, struct place *place)
{
    if (region->used + pages > REGION_PAGES)
        return false;
    for (uint32_t word = 0; word < REGION_WORDS; word++) {
        if (region->bits[word] == UINT64_MAX)
            continue;
        for (uint32_t at = 0; at < 64; at += pages) {
            uint64_t bits = bits_of(pages) << at;
            if (region->bits[word] & bits)
                continue;
            *place = (struct place){region, word, bits};
            return true;
        }
    }
    return false;
}

static bool place_find(uint32_t size, struct place *place)
{
    for (; lowest[size] < region_count; lowest[size]++) {
        if (region_find(regions[lowest[size]], 1u << size, place))
            return true;
    }
    struct region *region = region_add();
    return region && region_find(region, 1u << size, place);
}

static void has_room(const struct region *region)
{
    for (uint32_t size = 0; size < SIZES; size++) {
        if (region->number < lowest[size])
            lowest[size] = region->number;
    }
}

/* ---- runs ---- */

static void not_kept(struct region *region, uint32_t word, uint64_t bits)
{
    uint32_t pages = count_bits(region->kept_bits[word] & bits);
    region->kept_bits[word] &= ~bits;
    region->kept -= pages;
    kept -= pages;
}

void *pages_alloc(size_t bytes)
{
    struct place place;
    uint32_t size = size_of(bytes);
    pthread_mutex_lock(&mutex);
    bool is_found = place_find(size, &place);
    if (is_found) {
        not_kept(place.region, place.word, place.bits);
        spare = kept < spare ? kept : spare;
        place.region->bits[place.word] |= place.bits;
        place.region->used += 1u << size;
    }
    pthread_mutex_unlock(&mutex);
    return is_found ? place_address(&place) : NULL;
}

void pages_free(void *run, size_t bytes)
{
    uint32_t pages = 1u << size_of(bytes);
    struct place place = place_of(run, pages);
    struct region *region = place.region;
    pthread_mutex_lock(&mutex);
    BUG_ON((region->bits[place.word] & place.bits) != place.bits);
    region->bits[place.word] &= ~place.bits;
    region->kept_bits[place.word] |= place.bits;
    region->used -= pages;
    region->kept += pages;
    kept += pages;
    has_room(region);
    pthread_mutex_unlock(&mutex);
}

/* ---- giving back ---- */

static bool is_kept(const struct region *region, uint32_t page)
{
    return region->kept_bits[page / 64] >> (page % 64) & 1;
}

/* The highest pages that are kept, at most `most`, all neighbours; they are in use then. Returns how many. */
static uint32_t take_kept(uint32_t most, struct region **of, uint32_t *first)
{
    uint32_t at = region_count;
    while (at && regions[at - 1]->kept == 0)
        at--;
    if (!at)
        return 0;
    struct region *region = regions[at - 1];
    uint32_t end = REGION_PAGES;
    while (!is_kept(region, end - 1))
        end -= region->kept_bits[(end - 1) / 64] ? 1 : (end - 1) % 64 + 1;
    uint32_t page = end;
    while (page && end - page < most && is_kept(region, page - 1)) {
        page--;
        not_kept(region, page / 64, 1ull << page % 64);
        region->bits[page / 64] |= 1ull << page % 64;
        region->used++;
    }
    *of = region;
    *first = page;
    return end - page;
}

void pages_trim_begin(void)
{
    pthread_mutex_lock(&mutex);
    due = spare - spare / 2;
    spare = kept;
    pthread_mutex_unlock(&mutex);
}

bool pages_trim(void)
{
    struct region *region;
    uint32_t first;
    pthread_mutex_lock(&mutex);
    uint32_t most = due < TRIM_PAGES_MAX ? (uint32_t)due : TRIM_PAGES_MAX;
    uint32_t pages = most ? take_kept(most, &region, &first) : 0;
    spare = kept < spare ? kept : spare;
    due = pages ? due - pages : 0;
    bool is_more = due > 0;
    pthread_mutex_unlock(&mutex);
    if (!pages)
        return false;
    madvise(page_address(region, first), (size_t)pages * PAGES_BYTES_MIN, MADV_DONTNEED);
    pthread_mutex_lock(&mutex);
    for (uint32_t page = first; page < first + pages; page++)
        region->bits[page / 64] &= ~(1ull << page % 64);
    region->used -= pages;
    has_room(region);
    pthread_mutex_unlock(&mutex);
    return is_more;
}

/* ---- looking ---- */

struct pages_stats pages_stats(void)
{
    struct pages_stats stats = {0};
    pthread_mutex_lock(&mutex);
    for (uint32_t i = 0; i < region_count; i++)
        stats.used += regions[i]->used - HEAD_PAGES;
    stats.kept = kept;
    pthread_mutex_unlock(&mutex);
    return stats;
}

static void region_check(const struct region *region)
{
    uint32_t used = 0, old = 0;
    for (uint32_t word = 0; word < REGION_WORDS; word++) {
        BUG_ON(region->bits[word] & region->kept_bits[word]);
        used += count_bits(region->bits[word]);
        old += count_bits(region->kept_bits[word]);
    }
    BUG_ON(used != region->used || old != region->kept || !(region->bits[0] & 1));
}

void pages_check(void)
{
    size_t sum = 0;
    struct place place;
    pthread_mutex_lock(&mutex);
    for (uint32_t i = 0; i < region_count; i++) {
        region_check(regions[i]);
        sum += regions[i]->kept;
        for (uint32_t size = 0; size < SIZES; size++)
            BUG_ON(i < lowest[size] && region_find(regions[i], 1u << size, &place));
    }
    BUG_ON(sum != kept || spare > kept);
    pthread_mutex_unlock(&mutex);
}

#endif

/* ---- buffers and tables ---- */

static bool is_run(size_t bytes)
{
    return bytes >= PAGES_BYTES_MIN && bytes <= PAGES_BYTES_MAX;
}

void *pages_or_mem_alloc(size_t bytes)
{
    if (!is_run(bytes))
        return mem_alloc(bytes);
    void *run = pages_alloc(bytes);
    if (run)
        mem_count((int64_t)bytes);
    return run;
}

void *pages_or_mem_zalloc(size_t bytes)
{
    if (!is_run(bytes))
        return mem_zalloc(bytes); /* which knows what is zero already */
    void *run = pages_or_mem_alloc(bytes);
    return run ? memset(run, 0, bytes) : NULL;
}

void pages_or_mem_free(void *ptr, size_t bytes)
{
    if (!ptr || !is_run(bytes)) {
        mem_free(ptr);
        return;
    }
    pages_free(ptr, bytes);
    mem_count(-(int64_t)bytes);
}
