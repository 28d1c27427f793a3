/*
 * C text to schema, inside: what the bodies spec*.c share. stele_schema_parse (stele.h) is the way in.
 *
 * Text -> tokens (macros expanded, conditions decided, #pragma pack followed) -> types -> structs -> fields.
 * What is no struct, enum, typedef or macro is skipped. A struct that cannot be stored is remembered with the
 * reason, which is told only if the struct that was asked for needs it: a header is full of other things.
 *
 * Invariants
 *  1. Recursion has a bound: SPEC_DEPTH_MAX for braces and parentheses, SPEC_MACRO_DEPTH_MAX for macros.
 *  2. Memory and time are proportional to the text, plus SPEC_TOKENS_EXTRA tokens from macros.
 *  3. A token points into the text, so every failure has its line and column.
 *
 * Not here: the rules that a schema must follow (schema), files to include.
 */
#ifndef STELE_SPEC_H
#define STELE_SPEC_H

#include "schema.h"

enum {
    SPEC_TEXT_BYTES_MAX = 4 << 20,
    SPEC_TOKENS_EXTRA = 1 << 20,
    SPEC_DEPTH_MAX = 32,
    SPEC_MACRO_DEPTH_MAX = 16,
    SPEC_CONDITION_DEPTH_MAX = 64,
    SPEC_PACK_DEPTH_MAX = 64,
    SPEC_DIM_COUNT_MAX = 8,
    SPEC_BUCKET_COUNT = 4096,
    SPEC_FAILURE_BYTES = 320
};

/* ---- tokens -------------------------------------------------------------------------------- */

enum spec_token_kind { SPEC_END, SPEC_NAME, SPEC_NUMBER, SPEC_STRING, SPEC_SIGN };

struct spec_token {
    enum spec_token_kind kind;
    const char *text;
    size_t text_bytes;
    size_t place;    /* byte in the text; of the outermost macro's name where the token is out of one */
    int64_t value;   /* of a number */
    bool is_integer; /* of a number: @value holds it */
};

/* For "%.*s": @text_bytes bytes at @text, cut where no name of a field could go on. */
#define SPEC_SHOWN(text, text_bytes) (int)((text_bytes) < 64 ? (text_bytes) : 64), (text)

struct spec_failure {
    int code;
    size_t place;
    bool is_final; /* of the whole text, not of one struct */
    char text[SPEC_FAILURE_BYTES];
};

struct spec_type {
    uint32_t type; /* enum stele_type; 0: a struct. Plain char is text of 1, unsigned char u8 */
    uint64_t bytes;
    uint32_t align;
    struct spec_struct *structure;
    struct spec_enum *enumeration;
    const struct spec_failure *failure; /* why it cannot be stored, or NULL */
    size_t place;
    uint32_t dims[SPEC_DIM_COUNT_MAX];
    size_t dim_count;
};

struct spec_enum {
    struct stele_enum_constant *constants;
    size_t constant_count, constant_room;
    bool is_complete;
    const struct spec_failure *failure;
};

struct spec_member {
    const char *name; /* NULL: anonymous struct, its members stand here */
    size_t name_bytes;
    struct spec_type type;
    bool is_packed;
    uint64_t offset;
    size_t place;
};

struct spec_struct {
    const char *name; /* tag, or the typedef's name */
    size_t name_bytes;
    struct spec_member *members;
    size_t member_count, member_room;
    uint64_t bytes;
    uint32_t align, pack;
    unsigned depth; /* of structs within */
    bool is_union, is_open, is_complete;
    size_t place;
    const struct spec_failure *failure;
};

enum spec_symbol_kind { SPEC_MACRO, SPEC_CONSTANT, SPEC_TYPEDEF, SPEC_STRUCT_TAG, SPEC_ENUM_TAG };

struct spec_symbol {
    struct spec_symbol *next;
    enum spec_symbol_kind kind;
    uint32_t hash;
    const char *name;
    size_t name_bytes;
    bool is_gone; /* #undef */
    union {
        struct {
            const char *text, *end;
            bool is_function, is_active;
        } macro;
        int64_t value;
        struct spec_type type;
        struct spec_struct *structure;
        struct spec_enum *enumeration;
    } is;
};

struct spec_source {
    const char *at, *end;
    struct spec_symbol *macro; /* NULL: the text itself */
};

/* Where the reader stands; kept aside while a directive is read. */
struct spec_cursor {
    struct spec_source sources[SPEC_MACRO_DEPTH_MAX + 1];
    unsigned depth;
    size_t place;
    bool is_line_start, is_directive, is_raw; /* raw: macros are not expanded */
    bool has_token;
    struct spec_token token;
};

struct spec_condition {
    bool is_outer_taken, is_taken, was_taken;
};

struct stele_spec {
    const char *text;
    size_t text_bytes;
    struct spec_cursor cursor;
    size_t token_count, brace_depth;
    struct spec_condition conditions[SPEC_CONDITION_DEPTH_MAX];
    unsigned condition_depth;
    uint32_t packs[SPEC_PACK_DEPTH_MAX];
    unsigned pack_depth;
    uint32_t pack, pack_outer;
    struct spec_symbol *symbols[SPEC_BUCKET_COUNT];
    struct spec_block *blocks;
    struct spec_failure failure; /* the current one; code 0: none */
    struct spec_struct *last_struct, *last_union; /* of those at the top level */
};

/* ---- memory, names, failures (spec_symbol.c) ----------------------------------------------- */

/* Zeroed memory that lives as long as @spec; NULL after recording a final failure. */
void *stele_spec_allocate(struct stele_spec *spec, size_t bytes);
/* An array of twice the @room of items of @item_bytes with the @items copied, or NULL as above. */
void *stele_spec_grow(struct stele_spec *spec, const void *items, size_t item_bytes, size_t *room);
void stele_spec_free(struct stele_spec *spec);

struct spec_symbol *stele_spec_find(struct stele_spec *spec, enum spec_symbol_kind kind, const char *name,
                                    size_t name_bytes);
/* As stele_spec_find, made and zeroed if it is not there. NULL: no memory. */
struct spec_symbol *stele_spec_define(struct stele_spec *spec, enum spec_symbol_kind kind, const char *name,
                                      size_t name_bytes);

/* Record why the text from @place on cannot be used, unless a failure is recorded. Returns false. */
bool stele_spec_fail(struct stele_spec *spec, size_t place, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 3, 4)));
/* As stele_spec_fail, for the whole text. */
bool stele_spec_fail_final(struct stele_spec *spec, int code, size_t place, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 4, 5)));
/* Record @failure again. Returns false. */
bool stele_spec_fail_again(struct stele_spec *spec, const struct spec_failure *failure);
/* Take the recorded failure and go on; NULL if it is final. */
const struct spec_failure *stele_spec_take_failure(struct stele_spec *spec);
/* A failure for later, not recorded. NULL: no memory. */
const struct spec_failure *stele_spec_failure(struct stele_spec *spec, size_t place, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 3, 4)));

/* ---- tokens (spec_token.c), directives (spec_directive.c), numbers (spec_number.c) --------- */

/* The next token; it stays the next one. After a final failure all is SPEC_END. */
const struct spec_token *stele_spec_peek(struct stele_spec *spec);
struct spec_token stele_spec_next(struct stele_spec *spec);
/* Whether @token is the name or sign @text. */
bool stele_spec_is(const struct spec_token *token, const char *text);
/* Whether @token is one of the words in the NULL-ended list @words. */
bool stele_spec_is_any(const struct spec_token *token, const char *const *words);
/* Take the next token if it is @text. */
bool stele_spec_accept(struct stele_spec *spec, const char *text);
/* As stele_spec_accept, or fail. */
bool stele_spec_expect(struct stele_spec *spec, const char *text);
/* Skip to behind the sign that closes the one just taken, or to the end. */
void stele_spec_skip_group(struct stele_spec *spec);
/* Skip to before a ";" or, with @or_comma, a "," outside of parentheses and braces. */
void stele_spec_skip_declarator(struct stele_spec *spec, bool or_comma);
/* The end of the line that @at stands in, continuations and comments included. */
const char *stele_spec_line_end(const struct stele_spec *spec, const char *at);

/* Follow the directive between @at (behind the "#") and @end. */
void stele_spec_directive(struct stele_spec *spec, const char *at, const char *end);
/* Define what x86-64 compilers predefine. */
void stele_spec_predefine(struct stele_spec *spec);
bool stele_spec_is_taken(const struct stele_spec *spec);

/* Read a constant expression. */
bool stele_spec_number(struct stele_spec *spec, int64_t *out);

/* ---- types (spec_type.c), structs (spec_struct.c) ------------------------------------------ */

/* Read __attribute__ lists; sets *@out_is_packed. */
bool stele_spec_attributes(struct stele_spec *spec, bool *out_is_packed);
/* Read what stands before a declarator: the type words, or a struct or enum with its body. */
bool stele_spec_specifier(struct stele_spec *spec, unsigned level, struct spec_type *out,
                          bool *out_is_packed);
/* Read a name and its dimensions. On failure @out may have the name. */
bool stele_spec_declarator(struct stele_spec *spec, const struct spec_type *base, struct spec_member *out);
/* Read a struct or union from its keyword on; one with a body that cannot be stored is no failure yet. */
bool stele_spec_struct(struct stele_spec *spec, unsigned level, struct spec_type *out);
/* Fail if @type cannot be stored. */
bool stele_spec_check_type(struct stele_spec *spec, const struct spec_type *type);

#endif
