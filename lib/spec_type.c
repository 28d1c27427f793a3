/* Types of C: basic ones, fixed-width ones, enums, and the attributes that change a layout. */
#include "spec.h"

#include <string.h>

/* ---- attributes ---------------------------------------------------------------------------- */

bool stele_spec_attributes(struct stele_spec *spec, bool *out_is_packed)
{
    static const char *const keywords[] = { "__attribute__", "__attribute", NULL };
    static const char *const packed[] = { "packed", "__packed__", NULL };
    static const char *const refused[] = { "aligned", "__aligned__", "vector_size", "__vector_size__", "mode",
                                           "__mode__", "ms_struct", "__ms_struct__", "scalar_storage_order",
                                           "__scalar_storage_order__", NULL };

    while (stele_spec_is_any(stele_spec_peek(spec), keywords)) {
        size_t depth = 0;

        stele_spec_next(spec);
        do {
            struct spec_token token = stele_spec_next(spec);

            if (token.kind == SPEC_END)
                return stele_spec_fail(spec, token.place, "an attribute is not closed");
            if (stele_spec_is(&token, "("))
                depth++;
            else if (stele_spec_is(&token, ")"))
                depth -= depth > 0;
            else if (depth == 2 && stele_spec_is_any(&token, packed))
                *out_is_packed = true;
            else if (depth == 2 && stele_spec_is_any(&token, refused))
                stele_spec_fail(spec, token.place,
                                "attribute `%.*s` is not followed: use #pragma pack or "
                                "members of your own to place fields",
                                SPEC_SHOWN(token.text, token.text_bytes));
        } while (depth > 0);
    }
    return spec->failure.code == 0; /* said after the list is read whole, so that reading can go on */
}

/* ---- words --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t type;
} fixed_types[] = {
    { "int8_t", STELE_I8 },   { "uint8_t", STELE_U8 },   { "int16_t", STELE_I16 }, { "uint16_t", STELE_U16 },
    { "int32_t", STELE_I32 }, { "uint32_t", STELE_U32 }, { "int64_t", STELE_I64 }, { "uint64_t", STELE_U64 },
};

/* Of one size here and another elsewhere: a file would fit one machine only. */
static const char *const variable_types[] = {
    "size_t", "ssize_t", "ptrdiff_t", "intptr_t", "uintptr_t", "intmax_t", "uintmax_t", "off_t", "time_t",
    "clock_t", "suseconds_t", "dev_t", "ino_t", "nlink_t", "wchar_t", "wint_t", "ulong", "int_fast8_t",
    "int_fast16_t", "int_fast32_t", "int_fast64_t", "uint_fast8_t", "uint_fast16_t", "uint_fast32_t",
    "uint_fast64_t", NULL
};

struct words {
    unsigned is_signed, is_unsigned, is_char, is_short, is_long, is_int, is_float, is_double, is_bool;
    size_t long_place;
};

static void set_scalar(struct spec_type *type, uint32_t stele_type)
{
    type->type = stele_type;
    type->bytes = stele_type_bytes(stele_type);
    type->align = stele_type_bytes(stele_type);
}

/* Count @token if it is a word of a basic type. */
static bool take_word(const struct spec_token *token, struct words *words)
{
    const struct {
        const char *name;
        unsigned *count;
    } known[] = {
        { "signed", &words->is_signed },     { "__signed__", &words->is_signed },
        { "unsigned", &words->is_unsigned }, { "char", &words->is_char },
        { "short", &words->is_short },       { "long", &words->is_long },
        { "int", &words->is_int },           { "float", &words->is_float },
        { "double", &words->is_double },     { "bool", &words->is_bool },
        { "_Bool", &words->is_bool },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (stele_spec_is(token, known[i].name)) {
            if (known[i].count == &words->is_long && words->is_long == 0)
                words->long_place = token->place;
            ++*known[i].count;
            return true;
        }
    }
    return false;
}

/* The type that @words make, or none. */
static uint32_t type_of(const struct words *words)
{
    bool is_unsigned = words->is_unsigned > 0;
    unsigned sizes = words->is_char + words->is_short + (words->is_long > 0);

    if (words->is_float + words->is_double + words->is_bool > 0) {
        if (words->is_float + words->is_double + words->is_bool > 1 || words->is_signed || is_unsigned ||
            sizes || words->is_int)
            return 0;
        return words->is_float ? STELE_F32 : words->is_double ? STELE_F64 : STELE_BOOL;
    }
    if (sizes > 1 || words->is_signed + words->is_unsigned > 1 || words->is_int > 1 || words->is_long > 2 ||
        (words->is_char && words->is_int))
        return 0;
    if (words->is_char)
        return is_unsigned ? STELE_U8 : words->is_signed ? STELE_I8 : STELE_TEXT;
    if (words->is_short)
        return is_unsigned ? STELE_U16 : STELE_I16;
    if (words->is_long)
        return is_unsigned ? STELE_U64 : STELE_I64;
    return is_unsigned ? STELE_U32 : STELE_I32;
}

static void resolve_words(struct stele_spec *spec, const struct words *words, struct spec_type *out)
{
    if (words->is_long && words->is_double)
        out->failure = stele_spec_failure(spec, words->long_place, "`long double` has another size on other "
                                          "machines: use double");
    else if (words->is_long == 1)
        out->failure = stele_spec_failure(spec, words->long_place,
                                          "`long` has 4 or 8 bytes, depending on the "
                                          "system: write a fixed-width type, int64_t or int32_t (unsigned: "
                                          "uint64_t or uint32_t)");
    else if (type_of(words))
        set_scalar(out, type_of(words));
    else
        out->failure = stele_spec_failure(spec, out->place, "these words together are no type");
}

/* What the name @token stands for, when it is no word of a basic type. */
static void resolve_name(struct stele_spec *spec, const struct spec_token *token, struct spec_type *out)
{
    size_t place = out->place;
    struct spec_symbol *symbol;

    for (size_t i = 0; i < sizeof(fixed_types) / sizeof(fixed_types[0]); i++) {
        if (stele_spec_is(token, fixed_types[i].name)) {
            set_scalar(out, fixed_types[i].type);
            return;
        }
    }
    symbol = stele_spec_find(spec, SPEC_TYPEDEF, token->text, token->text_bytes);
    if (symbol) {
        *out = symbol->is.type;
        out->place = place;
    } else if (stele_spec_is_any(token, variable_types)) {
        out->failure = stele_spec_failure(spec, place, "`%.*s` has another size on other systems: write a "
                                          "fixed-width type such as int64_t, uint64_t or uint32_t",
                                          SPEC_SHOWN(token->text, token->text_bytes));
    } else {
        out->failure = stele_spec_failure(spec, place,
                                          "unknown type `%.*s`: define it in the same text or write a "
                                          "fixed-width type",
                                          SPEC_SHOWN(token->text, token->text_bytes));
    }
}

/* ---- enums --------------------------------------------------------------------------------- */

static bool add_constant(struct stele_spec *spec, struct spec_enum *enumeration,
                         const struct spec_token *name, int64_t value)
{
    struct spec_symbol *symbol = stele_spec_define(spec, SPEC_CONSTANT, name->text, name->text_bytes);
    struct stele_enum_constant *constant;

    if (!symbol)
        return false;
    symbol->is.value = value;
    if (name->text_bytes > STELE_NAME_BYTES_MAX || value < INT32_MIN || value > INT32_MAX) {
        if (!enumeration->failure)
            enumeration->failure =
                stele_spec_failure(spec, name->place,
                                   "enum constant `%.*s`: names have at most "
                                   "%d bytes and values 32 bits with sign",
                                   SPEC_SHOWN(name->text, name->text_bytes), STELE_NAME_BYTES_MAX);
        return true;
    }
    if (enumeration->constant_count == enumeration->constant_room) {
        constant =
            stele_spec_grow(spec, enumeration->constants, sizeof(*constant), &enumeration->constant_room);
        if (!constant)
            return false;
        enumeration->constants = constant;
    }
    constant = &enumeration->constants[enumeration->constant_count++];
    memcpy(constant->name, name->text, name->text_bytes);
    constant->value = (int32_t)value;
    return true;
}

static bool read_constants(struct stele_spec *spec, struct spec_enum *enumeration)
{
    int64_t value = -1;
    bool ignored = false;

    while (!stele_spec_accept(spec, "}")) {
        struct spec_token name = stele_spec_next(spec);

        if (name.kind != SPEC_NAME)
            return stele_spec_fail(spec, name.place, "the name of an enum constant is missing");
        if (!stele_spec_attributes(spec, &ignored))
            return false;
        if (stele_spec_accept(spec, "=")) {
            if (!stele_spec_number(spec, &value))
                return false;
        } else if (__builtin_add_overflow(value, INT64_C(1), &value)) {
            return stele_spec_fail(spec, name.place, "the number does not fit 64 bits");
        }
        if (!add_constant(spec, enumeration, &name, value))
            return false;
        if (!stele_spec_accept(spec, ","))
            return stele_spec_expect(spec, "}");
    }
    return true;
}

/* Read the enum behind its keyword. One with values that cannot be stored is no failure yet. */
static bool read_enum(struct stele_spec *spec, struct spec_type *out)
{
    struct spec_token tag = { .kind = SPEC_END };
    struct spec_symbol *symbol = NULL;
    bool is_packed = false;
    size_t inner_depth;

    if (!stele_spec_attributes(spec, &is_packed))
        return false;
    if (stele_spec_peek(spec)->kind == SPEC_NAME) {
        tag = stele_spec_next(spec);
        symbol = stele_spec_define(spec, SPEC_ENUM_TAG, tag.text, tag.text_bytes);
        if (!symbol)
            return false;
    }
    set_scalar(out, STELE_I32);
    out->enumeration = symbol ? symbol->is.enumeration : NULL;
    if (!out->enumeration || (out->enumeration->is_complete && stele_spec_is(stele_spec_peek(spec), "{")))
        out->enumeration = stele_spec_allocate(spec, sizeof(*out->enumeration));
    if (!out->enumeration)
        return false;
    if (symbol)
        symbol->is.enumeration = out->enumeration;
    if (!stele_spec_accept(spec, "{"))
        return symbol || stele_spec_expect(spec, "{");
    inner_depth = spec->brace_depth;
    if (!read_constants(spec, out->enumeration)) {
        out->enumeration->failure = stele_spec_take_failure(spec);
        while (spec->brace_depth >= inner_depth && stele_spec_next(spec).kind != SPEC_END)
            ;
    }
    out->enumeration->is_complete = true;
    if (!stele_spec_attributes(spec, &is_packed))
        return false;
    if (is_packed && !out->enumeration->failure)
        out->enumeration->failure = stele_spec_failure(spec, out->place,
                                                       "a packed enum has a size of the compiler's "
                                                       "choice: write a fixed-width type");
    return spec->failure.code == 0;
}

/* ---- specifiers ---------------------------------------------------------------------------- */

static bool read_tagged(struct stele_spec *spec, unsigned level, struct spec_type *out)
{
    if (!stele_spec_is(stele_spec_peek(spec), "enum"))
        return stele_spec_struct(spec, level, out);
    stele_spec_next(spec);
    return read_enum(spec, out);
}

/* Words that may stand among those of a type and change nothing in a file. */
static const char *const qualifiers[] = {
    "const", "__const", "__const__", "volatile", "__volatile__", "restrict", "__restrict", "__restrict__",
    "static", "extern", "register", "inline", "__inline", "__inline__", "__extension__", NULL
};
static const char *const tagged[] = { "struct", "union", "enum", NULL };
static const char *const attribute_words[] = { "__attribute__", "__attribute", NULL };
static const char *const alignments[] = { "_Alignas", "alignas", "_Atomic", NULL };

bool stele_spec_specifier(struct stele_spec *spec, unsigned level, struct spec_type *out, bool *out_is_packed)
{
    struct words words = { 0 };
    bool has_words = false, has_type = false;

    *out = (struct spec_type){ .place = stele_spec_peek(spec)->place };
    for (;;) {
        const struct spec_token *peeked = stele_spec_peek(spec);
        struct spec_token token = *peeked;

        if (token.kind != SPEC_NAME)
            break;
        if (stele_spec_is_any(&token, attribute_words)) {
            if (!stele_spec_attributes(spec, out_is_packed))
                return false;
        } else if (stele_spec_is_any(&token, qualifiers)) {
            stele_spec_next(spec);
        } else if (stele_spec_is_any(&token, alignments)) {
            return stele_spec_fail(spec, token.place,
                                   "`%.*s` is not followed: fields are plain and placed by "
                                   "#pragma pack or members of your own",
                                   SPEC_SHOWN(token.text, token.text_bytes));
        } else if (!has_type && take_word(&token, &words)) {
            stele_spec_next(spec);
            has_words = true;
        } else if (has_type || has_words) {
            break;
        } else {
            has_type = true;
            out->place = token.place;
            if (stele_spec_is_any(&token, tagged)) {
                if (!read_tagged(spec, level, out))
                    return false;
            } else {
                stele_spec_next(spec);
                resolve_name(spec, &token, out);
            }
        }
    }
    if (has_words)
        resolve_words(spec, &words, out);
    else if (!has_type)
        return stele_spec_fail(spec, stele_spec_peek(spec)->place, "a type is missing here");
    return spec->failure.code == 0;
}
