/*
 * failing_memory.h: an allocator that says no when the program that includes it wants.
 *
 * The counted allocator of include/base/mem.h is wrapped: base.c is included with its functions
 * renamed, so the library's own is not linked. For one .c file of a program, before anything else;
 * that file defines memory_fails(), which is asked before each allocation.
 */
#ifndef TESTS_UNIT_CONN_FAILING_MEMORY_H
#define TESTS_UNIT_CONN_FAILING_MEMORY_H

#include <stdbool.h>

#define mem_alloc base_mem_alloc
#define mem_zalloc base_mem_zalloc
#define mem_realloc base_mem_realloc
#include "runtime/base.c"
#undef mem_alloc
#undef mem_zalloc
#undef mem_realloc

static bool memory_fails(void);

void *mem_alloc(size_t bytes);
void *mem_zalloc(size_t bytes);
void *mem_realloc(void *ptr, size_t bytes);

void *mem_alloc(size_t bytes)
{
    return memory_fails() ? NULL : base_mem_alloc(bytes);
}

void *mem_zalloc(size_t bytes)
{
    return memory_fails() ? NULL : base_mem_zalloc(bytes);
}

void *mem_realloc(void *ptr, size_t bytes)
{
    return memory_fails() ? NULL : base_mem_realloc(ptr, bytes);
}

#endif
