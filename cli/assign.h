/* field=value words of a command line, for append and set. */
#ifndef STELE_CLI_ASSIGN_H
#define STELE_CLI_ASSIGN_H

#include "cli.h"

/*
 * Store the @word_count words "field=value" of @words into @record.
 *
 * Errors:  CLI_USAGE after a message that names the field; else CLI_DONE
 */
int assign_words(const struct cli *cli, const struct stele_schema *schema, size_t word_count, char **words,
                 void *record);

#endif
