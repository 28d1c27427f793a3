/* Structs of C: their members, and where x86-64 compilers place them. */
#include "spec.h"

#include <string.h>

/* ---- declarators --------------------------------------------------------------------------- */

static bool fail_declarator(struct stele_spec *spec, const struct spec_token *token)
{
    if (stele_spec_is(token, "*") || stele_spec_is(token, "&"))
        return stele_spec_fail(spec, token->place,
                               "a pointer means nothing in a file: store the record's index "
                               "or the bytes themselves");
    if (stele_spec_is(token, "("))
        return stele_spec_fail(spec, token->place, "functions and pointers to them cannot be stored");
    if (stele_spec_is(token, ":"))
        return stele_spec_fail(spec, token->place,
                               "bit-fields cannot be stored: each compiler places them its own "
                               "way; use whole integers");
    if (token->kind == SPEC_END)
        return stele_spec_fail(spec, token->place, "the name of a field is missing at the end of the text");
    return stele_spec_fail(spec, token->place, "`%.*s` stands where the name of a field should",
                           SPEC_SHOWN(token->text, token->text_bytes));
}

/* Read one "[length]" to *@out. */
static bool read_length(struct stele_spec *spec, uint32_t *out)
{
    size_t place = stele_spec_next(spec).place;
    int64_t length = 0;

    if (stele_spec_is(stele_spec_peek(spec), "]"))
        return stele_spec_fail(spec, place, "a flexible array cannot be stored: all records have one size");
    if (!stele_spec_number(spec, &length) || !stele_spec_expect(spec, "]"))
        return false;
    if (length <= 0)
        return stele_spec_fail(spec, place, "an array of length %lld cannot be stored", (long long)length);
    if (length > STELE_RECORD_BYTES_MAX)
        return stele_spec_fail(spec, place, "an array of length %lld is larger than a record can be, 16 MiB",
                               (long long)length);
    *out = (uint32_t)length;
    return true;
}

bool stele_spec_declarator(struct stele_spec *spec, const struct spec_type *base, struct spec_member *out)
{
    const struct spec_token *token = stele_spec_peek(spec);
    struct spec_type *type = &out->type;
    uint32_t dims[SPEC_DIM_COUNT_MAX];
    size_t dim_count = 0;

    *type = *base;
    out->place = token->place;
    if (token->kind != SPEC_NAME)
        return fail_declarator(spec, token);
    out->name = token->text;
    out->name_bytes = token->text_bytes;
    stele_spec_next(spec);
    while (stele_spec_is(stele_spec_peek(spec), "[")) {
        if (dim_count + base->dim_count == SPEC_DIM_COUNT_MAX)
            return stele_spec_fail(spec, out->place, "field `%.*s`: too many dimensions",
                                   SPEC_SHOWN(out->name, out->name_bytes));
        if (!read_length(spec, &dims[dim_count++]))
            return false;
    }
    if (dim_count) {
        /* the name's own dimensions are the outer ones, those of a typedef the inner ones */
        memcpy(type->dims, dims, dim_count * sizeof(dims[0]));
        memcpy(type->dims + dim_count, base->dims, base->dim_count * sizeof(dims[0]));
        type->dim_count = dim_count + base->dim_count;
    }
    token = stele_spec_peek(spec);
    if (stele_spec_is(token, ":") || stele_spec_is(token, "("))
        return fail_declarator(spec, token);
    return stele_spec_attributes(spec, &out->is_packed);
}

/* ---- members ------------------------------------------------------------------------------- */

bool stele_spec_check_type(struct stele_spec *spec, const struct spec_type *type)
{
    const struct spec_struct *structure = type->structure;

    if (spec->failure.code)
        return false;
    if (type->failure)
        return stele_spec_fail_again(spec, type->failure);
    if (structure && structure->is_open)
        return stele_spec_fail(spec, type->place, "struct `%.*s` cannot contain itself",
                               SPEC_SHOWN(structure->name, structure->name_bytes));
    if (structure && !structure->is_complete)
        return stele_spec_fail(spec, type->place, "struct `%.*s` is not defined before it is used",
                               SPEC_SHOWN(structure->name, structure->name_bytes));
    if (structure && structure->failure)
        return stele_spec_fail_again(spec, structure->failure);
    if (type->enumeration && !type->enumeration->is_complete)
        return stele_spec_fail(spec, type->place, "the enum is not defined before it is used");
    if (type->enumeration && type->enumeration->failure)
        return stele_spec_fail_again(spec, type->enumeration->failure);
    return true;
}

/* Of char arrays the last dimension is the size of the text or bytes. */
static size_t dim_count_max(const struct spec_type *type)
{
    if (type->structure)
        return SPEC_DIM_COUNT_MAX;
    return type->type == STELE_TEXT || type->type == STELE_U8 ? 5 : 4;
}

static bool add_member(struct stele_spec *spec, struct spec_struct *structure,
                       const struct spec_member *member)
{
    if (!stele_spec_check_type(spec, &member->type))
        return false;
    if (member->type.dim_count > dim_count_max(&member->type))
        return stele_spec_fail(spec, member->place, "field `%.*s`: %zu dimensions; %zu are possible",
                               SPEC_SHOWN(member->name, member->name_bytes), member->type.dim_count,
                               dim_count_max(&member->type));
    for (size_t i = 0; member->name && i < structure->member_count; i++) {
        const struct spec_member *other = &structure->members[i];

        if (other->name && other->name_bytes == member->name_bytes &&
            memcmp(other->name, member->name, member->name_bytes) == 0)
            return stele_spec_fail(spec, member->place, "field `%.*s` is there twice",
                                   SPEC_SHOWN(member->name, member->name_bytes));
    }
    if (structure->member_count == STELE_FIELD_COUNT_MAX)
        return stele_spec_fail(spec, member->place, "too many fields: a schema has 56 KiB");
    if (structure->member_count == structure->member_room) {
        void *members = stele_spec_grow(spec, structure->members, sizeof(*member), &structure->member_room);

        if (!members)
            return false;
        structure->members = members;
    }
    structure->members[structure->member_count++] = *member;
    return true;
}

/* Read the declaration of one or more members, or of nothing. */
static bool read_members(struct stele_spec *spec, struct spec_struct *structure, unsigned level)
{
    struct spec_type base;
    bool is_packed = false;

    if (!stele_spec_specifier(spec, level, &base, &is_packed))
        return false;
    if (stele_spec_accept(spec, ";")) {
        struct spec_member anonymous = { .type = base, .is_packed = is_packed, .place = base.place };

        /* with a tag, or as an enum, it only tells of a type */
        return !base.structure || base.structure->name_bytes || add_member(spec, structure, &anonymous);
    }
    do {
        struct spec_member member = { .is_packed = is_packed };

        if (!stele_spec_declarator(spec, &base, &member) || !add_member(spec, structure, &member))
            return false;
    } while (stele_spec_accept(spec, ","));
    return stele_spec_expect(spec, ";");
}

static bool read_body(struct stele_spec *spec, struct spec_struct *structure, unsigned level)
{
    static const char *const assertions[] = { "_Static_assert", "static_assert", NULL };

    while (!stele_spec_accept(spec, "}")) {
        const struct spec_token *token = stele_spec_peek(spec);

        if (token->kind == SPEC_END)
            return stele_spec_fail(spec, structure->place, "the struct's `}` is missing");
        if (stele_spec_is_any(token, assertions))
            stele_spec_skip_declarator(spec, false);
        if (!stele_spec_accept(spec, ";") && !read_members(spec, structure, level))
            return false;
    }
    return true;
}

/* ---- layout -------------------------------------------------------------------------------- */

static bool place_members(struct stele_spec *spec, struct spec_struct *structure)
{
    uint64_t offset = 0;

    structure->align = 1;
    for (size_t i = 0; i < structure->member_count; i++) {
        struct spec_member *member = &structure->members[i];
        const struct spec_struct *inner = member->type.structure;
        uint32_t align = inner ? inner->align : member->type.align;
        uint64_t bytes = inner ? inner->bytes : member->type.bytes;

        if (structure->pack && align > structure->pack)
            align = structure->pack;
        if (member->is_packed)
            align = 1;
        for (size_t d = 0; d < member->type.dim_count && bytes <= STELE_RECORD_BYTES_MAX; d++)
            bytes *= member->type.dims[d];
        offset = (offset + align - 1) / align * align;
        member->offset = offset;
        offset += bytes;
        if (bytes > STELE_RECORD_BYTES_MAX || offset > STELE_RECORD_BYTES_MAX)
            return stele_spec_fail(spec, member->place, "the struct is larger than a record can be, 16 MiB");
        if (align > structure->align)
            structure->align = align;
        if (inner && inner->depth >= structure->depth)
            structure->depth = inner->depth + 1;
    }
    structure->bytes = (offset + structure->align - 1) / structure->align * structure->align;
    if (structure->bytes == 0)
        return stele_spec_fail(spec, structure->place, "a struct without members cannot be stored");
    if (structure->bytes > STELE_RECORD_BYTES_MAX)
        return stele_spec_fail(spec, structure->place, "the struct is larger than a record can be, 16 MiB");
    if (structure->depth > SPEC_DEPTH_MAX)
        return stele_spec_fail(spec, structure->place, "structs nest more than %d deep", SPEC_DEPTH_MAX);
    return true;
}

/* ---- structs ------------------------------------------------------------------------------- */

/* The struct that a tag stands for; a new one where there is none yet or, with @has_body, one is complete. */
static struct spec_struct *find_struct(struct stele_spec *spec, const struct spec_token *tag, bool has_body)
{
    struct spec_symbol *symbol = NULL;
    struct spec_struct *structure = NULL;
    bool is_second = false;

    if (tag->kind == SPEC_NAME) {
        symbol = stele_spec_define(spec, SPEC_STRUCT_TAG, tag->text, tag->text_bytes);
        if (!symbol)
            return NULL;
        structure = symbol->is.structure;
        is_second = structure && has_body && (structure->is_complete || structure->is_open);
    }
    if (structure && !is_second)
        return structure;
    structure = stele_spec_allocate(spec, sizeof(*structure));
    if (!structure)
        return NULL;
    if (symbol) {
        structure->name = tag->text;
        structure->name_bytes = tag->text_bytes;
        symbol->is.structure = structure;
    }
    if (is_second)
        structure->failure = stele_spec_failure(spec, tag->place, "struct `%.*s` is defined twice",
                                                SPEC_SHOWN(tag->text, tag->text_bytes));
    return structure;
}

static void keep_first_failure(struct stele_spec *spec, struct spec_struct *structure)
{
    const struct spec_failure *failure = stele_spec_take_failure(spec);

    if (!structure->failure)
        structure->failure = failure;
}

/* Read the body behind its "{", what follows it, and lay it out; false: why is recorded. */
static bool read_definition(struct stele_spec *spec, struct spec_struct *structure, unsigned level,
                            bool is_packed)
{
    uint32_t pack = spec->pack;
    size_t inner_depth = spec->brace_depth;
    bool is_read;

    if (level > SPEC_DEPTH_MAX)
        return stele_spec_fail_final(spec, STELE_E_SCHEMA, structure->place, "structs nest more than %d deep",
                                     SPEC_DEPTH_MAX);
    is_read = read_body(spec, structure, level + 1);
    if (!is_read) {
        keep_first_failure(spec, structure);
        while (spec->brace_depth >= inner_depth && stele_spec_next(spec).kind != SPEC_END)
            ;
    }
    if (is_read && spec->pack != pack)
        is_read = stele_spec_fail(spec, structure->place,
                                  "#pragma pack inside of a struct: compilers do not agree "
                                  "on what it does there; move it before the struct");
    if (!stele_spec_attributes(spec, &is_packed))
        is_read = false;
    structure->pack = is_packed ? 1 : pack;
    if (!is_read || structure->is_union || structure->failure)
        return spec->failure.code == 0;
    return place_members(spec, structure);
}

bool stele_spec_struct(struct stele_spec *spec, unsigned level, struct spec_type *out)
{
    struct spec_token keyword = stele_spec_next(spec);
    struct spec_token tag = { .kind = SPEC_END };
    struct spec_struct *structure;
    bool is_packed = false, has_body;

    if (!stele_spec_attributes(spec, &is_packed))
        return false;
    if (stele_spec_peek(spec)->kind == SPEC_NAME)
        tag = stele_spec_next(spec);
    has_body = stele_spec_is(stele_spec_peek(spec), "{");
    if (tag.kind != SPEC_NAME && !has_body)
        return stele_spec_expect(spec, "{");
    structure = find_struct(spec, &tag, has_body);
    if (!structure)
        return false;
    *out = (struct spec_type){ .structure = structure, .place = keyword.place };
    if (!has_body)
        return true;
    stele_spec_next(spec);
    structure->place = keyword.place;
    structure->is_union = stele_spec_is(&keyword, "union");
    structure->is_open = true;
    if (structure->is_union && !structure->failure)
        structure->failure = stele_spec_failure(spec, keyword.place,
                                                "a union cannot be stored: nobody could tell "
                                                "which member is meant; use a struct");
    if (!read_definition(spec, structure, level, is_packed))
        keep_first_failure(spec, structure);
    structure->is_open = false;
    structure->is_complete = true;
    if (level == 0)
        *(structure->is_union ? &spec->last_union : &spec->last_struct) = structure;
    return spec->failure.code == 0;
}
