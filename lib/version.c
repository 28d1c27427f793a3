/* The library's version as text. */
#include "stele.h"

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *stele_version(void)
{
    return VERSION_TEXT(STELE_VERSION_MAJOR, STELE_VERSION_MINOR, STELE_VERSION_PATCH);
}
