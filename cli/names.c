#include "names.h"

#include "json_out.h"
#include "stele.h"

const char *name_of_state(uint32_t state)
{
    static const char *const names[] = { "idle", "committing", "recovering", "failed", "closed" };

    return state <= STELE_STATE_CLOSED ? names[state] : "unknown";
}

const char *name_of_recovery(uint64_t kind)
{
    static const char *const names[] = { "none", "replay", "forced", "restore", "conversion" };

    return kind <= STELE_RECOVERY_CONVERSION ? names[kind] : "unknown";
}

const char *name_of_damage(uint32_t kind)
{
    static const char *const names[] = { "unknown", "sum", "known", "unreadable", "cut" };

    return kind <= STELE_DAMAGE_CUT ? names[kind] : "unknown";
}

const char *name_of_file_damage(uint32_t bits)
{
    if (bits & STELE_FILE_DAMAGE_SLOT_A)
        return "header slot A";
    if (bits & STELE_FILE_DAMAGE_SLOT_B)
        return "header slot B";
    if (bits & STELE_FILE_DAMAGE_SCHEMA)
        return "schema";
    if (bits & STELE_FILE_DAMAGE_JOURNAL)
        return "journal";
    return bits & STELE_FILE_DAMAGE_SLACK ? "slack" : "unknown";
}

void names_json_file_damage(uint32_t bits, const char *key, struct json_out *out)
{
    json_begin(out, key, '[');
    for (; bits; bits &= bits - 1)
        json_string(out, NULL, name_of_file_damage(bits & (0 - bits)));
    json_end(out, ']');
}
