/* C text to schema: what stands at the top level, which struct is meant, and its fields one by one. */
#include "spec.h"

#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- declarations -------------------------------------------------------------------------- */

static bool define_type(struct stele_spec *spec, const char *name, size_t name_bytes,
                        const struct spec_type *type)
{
    struct spec_symbol *symbol = stele_spec_define(spec, SPEC_TYPEDEF, name, name_bytes);

    if (!symbol)
        return false;
    symbol->is.type = *type;
    if (type->structure && type->structure->name_bytes == 0 && type->dim_count == 0) {
        type->structure->name = name;
        type->structure->name_bytes = name_bytes;
    }
    return true;
}

/* The name in the rest of a declarator that could not be read, as in "*name" or "(*name)(int)". */
static struct spec_token find_name(struct stele_spec *spec)
{
    static const char *const qualifiers[] = { "const", "volatile", "restrict", "__restrict", NULL };
    struct spec_token name = *stele_spec_peek(spec);

    while (stele_spec_is(&name, "*") || stele_spec_is(&name, "(") || stele_spec_is_any(&name, qualifiers)) {
        stele_spec_next(spec);
        name = *stele_spec_peek(spec);
    }
    return name;
}

/* Read one name of a typedef. A type that cannot be stored is one all the same: its users are told why. */
static bool read_typedef_name(struct stele_spec *spec, const struct spec_type *base)
{
    struct spec_member member = { 0 };
    struct spec_type type;

    if (stele_spec_declarator(spec, base, &member))
        return define_type(spec, member.name, member.name_bytes, &member.type);
    type = (struct spec_type){ .failure = stele_spec_take_failure(spec) };
    if (!type.failure)
        return false;
    if (!member.name) {
        struct spec_token name = find_name(spec);

        if (name.kind == SPEC_NAME) {
            member.name = name.text;
            member.name_bytes = name.text_bytes;
        }
    }
    stele_spec_skip_declarator(spec, true);
    return !member.name || define_type(spec, member.name, member.name_bytes, &type);
}

static bool read_typedef(struct stele_spec *spec)
{
    struct spec_type base;
    bool is_packed = false;

    if (!stele_spec_specifier(spec, 0, &base, &is_packed))
        return false;
    do {
        if (!read_typedef_name(spec, &base))
            return false;
    } while (stele_spec_accept(spec, ","));
    if (!stele_spec_is(stele_spec_peek(spec), ";") && base.structure && !base.structure->failure) {
        /* an unknown word, such as a macro that packs, may change what was just laid out */
        stele_spec_expect(spec, ";");
        base.structure->failure = stele_spec_take_failure(spec);
    }
    stele_spec_skip_declarator(spec, false);
    return true;
}

/* Skip a variable, a function or what else it may be; structs and enums in front of it are read. */
static bool skip_declaration(struct stele_spec *spec)
{
    static const char *const tagged[] = { "struct", "union", "enum", NULL };
    bool has_value = false;

    for (;;) {
        const struct spec_token *token = stele_spec_peek(spec);
        struct spec_token taken;

        if (token->kind == SPEC_END || stele_spec_is(token, ";") || stele_spec_is(token, "}"))
            return true;
        if (!has_value && stele_spec_is_any(token, tagged)) {
            struct spec_type type;
            bool is_packed = false;

            if (!stele_spec_specifier(spec, 0, &type, &is_packed))
                return false;
            continue;
        }
        taken = stele_spec_next(spec);
        has_value = has_value || stele_spec_is(&taken, "=");
        if (stele_spec_is(&taken, "(") || stele_spec_is(&taken, "["))
            stele_spec_skip_group(spec);
        if (stele_spec_is(&taken, "{")) {
            stele_spec_skip_group(spec);
            if (!has_value)
                return true; /* the body of a function */
        }
    }
}

static bool read_declaration(struct stele_spec *spec)
{
    if (stele_spec_accept(spec, "extern") && stele_spec_peek(spec)->kind == SPEC_STRING) {
        stele_spec_next(spec);
        stele_spec_accept(spec, "{"); /* what it closes with is taken as a stray one */
        return true;
    }
    stele_spec_accept(spec, "__extension__");
    if (stele_spec_accept(spec, "typedef"))
        return read_typedef(spec);
    return skip_declaration(spec);
}

static void read_text(struct stele_spec *spec)
{
    while (stele_spec_peek(spec)->kind != SPEC_END) {
        if (stele_spec_accept(spec, ";") || stele_spec_accept(spec, "}"))
            continue;
        if (!read_declaration(spec)) {
            /* not for us to judge: what needs it will find it missing */
            stele_spec_take_failure(spec);
            if (!spec->failure.is_final)
                spec->failure.code = 0;
            stele_spec_skip_declarator(spec, false);
        }
    }
}

/* ---- fields -------------------------------------------------------------------------------- */

struct flat {
    struct stele_spec *spec;
    struct stele_field *fields;
    struct stele_field_enum *enums;
    char (*names)[STELE_NAME_BYTES_MAX + 1];
    size_t field_count;
};

/* Make @out_name of @prefix, the member's name and the place @element in its array. */
static bool make_name(struct stele_spec *spec, const struct spec_member *member, const char *prefix,
                      uint64_t element, char out_name[STELE_NAME_BYTES_MAX + 1])
{
    size_t prefix_bytes = strlen(prefix);
    size_t at = prefix_bytes + (prefix_bytes > 0) + member->name_bytes;
    size_t dim_count = member->type.structure ? member->type.dim_count : 0;
    uint64_t below = 1;

    if (at <= STELE_NAME_BYTES_MAX)
        snprintf(out_name, STELE_NAME_BYTES_MAX + 1, "%.*s%s%.*s", (int)prefix_bytes, prefix,
                 prefix_bytes ? "." : "", (int)member->name_bytes, member->name);
    for (size_t d = 0; d < dim_count; d++)
        below *= member->type.dims[d];
    for (size_t d = 0; d < dim_count && at <= STELE_NAME_BYTES_MAX; d++) {
        below /= member->type.dims[d];
        at += (size_t)snprintf(out_name + at, STELE_NAME_BYTES_MAX + 1 - at, "[%" PRIu64 "]",
                               element / below % member->type.dims[d]);
    }
    if (at <= STELE_NAME_BYTES_MAX)
        return true;
    return stele_spec_fail(spec, member->place,
                           "the name of field `%.*s` with those around it is longer than %d "
                           "bytes",
                           SPEC_SHOWN(member->name, member->name_bytes), STELE_NAME_BYTES_MAX);
}

static bool add_field(struct flat *flat, const struct spec_member *member, uint64_t offset, const char *name)
{
    const struct spec_type *type = &member->type;
    struct stele_field *field = &flat->fields[flat->field_count];
    struct stele_field_enum *own = &flat->enums[flat->field_count];
    size_t dim_count = type->dim_count;

    if (flat->field_count == STELE_FIELD_COUNT_MAX)
        return stele_spec_fail(flat->spec, member->place, "too many fields: a schema has 56 KiB");
    memcpy(flat->names[flat->field_count], name, STELE_NAME_BYTES_MAX + 1);
    field->name = flat->names[flat->field_count++];
    field->type = type->type;
    field->bytes = (uint32_t)type->bytes;
    field->offset = offset;
    if (dim_count && (type->type == STELE_TEXT || type->type == STELE_U8)) {
        field->type = type->type == STELE_TEXT ? STELE_TEXT : STELE_BYTES;
        field->bytes = type->dims[--dim_count];
    }
    memcpy(field->dims, type->dims, dim_count * sizeof(type->dims[0]));
    if (type->enumeration) {
        own->constants = type->enumeration->constants;
        own->constant_count = type->enumeration->constant_count;
    }
    return true;
}

static bool flatten(struct flat *flat, const struct spec_struct *structure, uint64_t start,
                    const char *prefix);

/* Add what @member, a struct or an array of them, has inside. */
static bool flatten_inner(struct flat *flat, const struct spec_member *member, uint64_t start,
                          const char *prefix)
{
    const struct spec_struct *inner = member->type.structure;
    char name[STELE_NAME_BYTES_MAX + 1] = "";
    uint64_t element_count = 1;

    if (!member->name)
        return flatten(flat, inner, start, prefix);
    for (size_t d = 0; d < member->type.dim_count; d++)
        element_count *= member->type.dims[d];
    for (uint64_t e = 0; e < element_count; e++) {
        if (!make_name(flat->spec, member, prefix, e, name) ||
            !flatten(flat, inner, start + e * inner->bytes, name))
            return false;
    }
    return true;
}

/* Add the fields of @structure at @start; no deeper than SPEC_DEPTH_MAX, which its layout checked. */
static bool flatten(struct flat *flat, const struct spec_struct *structure, uint64_t start,
                    const char *prefix)
{
    for (size_t i = 0; i < structure->member_count; i++) {
        const struct spec_member *member = &structure->members[i];
        char name[STELE_NAME_BYTES_MAX + 1] = "";

        if (member->type.structure) {
            if (!flatten_inner(flat, member, start + member->offset, prefix))
                return false;
        } else if (!make_name(flat->spec, member, prefix, 0, name) ||
                   !add_field(flat, member, start + member->offset, name)) {
            return false;
        }
    }
    return true;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static int raise_failure(const struct stele_spec *spec, const struct spec_failure *failure)
{
    size_t line = 1, column = 1;

    if (failure->code == STELE_E_NOMEM)
        return stele_fail(STELE_E_NOMEM, "C text: %s", failure->text);
    for (size_t i = 0; i < failure->place && i < spec->text_bytes; i++) {
        column = spec->text[i] == '\n' ? 1 : column + 1;
        line += spec->text[i] == '\n';
    }
    return stele_fail(failure->code, "line %zu, column %zu: %s", line, column, failure->text);
}

static struct spec_struct *choose_struct(struct stele_spec *spec, const char *name)
{
    static const char keyword[] = "struct ";
    struct spec_symbol *symbol;

    if (!name)
        return spec->last_struct ? spec->last_struct : spec->last_union;
    if (strncmp(name, keyword, strlen(keyword)) == 0)
        name += strlen(keyword);
    symbol = stele_spec_find(spec, SPEC_STRUCT_TAG, name, strlen(name));
    if (symbol && symbol->is.structure->is_complete)
        return symbol->is.structure;
    symbol = stele_spec_find(spec, SPEC_TYPEDEF, name, strlen(name));
    if (symbol && symbol->is.type.structure && symbol->is.type.dim_count == 0 &&
        symbol->is.type.structure->is_complete)
        return symbol->is.type.structure;
    return NULL;
}

static int make_schema(struct stele_spec *spec, const struct spec_struct *structure,
                       struct stele_schema **out)
{
    struct flat flat = { .spec = spec };
    char name[STELE_NAME_BYTES_MAX + 1];
    struct spec_failure failure = { .code = STELE_E_SCHEMA, .place = structure->place };
    int rc;

    if (structure->failure)
        return raise_failure(spec, structure->failure);
    flat.fields = stele_spec_allocate(spec, STELE_FIELD_COUNT_MAX * sizeof(*flat.fields));
    flat.enums = stele_spec_allocate(spec, STELE_FIELD_COUNT_MAX * sizeof(*flat.enums));
    flat.names = stele_spec_allocate(spec, STELE_FIELD_COUNT_MAX * sizeof(*flat.names));
    if (!flat.fields || !flat.enums || !flat.names || !flatten(&flat, structure, 0, ""))
        return raise_failure(spec, &spec->failure);
    if (structure->name_bytes > STELE_NAME_BYTES_MAX) {
        snprintf(failure.text, sizeof(failure.text), "the struct's name is longer than %d bytes",
                 STELE_NAME_BYTES_MAX);
        return raise_failure(spec, &failure);
    }
    snprintf(name, sizeof(name), "%.*s", (int)structure->name_bytes,
             structure->name_bytes ? structure->name : "");
    rc = stele_schema_make(structure->name_bytes ? name : "record", structure->bytes, structure->pack,
                           flat.fields, flat.enums, flat.field_count, out);
    if (rc == STELE_E_SCHEMA) {
        snprintf(failure.text, sizeof(failure.text), "%.300s", stele_last_error()->text);
        rc = raise_failure(spec, &failure);
    }
    return rc;
}

int stele_schema_parse(const char *c_text, const char *struct_name, uint32_t pack, struct stele_schema **out)
{
    struct stele_spec *spec = NULL;
    struct spec_struct *structure;
    size_t text_bytes = c_text ? strnlen(c_text, SPEC_TEXT_BYTES_MAX + 1) : 0;
    int rc = STELE_OK;

    if (!c_text || !out || !stele_is_pack(pack))
        return stele_fail(STELE_E_USAGE,
                          "schema: pack is 0, 1, 2, 4, 8 or 16, and text and result are given");
    if (text_bytes > SPEC_TEXT_BYTES_MAX)
        return stele_fail(STELE_E_SCHEMA, "C text: longer than %d bytes", SPEC_TEXT_BYTES_MAX);
    spec = calloc(1, sizeof(*spec));
    if (!spec)
        return stele_fail(STELE_E_NOMEM, "C text: no memory to read it");
    spec->text = c_text;
    spec->text_bytes = text_bytes;
    spec->pack = spec->pack_outer = pack;
    spec->cursor.is_line_start = true;
    spec->cursor.sources[0] = (struct spec_source){ c_text, c_text + text_bytes, NULL };
    stele_spec_predefine(spec);
    read_text(spec);
    if (spec->failure.is_final) {
        rc = raise_failure(spec, &spec->failure);
        goto out;
    }
    structure = choose_struct(spec, struct_name);
    if (structure)
        rc = make_schema(spec, structure, out);
    else if (struct_name)
        rc = stele_fail(STELE_E_ABSENT, "C text: there is no struct `%.63s` with a body", struct_name);
    else
        rc = stele_fail(STELE_E_ABSENT, "C text: there is no struct in it");
out:
    stele_spec_free(spec);
    return rc;
}
