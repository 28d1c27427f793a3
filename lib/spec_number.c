/* Constant expressions: array lengths, values of enum constants, conditions. */
#include "spec.h"

#include <string.h>

static bool read_binary(struct stele_spec *spec, unsigned level, int least_rank, int64_t *out);

static bool fail_overflow(struct stele_spec *spec, size_t place)
{
    return stele_spec_fail(spec, place, "the number does not fit 64 bits");
}

/* What a name stands for: an enum constant; in a condition "defined", and 0 for all that is no macro. */
static bool read_name(struct stele_spec *spec, const struct spec_token *token, int64_t *out)
{
    struct spec_symbol *symbol;

    if (!spec->cursor.is_directive) {
        symbol = stele_spec_find(spec, SPEC_CONSTANT, token->text, token->text_bytes);
        if (!symbol)
            return stele_spec_fail(spec, token->place, "`%.*s` is not a known number: lengths are integers, "
                                   "#defines and enum constants of the same text",
                                   SPEC_SHOWN(token->text, token->text_bytes));
        *out = symbol->is.value;
        return true;
    }
    *out = 0;
    if (stele_spec_is(token, "defined")) {
        struct spec_token name;
        bool has_parenthesis;

        spec->cursor.is_raw = true;
        has_parenthesis = stele_spec_accept(spec, "(");
        name = stele_spec_next(spec);
        spec->cursor.is_raw = false;
        *out = stele_spec_find(spec, SPEC_MACRO, name.text, name.text_bytes) != NULL;
        return !has_parenthesis || stele_spec_expect(spec, ")");
    }
    return true;
}

static bool read_unary(struct stele_spec *spec, unsigned level, int64_t *out)
{
    struct spec_token token = stele_spec_next(spec);

    if (level > SPEC_DEPTH_MAX)
        return stele_spec_fail(spec, token.place, "the expression nests more than %d deep", SPEC_DEPTH_MAX);
    if (token.kind == SPEC_NUMBER && token.is_integer) {
        *out = token.value;
        return true;
    }
    if (token.kind == SPEC_NAME)
        return read_name(spec, &token, out);
    if (stele_spec_is(&token, "("))
        return read_binary(spec, level + 1, 0, out) && stele_spec_expect(spec, ")");
    if (stele_spec_is(&token, "+"))
        return read_unary(spec, level + 1, out);
    if (stele_spec_is(&token, "-")) {
        if (!read_unary(spec, level + 1, out))
            return false;
        return !__builtin_sub_overflow(INT64_C(0), *out, out) || fail_overflow(spec, token.place);
    }
    if (stele_spec_is(&token, "~") || stele_spec_is(&token, "!")) {
        bool is_not = stele_spec_is(&token, "!");

        if (!read_unary(spec, level + 1, out))
            return false;
        *out = is_not ? !*out : ~*out;
        return true;
    }
    return stele_spec_fail(spec, token.place, "an integer is missing here");
}

enum operation { OR, AND, BIT_OR, BIT_XOR, BIT_AND, EQUAL, UNEQUAL, LESS, GREATER, LESS_EQUAL, GREATER_EQUAL,
                 SHIFT_LEFT, SHIFT_RIGHT, ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER, OPERATION_COUNT };

/* In the order of enum operation. */
static const struct {
    const char *sign;
    int rank;
} operations[OPERATION_COUNT] = {
    { "||", 1 }, { "&&", 2 }, { "|", 3 },  { "^", 4 },  { "&", 5 },  { "==", 6 }, { "!=", 6 },
    { "<", 7 },  { ">", 7 },  { "<=", 7 }, { ">=", 7 }, { "<<", 8 }, { ">>", 8 }, { "+", 9 },
    { "-", 9 },  { "*", 10 }, { "/", 10 }, { "%", 10 },
};

static bool shift(struct stele_spec *spec, size_t place, enum operation operation, int64_t a, int64_t b,
                  int64_t *out)
{
    if (b < 0 || b > 62)
        return stele_spec_fail(spec, place, "a shift by %lld is not possible", (long long)b);
    if (operation == SHIFT_RIGHT) {
        *out = a >> b;
        return true;
    }
    return !__builtin_mul_overflow(a, INT64_C(1) << b, out) || fail_overflow(spec, place);
}

static bool apply(struct stele_spec *spec, size_t place, enum operation operation, int64_t a, int64_t b,
                  int64_t *out)
{
    switch (operation) {
    case OR: *out = a || b; return true;
    case AND: *out = a && b; return true;
    case BIT_OR: *out = a | b; return true;
    case BIT_XOR: *out = a ^ b; return true;
    case BIT_AND: *out = a & b; return true;
    case EQUAL: *out = a == b; return true;
    case UNEQUAL: *out = a != b; return true;
    case LESS: *out = a < b; return true;
    case GREATER: *out = a > b; return true;
    case LESS_EQUAL: *out = a <= b; return true;
    case GREATER_EQUAL: *out = a >= b; return true;
    case SHIFT_LEFT:
    case SHIFT_RIGHT: return shift(spec, place, operation, a, b, out);
    case ADD: return !__builtin_add_overflow(a, b, out) || fail_overflow(spec, place);
    case SUBTRACT: return !__builtin_sub_overflow(a, b, out) || fail_overflow(spec, place);
    case MULTIPLY: return !__builtin_mul_overflow(a, b, out) || fail_overflow(spec, place);
    case DIVIDE:
    case REMAINDER:
        if (b == 0)
            return stele_spec_fail(spec, place, "division by zero");
        if (b == -1 && a == INT64_MIN)
            return fail_overflow(spec, place);
        *out = operation == DIVIDE ? a / b : a % b;
        return true;
    case OPERATION_COUNT: break;
    }
    return false;
}

/* Read operands joined by operators of a rank above @least_rank. */
static bool read_binary(struct stele_spec *spec, unsigned level, int least_rank, int64_t *out)
{
    if (!read_unary(spec, level, out))
        return false;
    for (;;) {
        const struct spec_token *token = stele_spec_peek(spec);
        size_t place = token->place;
        int64_t right = 0;
        size_t i = 0;

        while (i < OPERATION_COUNT && !stele_spec_is(token, operations[i].sign))
            i++;
        if (i == OPERATION_COUNT || operations[i].rank <= least_rank)
            return true;
        stele_spec_next(spec);
        if (!read_binary(spec, level, operations[i].rank, &right) ||
            !apply(spec, place, (enum operation)i, *out, right, out))
            return false;
    }
}

bool stele_spec_number(struct stele_spec *spec, int64_t *out)
{
    int64_t value = 0;

    if (!read_binary(spec, 0, 0, &value))
        return false;
    *out = value;
    return true;
}
