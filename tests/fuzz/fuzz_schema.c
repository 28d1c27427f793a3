/*
 * Hostile schemas: C text, and the bytes that a store keeps, by the input's first byte. It is a refusal with a
 * sentence, or a schema that keeps the rules of schemas and comes back out of its own bytes, within bounded memory.
 */
#include "fuzz.h"
#include "schema.h"
#include "wrap.h"

#include <string.h>

enum { TEXT, BYTES, KINDS };
enum { TEXT_BYTES_MAX = 8192, BYTES_MAX = 4096 + 1 };
#define ASKED_BYTES_MAX (UINT64_C(16) << 20)

static uint64_t asked_bytes; /* of memory, given back or not */
static struct {
    unsigned long long texts, bytes;
} taken; /* that many were schemas */

WRAPPED(void *, malloc, size_t bytes)
{
    asked_bytes += bytes;
    return REAL(malloc)(bytes);
}

WRAPPED(void *, calloc, size_t count, size_t bytes)
{
    asked_bytes += (uint64_t)count * bytes;
    return REAL(calloc)(count, bytes);
}

WRAPPED(void *, realloc, void *memory, size_t bytes)
{
    asked_bytes += bytes;
    return REAL(realloc)(memory, bytes);
}

static const char *const texts[] = {
    "struct A { int32_t x; double y; char name[32]; };",
    "#define N 4\n#define M (N * 2 + 1)\ntypedef unsigned char byte;\nstruct In { byte b[N]; float f[2][M]; };\n",
    "struct In { float f[3]; };\nstruct Out { struct In in[3]; uint64_t id; bool on; };",
    "enum E { ONE = 1, TWO, MINUS = -7 };\nstruct S { enum E e; int16_t grid[2][3][2]; signed char c; };",
    "#pragma pack(push, 1)\nstruct P { uint8_t a; uint64_t b; };\n#pragma pack(pop)\n/* comment */ // line\n",
    "typedef struct { short s; long long l; unsigned u; } T;\nstruct Q { T t; T many[2]; _Bool flag; };",
};

/* What C text is made of: put in where chance alone would not. */
static const char *const words[] = {
    "struct ", "enum ", "typedef ", "#define ", "#pragma pack(1)\n", "#pragma pack(push, 2)\n", "#pragma pack(pop)\n",
    "#if 0\n", "#ifdef A\n", "#endif\n", "#else\n", "#include <stdint.h>\n", "{", "}", ";", ",", "[", "]", "(", ")", "=",
    "*", "&", ":", "0x7fffffff", "4294967295", "18446744073709551615", "16777216", "-1", "1u << 31", "sizeof(", "65536",
    "int32_t ", "uint64_t ", "double ", "char ", "bool ", "unsigned ", "long ", "union ", "static ", "const ", "/*", "*/",
    "//", "\\\n", "\"", "'", "\n", " a", " N", "struct A ", "(((((((((((((((((((((", "\xc3\xa4", "_Alignas(8) ",
    "__attribute__((packed)) ",
};

/* ---- what must hold of a schema ---- */

static void check_rules(const struct stele_schema *schema)
{
    const uint64_t record_bytes = stele_schema_record_bytes(schema);
    uint64_t end = 0, covered = 0;
    uint32_t encoded_bytes = 0;
    size_t padding_count = 0;
    struct stele_schema *again = NULL;

    HOLDS(record_bytes >= 1 && record_bytes <= STELE_RECORD_BYTES_LIMIT && stele_is_pack(stele_schema_pack(schema)));
    HOLDS(stele_schema_field_count(schema) >= 1 && stele_schema_field_count(schema) <= STELE_FIELD_COUNT_MAX);
    for (size_t i = 0; i < stele_schema_field_count(schema); i++) {
        const struct stele_field *field = stele_schema_field(schema, i);
        uint64_t bytes = stele_field_bytes(field, record_bytes);
        HOLDS(field->offset >= end && bytes >= 1 && bytes <= record_bytes && field->offset <= record_bytes - bytes);
        HOLDS(strlen(field->name) >= 1 && strlen(field->name) <= STELE_FIELD_NAME_BYTES_MAX);
        end = field->offset + bytes;
        covered += bytes;
    }
    const struct stele_padding *paddings = stele_schema_padding(schema, &padding_count);
    for (size_t i = 0; i < padding_count; i++)
        covered += paddings[i].bytes;
    HOLDS(covered == record_bytes);
    const uint8_t *encoded = stele_schema_encoded(schema, &encoded_bytes);
    HOLDS(encoded_bytes <= STELE_SCHEMA_BYTES_MAX);
    HOLDS(stele_schema_decode(encoded, encoded_bytes, &again) == STELE_OK);
    HOLDS(stele_schema_check(schema, again) == STELE_OK);
    stele_schema_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t byte_count)
{
    static char text[TEXT_BYTES_MAX];
    struct stele_schema *schema = NULL;
    int rc;

    if (byte_count < 2)
        return 0;
    const bool is_text = data[0] % KINDS == TEXT;
    const size_t n = byte_count - 1;
    asked_bytes = 0;
    if (is_text) {
        size_t kept = n < sizeof(text) - 1 ? n : sizeof(text) - 1;
        memcpy(text, data + 1, kept);
        text[kept] = 0;
        rc = stele_schema_parse(text, data[0] & 2 ? "A" : NULL, data[0] >> 3, &schema);
        HOLDS(rc == STELE_OK || rc == STELE_E_SCHEMA || rc == STELE_E_ABSENT || rc == STELE_E_USAGE);
    } else {
        rc = stele_schema_decode(data + 1, n, &schema);
        HOLDS(rc == STELE_OK || rc == STELE_E_DAMAGED || rc == STELE_E_VERSION);
    }
    HOLDS(asked_bytes <= ASKED_BYTES_MAX);
    if (rc) {
        HOLDS(strlen(stele_last_error()->text) > 10);
        return 0;
    }
    taken.texts += is_text;
    taken.bytes += !is_text;
    check_rules(schema);
    stele_schema_free(schema);
    return 0;
}

/* ---- changes ---- */

static size_t change_text(char *text, size_t byte_count, size_t room, uint64_t *state)
{
    for (uint64_t n = 1 + chance_below(state, 3); n > 0; n--) {
        const char *word = words[chance_below(state, COUNT_OF(words))];
        size_t bytes = strlen(word), at = (size_t)chance_below(state, byte_count + 1);
        size_t cut = (size_t)chance_below(state, byte_count - at < 12 ? byte_count - at + 1 : 12);
        if (chance_below(state, 4) == 0)
            bytes = 0;
        else if (chance_below(state, 4) == 0)
            cut = 0;
        if (byte_count - cut + bytes > room)
            continue;
        memmove(text + at + bytes, text + at + cut, byte_count - at - cut);
        memcpy(text + at, word, bytes);
        byte_count = byte_count - cut + bytes;
    }
    return byte_count;
}

/* A number of the head or of a field, with the sizes made right. */
static size_t change_bytes(uint8_t *bytes, size_t byte_count, size_t room, uint64_t *state)
{
    struct stele_schema_head head;

    if (chance_below(state, 4) == 0 || byte_count < sizeof(head) + 8)
        byte_count = LLVMFuzzerMutate(bytes, byte_count, room);
    if (byte_count < sizeof(head) + 8)
        return byte_count;
    size_t width = (size_t)1 << chance_below(state, 4);
    uint64_t value = chance_boundary(state);
    memcpy(bytes + chance_below(state, byte_count / width) * width, &value, width);
    memcpy(&head, bytes, sizeof(head));
    if (chance_below(state, 8)) {
        head.bytes = (uint32_t)byte_count;
        head.version = 1;
    }
    memcpy(bytes, &head, sizeof(head));
    return byte_count;
}

static size_t take_seed(uint8_t *data, size_t room, uint64_t *state)
{
    const char *text = texts[chance_below(state, COUNT_OF(texts))];
    struct stele_schema *schema = NULL;
    uint32_t encoded_bytes;

    if (room < TEXT_BYTES_MAX)
        return 0;
    data[0] = (uint8_t)chance_below(state, KINDS);
    if (data[0] == TEXT) {
        memcpy(data + 1, text, strlen(text));
        return 1 + strlen(text);
    }
    HOLDS(stele_schema_parse(text, NULL, 0, &schema) == STELE_OK);
    const uint8_t *encoded = stele_schema_encoded(schema, &encoded_bytes);
    memcpy(data + 1, encoded, encoded_bytes);
    stele_schema_free(schema);
    return 1 + encoded_bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t byte_count, size_t room_bytes, unsigned seed)
{
    uint64_t state = seed;

    /* What went wrong long ago leads nowhere: now and then another beginning. */
    if (byte_count < 2 || chance_below(&state, 8) == 0)
        byte_count = take_seed(data, room_bytes, &state);
    if (byte_count < 2)
        return byte_count;
    size_t most = data[0] % KINDS == TEXT ? TEXT_BYTES_MAX : BYTES_MAX;
    most = room_bytes < most ? room_bytes : most;
    if (byte_count > most)
        byte_count = most;
    if (data[0] % KINDS == TEXT)
        return 1 + change_text((char *)data + 1, byte_count - 1, most - 1, &state);
    return 1 + change_bytes(data + 1, byte_count - 1, most - 1, &state);
}

static void say_taken(void)
{
    fprintf(stderr, "Taken: %llu of text, %llu of bytes\n", taken.texts, taken.bytes);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    return atexit(say_taken);
}
