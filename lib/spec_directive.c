/* Preprocessor lines that change a layout: #define, #undef, #pragma pack, #if and its kin. */
#include "spec.h"

#include "error.h"

#include <string.h>

bool stele_spec_is_taken(const struct stele_spec *spec)
{
    return spec->condition_depth == 0 || spec->conditions[spec->condition_depth - 1].is_taken;
}

void stele_spec_predefine(struct stele_spec *spec)
{
    static const char one[] = "1", standard[] = "201112L", bits[] = "8", compiler[] = "12";
    static const struct {
        const char *name, *text;
    } macros[] = {
        { "__x86_64__", one }, { "__x86_64", one }, { "__amd64__", one }, { "__linux__", one },
        { "__unix__", one },
        { "__LP64__", one }, { "_LP64", one }, { "__STDC__", one }, { "__STDC_HOSTED__", one },
        { "__STDC_VERSION__", standard }, { "__CHAR_BIT__", bits }, { "__GNUC__", compiler },
        { "__GNUC_MINOR__", one },
    };

    for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
        struct spec_symbol *symbol =
            stele_spec_define(spec, SPEC_MACRO, macros[i].name, strlen(macros[i].name));

        if (!symbol)
            return;
        symbol->is.macro.text = macros[i].text;
        symbol->is.macro.end = macros[i].text + strlen(macros[i].text);
    }
}

/* ---- #define, #undef ----------------------------------------------------------------------- */

static void define(struct stele_spec *spec)
{
    const char *end = spec->cursor.sources[0].end;
    struct spec_token name = stele_spec_next(spec);
    struct spec_symbol *symbol;

    if (name.kind != SPEC_NAME)
        return;
    symbol = stele_spec_define(spec, SPEC_MACRO, name.text, name.text_bytes);
    if (!symbol)
        return;
    symbol->is.macro.text = name.text + name.text_bytes;
    symbol->is.macro.end = end;
    symbol->is.macro.is_function = symbol->is.macro.text < end && *symbol->is.macro.text == '(';
}

static void undefine(struct stele_spec *spec)
{
    struct spec_token name = stele_spec_next(spec);
    struct spec_symbol *symbol = NULL;

    if (name.kind == SPEC_NAME)
        symbol = stele_spec_find(spec, SPEC_MACRO, name.text, name.text_bytes);
    if (symbol)
        symbol->is_gone = true;
}

/* ---- #pragma pack -------------------------------------------------------------------------- */

static bool push_pack(struct stele_spec *spec, size_t place)
{
    if (spec->pack_depth == SPEC_PACK_DEPTH_MAX)
        return stele_spec_fail_final(spec, STELE_E_SCHEMA, place,
                                     "#pragma pack(push) nests more than %d deep", SPEC_PACK_DEPTH_MAX);
    spec->packs[spec->pack_depth++] = spec->pack;
    return true;
}

static bool pop_pack(struct stele_spec *spec, size_t place)
{
    if (spec->pack_depth == 0)
        return stele_spec_fail_final(spec, STELE_E_SCHEMA, place,
                                     "#pragma pack(pop) without a push before it");
    spec->pack = spec->packs[--spec->pack_depth];
    return true;
}

/* pack(), pack(N), pack(push), pack(push, N), pack(pop). */
static void follow_pack(struct stele_spec *spec, size_t place)
{
    struct spec_token word;

    if (!stele_spec_accept(spec, "("))
        return; /* compilers warn and do nothing */
    if (stele_spec_accept(spec, ")")) {
        spec->pack = spec->pack_outer;
        return;
    }
    word = stele_spec_next(spec);
    if (stele_spec_is(&word, "push") || stele_spec_is(&word, "pop")) {
        if (stele_spec_is(&word, "push") ? !push_pack(spec, place) : !pop_pack(spec, place))
            return;
        if (stele_spec_accept(spec, ")"))
            return;
        stele_spec_accept(spec, ",");
        word = stele_spec_next(spec);
    }
    if (word.kind == SPEC_NUMBER && word.is_integer && word.value >= 0 && word.value <= 16 &&
        stele_is_pack((uint32_t)word.value) && stele_spec_accept(spec, ")"))
        spec->pack = word.value ? (uint32_t)word.value : spec->pack_outer;
    else
        stele_spec_fail_final(spec, STELE_E_SCHEMA, place,
                              "#pragma pack takes (N), (push), (push, N), (pop) or (), "
                              "N being 1, 2, 4, 8 or 16");
}

static void follow_pragma(struct stele_spec *spec)
{
    struct spec_token word = stele_spec_next(spec);

    if (stele_spec_is(&word, "pack"))
        follow_pack(spec, word.place);
    else if (stele_spec_is(&word, "scalar_storage_order") || stele_spec_is(&word, "ms_struct"))
        stele_spec_fail_final(spec, STELE_E_SCHEMA, word.place,
                              "#pragma %.*s changes how structs are stored: not "
                              "possible here",
                              SPEC_SHOWN(word.text, word.text_bytes));
}

/* ---- conditions ---------------------------------------------------------------------------- */

/* A condition that cannot be read is not met, as are all that ask for unknown names. */
static bool is_met(struct stele_spec *spec)
{
    int64_t value = 0;

    if (stele_spec_number(spec, &value))
        return value != 0;
    if (!spec->failure.is_final)
        spec->failure.code = 0;
    return false;
}

static bool is_next_defined(struct stele_spec *spec)
{
    struct spec_token name;

    spec->cursor.is_raw = true;
    name = stele_spec_next(spec);
    spec->cursor.is_raw = false;
    return stele_spec_find(spec, SPEC_MACRO, name.text, name.text_bytes) != NULL;
}

static void open_condition(struct stele_spec *spec, const struct spec_token *word)
{
    struct spec_condition condition = { .is_outer_taken = stele_spec_is_taken(spec) };

    if (spec->condition_depth == SPEC_CONDITION_DEPTH_MAX) {
        stele_spec_fail_final(spec, STELE_E_SCHEMA, word->place, "#if nests more than %d deep",
                              SPEC_CONDITION_DEPTH_MAX);
        return;
    }
    if (condition.is_outer_taken) {
        if (stele_spec_is(word, "if"))
            condition.is_taken = is_met(spec);
        else
            condition.is_taken = is_next_defined(spec) == stele_spec_is(word, "ifdef");
    }
    condition.was_taken = condition.is_taken;
    spec->conditions[spec->condition_depth++] = condition;
}

static void turn_condition(struct stele_spec *spec, const struct spec_token *word)
{
    struct spec_condition *condition;

    if (spec->condition_depth == 0) {
        stele_spec_fail_final(spec, STELE_E_SCHEMA, word->place, "#%.*s without an #if before it",
                              SPEC_SHOWN(word->text, word->text_bytes));
        return;
    }
    condition = &spec->conditions[spec->condition_depth - 1];
    if (stele_spec_is(word, "endif")) {
        spec->condition_depth--;
        return;
    }
    condition->is_taken = condition->is_outer_taken && !condition->was_taken &&
                          (stele_spec_is(word, "else") || is_met(spec));
    condition->was_taken |= condition->is_taken;
}

/* ---- all ----------------------------------------------------------------------------------- */

static void follow(struct stele_spec *spec)
{
    struct spec_token word;

    spec->cursor.is_raw = true;
    word = stele_spec_next(spec);
    if (stele_spec_is(&word, "define") || stele_spec_is(&word, "undef")) {
        if (!stele_spec_is_taken(spec))
            return;
        if (stele_spec_is(&word, "define"))
            define(spec);
        else
            undefine(spec);
        return;
    }
    spec->cursor.is_raw = false;
    if (stele_spec_is(&word, "if") || stele_spec_is(&word, "ifdef") || stele_spec_is(&word, "ifndef"))
        open_condition(spec, &word);
    else if (stele_spec_is(&word, "elif") || stele_spec_is(&word, "else") || stele_spec_is(&word, "endif"))
        turn_condition(spec, &word);
    else if (stele_spec_is(&word, "pragma") && stele_spec_is_taken(spec))
        follow_pragma(spec);
}

void stele_spec_directive(struct stele_spec *spec, const char *at, const char *end)
{
    struct spec_cursor kept = spec->cursor;
    struct spec_cursor *cursor = &spec->cursor;
    size_t brace_depth = spec->brace_depth;

    *cursor = (struct spec_cursor){ .is_directive = true };
    cursor->sources[0] = (struct spec_source){ at, end, NULL };
    follow(spec);
    while (cursor->depth > 0)
        cursor->sources[cursor->depth--].macro->is.macro.is_active = false;
    *cursor = kept;
    spec->brace_depth = brace_depth;
}
