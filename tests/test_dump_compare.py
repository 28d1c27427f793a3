"""The independent reader tools/dump.py against the command line: on golden files, on stores of killed writers, on
random stores that the library made, and on random stores that tests/storegen.py made without it.

Random tests print their seed; STELE_SEED=n takes that one alone; STELE_TEST_SCALE is the percentage of stores.
"""
import contextlib
import decimal
import gzip
import io
import json
import os
import random
import shutil
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import dump  # noqa: E402
import storegen  # noqa: E402
from steletool import KILLED_ITSELF, SCALE, TOP, SteleCase, holder, stele  # noqa: E402

STORES = max(4, 200 * SCALE // 100)
GOLDEN = os.path.join(TOP, "tests", "data")
C_NAMES = {"i8": "int8_t", "u8": "uint8_t", "i16": "int16_t", "u16": "uint16_t", "i32": "int32_t", "u32": "uint32_t",
           "i64": "int64_t", "u64": "uint64_t", "f32": "float", "f64": "double", "bool": "bool", "text": "char",
           "bytes": "unsigned char"}


def seeds():
    if os.environ.get("STELE_SEED"):
        return [int(os.environ["STELE_SEED"])]
    first = int.from_bytes(os.urandom(4), "little")
    print(f"seeds: STELE_SEED={first} to {first + STORES - 1}", flush=True)
    return list(range(first, first + STORES))


def number(text):
    """One text for each value, the sign of zero kept."""
    return str(decimal.Decimal(text).normalize())


def rows_of(text):
    """The rows of NDJSON without what only one of the readers has."""
    rows = [json.loads(line, parse_int=number, parse_float=number) for line in text.splitlines()]
    for row in rows:
        row.pop("index", None)
    return rows


def run_dump(*arguments):
    """tools/dump.py in this process: (code, standard output, standard error)."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dump.main(list(arguments))
    out.flush()
    return code, out.buffer.getvalue().decode("utf-8"), err.getvalue()


def random_struct(rng, seed):
    """A random struct: (C text, pack, fields at the places where a compiler puts them, record bytes)."""
    pack = rng.choice([0, 0, 1, 2, 4])
    lines, fields, at, widest = [], [], 0, 1
    for k in range(rng.randrange(1, 9)):
        kind = rng.choice(list(C_NAMES))
        size = rng.randrange(1, 40) if kind in ("text", "bytes") else None
        # An array of unsigned char is bytes: "bytes" stands for it.
        dims = [] if kind == "u8" else [rng.randrange(1, 4) for _ in range(rng.choice([0, 0, 0, 1, 2, 3]))]
        field = storegen.Field(f"field_{k}", kind, 0, size, dims)
        align = 1 if size else min(field.element_bytes, pack or 8)
        field.offset = at = storegen.up(at, align)
        at += field.bytes
        widest = max(widest, align)
        bounds = "".join(f"[{d}]" for d in dims) + (f"[{size}]" if size else "")
        lines.append(f"    {C_NAMES[kind]} {field.name}{bounds};")
        fields.append(field)
    return f"struct Random{seed} {{\n" + "\n".join(lines) + "\n};", pack, fields, storegen.up(at, widest)


class Compare(SteleCase):
    def export(self, path):
        return rows_of(self.ends(0, "export", path, "--format", "ndjson", "--quiet").out)

    def dumped(self, path, code=0):
        got, out, err = run_dump(path, "--records")
        self.assertEqual(got, code, err)
        return rows_of(out)

    def assert_same_info(self, path):
        """Each number that both readers tell."""
        info = json.loads(self.ends(0, "info", path, "--json", "--quiet").out)
        report = json.loads(run_dump(path, "--json")[1])
        header, records = report["header"], report["records"]
        for name in ("format_version", "file_id", "origin_file_id", "origin_sequence", "created_us", "checkpoint_us",
                     "capacity", "record_bytes", "records_per_block", "records_per_cell", "generation", "session",
                     "layout_version"):
            self.assertEqual(info[name], header[name], name)
        for name in ("count", "sequence", "modified_us", "user_version", "user", "tag"):
            self.assertEqual(info[name], records[name], name)
        self.assertEqual(info["checkpoint_sequence"], header["sequence"])
        self.assertEqual(info["file_bytes"], report["file_bytes"])
        self.assertEqual(info["journal"]["entries"], len(report["journal"]["entries"]))
        self.assertEqual(info["recovery"]["count"], header["history_total"])
        for region in report["regions"]:
            self.assertEqual(info["regions"][region["name"]]["offset"], region["offset"], region["name"])
        self.assertEqual(info["schema"]["name"], report["schema"]["name"])
        for mine, theirs in zip(info["schema"]["fields"], report["schema"]["fields"], strict=True):
            for name in ("name", "type", "offset", "element_bytes", "dims"):
                self.assertEqual(mine[name], theirs[name])
        return report

    def assert_same_view(self, path, rows=None):
        """Both readers see the same, and @rows where given; neither changes a byte."""
        with open(path, "rb") as file:
            before = file.read()
        dumped = self.dumped(path)
        self.assertEqual(self.export(path), dumped)
        if rows is not None:
            self.assertEqual(dumped, rows)
        self.assertEqual(json.loads(self.ends(0, "verify", path, "--json", "--quiet").out)["records"], len(dumped))
        self.assert_same_info(path)
        if dumped:
            indexes = sorted({0, len(dumped) // 2, len(dumped) - 1})
            got = self.ends(0, "get", path, *map(str, indexes), "--format", "json", "--quiet").out
            self.assertEqual(rows_of(got), [dumped[i] for i in indexes])
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)
        return dumped

    def assert_recovers(self, path, rows):
        self.ends(0, "recover", path, "--quiet")
        self.assert_same_view(path, rows)
        report = self.assert_same_info(path)
        self.assertEqual(report["journal"]["entries"], [])


# Who made golden files beside the first, native one (tests/goldengen.py).
MAKERS = ("linux32", "windows")


class Golden(Compare):
    """Files that stay as they are for ever: a later library must read them as this one does."""

    def take(self, name):
        with gzip.open(os.path.join(GOLDEN, name + ".stele.gz")) as packed, open(self.path(name), "wb") as out:
            shutil.copyfileobj(packed, out)
        with gzip.open(os.path.join(GOLDEN, name + ".ndjson.gz"), "rt", encoding="utf-8") as packed:
            return self.path(name), rows_of(packed.read())

    def test_a_golden_store_that_was_closed(self):
        self.assert_same_view(*self.take("closed"))

    def test_a_golden_store_of_a_killed_writer(self):
        path, rows = self.take("killed")
        self.assert_same_view(path, rows)
        self.assertGreaterEqual(len(json.loads(run_dump(path, "--json")[1])["journal"]["entries"]), 3)
        self.assert_recovers(path, rows)

    def test_golden_stores_of_every_system_that_were_closed(self):
        for maker in MAKERS:
            with self.subTest(maker):
                path, rows = self.take("closed-" + maker)
                self.assertEqual((len(rows), rows[3]["name"]), (60, "changed"))
                self.assert_same_view(path, rows)
                self.ends(0, "append", path, "a=5")
                self.assertEqual(self.assert_same_view(path)[:60], rows)

    def test_golden_stores_of_killed_writers_of_every_system(self):
        for maker in MAKERS:
            with self.subTest(maker):
                path, rows = self.take("killed-" + maker)
                self.assertEqual(len(rows), 40)
                self.assert_same_view(path, rows)
                self.assertEqual(len(json.loads(run_dump(path, "--json")[1])["journal"]["entries"]), 7)
                self.assert_recovers(path, rows)

    def test_a_golden_store_with_a_torn_last_entry(self):
        path, rows = self.take("torn")
        self.assert_same_view(path, rows)
        self.assert_recovers(path, rows)

    def test_a_golden_store_with_a_damaged_header_slot_and_a_damaged_block(self):
        path, rows = self.take("damaged")
        code, _, err = run_dump(path, "--records")
        self.assertEqual(code, 1)
        self.assertIn("header slot B", err)
        self.assertIn("block 1 (records 16..31): sum differs", err)
        found = json.loads(self.ends(1, "verify", path, "--json").out)
        self.assertEqual([d["block"] for d in found["damage"]], [1])
        self.assertEqual(found["file_damage"], ["header slot B"])
        self.assertEqual(rows_of(self.ends(0, "export", path, "--format", "ndjson", "--range", "..16").out), rows[:16])

    def test_golden_files_are_small(self):
        names = sorted(name for name in os.listdir(GOLDEN) if os.path.isfile(os.path.join(GOLDEN, name)))
        stores = ["closed", "damaged", "killed", "torn"] + [f"{kind}-{maker}" for kind in ("closed", "killed")
                                                            for maker in MAKERS]
        self.assertEqual(names, sorted(f"{store}.{form}.gz" for store in stores for form in ("ndjson", "stele")))
        for name in names:
            self.assertLess(os.path.getsize(os.path.join(GOLDEN, name)), 100 << 10)


class Killed(Compare):
    def killed(self, entries):
        """A store whose writer was killed with @entries in the ring."""
        path = self.create(f"{entries}.stele", "struct Row { int32_t id; char name[12]; double x; };",
                           "--journal", "64K")
        self.ends(0, "append", path, "id=1", "name=one", "x=0.5")
        process = holder("die", path, entries)
        process.communicate()
        self.assertEqual(process.returncode, KILLED_ITSELF)
        self.assertEqual(len(json.loads(run_dump(path, "--json")[1])["journal"]["entries"]), entries)
        return path

    def test_entries_of_a_killed_writer_are_seen_alike(self):
        for entries in (1, 2, 9):
            with self.subTest(entries=entries):
                path = self.killed(entries)
                rows = self.assert_same_view(path)
                self.assertEqual(len(rows), 1 + entries)
                self.assert_recovers(path, rows)

    def test_a_torn_last_entry_is_left_out_alike(self):
        path = self.killed(5)
        last = json.loads(run_dump(path, "--json")[1])["journal"]["entries"][-1]
        with open(path, "rb") as file:
            whole = file.read()
        for at in range(0, last["length"], 24):
            begin = storegen.RING_AT + last["place"] + at
            end = storegen.RING_AT + last["place"] + last["length"]
            with open(path, "wb") as file:
                file.write(whole[:begin] + bytes(end - begin) + whole[end:])
            rows = self.assert_same_view(path)
            self.assertEqual(len(rows), 5)
        self.assert_recovers(path, rows)

    def test_a_lost_entry_is_damage_to_both(self):
        path = self.killed(5)
        entry = json.loads(run_dump(path, "--json")[1])["journal"]["entries"][2]
        with open(path, "r+b") as file:
            file.seek(storegen.RING_AT + entry["place"] + 70)
            file.write(b"\xff")
        code, _, err = run_dump(path, "--records")
        self.assertEqual(code, 1)
        self.assertIn("acknowledged and is lost", err)
        self.assertIn("acknowledged", self.ends(3, "get", path, "0").err)


class Random(Compare):
    def test_stores_of_the_library(self):
        for seed in seeds():
            rng = random.Random(f"compare {seed}")
            text, pack, fields, record_bytes = random_struct(rng, seed)
            model = storegen.Store(fields, record_bytes, 100, seed, pack=pack)
            model.fill(rng.randrange(0, 30))
            raw = b"".join(model.model[i] for i in range(model.count))
            with self.subTest(STELE_SEED=seed, text=text, pack=pack):
                path = self.path("made.stele")
                words = ["--sparse"] if rng.random() < 0.3 else []
                self.ends(0, "create", path, "--struct", text, "--journal", "64K", "--force", "--quiet", *words,
                          *(["--pack", str(pack)] if pack else []), "--capacity", str(rng.choice([1, 40, 5000])))
                self.ends(0, "import", path, "-", "--format", "raw", "--quiet", data=raw)
                rows = rows_of("".join(json.dumps(row) + "\n" for row in model.rows()))
                self.assert_same_view(path, rows)
                if model.count and rng.random() < 0.3:
                    cut = rng.randrange(model.count)
                    self.ends(0, "truncate", path, str(cut), "--quiet")
                    self.assert_same_view(path, rows[:cut])

    def test_stores_that_the_library_did_not_make(self):
        for seed in seeds():
            rng = random.Random(f"foreign {seed}")
            store = storegen.random_store(seed, rng.randrange(0, 7), rng.random() < 0.3, rng.randrange(0, 40))
            store.write(self.path("made.stele"), rng.choice([(3, 3), (3, 2), (2, 3)]))
            rows = rows_of("".join(json.dumps(row) + "\n" for row in store.rows()))
            with self.subTest(STELE_SEED=seed):
                self.assert_same_view(self.path("made.stele"), rows)
                self.assert_recovers(self.path("made.stele"), rows)

    def test_flips_are_noticed_by_both_or_by_neither(self):
        for seed in seeds()[:max(4, STORES // 5)]:
            rng = random.Random(f"flips {seed}")
            store = storegen.random_store(seed, rng.randrange(0, 4), False, rng.randrange(1, 40))
            path = self.path("made.stele")
            store.write(path)
            records, sums, end = store.offsets()
            begin, stop = rng.choice([(0, 8192 + len(store.schema_bytes())), (storegen.RING_AT, records),
                                      (records, records + store.count * store.record_bytes), (sums, end)])
            at, bit = rng.randrange(begin, stop), rng.randrange(8)
            with open(path, "r+b") as file:
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << bit]))
            with self.subTest(STELE_SEED=seed, at=at, bit=bit):
                code, _, err = run_dump(path, "--records")
                done = stele("verify", path, "--quiet")
                self.assertIn(done.code, (0, 1, 3))
                self.assertEqual(code == 0, done.code == 0, err + done.out + done.err)
                if code == 0:
                    self.assert_same_view(path)


if __name__ == "__main__":
    unittest.main()
