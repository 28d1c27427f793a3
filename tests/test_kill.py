"""kill -9 of the writer at random moments: what was acknowledged is there, the rest is all-or-nothing, in order.

Each test keeps stores over several lives: kill, judge, recover, go on, so that the journal wraps, checkpoints and
growth happen. STELE_SEED, printed by each test, draws shapes, operations and moments again; moments are real time.
"""
import os
import random
import re
import signal
import struct
import subprocess
import time
import unittest

from killing import SEED, SPARSE, Claim, Life, Refused, Shape, fast_folder, judge, kill_recovery, scaled, writer
from steletool import STELE, WAIT_S_MAX, SteleCase

MIB = 1 << 20
SMALLEST = 16 << 10
LIVES = 5  # of a store
COUNT_OFFSET = 65536 + 704  # of the count in the live region

# record bytes, journal bytes, flags
SHAPES = [(64, SMALLEST, 0), (1, SMALLEST, SPARSE), (512, MIB, SPARSE), (7, SMALLEST, 0), (5000, SMALLEST, SPARSE),
          (64, MIB, 0), (5000, MIB, 0)]


class KillCase(SteleCase):
    def setUp(self):
        super().setUp()
        self.fast_folder = fast_folder(self)
        print("STELE_SEED=%d" % SEED, flush=True)
        self.rng = random.Random("%d %s" % (SEED, self.id()))
        self.kill_count = self.inside_count = self.replayed_count = self.cut_count = 0
        self.commit_count = 0

    def new_store(self, kind, record_bytes, journal_bytes, flags, is_fast=False):
        """A fast one lies in memory: no sync to wait for, so most kills hit the stores between them."""
        shape = Shape(kind, record_bytes, journal_bytes, self.rng.randrange(1 << 40))
        path = os.path.join(self.fast_folder if is_fast else self.folder, "s")
        writer("create", path, shape, 1, flags)
        return path, shape

    def life(self, verb, path, shape, done):
        begins = self.rng.randint(1, self.rng.choice((1, 4, 15)))
        return Life(verb, path, shape, done, begins, self.rng.uniform(0, self.rng.choice((0.0005, 0.005, 0.01))))

    def kill_and_judge(self, path, shape, done):
        """One life and what comes after it; the operations that are there."""
        life = self.life("run", path, shape, done)
        self.kill_count += 1
        self.inside_count += life.is_inside
        self.commit_count += life.commit_count
        claim = life.claim
        found, entry_count = judge("look", path, shape, claim)
        self.replayed_count += entry_count > 0
        # What a reader was shown must stay: from here the state is known.
        if self.rng.random() < 0.4:
            for _ in range(self.rng.randint(1, 3)):
                self.cut_count += not kill_recovery(path, shape, self.rng.uniform(0, 0.004))
                again, _ = judge("look", path, shape, claim)
                self.assertEqual(again, found, "a recovery that was cut changed what is there")
        again, _ = judge("recover", path, shape, claim)
        self.assertEqual(again, found, "recovery changed what was there")
        return found

    def kill(self, kind, count):
        turn = 0
        for number in range(scaled(count)):
            if number % LIVES == 0:
                shapes = SHAPES[turn % len(SHAPES)]
                path, shape = self.new_store(kind, *shapes, is_fast=turn % 2 == 1)
                done = 0
                turn += 1
            with self.subTest(shape=str(shape), life=number % LIVES):
                done = self.kill_and_judge(path, shape, done)
            if number % LIVES == LIVES - 1:
                os.remove(path)
        self.check_kills()

    def check_kills(self):
        print("%d kills, %d inside an operation, %d left entries to replay, %d recoveries cut, %d commits" % (
            self.kill_count, self.inside_count, self.replayed_count, self.cut_count, self.commit_count), flush=True)
        if self.kill_count >= 8:
            self.assertGreaterEqual(self.inside_count * 4, self.kill_count * 3, "too few kills inside an operation")


class Kills(KillCase):
    def test_append_is_all_or_nothing_at_every_kill(self):
        self.kill("append", 25)

    def test_bulk_append_is_all_or_nothing_at_every_kill(self):
        self.kill("bulk", 25)

    def test_set_is_all_or_nothing_at_every_kill(self):
        self.kill("set", 25)

    def test_transactions_are_all_or_nothing_at_every_kill(self):
        self.kill("many", 25)

    def test_count_moves_whole_at_every_kill(self):
        self.kill("count", 25)

    def test_growth_loses_nothing_at_any_kill(self):
        self.kill("growth", 25)

    def test_everything_mixed_survives_every_kill(self):
        self.kill("mixed", 30)


class Import(KillCase):
    """The command line imports; what a reader could count before the kill was acknowledged."""
    ROW_COUNT = 120000
    FORM = struct.Struct("=Q16s")

    def setUp(self):
        super().setUp()
        rows = [(n, b"row %d" % n) for n in range(self.ROW_COUNT)]
        self.expected = b"".join(self.FORM.pack(*row) for row in rows)
        self.data = self.write("data.csv", b"".join(b"%d,%s\n" % row for row in rows))

    def visible_count(self, path):
        with open(path, "rb") as file:
            file.seek(COUNT_OFFSET)
            return struct.unpack("=Q", file.read(8))[0]

    def begin(self, path, row_count):
        return subprocess.Popen([*STELE, "import", path, self.data, "--format", "csv", "--skip-rows", str(row_count)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def check(self, path, least):
        """The store is a beginning of the file, the same to a reader and after recovery; how many rows."""
        before = self.bytes_of(path)
        seen = self.raw(path)
        self.ends(0, "verify", path)
        self.assertTrue(self.bytes_of(path) == before, "a read-only command changed the file")
        self.assertTrue(self.expected.startswith(seen), "what is in is no beginning of the file")
        self.assertGreaterEqual(len(seen) // self.FORM.size, least, "rows that were there are lost")
        self.ends(0, "recover", path)
        self.ends(0, "verify", path)
        self.assertTrue(self.raw(path) == seen, "recovery changed what is there")
        return len(seen) // self.FORM.size

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_import_loses_no_row_at_any_kill(self):
        whole_s = self.whole_s()
        path, row_count = None, 0
        while self.kill_count < scaled(20):
            if path is None:
                path = self.create("s.stele", "struct E { uint64_t n; char t[16]; };", "--journal", "16K")
                row_count = 0
            with self.begin(path, row_count) as process:
                time.sleep(self.rng.uniform(0, whole_s / 2))
                least = self.visible_count(path)
                process.kill()
                error = process.stderr.read().decode()
                code = process.wait(WAIT_S_MAX)
            self.assertIn(code, (0, -signal.SIGKILL), error)
            if code == 0:
                self.assertTrue(self.raw(path) == self.expected)
                os.remove(path)
                path = None
                continue
            self.kill_count += 1
            # From its opening for writing until it closes, a store is not clean.
            self.inside_count += '"clean": false' in self.ends(0, "info", path, "--json").out
            row_count = self.check(path, least)
        self.check_kills()

    def whole_s(self):
        path = self.create("whole.stele", "struct E { uint64_t n; char t[16]; };")
        began = time.monotonic()
        self.ends(0, "import", path, self.data, "--format", "csv")
        return time.monotonic() - began


class Planted(KillCase):
    """The harness can fail: writers with a bug, and a store with one wrong byte, are refused."""

    def refused(self, verb, kind, wanted):
        for turn in range(60):
            path, shape = self.new_store(kind, 64, SMALLEST, 0)
            writer("fill", path, shape, 0, 20)
            try:
                judge("look", path, shape, self.life(verb, path, shape, 20).claim)
            except Refused as refusal:
                self.assertRegex(str(refusal), wanted)
                return
            os.remove(path)
        self.fail("no kill showed the bug")

    def test_acknowledged_too_early_is_noticed(self):
        self.refused("early", "append", "neither the acknowledged state")

    def test_a_transaction_in_two_commits_is_noticed(self):
        self.refused("torn", "many", "neither the acknowledged state|outcome")

    def test_a_wrong_state_is_noticed(self):
        path, shape = self.new_store("append", 64, SMALLEST, 0)
        writer("fill", path, shape, 0, 20)
        self.assertEqual(judge("recover", path, shape, Claim(20)), (20, 0))
        for claim in (Claim(19), Claim(21), Claim(21, 22)):
            with self.assertRaisesRegex(Refused, "neither the acknowledged state"):
                judge("look", path, shape, claim)
        with self.assertRaisesRegex(Refused, "was promised"):
            judge("look", path, shape, Claim(20, capacity=1 << 40))
        with self.assertRaisesRegex(Refused, "outcome"):
            judge("look", path, shape, Claim(20, low_sequence=1 << 60))

    def test_a_wrong_byte_is_noticed(self):
        path, shape = self.new_store("append", 64, SMALLEST, 0)
        writer("fill", path, shape, 0, 20)
        offset = int(re.search(r'"records": {\s*"offset": (\d+)', self.ends(0, "info", path, "--json").out).group(1))
        with open(path, "r+b") as file:
            file.seek(offset + 64 * 5)
            byte = file.read(1)[0]
            file.seek(offset + 64 * 5)
            file.write(bytes([byte ^ 1]))
        with self.assertRaisesRegex(Refused, "record 5 of version"):
            judge("look", path, shape, Claim(20))


if __name__ == "__main__":
    unittest.main()
