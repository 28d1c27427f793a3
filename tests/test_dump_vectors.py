"""The independent reader tools/dump.py: its hashes, the vectors of FORMAT.md, and stores made by tests/storegen.py.

Needs no build. Random tests print their seed when they fail; STELE_SEED=n takes that one alone.
"""
import contextlib
import hashlib
import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests"), os.path.join(TOP, "tools")]
import dump  # noqa: E402
import storegen  # noqa: E402
import xxh3  # noqa: E402

SEEDS = [int(os.environ["STELE_SEED"])] if "STELE_SEED" in os.environ else list(range(1, 41))

# SHA-256 over the hashes of all lengths from 0 to 2048, made with the xxHash library 0.8.1.
PINNED = {
    (0, 64): "00de0e6ec4ca610dc01f6ed048731145", (0, 128): "a16434cf87b9634ec986af486105a22c",
    (1, 64): "5f522c623af0a90fb9dfe3122d64c9a6", (1, 128): "2311e23917077811d50375520c1b51af",
    (0x1122334455667788, 64): "adf0de759bc12dd39db38727f113ded9",
    (0x1122334455667788, 128): "a419aeef7e0196ab8e31f7b336e2016e",
    (xxh3.MASK64, 64): "9004125c1945192a2b731188d874ed13", (xxh3.MASK64, 128): "71efb8b12a7b45ac50f7d508c2dc3ebe",
}


def format_tables(section):
    """The tables of a section of FORMAT.md as lists of rows of cells."""
    with open(os.path.join(TOP, "lib", "FORMAT.md"), encoding="utf-8") as page:
        text = re.search(rf"^## {section}\. .*?(?=^## |\Z)", page.read(), re.M | re.S).group()
    rows = [[c.strip() for c in line.strip().strip("|").split("|")] for line in text.splitlines()
            if line.startswith("|") and not line.startswith("|---")]
    return rows[1:]


def call(*arguments):
    """Run the command in this process: (exit code, standard output, standard error)."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = dump.main(list(arguments))
        except SystemExit as reason:
            code = reason.code
    out.flush()
    return code, out.buffer.getvalue().decode("utf-8"), err.getvalue()


def small_store(count=300, capacity=700, seed=1):
    """Records of 16 bytes: a u64, an i32, four bytes of text."""
    fields = [storegen.Field("id", "u64", 0), storegen.Field("level", "i32", 8), storegen.Field("name", "text", 12, 4)]
    store = storegen.Store(fields, 16, capacity, seed, ring_bytes=16384)
    store.fill(count)
    return store


def commit(store, index, synced=None):
    """One commit of one record, in the ring and in the model only."""
    values = store.random_values()
    model = {**store.model, index: store.pack_record(values)}
    block = index // store.per_block
    word = store.word(block, model, store.model_count)
    entry = storegen.Entry([(2, 0, 3, index, 1, model[index]), (3, 0, 4, block, 1, struct.pack("<Q", word))])
    assert store.append(entry, store.last_sequence if synced is None else synced)
    store.model, store.values[index], store.model_words[block] = model, values, word


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "made.stele")

    def rows_of(self, store, *options):
        store.write(self.path)
        return self.read(*options)

    def read(self, *options):
        code, out, err = call(self.path, "--records", *options)
        return code, [json.loads(line) for line in out.splitlines()], err

    def patch(self, at, raw):
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(raw)

    def flip(self, at, bit=0):
        with open(self.path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << bit]))


class Hashes(unittest.TestCase):
    def check_body(self, hash64, hash128):
        data = bytes((i * i * 7 + i * 3 + (i >> 5)) % 251 for i in range(2048))
        for (seed, bits), right in PINNED.items():
            total = hashlib.sha256()
            for n in range(2049):
                value = hash64(data[:n], seed) if bits == 64 else hash128(data[:n], seed)
                total.update(value.to_bytes(bits // 8, "little"))
            self.assertEqual(total.hexdigest()[:32], right, f"seed {seed:#x}, {bits} bits")

    def test_plain_hash_is_that_of_the_library_for_all_lengths(self):
        self.check_body(xxh3.plain64, xxh3.plain128)

    def test_hash_in_use_is_that_of_the_library_for_all_lengths(self):
        self.check_body(xxh3.hash64, xxh3.hash128)

    def test_plain_hash_can_be_forced(self):
        code = "import xxh3; print(xxh3.body)"
        got = subprocess.run([sys.executable, "-B", "-c", code], env={**os.environ, "STELE_XXH3": "plain"},
                             cwd=os.path.join(TOP, "tools"), capture_output=True, text=True, check=True)
        self.assertEqual(got.stdout.strip(), "plain")


class Vectors(unittest.TestCase):
    rows = {row[0]: row[1:] for row in format_tables(9)}
    session = 0x1122334455667788

    def test_format_page_has_the_vectors_that_are_checked_here(self):
        self.assertEqual(sorted(self.rows), sorted(
            ["cell", "cell, cut by the count", "sum and word", "slot hash", "schema hash", "entry head hash",
             "entry trailer", "stripe"]))

    def test_hashes_are_those_of_the_format_page(self):
        for hash64, hash128 in ((xxh3.plain64, xxh3.plain128), (xxh3.hash64, xxh3.hash128)):
            for use, n, seed in (("cell", 128, 12), ("cell, cut by the count", 48, 20),
                                 ("entry head hash", 56, self.session), ("entry trailer", 112, self.session)):
                self.assertEqual(f"{hash64(bytes(range(n)), seed):016x}", self.rows[use][1], use)
            for use, data in (("slot hash", bytes(i % 256 for i in range(4080))), ("schema hash", bytes(range(88)))):
                self.assertEqual(hash128(data, 0).to_bytes(16, "little").hex(" "), self.rows[use][1][-47:], use)

    def test_sum_and_word_are_those_of_the_format_page(self):
        store = dump.Store.__new__(dump.Store)
        store.per_cell, store.record_bytes, store.seed = 8, 16, 7
        total = store.sum_of(bytes(range(128)) + bytes(range(48)), 5)
        self.assertEqual(f"sum {total:x}, word {total << 1 | 1:x}", self.rows["sum and word"][1])

    def test_stripes_are_those_of_the_format_page(self):
        blocks = [int(n) for n in re.findall(r"\d+", self.rows["stripe"][0])]
        right = [int(n) for n in re.findall(r"\d+", self.rows["stripe"][1])]
        self.assertEqual([(8 * b + b // 4096 % 8) % 32768 for b in blocks], right)


class Records(Case):
    def test_random_stores_read_as_they_were_made(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                store = storegen.random_store(seed, entries=seed % 9, torn=seed % 3 == 0)
                code, rows, err = self.rows_of(store)
                self.assertEqual((code, err), (0, ""))
                self.assertEqual(rows, list(store.rows()))

    def test_both_hashes_give_the_same_report(self):
        storegen.random_store(4, entries=5).write(self.path)
        outputs = [subprocess.run([sys.executable, os.path.join(TOP, "tools", "dump.py"), self.path],
                                  env={**os.environ, "STELE_XXH3": body}, capture_output=True, check=True).stdout
                   for body in ("plain", "")]
        self.assertEqual(outputs[0], outputs[1])
        self.assertIn(b"no damage found", outputs[0])

    def test_journal_is_left_out_when_asked(self):
        store = small_store()
        before = list(store.rows())
        commit(store, 7)
        code, rows, _ = self.rows_of(store, "--no-replay")
        self.assertEqual((code, rows), (0, before))
        code, rows, _ = self.read()
        self.assertEqual((code, rows), (0, list(store.rows())))
        self.assertNotEqual(rows, before)

    def test_range_includes_both_ends(self):
        small_store(count=20).write(self.path)
        for text, right in (("3..5", [3, 4, 5]), ("4", [4]), ("18..", [18, 19]), ("..1", [0, 1]), ("30..40", [])):
            code, out, _ = call(self.path, "--records", text)
            self.assertEqual((code, [json.loads(line)["index"] for line in out.splitlines()]), (0, right), text)

    def test_floats_have_the_shortest_digits(self):
        for bits, right in ((0x3DCCCCCD, "0.1"), (0x00000001, "1e-45"), (0x7F7FFFFF, "3.4028235e+38"),
                            (0x00800000, "1.1754944e-38"), (0x33800000, "5.9604645e-08"), (0x80000000, "-0.0"),
                            (0x4B800000, "16777216.0"), (0x0F800000, "1.2621775e-29"), (0x7FC00000, '"NaN"'),
                            (0x7F800000, '"Infinity"'), (0xFF800000, '"-Infinity"'), (0x3F800000, "1.0")):
            self.assertEqual(dump.f32_text(struct.unpack("<f", struct.pack("<I", bits))[0]), right, hex(bits))

    def test_text_that_is_no_utf8_comes_back_whole(self):
        text = json.loads(dump.string_text(b"a\xff\0b\0\0"))
        self.assertEqual(text.encode("utf-8", "surrogateescape"), b"a\xff\0b")

    def test_holes_cost_nothing(self):
        store = small_store(count=0, capacity=1 << 28)
        store.count = store.model_count = 1 << 28
        store.write(self.path)
        code, out, _ = call(self.path, "--json")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["sums"]["blocks_checked"], 0)
        code, out, _ = call(self.path, "--records", "268435455..")
        self.assertEqual(out, '{"index": 268435455, "id": 0, "level": 0, "name": ""}\n')

    def test_reading_changes_no_byte(self):
        storegen.random_store(11, entries=5, torn=True).write(self.path)
        with open(self.path, "rb") as file:
            before = file.read()
        for options in ((), ("--json",), ("--journal",), ("--records",), ("--no-replay", "--records", "0..3")):
            call(self.path, *options)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), before)


class Header(Case):
    def test_slot_that_rules(self):
        good, torn = "good", "torn"
        cases = [("both the same", (3, good), (3, good), 0, 3), ("second is newer", (1, good), (2, good), 0, 2),
                 ("first is newer", (4, good), (3, good), 0, 4), ("torn while changing", (1, good), (2, torn), 1, 1),
                 ("torn first", (3, torn), (2, good), 1, 2), ("both torn", (1, torn), (2, torn), 3, None)]
        for name, one, other, code, generation in cases:
            with self.subTest(name):
                small_store(count=5).write(self.path, (one[0], other[0]))
                for at, (_, state) in ((300, one), (4096 + 300, other)):
                    if state == torn:
                        self.flip(at)
                got, out, _ = call(self.path, "--json")
                self.assertEqual(got, code)
                if generation:
                    self.assertEqual(json.loads(out)["header"]["generation"], generation)

    def test_two_contents_of_one_generation_are_damage(self):
        store = small_store(count=5)
        store.write(self.path)
        store.user_version = 9
        self.patch(4096, store.slot(3))
        self.assertEqual(call(self.path)[0], 3)

    def test_newer_files_are_refused(self):
        for name, at, form, value in (("version", 8, "I", 2), ("feature", 24, "Q", 2), ("sum kind", 148, "H", 2),
                                      ("stripe kind", 150, "H", 2)):
            with self.subTest(name):
                store = small_store(count=5)
                store.slot_changes[at] = (form, value)
                store.write(self.path)
                code, out, err = call(self.path)
                self.assertEqual((code, out), (3, ""))
                self.assertIn("cannot be read", err)

    def test_region_of_unknown_kind_counts_by_its_flag(self):
        for flags, code in ((0, 0), (2, 0), (4, 0), (1, 3)):
            store = small_store(count=5)
            store.unknown_regions = [(77, flags, 1 << 30, 4096, 5)]
            store.write(self.path)
            os.truncate(self.path, (1 << 30) + 4096)
            self.assertEqual(call(self.path)[0], code, flags)

    def test_fields_that_cannot_be_are_noticed(self):
        for name, at, form, value in (
                ("record_bytes", 136, "I", 0), ("huge records", 136, "I", 1 << 25), ("block", 140, "I", 128),
                ("cell", 144, "I", 1), ("schema", 152, "I", 60000), ("capacity", 184, "Q", 1 << 60),
                ("count", 192, "Q", 701), ("sequence", 200, "Q", 1 << 63), ("ring_head", 208, "Q", 16384),
                ("odd ring_head", 208, "Q", 4), ("tag", 288, "I", 65), ("no live", 384, "I", 0),
                ("two live", 416, "I", 1), ("records offset", 456, "Q", 65536), ("ring", 432, "Q", 1 << 40)):
            with self.subTest(name):
                store = small_store(count=5)
                store.slot_changes[at] = (form, value)
                store.write(self.path)
                code, _, err = call(self.path)
                self.assertEqual(code, 3)
                self.assertIn("header slot A: ", err)

    def test_last_64_of_the_history_are_shown(self):
        store = small_store(count=5)
        store.history = [(k, k + 10, 1, 1 + k % 4, 1700000000 + k) for k in range(70)]
        store.write(self.path)
        history = json.loads(call(self.path, "--json")[1])["history"]
        self.assertEqual([h["last_kept"] for h in history], list(range(6, 70)))

    def test_what_is_no_store_is_refused(self):
        for raw in (b"", b"hello", bytes(10000), bytes(range(256)) * 64, storegen.SLOT_MAGIC):
            with open(self.path, "wb") as file:
                file.write(raw)
            self.assertEqual(call(self.path)[0], 3)
        for path in (self.folder.name, self.path + ".absent", os.devnull):
            self.assertEqual(call(path)[0], 3, path)

    def test_wrong_options_are_a_usage_error(self):
        for options in ((), ("a", "b"), ("a", "--records", "5..3"), ("a", "--records", "x"), ("a", "--what")):
            self.assertEqual(call(*options)[0], 2, options)


class Schema(Case):
    def test_schemas_that_cannot_be_are_damage(self):
        for name, at, form, value, said in (
                ("size", 4, "I", 96, "its head says"), ("record", 8, "Q", 24, "records of 24 bytes"),
                ("field count", 20, "I", 4, "runs over"), ("fewer fields", 20, "I", 2, "behind the last field"),
                ("type", 90, "B", 14, "unknown type"), ("flags", 91, "B", 1, "flags"),
                ("element", 92, "I", 4, "elements"), ("dims", 100, "I", 2, "dimension"), ("offset", 112, "Q", 9, "ends"),
                ("overlap", 112, "Q", 1, "overlaps"), ("name", 120, "H", 9, "name"), ("attributes", 122, "H", 2, "attribute"),
                ("zero", 124, "I", 1, "zero"), ("behind", 130, "B", 7, "behind its attributes"),
                ("utf-8", 128, "B", 0xFF, "UTF-8"), ("array", 96, "I", 100, "ends behind"),
                ("tag", 122, "H", 1, "must be known")):
            with self.subTest(name):
                store = small_store(count=5)
                raw = bytearray(store.schema_bytes())
                struct.pack_into("<" + form, raw, at, value)
                store.schema_bytes = lambda raw=bytes(raw): raw
                code, rows, err = self.rows_of(store)
                self.assertEqual((code, rows), (1, []))
                self.assertIn("schema (every block, all records)", err)
                self.assertIn(said, err)

    def test_newer_schema_is_refused(self):
        store = small_store(count=5)
        raw = struct.pack("<I", 2) + store.schema_bytes()[4:]
        store.schema_bytes = lambda: raw
        self.assertEqual(self.rows_of(store)[0], 3)

    def test_enum_constants_are_shown(self):
        store = small_store(count=5)
        store.fields[1].attributes = [(0x8001, struct.pack("<i", -1) + b"NONE"), (0x9999, b"new")]
        store.write(self.path)
        self.assertEqual(json.loads(call(self.path, "--json")[1])["schema"]["fields"][1]["enum"], [["NONE", -1]])


class Journal(Case):
    def test_lost_commits_are_damage_and_torn_ones_are_not(self):
        for name, spoilt, synced, code in (("last torn", 3, [0, 1, 2, 3], 0), ("two torn, not synced", 2, [0, 0, 0, 0], 0),
                                           ("acknowledged one lost", 2, [0, 1, 2, 3], 1),
                                           ("first of a group", 1, [0, 1, 1, 1], 0)):
            with self.subTest(name):
                store = small_store()
                for i in range(4):
                    if i == spoilt:
                        kept = list(store.rows())
                    commit(store, 3 + i, store.sequence + synced[i])
                store.write(self.path)
                self.flip(storegen.RING_AT + store.places[spoilt][0] + 90)
                got, rows, err = self.read()
                self.assertEqual(got, code, err)
                self.assertEqual(rows, kept)

    def test_sequence_far_above_shows_a_lost_header(self):
        for above, code in ((1 << 32, 1), ((1 << 32) - 1, 0)):
            store = small_store()
            raw = storegen.Entry([]).bytes(store.sequence + above, 99, 1, 0, 1)
            store.ring[8192:8192 + len(raw)] = raw
            store.write(self.path)
            self.assertEqual(call(self.path)[0], code, above)

    def test_newer_entries_stop_all_and_skippable_ones_nothing(self):
        for name, entry, code in (("unknown, skippable", storegen.Entry([(99, 1, 0, 0, 0, b"x")]), 0),
                                  ("unknown item", storegen.Entry([(99, 0, 0, 0, 0, b"x")]), 3),
                                  ("item flag", storegen.Entry([(7, 2, 0, 0, 0, b"")]), 3),
                                  ("entry flag", storegen.Entry([], flags=1), 3),
                                  ("entry kind", storegen.Entry([], kind=1), 3)):
            with self.subTest(name):
                store = small_store()
                commit(store, 5)
                store.append(entry)
                got, rows, _ = self.rows_of(store)
                self.assertEqual(got, code)
                self.assertEqual(rows, [] if code else list(store.rows()))

    def test_impossible_items_are_damage(self):
        for item in ((1, 0, 0, 0, 701, b""), (1, 0, 0, 9, 8, b""), (1, 0, 3, 0, 8, b""), (2, 0, 3, 700, 1, bytes(16)),
                     (2, 0, 3, 0, 2, bytes(16)), (2, 0, 4, 0, 1, bytes(16)), (3, 0, 4, 3, 1, bytes(8)),
                     (5, 0, 0, 0, 0, bytes(63)), (6, 0, 0, 0, 0, bytes(65)), (7, 0, 0, 0, 0, b"x"),
                     (2, 0, 3, 0, 0, b""), (3, 0, 4, 0, 0, b""), (2, 0, 3, 1 << 63, 1, bytes(16))):
            with self.subTest(item=item[:5]):
                store = small_store()
                store.append(storegen.Entry([item]))
                got, rows, err = self.rows_of(store)
                self.assertEqual(got, 1, err)
                self.assertEqual(rows, list(store.rows()))

    def test_plain_bytes_are_of_a_newer_version(self):
        store = small_store()
        store.append(storegen.Entry([(8, 0, 3, 80, 16, bytes(16))]))
        self.assertEqual(self.rows_of(store)[0], 3)

    def test_records_behind_the_count_that_no_entry_names_are_those_in_place(self):
        store = small_store()
        commit(store, 20)
        for i in range(300, 500):
            store.records[i] = store.pack_record(store.random_values())
        store.append(storegen.Entry([(1, 0, 0, 300, 500, b"")]))
        store.write(self.path)
        code, out, _ = call(self.path, "--records", "300..499")
        raw = b"".join(store.records[i] for i in range(300, 500))
        ids = [row[0] for row in struct.iter_unpack("<Qi4s", raw)]
        self.assertEqual([json.loads(line)["id"] for line in out.splitlines()], ids)

    def test_entry_inside_another_is_no_sign_of_loss(self):
        store = small_store()
        inner = storegen.Entry([]).bytes(store.sequence + 5, store.session, 1, store.sequence + 4, 1)
        store.append(storegen.Entry([(99, 1, 0, 0, 0, inner)]))
        self.assertEqual(self.rows_of(store)[0], 0)

    def test_walk_never_laps(self):
        store = small_store()
        store.ring_head = store.ring_tail = 800
        first = storegen.Entry([]).bytes(store.sequence + 1, store.session, store.chain, 0, 1)
        payload = bytes(800 - 64 - 32) + first
        around = storegen.Entry([(99, 1, 0, 0, 0, payload)])
        store.ring[:2000] = around.bytes(store.sequence + 2, store.session, struct.unpack("<Q", first[-8:])[0],
                                         0, 1).ljust(2000, b"\0")
        store.write(self.path)
        code, out, _ = call(self.path, "--journal", "--json")
        self.assertEqual((code, len(json.loads(out)["journal"]["entries"])), (0, 1))


class Damage(Case):
    def test_words_that_are_zero_even_or_wrong(self):
        for name, word, is_zero, code, said in (
                ("never written", 0, True, 0, ""), ("never written, not zeros", 0, False, 1, "never written"),
                ("known damaged", 6, False, 1, "known damaged"), ("wrong", 7, False, 1, "sum differs"),
                ("zeros with a wrong word", 7, True, 1, "sum differs")):
            with self.subTest(name):
                store = small_store()
                store.words[0] = word
                if is_zero:
                    store.records.update((i, bytes(16)) for i in range(256))
                got, _, err = self.rows_of(store)
                self.assertEqual(got, code)
                if code:
                    self.assertIn(f"block 0 (records 0..255): {said}", err)

    def test_records_that_no_word_knows_are_noticed(self):
        store = small_store(count=5)
        store.words = {}
        code, _, err = self.rows_of(store)
        self.assertEqual(code, 1)
        self.assertIn("block 0 (records 0..4): never written", err)

    def test_flipped_bits_are_noticed_except_in_the_harmless_places(self):
        rng = random.Random(SEEDS[0])
        store = small_store()
        for i in range(4):
            commit(store, 3 + i)
        records, sums, end = store.offsets()
        last = store.places[-1]
        ring = storegen.RING_AT
        noticed = [("slot A", 0, 4096), ("slot B", 4096, 8192), ("schema", 8192, 8192 + len(store.schema_bytes())),
                   *(("journal", ring + place, ring + place + size) for place, size in store.places[:-1]), ("records", records + 16 * 8, records + 16 * 300),
                   ("sums", sums + 8, sums + 16), ("zeros", sums + 24, end)]
        harmless = [("live", 65536, 589824), ("gap", 589824, ring), ("journal free", ring + store.ring_tail, ring + 16384),
                    ("gap 2", ring + 16384, records), ("journal last group", ring + last[0], ring + sum(last)),
                    ("records above count", records + 16 * 300, records + 16 * 700), ("sums above count", sums + 16, sums + 24),
                    ("in place", records + 16 * 3, records + 16 * 7), ("tail", end, end + 100)]
        self.assertEqual([h[0] for h in sorted(harmless)], sorted(row[0] for row in format_tables(8)))
        whole = list(store.rows())
        for places, code in ((noticed, 1), (harmless, 0)):
            for name, begin, stop in places:
                for _ in range(6):
                    at, bit = rng.randrange(begin, stop), rng.randrange(8)
                    with self.subTest(name=name, at=at, bit=bit):
                        store.write(self.path)
                        os.truncate(self.path, end + 100)
                        self.flip(at, bit)
                        got, rows, err = self.read()
                        self.assertEqual(got, code, err)
                        if not code and name != "journal last group":
                            self.assertEqual(rows, whole)

    def test_file_cut_anywhere_ends_in_an_orderly_way(self):
        store = small_store()
        commit(store, 5)
        _, _, end = store.offsets()
        for size in (1, 4095, 4096, 8192, 8200, 65536, 2 << 20, (2 << 20) + 100, (4 << 20) + 1600, end - 4096, end - 1):
            store.write(self.path)
            os.truncate(self.path, size)
            self.assertIn(call(self.path, "--records")[0], (1,) if size >= 4096 else (3,), size)

    def test_hostile_files_end_in_an_orderly_way(self):
        for seed in SEEDS:
            rng = random.Random(f"hostile {seed}")
            store = small_store(count=40, capacity=100)
            commit(store, 5)
            for _ in range(12):
                at = rng.randrange(20, 680) // 4 * 4
                store.slot_changes = {at: ("I", rng.choice([0, 1, 8, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)]))}
                store.write(self.path)
                with self.subTest(seed=seed, at=at):
                    self.assertIn(call(self.path, "--json", "--records", "0..1000")[0], (0, 1, 3))

    def test_hostile_schemas_end_in_an_orderly_way(self):
        good = small_store().schema_bytes()
        for seed in SEEDS:
            rng = random.Random(f"schema {seed}")
            for _ in range(12):
                raw = bytearray(good)
                for _ in range(rng.randrange(1, 4)):
                    raw[rng.randrange(len(raw))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8)])
                store = small_store(count=40, capacity=100)
                store.schema_bytes = lambda raw=bytes(raw): raw
                store.write(self.path)
                with self.subTest(seed=seed, schema=raw.hex()):
                    self.assertIn(call(self.path, "--json", "--records")[0], (0, 1, 3))


if __name__ == "__main__":
    unittest.main()
