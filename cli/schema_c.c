/*
 * C declarations of a schema. Flattened names (points[0].x) become nested structs again: the fields of one
 * member follow each other, and the first element of an array of structs tells what the others look like.
 * What was written is parsed again and compared, so a layout that C cannot give is never passed on.
 */
#include "schema_out.h"

#include "value.h"

#include <inttypes.h>
#include <string.h>

static const char *const c_types[] = { "?",       "int8_t",   "uint8_t", "int16_t",  "uint16_t",
                                       "int32_t", "uint32_t", "int64_t", "uint64_t", "float",
                                       "double",  "bool",     "char",    "uint8_t" };

/* ---- enums ---- */

static bool same_enum(const struct stele_schema *a, size_t a_index, const struct stele_schema *b,
                      size_t b_index)
{
    for (size_t i = 0;; i++) {
        int32_t a_value = 0, b_value = 0;
        const char *a_name = stele_schema_enum(a, a_index, i, &a_value);
        const char *b_name = stele_schema_enum(b, b_index, i, &b_value);

        if (!a_name || !b_name)
            return a_name == b_name;
        if (strcmp(a_name, b_name) || a_value != b_value)
            return false;
    }
}

/* The first field with the enum of @field_index, after which the enum is called. */
static size_t enum_owner(const struct stele_schema *schema, size_t field_index)
{
    size_t owner = 0;

    while (owner < field_index && !same_enum(schema, owner, schema, field_index))
        owner++;
    return owner;
}

static bool is_enum(const struct stele_schema *schema, size_t field_index)
{
    int32_t value = 0;

    return stele_schema_enum(schema, field_index, 0, &value) != NULL;
}

static void add_enum_tag(const struct stele_schema *schema, size_t field_index, struct text *out)
{
    text_add_format(out, "enum %s_", stele_schema_name(schema));
    for (const char *c = stele_schema_field(schema, field_index)->name; *c; c++)
        if (*c != ']')
            text_add_char(out, *c == '.' || *c == '[' ? '_' : *c);
}

static void add_enums(const struct stele_schema *schema, struct text *out)
{
    const char *constant = NULL;
    int32_t value = 0;

    for (size_t i = 0; i < stele_schema_field_count(schema); i++) {
        if (!is_enum(schema, i) || enum_owner(schema, i) != i)
            continue;
        add_enum_tag(schema, i, out);
        text_add_string(out, " {");
        for (size_t j = 0; (constant = stele_schema_enum(schema, i, j, &value)) != NULL; j++)
            text_add_format(out, "%s\n    %s = %" PRId32, j ? "," : "", constant, value);
        text_add_string(out, "\n};\n\n");
    }
}

/* ---- members ---- */

struct members {
    const struct stele_schema *schema;
    size_t first, end;   /* fields */
    size_t prefix_bytes; /* of their names: the member that they are in, with its dot */
    int indent;
};

static const char *name_in(const struct members *members, size_t field_index)
{
    return stele_schema_field(members->schema, field_index)->name + members->prefix_bytes;
}

static void add_leaf(const struct members *members, size_t field_index, struct text *out)
{
    const struct stele_field *field = stele_schema_field(members->schema, field_index);

    text_add_format(out, "%*s", members->indent, "");
    if (is_enum(members->schema, field_index))
        add_enum_tag(members->schema, enum_owner(members->schema, field_index), out);
    else
        text_add_string(out, c_types[field->type <= STELE_BYTES ? field->type : 0]);
    text_add_format(out, " %s", name_in(members, field_index));
    for (unsigned i = 0; i < 4 && field->dims[i]; i++)
        text_add_format(out, "[%" PRIu32 "]", field->dims[i]);
    if (field->type == STELE_BYTES || (field->type == STELE_TEXT && (field->bytes > 1 || field->dims[0])))
        text_add_format(out, "[%" PRIu32 "]", field->bytes);
    text_add_format(out, "; /* offset %" PRIu64 " */\n", field->offset);
}

/* Whether field @field_index belongs to the member whose name is the @base_bytes bytes at @base. */
static bool is_in_member(const struct members *members, size_t field_index, const char *base,
                         size_t base_bytes)
{
    const char *name = name_in(members, field_index);

    return !strncmp(name, base, base_bytes) && (name[base_bytes] == '.' || name[base_bytes] == '[') &&
           strchr(name, '.');
}

/* Raise @counts (one per dimension) to hold the indexes "[1][2]" of @text; how many there are. */
static unsigned count_indexes(const char *text, uint32_t counts[4])
{
    unsigned dim = 0;

    for (; *text == '[' && dim < 4; dim++) {
        uint32_t index = 0;

        for (text++; *text >= '0' && *text <= '9'; text++)
            index = index * 10 + (uint32_t)(*text - '0');
        text += *text == ']';
        counts[dim] = index + 1 > counts[dim] ? index + 1 : counts[dim];
    }
    return dim;
}

static void add_members(const struct members *members, struct text *out);

/* Add the struct member that begins at field @field_index. Returns the field behind it. */
static size_t add_struct(const struct members *members, size_t field_index, struct text *out)
{
    const char *name = name_in(members, field_index);
    size_t base_bytes = strcspn(name, ".["), element_bytes = strcspn(name, ".") + 1;
    struct members inner = { members->schema, field_index, field_index, members->prefix_bytes + element_bytes,
                             members->indent + 4 };
    uint32_t counts[4] = { 0 };
    unsigned dim_count = 0;
    size_t end = field_index;

    for (; end < members->end && is_in_member(members, end, name, base_bytes); end++) {
        dim_count = count_indexes(name_in(members, end) + base_bytes, counts);
        if (!strncmp(name_in(members, end), name, element_bytes))
            inner.end = end + 1;
    }
    text_add_format(out, "%*sstruct {\n", members->indent, "");
    add_members(&inner, out);
    text_add_format(out, "%*s} %.*s", members->indent, "", (int)base_bytes, name);
    for (unsigned i = 0; i < dim_count; i++)
        text_add_format(out, "[%" PRIu32 "]", counts[i]);
    text_add_string(out, ";\n");
    return end;
}

static void add_members(const struct members *members, struct text *out)
{
    for (size_t i = members->first; i < members->end;) {
        if (strchr(name_in(members, i), '.'))
            i = add_struct(members, i, out);
        else
            add_leaf(members, i++, out);
    }
}

static void add_declarations(const struct stele_schema *schema, uint32_t pack, struct text *out)
{
    struct members all = { schema, 0, stele_schema_field_count(schema), 0, 4 };

    text_add_string(out, "#include <stdbool.h>\n#include <stdint.h>\n\n");
    add_enums(schema, out);
    if (pack)
        text_add_format(out, "#pragma pack(push, %" PRIu32 ")\n", pack);
    text_add_format(out, "struct %s { /* %" PRIu64 " bytes */\n", stele_schema_name(schema),
                    stele_schema_record_bytes(schema));
    add_members(&all, out);
    text_add_string(out, "};\n");
    if (pack)
        text_add_string(out, "#pragma pack(pop)\n");
}

/* ---- the proof ---- */

static bool same_field(const struct stele_schema *a, const struct stele_schema *b, size_t field_index)
{
    const struct stele_field *left = stele_schema_field(a, field_index);
    const struct stele_field *right = stele_schema_field(b, field_index);

    return !strcmp(left->name, right->name) && left->type == right->type && left->offset == right->offset &&
           value_element_bytes(left) == value_element_bytes(right) &&
           !memcmp(left->dims, right->dims, sizeof left->dims) && same_enum(a, field_index, b, field_index);
}

/* Whether a member of the dotted @name is a word that C keeps for itself. */
static bool has_keyword(const char *name)
{
    static const char *const keywords[] = {
        "auto",     "break",  "case",     "char",   "const",   "continue", "default", "do",       "double",
        "else",     "enum",   "extern",   "float",  "for",     "goto",     "if",      "inline",   "int",
        "long",     "register", "restrict", "return", "short", "signed",   "sizeof",  "static",   "struct",
        "switch",   "typedef", "union",   "unsigned", "void",  "volatile", "while",   "bool",
    };

    while (*name) {
        size_t bytes = strcspn(name, ".[]");

        for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
            if (strlen(keywords[i]) == bytes && !memcmp(keywords[i], name, bytes))
                return true;
        name += bytes + (name[bytes] != '\0');
    }
    return false;
}

static bool parses_back(const struct stele_schema *schema, const struct text *declarations)
{
    size_t field_count = stele_schema_field_count(schema);
    struct stele_schema *parsed = NULL;
    bool is_same = false;

    if (stele_schema_parse(declarations->bytes, stele_schema_name(schema), 0, &parsed))
        return false;
    is_same = field_count == stele_schema_field_count(parsed) &&
              stele_schema_record_bytes(schema) == stele_schema_record_bytes(parsed);
    for (size_t i = 0; is_same && i < field_count; i++)
        is_same = same_field(schema, parsed, i) && !has_keyword(stele_schema_field(schema, i)->name);
    stele_schema_free(parsed);
    return is_same;
}

static void add_comment(const struct stele_schema *schema, struct text *out)
{
    text_add_format(out, "/*\n * struct %s, %" PRIu64 " bytes: no C struct under one #pragma pack has this "
                    "layout.\n * offset  type  name\n", stele_schema_name(schema),
                    stele_schema_record_bytes(schema));
    for (size_t i = 0; i < stele_schema_field_count(schema); i++) {
        const struct stele_field *field = stele_schema_field(schema, i);

        text_add_format(out, " * %" PRIu64 "  %s of %" PRIu32 " bytes  %s", field->offset,
                        schema_type_name(field->type), value_element_bytes(field), field->name);
        for (unsigned j = 0; j < 4 && field->dims[j]; j++)
            text_add_format(out, "[%" PRIu32 "]", field->dims[j]);
        text_add_char(out, '\n');
    }
    text_add_string(out, " */\n");
}

int schema_out_c(const struct stele_schema *schema, struct text *out)
{
    const uint32_t packs[] = { stele_schema_pack(schema), 0, 1, 2, 4, 8 };
    struct text declarations = { 0 };
    int rc = STELE_E_UNSUPPORTED;

    for (size_t i = 0; i < sizeof packs / sizeof packs[0] && rc; i++) {
        text_clear(&declarations);
        add_declarations(schema, packs[i], &declarations);
        if (parses_back(schema, &declarations))
            rc = STELE_OK;
    }
    if (rc)
        add_comment(schema, out);
    else
        text_add(out, declarations.bytes, declarations.length);
    text_done(&declarations);
    return rc;
}
