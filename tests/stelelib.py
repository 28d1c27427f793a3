"""The shared library from Python, for what a command cannot do: hold the writer's turn, or die with a store open.

    stelelib.py hold PATH      begin a transaction, print "held", keep it until standard input ends
    stelelib.py die PATH N     append N zero records, each as a commit of its own, and die by SIGKILL
    stelelib.py die-holding PATH   begin a transaction and die by SIGKILL
"""
import ctypes
import os
import signal
import subprocess
import sys

READ_WRITE = 1


class Options(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("struct_bytes", "mode", "flags", "permissions")] + [
        (name, ctypes.c_uint64) for name in ("capacity_records", "journal_bytes", "max_mapped_bytes")] + [
        (name, ctypes.c_uint32) for name in ("lock_wait_ms", "read_wait_ms", "sync_interval_ms")] + [
        (name, ctypes.c_void_p) for name in ("schema", "progress", "progress_context")]


def run(*words):
    """Run this file as a program of its own, with pipes."""
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), *map(str, words)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def load():
    folder = os.path.join(os.environ["STELE_BUILD"], "lib")
    name = next(name for name in sorted(os.listdir(folder)) if name.startswith("libstele.so"))
    library = ctypes.CDLL(os.path.join(folder, name))
    library.stele_schema_of.restype = ctypes.c_void_p
    library.stele_schema_record_bytes.restype = ctypes.c_uint64
    return library


def main(verb, path, *words):
    library = load()
    options = Options(struct_bytes=ctypes.sizeof(Options), mode=READ_WRITE)
    store, txn = ctypes.c_void_p(), ctypes.c_void_p()
    code = library.stele_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(store))
    if code:
        sys.exit("open: %d" % code)
    if verb == "die":
        schema = ctypes.c_void_p(library.stele_schema_of(store))
        record = bytes(library.stele_schema_record_bytes(schema))
        for _ in range(int(words[0])):
            code = code or library.stele_append(store, record, ctypes.c_size_t(1), None)
    else:
        code = library.stele_begin(store, ctypes.byref(txn))
    if code:
        sys.exit("%s: %d" % (verb, code))
    print("held", flush=True)
    if verb == "hold":
        sys.stdin.read()
        library.stele_abort(txn)
        library.stele_close(store)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
