"""Files that are no store, no longer a whole one, or of a newer stele, and files that others cut, replace, remove and
link while they are open: a sentence that names the file, an exit code, and not a byte changed.
"""
import json
import os
import random
import struct
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import xxh3  # noqa: E402
from steletool import SCALE, SteleCase, program, stele  # noqa: E402

SCHEMA = "struct Row { uint64_t id; char text[56]; };"
RECORD_BYTES, COUNT, PER_BLOCK = 64, 1000, 64
RECORDS_AT, SUMS_AT = 4 << 20, (4 << 20) + (128 << 10)
FILE_BYTES = SUMS_AT + 4096
E_STALE, E_DAMAGED, E_TRUNCATED = -10, -19, -20

ADVICE = "restore|check the path|newer stele|open it read-only|try again|choose another|waited|open that one"

READERS = [("info",), ("info", "--json"), ("schema",), ("get", "0"), ("export", "--format", "ndjson"),
           ("verify",), ("verify", "--json")]
WRITERS = [("set", "0", "id=5"), ("append", "id=7"), ("truncate", "1"), ("recover",), ("resize", "--capacity", "5000"),
           ("import", "-", "--format", "ndjson")]


class BadFile(SteleCase):
    @classmethod
    def rows(cls):
        return [{"id": i, "text": f"row {i}"} for i in range(COUNT)]

    def whole(self, name="a.stele"):
        """A store of 1000 rows, 2000 records of room."""
        path = self.create(name, SCHEMA, "--capacity", "2000", "--journal", "64K")
        data = "".join(json.dumps(row) + "\n" for row in self.rows())
        self.ends(0, "import", path, "-", "--format", "ndjson", "--quiet", data=data)
        self.assertEqual(os.path.getsize(path), FILE_BYTES)
        return path

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def bytes_outside_live(self, path):
        data = self.bytes_of(path)
        return data[:65536] + data[589824:]

    def run_verb(self, path, verb):
        return stele(verb[0], path, *verb[1:], data='{"id": 3}\n' if verb[0] == "import" else b"")

    def assert_says(self, done, path, code):
        """Exit code @code, one line about @path with something to do, and nothing that looks like a crash."""
        self.assertEqual(done.code, code, done.err + done.out)
        text = done.err + done.out
        self.assertIn(path, text)
        if done.code == 3:
            self.assertRegex(text, ADVICE)
        for word in ("Traceback", "Assertion", "Sanitizer", "signal", "errno"):
            self.assertNotIn(word, text)

    def assert_refused(self, path, verbs, code=3):
        before, size = self.bytes_of(path), os.path.getsize(path)
        for verb in verbs:
            with self.subTest(verb=verb):
                done = self.run_verb(path, verb)
                # Damage is what verify is there to find.
                self.assert_says(done, path, 1 if verb[0] == "verify" and done.code == 1 else code)
                self.assertEqual((os.path.getsize(path), self.bytes_of(path)), (size, before))


class NoStore(BadFile):
    def test_what_is_no_store_is_refused_by_every_verb(self):
        rng = random.Random(1)
        for name, data in (("text", "not a store\n" * 1000), ("one byte", b"x"), ("zeros", bytes(1 << 20)),
                           ("short zeros", bytes(100)), ("nothing", b""),
                           ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 64),
                           ("chance", rng.randbytes(100000)), ("the magic alone", b"\x89STELE\x0a\x1a"),
                           ("the magic in text mode", b"\x89STELE\x0d\x0a\x1a" + bytes(20000)),
                           ("the magic and chance", b"\x89STELE\x0a\x1a" + rng.randbytes(100000))):
            with self.subTest(name):
                self.assert_refused(self.write("no.stele", data), READERS + WRITERS)

    def test_creating_over_it_needs_force_and_then_still_refuses_what_is_no_store(self):
        path = self.write("no.stele", "my letters")
        self.ends(3, "create", path, "--struct", SCHEMA)
        self.ends(3, "create", path, "--struct", SCHEMA, "--force")
        self.assertEqual(self.bytes_of(path), b"my letters")


class Newer(BadFile):
    def changed(self, path, *changes):
        """Numbers of both header slots changed, their checksums made right."""
        with open(path, "r+b") as file:
            for at in (0, 4096):
                file.seek(at)
                slot = bytearray(file.read(4096))
                for offset, form, value in changes:
                    struct.pack_into("<" + form, slot, offset, value)
                slot[4080:] = xxh3.disk128(bytes(slot[:4080]))
                file.seek(at)
                file.write(slot)
        return path

    def region(self, flags):
        """The changes that make a region of an unknown kind."""
        return (384 + 32 * 6, "I", 77), (388 + 32 * 6, "I", flags), (392 + 32 * 6, "Q", 1 << 30)

    def test_a_newer_file_is_refused_and_the_sentence_says_so(self):
        for name, *changes in (("format version", (8, "I", 2)), ("feature", (24, "Q", 2)), ("checksum", (148, "H", 2)),
                               ("stripe", (150, "H", 7)),
                               ("region", *self.region(1))):
            with self.subTest(name):
                path = self.changed(self.whole(name + ".stele"), *changes)
                self.assert_refused(path, READERS + WRITERS)
                self.assertIn("newer stele", self.run_verb(path, ("info",)).err)

    def test_a_newer_file_that_may_be_read_is_read_and_not_written(self):
        for name, *changes in (("feature", (32, "Q", 1 << 9)),
                               ("region", *self.region(2))):
            with self.subTest(name):
                path = self.changed(self.whole(name + ".stele"), *changes)
                self.assertIn("row 999", self.ends(0, "get", path, "999").out)
                self.ends(0, "verify", path)
                self.assert_refused(path, WRITERS)

    def test_a_newer_file_that_asks_for_nothing_is_used(self):
        path = self.changed(self.whole(), (40, "Q", 1 << 63))
        self.ends(0, "set", path, "0", "id=5")
        self.ends(0, "verify", path)


class Cut(BadFile):
    def setUp(self):
        super().setUp()
        self.image = self.bytes_of(self.whole("whole.stele"))

    def cut(self, size):
        path = self.path("cut.stele")
        with open(path, "wb") as file:
            file.write(self.image[:size])
        return path

    def test_a_file_cut_before_its_records_is_refused(self):
        places = list(range(0, 128 << 10, max(512, 512 * 100 // SCALE)))
        places += [589824, 589825, 1 << 20, 2 << 20, (2 << 20) + 4096, (2 << 20) + 70000, RECORDS_AT - 1]
        for size in places:
            with self.subTest(size=size):
                self.assert_refused(self.cut(size), [("get", "0"), ("verify",), ("set", "0", "id=5")])

    def test_what_is_left_of_a_cut_file_can_be_read_and_the_rest_is_named(self):
        among_records = [RECORDS_AT + n for n in (0, 1, 64, 4095, 4096, 12345, COUNT * 64 - 1, COUNT * 64)]
        for size in (*among_records, SUMS_AT - 1, SUMS_AT, SUMS_AT + 7, SUMS_AT + 8, SUMS_AT + 100, FILE_BYTES - 1):
            with self.subTest(size=size):
                path = self.cut(size)
                left = min(COUNT, max(0, size - RECORDS_AT) // RECORD_BYTES)
                for index in {0, 1, left - 1, left, left + 1, COUNT - 1} & set(range(COUNT)):
                    if index < left:
                        got = json.loads(self.ends(0, "get", path, str(index), "--format", "json").out)
                        self.assertEqual(got, self.rows()[index])
                    else:
                        self.assert_says(self.run_verb(path, ("get", str(index))), path, 3)
                done = stele("verify", path, "--json", "--max", "100")
                named = {d["block"] for d in json.loads(done.out)["damage"]}
                # A block is good while both its records and its word are there.
                lost = {b for b in range(-(-COUNT // PER_BLOCK))
                        if min((b + 1) * PER_BLOCK, COUNT) > left or size < SUMS_AT + 8 * b + 8}
                self.assertEqual((named, done.code), (lost, 1 if lost else done.code))
                self.assert_refused(path, WRITERS)

    def test_export_of_a_cut_file_gives_what_is_before_the_cut(self):
        path = self.cut(RECORDS_AT + 100 * RECORD_BYTES)
        done = self.ends(0, "export", path, "--format", "ndjson", "--range", "..100")
        self.assertEqual([json.loads(line) for line in done.out.splitlines()], self.rows()[:100])
        self.assert_says(stele("export", path, "--format", "ndjson"), path, 3)
        self.assertIn("export --range", self.ends(3, "backup", path, self.path("copy")).err)
        self.assertIn("block 0, records 0..64, 4096 bytes at %d: the file ends before it or its sum" % RECORDS_AT,
                      self.ends(1, "verify", path).out)


class Grown(BadFile):
    def test_bytes_behind_the_end_mean_nothing_and_never_show(self):
        for extra in (1, 511, 4096, 1 << 20):
            with self.subTest(extra=extra):
                path = self.whole(f"{extra}.stele")
                with open(path, "ab") as file:
                    file.write(b"\xee" * extra)
                self.ends(0, "verify", path)
                self.assertIn("row 999", self.ends(0, "get", path, "999").out)
                self.ends(0, "append", path, "id=1000")
                self.ends(0, "truncate", path, "6000", "--quiet")
                self.ends(0, "verify", path)
                raw = self.raw(path)
                self.assertEqual(len(raw), 6000 * RECORD_BYTES)
                self.assertEqual(raw.count(0, 1001 * RECORD_BYTES), len(raw) - 1001 * RECORD_BYTES)


class Bystander(BadFile):
    """A process with the store open, answering line by line."""

    def stand_by(self, mode, path):
        process = subprocess.Popen([*program("tests", "agents", "bystander"), mode, path], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdin.close)
        self.assertEqual(self.answer(process)[0], 0)
        return process

    def answer(self, process):
        line = process.stdout.readline()
        self.assertTrue(line, f"the process died: {process.poll()}")
        code, _, text = line.rstrip("\n").partition(" ")
        return int(code), text

    def ask(self, process, line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return self.answer(process)

    def row(self, text):
        raw = bytes.fromhex(text)
        return {"id": int.from_bytes(raw[:8], "little"), "text": raw[8:].rstrip(b"\0").decode()}

    def test_a_file_cut_while_it_is_open_gives_a_code_for_the_records_that_are_gone(self):
        for mode in ("ro", "rw"):
            with self.subTest(mode):
                path = self.whole(mode + ".stele")
                process = self.stand_by(mode, path)
                self.assertEqual(self.row(self.ask(process, "get 999")[1]), self.rows()[999])
                os.truncate(path, RECORDS_AT + 8192)
                self.assertEqual(self.row(self.ask(process, "get 127")[1]), self.rows()[127])
                for index in (128, 500, 999):
                    code, text = self.ask(process, f"get {index}")
                    self.assertEqual(code, E_TRUNCATED)
                    self.assertIn(path, text)
                self.assertEqual(self.row(self.ask(process, "get 0")[1]), self.rows()[0])
                self.assertEqual(self.ask(process, "verify"), (E_DAMAGED, "16"))

    def test_a_writer_whose_file_was_cut_changes_nothing_and_does_not_make_it_longer(self):
        path = self.whole()
        process = self.stand_by("rw", path)
        os.truncate(path, RECORDS_AT + 8192)
        left = self.bytes_of(path)[RECORDS_AT:]
        for line in ("set 500", "set 999", "append", "count 500", "count 1500", "set 0"):
            code, text = self.ask(process, line)
            with self.subTest(line, said=text):
                self.assertIn(code, (E_TRUNCATED, E_DAMAGED))
                self.assertIn(path, text)
                self.assertEqual(os.path.getsize(path), RECORDS_AT + 8192)
                self.assertEqual(self.bytes_of(path)[RECORDS_AT:], left)

    def test_a_writer_whose_file_was_replaced_or_removed_is_told_and_writes_into_neither(self):
        for name in ("replaced", "removed", "renamed over by text"):
            with self.subTest(name):
                path, other = self.whole("a" + name), self.whole("b" + name)
                process = self.stand_by("rw", path)
                os.link(path, self.path("c" + name))
                os.remove(self.path("c" + name))
                if name == "removed":
                    os.remove(path)
                elif name == "replaced":
                    os.replace(other, path)
                else:
                    os.replace(self.write("text", "not a store"), path)
                before = self.bytes_of(path) if name != "removed" else None
                for line in ("set 0", "append", "count 10", "begin"):
                    code, text = self.ask(process, line)
                    self.assertEqual(code, E_STALE, line)
                    self.assertIn(path, text)
                self.assertEqual(self.row(self.ask(process, "get 0")[1]), self.rows()[0])
                process.stdin.close()
                self.assertEqual(process.wait(), 0)
                if name == "removed":
                    self.assertFalse(os.path.exists(path))
                else:
                    self.assertEqual(self.bytes_of(path), before)

    def test_a_reader_of_a_removed_file_reads_on(self):
        path = self.whole()
        process = self.stand_by("ro", path)
        os.remove(path)
        self.assertEqual(self.row(self.ask(process, "get 999")[1]), self.rows()[999])
        self.assertEqual(self.ask(process, "verify"), (0, "0"))

    def test_a_file_of_two_names_is_one_store(self):
        path, other = self.whole(), self.path("other name")
        os.link(path, other)
        process = self.stand_by("rw", path)
        self.assertEqual(self.ask(process, "begin")[0], 0)
        self.assert_says(stele("set", other, "1", "id=77", "--wait", "100"), other, 3)
        self.assertEqual(self.ask(process, "abort")[0], 0)
        self.ends(0, "set", other, "1", "id=77")
        self.assertEqual(self.row(self.ask(process, "get 1")[1])["id"], 77)
        self.assertEqual(self.ask(process, "set 2")[0], 0)
        self.assertEqual(self.ends(0, "get", other, "2", "--format", "raw").out_bytes, b"\x5a" * RECORD_BYTES)

    def test_the_other_name_of_a_resized_file_says_that_it_is_old(self):
        path, other = self.whole(), self.path("other name")
        os.link(path, other)
        self.ends(0, "resize", path, "--capacity", "5000")
        before = self.bytes_outside_live(other)
        for verb in (("set", "0", "id=5"), ("append", "id=5"), ("recover",)):
            self.assert_says(self.run_verb(other, verb), other, 3)
        self.assertEqual(self.bytes_outside_live(other), before)
        self.assertIn("row 999", self.ends(0, "get", path, "999").out)


if __name__ == "__main__":
    unittest.main()
