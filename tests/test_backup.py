"""Backups taken while a writer works, in a process of its own: each is sound, and is the store as of one operation.

What the writer does is a function of the operation's number (agents/work.h), so the judge of the kill suites can tell
which operation a copy ends with. STELE_SEED draws shapes and operations again.
"""
import json
import os
import random
import signal
import struct
import subprocess
import threading
import time
import unittest

from killing import ACKNOWLEDGED, BEGUN, NOTE, SEED, SPARSE, WRITER, Claim, Shape, judge, scaled, writer
from steletool import STELE, WAIT_S_MAX, SteleCase, not_on_windows

MIB = 1 << 20
NO_COMMITS_MAX = 20


class Writer:
    """A writer at work, until it is killed; @begun and @done are numbers of operations, @commits says which commit did
    which."""

    def __init__(self, path, shape, done=0):
        self.begun = self.done = done
        self.commits = {}
        self.process = subprocess.Popen([*WRITER, "run", path, *shape.words, str(done)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        while len(note := self.process.stdout.read(NOTE.size)) == NOTE.size:
            mark, number, sequence, _ = NOTE.unpack(note)
            if mark == BEGUN:
                self.begun = number
                self.commits[sequence] = number
            elif mark == ACKNOWLEDGED:
                self.done = number

    def wait_for(self, number):
        deadline = time.monotonic() + WAIT_S_MAX
        while self.done < number and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)

    def kill(self):
        self.process.kill()
        self.thread.join()
        self.process.stdout.close()
        error = self.process.stderr.read().decode()
        self.process.stderr.close()
        if self.process.wait(WAIT_S_MAX) != -signal.SIGKILL:
            raise AssertionError("the writer was not killed: %s" % error)


class Backup(SteleCase):
    def setUp(self):
        super().setUp()
        print("STELE_SEED=%d" % SEED, flush=True)
        self.rng = random.Random("%d %s" % (SEED, self.id()))

    def new_store(self, kind, record_bytes, journal_bytes, flags):
        shape = Shape(kind, record_bytes, journal_bytes, self.rng.randrange(1 << 40))
        writer("create", self.path("s"), shape, 1, flags)
        return self.path("s"), shape

    def last_operation(self, copy, shape, at_work):
        """The number of the last one in @copy, which says itself as of which commit it is."""
        self.assertIn(" 0 damaged", self.ends(0, "verify", copy).out)
        sequence = json.loads(self.ends(0, "info", copy, "--json").out)["origin_sequence"]
        number = at_work.commits.get(sequence, 0)  # 0: before the first one
        found, entry_count = judge("look", copy, shape, Claim(number))
        self.assertEqual((found, entry_count), (number, 0))
        return found

    def backups_beside_a_writer(self, kind, record_bytes, journal_bytes, flags, count):
        path, shape = self.new_store(kind, record_bytes, journal_bytes, flags)
        at_work = Writer(path, shape)
        try:
            for number in range(scaled(count)):
                at_work.wait_for(at_work.done + self.rng.randint(1, 40))
                copy, low = self.path("copy%d" % number), at_work.done
                self.ends(0, "backup", path, copy)
                with self.subTest(shape=str(shape), number=number):
                    # Some operations are no commits: at most so many in a row.
                    self.assertGreaterEqual(self.last_operation(copy, shape, at_work) + NO_COMMITS_MAX, low)
                os.remove(copy)
        finally:
            at_work.kill()

    def test_each_backup_beside_a_writer_is_the_store_as_of_one_operation(self):
        for kind, record_bytes, journal_bytes, flags in (("append", 64, 16 << 10, 0), ("mixed", 64, MIB, SPARSE),
                                                         ("mixed", 512, 16 << 10, 0), ("mixed", 5000, MIB, 0)):
            self.backups_beside_a_writer(kind, record_bytes, journal_bytes, flags, 8)
            os.remove(self.path("s"))

    def test_a_backup_of_what_a_killed_writer_left_writes_nothing_to_it(self):
        for turn in range(scaled(6)):
            path, shape = self.new_store("mixed", 64, MIB, 0)
            at_work = Writer(path, shape)
            at_work.wait_for(self.rng.randint(1, 60))
            at_work.kill()
            with open(path, "rb") as file:
                before = file.read()
            copy = self.path("copy%d" % turn)
            self.ends(0, "backup", path, copy)
            self.assertGreaterEqual(self.last_operation(copy, shape, at_work) + NO_COMMITS_MAX, at_work.done)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), before)
            os.remove(path)

    def test_the_copy_is_a_store_of_its_own(self):
        path = self.create("a.stele", "struct A { uint32_t id; char name[60]; };")
        self.ends(0, "append", path, "id=5", "name=five")
        copy = self.path("copy.stele")
        self.ends(0, "backup", path, copy)
        self.ends(0, "append", copy, "id=6", "name=six")
        self.ends(0, "set", path, "0", "id=7")
        self.assertEqual([record[0] for record in self.records(copy, "=I60s")], [5, 6])
        self.assertEqual([record[0] for record in self.records(path, "=I60s")], [7])
        self.ends(0, "backup", copy, self.path("copy of the copy"))
        self.assertEqual([record[0] for record in self.records(self.path("copy of the copy"), "=I60s")], [5, 6])
        done = self.ends(3, "backup", path, copy)
        self.assertIn(copy, done.err)
        self.assertIn("is there already", done.err)
        self.ends(3, "backup", self.path("absent"), self.path("other"))
        self.ends(2, "backup", path)
        self.assertIn("standard output", self.ends(2, "backup", path, "-").err)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.stele", "copy of the copy", "copy.stele"])

    def test_damage_is_copied_and_ends_with_1(self):
        path = self.create("a.stele", "struct A { uint32_t id; char name[60]; };")
        self.ends(0, "append", path, "id=5", "name=five")
        with open(path, "r+b") as file:
            file.seek(4 * MIB)
            file.write(struct.pack("=I", 6))
        done = self.ends(1, "backup", path, self.path("copy"))
        self.assertIn("1 blocks are damaged, the first is block 0", done.err)
        self.assertIn("1 damaged", self.ends(1, "verify", self.path("copy")).out)
        self.assertEqual([record[0] for record in self.records(self.path("copy"), "=I60s")], [6])

    @not_on_windows("a process behind Wine gets no SIGINT from here")
    def test_an_interrupt_leaves_no_file(self):
        path = self.create("a.stele", "struct A { char name[4096]; };", "--capacity", "50000", "--sparse")
        self.ends(0, "truncate", path, "50000")
        with open(path, "r+b") as file:
            for block in range(0, 50000, 16):  # damage, so that there is something to read everywhere
                file.seek(4 * MIB + block * 4096)
                file.write(b"x")
        process = subprocess.Popen([*STELE, "backup", path, self.path("copy")], stderr=subprocess.PIPE, text=True)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=WAIT_S_MAX)[1]
        # Before it could look for the signal it is the system's end; behind the last look the file is there.
        self.assertIn(process.returncode, (130, -signal.SIGINT, 1), error)
        self.assertEqual(os.path.exists(self.path("copy")), process.returncode == 1)
        if process.returncode == 130:
            self.assertIn("interrupted; there is no %s" % self.path("copy"), error)
        self.assertNotIn("stele-", " ".join(os.listdir(self.folder)))


if __name__ == "__main__":
    unittest.main()
