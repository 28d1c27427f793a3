/* What `stele info` prints. */
#ifndef STELE_CLI_INFO_OUT_H
#define STELE_CLI_INFO_OUT_H

#include "stele.h"

void info_out_text(const char *path, const struct stele_info *info, const struct stele_schema *schema);
void info_out_json(const char *path, const struct stele_info *info, const struct stele_schema *schema);

#endif
