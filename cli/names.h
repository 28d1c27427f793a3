/* The library's numbers in words, the same in text and in JSON. */
#ifndef STELE_CLI_NAMES_H
#define STELE_CLI_NAMES_H

#include <stdint.h>

struct json_out;

const char *name_of_state(uint32_t state);       /* idle, committing, recovering, failed, closed */
const char *name_of_recovery(uint64_t kind);     /* none, replay, forced, restore, conversion */
const char *name_of_damage(uint32_t kind);       /* sum, known, unreadable, cut */
/* Name of the lowest of the STELE_FILE_DAMAGE_* @bits: header slot A, … */
const char *name_of_file_damage(uint32_t bits);
/* Add the names of all @bits as a list. */
void names_json_file_damage(uint32_t bits, const char *key, struct json_out *out);

#endif
