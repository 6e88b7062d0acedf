/*
 * pages.c: runs of pages straight from the system.
 *
 *   regions[0] ---> | head | 1 1 1 1 . . 1 1 . . . . | 16 MiB, mapped once and never unmapped
 *   regions[1] ---> | head | . . . . . . . . . . . . |
 *                     bit for each page: in use
 *
 * A run is 2^n pages at a multiple of 2^n, the lowest that is free: so those of a burst lie above those of before, and
 * regions do not fall apart. A freed run stays mapped and loses its memory (MADV_DONTNEED), so that the number of
 * mappings, which the system bounds (vm.max_map_count), does not grow with that of holes. The last PAGES_KEPT pages
 * keep theirs, for who connects and disconnects at the edge of a run.
 *
 * Invariants (pages_check): the head's pages are in use; `used` of a region is its number of bits, `kept` that of all
 * bits of pages that are free and may have memory.
 * Cost: a look at 1 word for each 64 pages (64 runs of 4 KiB, 8 of 32) up to the first that fits; to free costs a
 * call to the system, about 5 us for 32 KiB, with the mutex released.
 * Threads: any; one mutex, the innermost of all.
 */
#include "runtime/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/mem.h"

/* An allocator of its own would hide leaks and late uses from AddressSanitizer. */
#ifdef __SANITIZE_ADDRESS__

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

void pages_check(void)
{
}

#else

#define REGION_BYTES ((size_t)16 * 1024 * 1024)
#define REGION_PAGES (REGION_BYTES / PAGES_BYTES_MIN)
#define REGION_WORDS (REGION_PAGES / 64)
#define REGIONS_MAX 8192u /* 128 GiB */
#define PAGES_KEPT 16u

/* The first bytes of a region. */
struct region {
    uint64_t bits[REGION_WORDS]; /* in use */
    uint64_t kept[REGION_WORDS]; /* free, with what was in it */
    uint32_t used;
};
#define HEAD_PAGES ((sizeof(struct region) + PAGES_BYTES_MIN - 1) / PAGES_BYTES_MIN)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct region *regions[REGIONS_MAX];
static uint32_t region_count;
static uint32_t kept; /* pages, in all regions */

/* A run that is not there yet, or an old one. */
struct place {
    struct region *region;
    uint32_t word;
    uint64_t bits;
};

static uint32_t pages_of(size_t bytes)
{
    BUG_ON(bytes == 0 || bytes > PAGES_BYTES_MAX);
    uint32_t pages = 1;
    while (pages * (size_t)PAGES_BYTES_MIN < bytes)
        pages *= 2;
    return pages;
}

static uint64_t bits_of(uint32_t pages)
{
    return pages == 64 ? UINT64_MAX : (1ull << pages) - 1;
}

static uint32_t count_bits(uint64_t bits)
{
    return (uint32_t)__builtin_popcountll(bits);
}

static void *place_address(const struct place *place)
{
    size_t page = (size_t)place->word * 64 + (uint32_t)__builtin_ctzll(place->bits);
    return (char *)place->region + page * PAGES_BYTES_MIN;
}

static struct place place_of(void *run, uint32_t pages)
{
    uintptr_t address = (uintptr_t)run;
    uint32_t page = (uint32_t)(address % REGION_BYTES / PAGES_BYTES_MIN);
    struct region *region = (struct region *)(address - address % REGION_BYTES);
    return (struct place){region, page / 64, bits_of(pages) << page % 64};
}

/* ---- regions ---- */

/* Address space of twice the size has one that is aligned; the rest goes back. */
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
    return (struct region *)(all + before);
}

static struct region *region_add(void)
{
    struct region *region = region_count < REGIONS_MAX ? region_map() : NULL;
    if (!region)
        return NULL;
    region->bits[0] = bits_of(HEAD_PAGES); /* the rest is zero, as it comes */
    region->used = HEAD_PAGES;
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

static bool place_find(uint32_t pages, struct place *place)
{
    for (uint32_t i = 0; i < region_count; i++) {
        if (region_find(regions[i], pages, place))
            return true;
    }
    struct region *region = region_add();
    return region && region_find(region, pages, place);
}

/* ---- runs ---- */

void *pages_alloc(size_t bytes)
{
    struct place place;
    uint32_t pages = pages_of(bytes);
    pthread_mutex_lock(&mutex);
    bool is_found = place_find(pages, &place);
    if (is_found) {
        uint64_t *old = &place.region->kept[place.word];
        kept -= count_bits(*old & place.bits);
        *old &= ~place.bits;
        place.region->bits[place.word] |= place.bits;
        place.region->used += pages;
    }
    pthread_mutex_unlock(&mutex);
    return is_found ? place_address(&place) : NULL;
}

void pages_free(void *run, size_t bytes)
{
    uint32_t pages = pages_of(bytes);
    struct place place = place_of(run, pages);
    pthread_mutex_lock(&mutex);
    BUG_ON((place.region->bits[place.word] & place.bits) != place.bits);
    bool is_kept = kept + pages <= PAGES_KEPT;
    if (!is_kept) { /* it is in use until its memory has gone */
        pthread_mutex_unlock(&mutex);
        madvise(run, pages * (size_t)PAGES_BYTES_MIN, MADV_DONTNEED);
        pthread_mutex_lock(&mutex);
    } else {
        kept += pages;
        place.region->kept[place.word] |= place.bits;
    }
    place.region->bits[place.word] &= ~place.bits;
    place.region->used -= pages;
    pthread_mutex_unlock(&mutex);
}

void pages_check(void)
{
    uint32_t sum = 0;
    pthread_mutex_lock(&mutex);
    for (uint32_t i = 0; i < region_count; i++) {
        uint32_t used = 0;
        for (uint32_t word = 0; word < REGION_WORDS; word++) {
            BUG_ON(regions[i]->bits[word] & regions[i]->kept[word]);
            used += count_bits(regions[i]->bits[word]);
            sum += count_bits(regions[i]->kept[word]);
        }
        BUG_ON(used != regions[i]->used || !(regions[i]->bits[0] & 1));
    }
    BUG_ON(sum != kept || kept > PAGES_KEPT);
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
    void *ptr = pages_or_mem_alloc(bytes);
    return ptr ? memset(ptr, 0, bytes) : NULL;
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
