/*
 * replay.c: runs a fuzz target over files, without a fuzzer: every file of each directory given
 * (and each file given). A broken invariant ends the program. Ends with `N passed, 0 failed`.
 *
 * Each input is handed over in memory of exactly its size, so that a sanitizer sees a read past it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATH_ROOM 4096

static unsigned passed, failed;

/* Reads a whole file; NULL when it cannot be read. free(). */
static uint8_t *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file)
        return NULL;
    uint8_t *data = NULL;
    if (fstat(fileno(file), &st) == 0) {
        *size = (size_t)st.st_size;
        data = malloc(*size ? *size : 1);
        if (data && fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

static void replay_file(const char *path)
{
    size_t size;
    uint8_t *data = read_whole(path, &size);
    if (!data) {
        fprintf(stderr, "%s: cannot be read\n", path);
        failed++;
        return;
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    passed++;
}

static void replay_directory(const char *path, DIR *directory)
{
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char file[PATH_ROOM];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        replay_file(file);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (directory) {
            replay_directory(argv[i], directory);
            closedir(directory);
        } else {
            replay_file(argv[i]);
        }
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
