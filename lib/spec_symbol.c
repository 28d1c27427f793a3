/* What the reader of C text remembers: memory, names, and why something cannot be used. */
#include "spec.h"

#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spec_block {
    struct spec_block *next;
    max_align_t bytes[];
};

void *stele_spec_allocate(struct stele_spec *spec, size_t bytes)
{
    struct spec_block *block = calloc(1, sizeof(*block) + bytes);

    if (!block) {
        stele_spec_fail_final(spec, STELE_E_NOMEM, 0, "no memory for %zu bytes", bytes);
        return NULL;
    }
    block->next = spec->blocks;
    spec->blocks = block;
    return block->bytes;
}

void *stele_spec_grow(struct stele_spec *spec, const void *items, size_t item_bytes, size_t *room)
{
    size_t more = *room ? *room * 2 : 8;
    void *grown = stele_spec_allocate(spec, more * item_bytes);

    if (!grown)
        return NULL;
    if (*room)
        memcpy(grown, items, *room * item_bytes);
    *room = more;
    return grown;
}

void stele_spec_free(struct stele_spec *spec)
{
    while (spec && spec->blocks) {
        struct spec_block *block = spec->blocks;

        spec->blocks = block->next;
        free(block);
    }
    free(spec);
}

static uint32_t hash_of(const char *name, size_t name_bytes)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < name_bytes; i++)
        hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    return hash;
}

struct spec_symbol *stele_spec_find(struct stele_spec *spec, enum spec_symbol_kind kind, const char *name,
                                    size_t name_bytes)
{
    uint32_t hash = hash_of(name, name_bytes);

    for (struct spec_symbol *symbol = spec->symbols[hash % SPEC_BUCKET_COUNT]; symbol;
         symbol = symbol->next) {
        if (symbol->hash == hash && symbol->kind == kind && symbol->name_bytes == name_bytes &&
            memcmp(symbol->name, name, name_bytes) == 0)
            return symbol->is_gone ? NULL : symbol;
    }
    return NULL;
}

struct spec_symbol *stele_spec_define(struct stele_spec *spec, enum spec_symbol_kind kind, const char *name,
                                      size_t name_bytes)
{
    struct spec_symbol *symbol = stele_spec_find(spec, kind, name, name_bytes);
    uint32_t hash = hash_of(name, name_bytes);

    if (symbol)
        return symbol;
    symbol = stele_spec_allocate(spec, sizeof(*symbol));
    if (!symbol)
        return NULL;
    symbol->kind = kind;
    symbol->hash = hash;
    symbol->name = name;
    symbol->name_bytes = name_bytes;
    /* in front: it hides one that is gone */
    symbol->next = spec->symbols[hash % SPEC_BUCKET_COUNT];
    spec->symbols[hash % SPEC_BUCKET_COUNT] = symbol;
    return symbol;
}

__attribute__((format(STELE_PRINTF, 5, 0)))
static void fill(struct spec_failure *out, int code, size_t place, bool is_final, const char *format,
                 va_list arguments)
{
    out->code = code;
    out->place = place;
    out->is_final = is_final;
    if (vsnprintf(out->text, sizeof(out->text), format, arguments) < 0)
        out->text[0] = '\0';
}

bool stele_spec_fail(struct stele_spec *spec, size_t place, const char *format, ...)
{
    va_list arguments;

    if (spec->failure.code)
        return false;
    va_start(arguments, format);
    fill(&spec->failure, STELE_E_SCHEMA, place, false, format, arguments);
    va_end(arguments);
    return false;
}

bool stele_spec_fail_final(struct stele_spec *spec, int code, size_t place, const char *format, ...)
{
    va_list arguments;

    if (spec->failure.is_final)
        return false;
    va_start(arguments, format);
    fill(&spec->failure, code, place, true, format, arguments);
    va_end(arguments);
    return false;
}

bool stele_spec_fail_again(struct stele_spec *spec, const struct spec_failure *failure)
{
    if (!spec->failure.code)
        spec->failure = *failure;
    return false;
}

const struct spec_failure *stele_spec_take_failure(struct stele_spec *spec)
{
    struct spec_failure *kept;

    if (spec->failure.is_final)
        return NULL;
    kept = stele_spec_allocate(spec, sizeof(*kept));
    if (!kept)
        return NULL;
    *kept = spec->failure;
    spec->failure.code = 0;
    return kept;
}

const struct spec_failure *stele_spec_failure(struct stele_spec *spec, size_t place, const char *format, ...)
{
    struct spec_failure *failure = stele_spec_allocate(spec, sizeof(*failure));
    va_list arguments;

    if (!failure)
        return NULL;
    va_start(arguments, format);
    fill(failure, STELE_E_SCHEMA, place, false, format, arguments);
    va_end(arguments);
    return failure;
}
