/*
 * What the suite of os.h and its parts in the words of a system share: files in the scratch folder, opened by os.h.
 */
#ifndef FILES_H
#define FILES_H

#include "os.h"
#include "scratch.h"

#include <dirent.h>

/* Byte i is i % 251 + 1. */
static inline void make_file(const char *name, size_t byte_count)
{
    FILE *file = fopen(name, "wb");
    unsigned char *bytes = malloc(byte_count + 1);

    REQUIRE(file && bytes);
    for (size_t i = 0; i < byte_count; i++)
        bytes[i] = (unsigned char)(i % 251 + 1);
    REQUIRE(fwrite(bytes, 1, byte_count, file) == byte_count && fclose(file) == 0);
    free(bytes);
}

static inline struct stele_os_file open_file(bool is_writable)
{
    struct stele_os_file file = { 0 };

    REQUIRE(stele_os_open(scratch_path, is_writable, &file) == STELE_OK);
    return file;
}

static inline uint64_t bytes_of(const struct stele_os_file *file)
{
    struct stele_os_stat status;

    REQUIRE(stele_os_stat(file, &status) == STELE_OK);
    return status.bytes;
}

/* In the scratch folder. */
static inline size_t entry_count(void)
{
    DIR *directory = opendir(scratch_folder);
    size_t count = 0;

    REQUIRE(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2;
}

static inline bool is_writer_held(const struct stele_os_file *file)
{
    bool is_held = false;

    REQUIRE(stele_os_is_writer_held(file, &is_held) == STELE_OK);
    return is_held;
}

static inline bool is_present_held(const struct stele_os_file *file)
{
    bool is_held = false;

    REQUIRE(stele_os_is_present_held(file, &is_held) == STELE_OK);
    return is_held;
}

#endif
