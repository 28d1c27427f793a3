/*
 * In a build that counts what is run, a child that ends by _exit writes its counters first. Linked in the place of
 * _exit.
 */
_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);
void __gcov_dump(void);

_Noreturn void __wrap__exit(int code)
{
    __gcov_dump();
    __real__exit(code);
}
