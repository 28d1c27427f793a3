#include "system.h"

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#define DEAD_CODE 137 /* what a shell says of kill -9; tests/steletool.py knows it */

void agent_begin(void)
{
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
}

_Noreturn void agent_die(void)
{
    TerminateProcess(GetCurrentProcess(), DEAD_CODE);
    abort();
}

void agent_mark(void)
{
    /* Nothing traces calls here. */
}

uint64_t agent_changed(const char *path)
{
    WIN32_FILE_ATTRIBUTE_DATA data;

    if (!GetFileAttributesExA(path, GetFileExInfoStandard, &data))
        return 0;
    return (uint64_t)data.ftLastWriteTime.dwHighDateTime << 32 | data.ftLastWriteTime.dwLowDateTime;
}

bool agent_open_alone(const char *path)
{
    return CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL) != INVALID_HANDLE_VALUE;
}
