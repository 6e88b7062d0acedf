/*
 * config_file.c: files and directories of configuration.
 *
 * A file is read whole, at most 64 MiB of it. Files being read are known by device and inode, so a
 * directory that leads back to one of them is an error and not a loop. Names are any bytes that the
 * system takes; errors show what is printable of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "runtime/config_parse.h"

#define SHOWN_BYTES 512

/* Where an error about a file belongs: the line that includes it, or no line for the file given on
   the command line. */
static const struct config_place *includer(const struct config_parse *parse)
{
    return parse->here.line ? &parse->here : NULL;
}

static void complain_of_path(struct config_parse *parse, const char *path, const char *what)
{
    char shown[SHOWN_BYTES];
    config_complain(parse, includer(parse), "%s: %s",
                    config_printable(slice_str(path), shown, sizeof(shown)), what);
}

/* Reads to the end. NULL: errno says why, EFBIG for a file that is too large. */
static uint8_t *read_whole(int fd, size_t *bytes)
{
    uint8_t *text = NULL;
    size_t room = 0, used = 0;
    for (;;) {
        if (used == room) {
            room = room ? room * 2 : 65536;
            uint8_t *grown = realloc(text, room);
            BUG_ON(!grown);
            text = grown;
        }
        ssize_t count = read(fd, text + used, room - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count > 0)
            used += (size_t)count;
        if (used > CONFIG_FILE_BYTES_MAX)
            errno = EFBIG;
        if (count < 0 || used > CONFIG_FILE_BYTES_MAX) {
            int error = errno;
            free(text);
            errno = error;
            return NULL;
        }
        if (count == 0)
            break;
    }
    *bytes = used;
    return text;
}

/* False, and said why, when the open file is not one to be read now. */
static bool enter_file(struct config_parse *parse, const char *path, int fd, bool is_included)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        complain_of_path(parse, path, strerror(errno));
        return false;
    }
    if (S_ISDIR(stat.st_mode) || (is_included && !S_ISREG(stat.st_mode))) {
        complain_of_path(parse, path,
                         S_ISDIR(stat.st_mode) ? "is a directory" : "is not a regular file");
        return false;
    }
    for (uint32_t i = 0; i < parse->depth; i++) {
        if (parse->open[i].device == stat.st_dev && parse->open[i].inode == stat.st_ino) {
            complain_of_path(parse, path, "is included by itself");
            return false;
        }
    }
    BUG_ON(parse->depth > CONFIG_INCLUDES_MAX);
    parse->open[parse->depth++] = (struct config_open_file){stat.st_dev, stat.st_ino};
    return true;
}

static void parse_open_file(struct config_parse *parse, const char *path, int fd)
{
    size_t bytes;
    uint8_t *text = read_whole(fd, &bytes);
    if (text)
        config_parse_text(parse, slice_of(text, bytes), path);
    else
        complain_of_path(parse, path, errno == EFBIG ? "is larger than 64 MiB" : strerror(errno));
    free(text);
}

void config_parse_file(struct config_parse *parse, const char *path, bool is_included)
{
    /* A FIFO among included files must not stop the broker from starting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (is_included ? O_NONBLOCK : 0));
    if (fd < 0) {
        complain_of_path(parse, path, strerror(errno));
        return;
    }
    if (enter_file(parse, path, fd, is_included)) {
        parse_open_file(parse, path, fd);
        parse->depth--;
    }
    close(fd);
}

static int is_conf(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

/* Alphabetical, capitals before small letters of the same kind. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
    int order = strcasecmp((*a)->d_name, (*b)->d_name);
    return order ? order : strcmp((*a)->d_name, (*b)->d_name);
}

void config_parse_dir(struct config_parse *parse, const char *path)
{
    struct dirent **entries;
    struct config_place here = parse->here;
    int count = scandir(path, &entries, is_conf, compare_names);
    if (count < 0) {
        complain_of_path(parse, path, strerror(errno));
        return;
    }
    for (int i = 0; i < count; i++) {
        char *file;
        BUG_ON(asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0);
        parse->here = here;
        if (!config_has_enough_errors(parse))
            config_parse_file(parse, file, true);
        free(file);
        free(entries[i]);
    }
    free(entries);
}
