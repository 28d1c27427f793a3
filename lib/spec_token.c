/* Tokens of C text, with comments gone, macros expanded and directives followed. */
#include "spec.h"

#include "error.h"

#include <string.h>

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte == '$' || (unsigned char)byte >= 0x80;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Bytes of a line that goes on below: "\" and the line's end; 0 if @at is none. */
static size_t continuation_bytes(const char *at, const char *end)
{
    if (end - at >= 2 && at[0] == '\\' && at[1] == '\n')
        return 2;
    if (end - at >= 3 && at[0] == '\\' && at[1] == '\r' && at[2] == '\n')
        return 3;
    return 0;
}

/* The end of the comment that @at starts, or @at. */
static const char *comment_end(const char *at, const char *end)
{
    if (end - at < 2 || at[0] != '/' || (at[1] != '*' && at[1] != '/'))
        return at;
    if (at[1] == '/') {
        while (at < end && *at != '\n')
            at += continuation_bytes(at, end) ? continuation_bytes(at, end) : 1;
        return at;
    }
    for (at += 2; end - at >= 2; at++) {
        if (at[0] == '*' && at[1] == '/')
            return at + 2;
    }
    return end;
}

/* The end of the string or character that @at starts; a line's end closes it too. */
static const char *quote_end(const char *at, const char *end)
{
    char quote = *at++;

    while (at < end && *at != quote && *at != '\n')
        at += *at == '\\' && end - at >= 2 ? 2 : 1;
    return at < end && *at == quote ? at + 1 : at;
}

const char *stele_spec_line_end(const struct stele_spec *spec, const char *at)
{
    const char *end = spec->text + spec->text_bytes;

    while (at < end && *at != '\n') {
        const char *behind = *at == '"' || *at == '\'' ? quote_end(at, end) : comment_end(at, end);

        if (behind == at)
            behind = at + (continuation_bytes(at, end) ? continuation_bytes(at, end) : 1);
        at = behind;
    }
    return at;
}

/* Skip white space, comments, directives, lines of a condition not met, and macros at their end. */
static void skip_blank(struct stele_spec *spec)
{
    struct spec_cursor *cursor = &spec->cursor;

    for (;;) {
        struct spec_source *source = &cursor->sources[cursor->depth];
        const char *at = source->at;

        if (at >= source->end) {
            if (cursor->depth == 0)
                return;
            source->macro->is.macro.is_active = false;
            cursor->depth--;
        } else if (*at == '\n') {
            source->at++;
            cursor->is_line_start = true;
        } else if (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\f' || *at == '\v') {
            source->at++;
        } else if (continuation_bytes(at, source->end)) {
            source->at += continuation_bytes(at, source->end);
        } else if (comment_end(at, source->end) != at) {
            source->at = comment_end(at, source->end);
        } else if (cursor->depth == 0 && !cursor->is_directive && cursor->is_line_start && *at == '#') {
            source->at = stele_spec_line_end(spec, at);
            stele_spec_directive(spec, at + 1, source->at);
            if (spec->failure.is_final)
                return;
        } else if (!cursor->is_directive && !stele_spec_is_taken(spec)) {
            source->at = stele_spec_line_end(spec, at);
        } else {
            cursor->is_line_start = false;
            return;
        }
    }
}

/* The value of a number as C writes it: 10, 0x1F, 017, 0b11, with u and l behind. */
static void read_number(struct spec_token *token)
{
    const char *at = token->text;
    const char *end = at + token->text_bytes;
    unsigned base = 10;
    uint64_t value = 0;

    if (end - at > 1 && at[0] == '0') {
        base = (at[1] | 0x20) == 'x' ? 16 : (at[1] | 0x20) == 'b' ? 2 : 8;
        at += base == 8 ? 1 : 2;
        if (at == end)
            return;
    }
    for (; at < end; at++) {
        unsigned lower = (unsigned char)*at | 0x20u;
        unsigned digit = is_digit(*at) ? (unsigned)(*at - '0') : 99;

        if (lower >= 'a' && lower <= 'f')
            digit = lower - 'a' + 10;
        if (digit >= base)
            break;
        if (value > ((uint64_t)INT64_MAX - digit) / base)
            return;
        value = value * base + digit;
    }
    for (; at < end; at++) {
        if ((*at | 0x20) != 'u' && (*at | 0x20) != 'l')
            return;
    }
    token->value = (int64_t)value;
    token->is_integer = true;
}

/* The value of 'a' and of the plain escapes; others are no integer here. */
static void read_character(struct spec_token *token)
{
    static const char escapes[] = "a\ab\bf\fn\nr\rt\tv\v\\\\''\"\"";

    if (token->text_bytes == 3 && (unsigned char)token->text[1] < 0x80) {
        token->value = token->text[1];
        token->is_integer = true;
    } else if (token->text_bytes == 4 && token->text[1] == '\\') {
        for (size_t i = 0; i + 1 < sizeof(escapes); i += 2) {
            if (escapes[i] == token->text[2]) {
                token->value = escapes[i + 1];
                token->is_integer = true;
            }
        }
        if (token->text[2] >= '0' && token->text[2] <= '7') {
            token->value = token->text[2] - '0';
            token->is_integer = true;
        }
    }
}

static struct spec_token scan(struct spec_source *source)
{
    static const char *const signs[] = { "<<", ">>", "<=", ">=", "==", "!=", "&&", "||" };
    const char *at = source->at, *end = source->end;
    struct spec_token token = { .kind = SPEC_SIGN, .text = at };

    if (is_digit(*at) || (*at == '.' && end - at > 1 && is_digit(at[1]))) {
        token.kind = SPEC_NUMBER;
        while (at < end && (is_name_byte(*at) || *at == '.'))
            at++;
    } else if (is_name_byte(*at)) {
        token.kind = SPEC_NAME;
        while (at < end && is_name_byte(*at))
            at++;
    } else if (*at == '"' || *at == '\'') {
        token.kind = *at == '"' ? SPEC_STRING : SPEC_NUMBER;
        at = quote_end(at, end);
    } else {
        at++;
        for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
            if (at < end && at[-1] == signs[i][0] && at[0] == signs[i][1]) {
                at++;
                break;
            }
        }
    }
    token.text_bytes = (size_t)(at - token.text);
    if (token.kind == SPEC_NUMBER && *token.text == '\'')
        read_character(&token);
    else if (token.kind == SPEC_NUMBER)
        read_number(&token);
    source->at = at;
    return token;
}

/* Go on inside the macro that @token names, if it is one that C would expand. */
static bool enter_macro(struct stele_spec *spec, const struct spec_token *token)
{
    struct spec_cursor *cursor = &spec->cursor;
    struct spec_symbol *symbol = NULL;

    if (token->kind == SPEC_NAME && !cursor->is_raw)
        symbol = stele_spec_find(spec, SPEC_MACRO, token->text, token->text_bytes);
    if (!symbol || symbol->is.macro.is_function || symbol->is.macro.is_active)
        return false;
    if (cursor->depth == SPEC_MACRO_DEPTH_MAX)
        return stele_spec_fail_final(spec, STELE_E_SCHEMA, cursor->place, "macros nest more than %d deep",
                                     SPEC_MACRO_DEPTH_MAX);
    symbol->is.macro.is_active = true;
    cursor->sources[++cursor->depth] =
        (struct spec_source){ symbol->is.macro.text, symbol->is.macro.end, symbol };
    return true;
}

static void read_token(struct stele_spec *spec)
{
    struct spec_cursor *cursor = &spec->cursor;
    struct spec_source *source;

    do {
        skip_blank(spec);
        source = &cursor->sources[cursor->depth];
        if (cursor->depth == 0)
            cursor->place = (size_t)(source->at - spec->text);
        if (spec->token_count++ > spec->text_bytes + SPEC_TOKENS_EXTRA)
            stele_spec_fail_final(spec, STELE_E_SCHEMA, cursor->place, "macros expand to too much text");
        if (spec->failure.is_final || source->at >= source->end) {
            cursor->token = (struct spec_token){ .kind = SPEC_END, .text = "", .place = cursor->place };
            return;
        }
        cursor->token = scan(source);
        cursor->token.place = cursor->place;
    } while (enter_macro(spec, &cursor->token));
    if (stele_spec_is(&cursor->token, "_Pragma") || stele_spec_is(&cursor->token, "__pragma"))
        stele_spec_fail_final(spec, STELE_E_SCHEMA, cursor->place,
                              "a pragma inside of other text is not followed: write it as a #pragma line");
}

const struct spec_token *stele_spec_peek(struct stele_spec *spec)
{
    if (!spec->cursor.has_token)
        read_token(spec);
    if (spec->failure.is_final)
        spec->cursor.token.kind = SPEC_END;
    spec->cursor.has_token = true;
    return &spec->cursor.token;
}

struct spec_token stele_spec_next(struct stele_spec *spec)
{
    struct spec_token token = *stele_spec_peek(spec);

    if (token.kind != SPEC_END)
        spec->cursor.has_token = false;
    if (stele_spec_is(&token, "{"))
        spec->brace_depth++;
    else if (stele_spec_is(&token, "}") && spec->brace_depth > 0)
        spec->brace_depth--;
    return token;
}

bool stele_spec_is(const struct spec_token *token, const char *text)
{
    return (token->kind == SPEC_NAME || token->kind == SPEC_SIGN) && strlen(text) == token->text_bytes &&
           memcmp(token->text, text, token->text_bytes) == 0;
}

bool stele_spec_is_any(const struct spec_token *token, const char *const *words)
{
    for (; *words; words++) {
        if (stele_spec_is(token, *words))
            return true;
    }
    return false;
}

bool stele_spec_accept(struct stele_spec *spec, const char *text)
{
    if (!stele_spec_is(stele_spec_peek(spec), text))
        return false;
    stele_spec_next(spec);
    return true;
}

bool stele_spec_expect(struct stele_spec *spec, const char *text)
{
    const struct spec_token *token = stele_spec_peek(spec);

    if (stele_spec_accept(spec, text))
        return true;
    if (token->kind == SPEC_END)
        return stele_spec_fail(spec, token->place, "`%s` is missing at the end of the text", text);
    return stele_spec_fail(spec, token->place, "`%.*s` stands where `%s` should",
                           SPEC_SHOWN(token->text, token->text_bytes), text);
}

void stele_spec_skip_group(struct stele_spec *spec)
{
    for (size_t depth = 1; depth > 0;) {
        struct spec_token token = stele_spec_next(spec);

        if (token.kind == SPEC_END)
            return;
        if (stele_spec_is(&token, "(") || stele_spec_is(&token, "[") || stele_spec_is(&token, "{"))
            depth++;
        else if (stele_spec_is(&token, ")") || stele_spec_is(&token, "]") || stele_spec_is(&token, "}"))
            depth--;
    }
}

void stele_spec_skip_declarator(struct stele_spec *spec, bool or_comma)
{
    for (;;) {
        const struct spec_token *token = stele_spec_peek(spec);
        bool is_open = stele_spec_is(token, "(") || stele_spec_is(token, "[") || stele_spec_is(token, "{");

        if (token->kind == SPEC_END || stele_spec_is(token, ";") || stele_spec_is(token, "}") ||
            (or_comma && stele_spec_is(token, ",")))
            return;
        stele_spec_next(spec);
        if (is_open)
            stele_spec_skip_group(spec);
    }
}
