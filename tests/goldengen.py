#!/usr/bin/env python3
"""Make the golden files of one build: closed-NAME, a store that was closed, and killed-NAME, one of a killed writer.

    STELE_BIN=... STELE_BUILD=... [STELE_WRAPPER=wine] goldengen.py NAME FOLDER

FOLDER gets NAME.stele.gz, the store, and NAME.ndjson.gz, its records. A file that is there already stays: what once
was written has to be read for ever, so golden files are added and never made again.
"""
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from steletool import HERE, run  # noqa: E402

STRUCT = """enum Level { LOW = -3, HIGH = 7 };
struct Inner { int16_t x; uint16_t y; };
struct Golden {
    int8_t a; uint8_t b; int16_t c; uint16_t d; enum Level level; uint32_t e; int64_t f; uint64_t g;
    float h; double i; bool j; char name[11]; unsigned char raw[5]; double matrix[2][3]; struct Inner inner;
    char words[2][4];
};"""


def row(rng, k):
    """A record with every type, and the edges of most."""
    return {"a": rng.choice([-128, 127, 0]), "b": rng.choice([0, 255]), "c": rng.randrange(-32768, 32768),
            "d": rng.randrange(65536), "level": rng.choice([-3, 7, 0]), "e": rng.getrandbits(32),
            "f": rng.choice([-2 ** 63, 2 ** 63 - 1, k]), "g": rng.choice([2 ** 64 - 1, k]),
            "h": rng.choice([0.1, -0.0, 3.4028234e38, 1e-45, "NaN" if k == 9 else 2.5]),
            "i": rng.choice([0.1, -0.0, 1.7976931348623157e308, 5e-324, "Infinity" if k == 8 else 1 / 3]),
            "j": rng.random() < 0.5, "name": rng.choice(["", "größe €", "exactly11by", " \"\\\t"]),
            "raw": rng.randbytes(5).hex(), "matrix": [[rng.gauss(0, 1) for _ in range(3)] for _ in range(2)],
            "inner.x": k, "inner.y": 65535 - k, "words": ["ab", "wxyz"]}


def stele(*words, data=""):
    done = run([*HERE.stele, *words], data)
    if done.code:
        sys.exit("goldengen: stele %s ended with %d: %s" % (" ".join(words), done.code, done.err))
    return done.out_bytes


def make_closed(path, rows):
    stele("create", path, "--struct", STRUCT, "--capacity", "300", "--journal", "64K", "--quiet")
    stele("import", path, "-", "--format", "ndjson", "--quiet", data=rows)
    stele("set", path, "3", "name=changed")
    stele("append", path, "a=-1", "words[1]=end")
    stele("truncate", path, "60")


def make_killed(path, rows):
    """Entries of most kinds are in the ring of it; raising the count empties it, so that comes first."""
    make_closed(path, rows)
    process = subprocess.Popen([*HERE.program("tests", "agents", "bystander"), "rw", path], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    for line in ("", "count 66", "set 5", "append", "count 40", "append", "begin", "set 0", "append", "count 39",
                 "append", "commit", "set 39"):
        if line:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer.startswith("0 "):
            sys.exit("goldengen: %s: %s" % (line, answer))
    process.kill()
    process.wait()


def pack(data, path):
    if os.path.exists(path):
        sys.exit("goldengen: %s is there and stays; choose another name" % path)
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as out:
        out.write(data)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: goldengen.py NAME FOLDER")
    name, target = sys.argv[1:]
    rng = random.Random("golden " + name)
    rows = "".join(json.dumps(row(rng, k)) + "\n" for k in range(80))
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in (("closed", make_closed), ("killed", make_killed)):
            path = os.path.join(folder, kind)
            make(path, rows)
            with open(path, "rb") as file:
                store = file.read()
            pack(store, os.path.join(target, "%s-%s.stele.gz" % (kind, name)))
            records = stele("export", path, "--format", "ndjson", "--quiet")
            pack(records, os.path.join(target, "%s-%s.ndjson.gz" % (kind, name)))


if __name__ == "__main__":
    main()
