"""What the system refuses in the middle of a command: syncs, memory, addresses, disk. Each refusal is a sentence and
exit code 3, what was acknowledged stays, and the same command does its work when it is given again; and what a durable
commit costs while much else of the file is dirty.
"""
import os
import resource
import shutil
import subprocess
import unittest

from killing import WRITER, Shape
from steletool import SCALE, STELE, WAIT_S_MAX, Done, SteleCase, not_on_windows, program, run
from test_syscall_crash import MIB, SYNCS, Traced, all_names, between_marks, traced

DECLARATION = "struct R { uint64_t n; char text[24]; };"
ROW_BYTES = 32
SYNC_CALLS = ["pwritev2", "fdatasync", "fsync"]


def rows(count):
    return "".join("%d,row %d\n" % (n, n) for n in range(count))


class Refusals(SteleCase):
    """A store of 50 rows, and commands on it."""

    def setUp(self):
        super().setUp()
        self.base = self.create("base", DECLARATION, "--capacity", "100")
        self.ends(0, "import", self.base, self.write("few.csv", rows(50)), "--format", "csv", "--quiet")
        self.store = self.path("s")
        self.new = self.path("new")
        self.importing = ("import", self.store, self.write("data.csv", rows(3000)), "--format", "csv", "--quiet")

    def begin(self):
        for path in (self.store, self.new):
            if os.path.exists(path):
                os.remove(path)
        subprocess.run(["cp", "--sparse=always", self.base, self.store], check=True)

    def changes(self):
        return [("append", self.store, "n=7"), ("set", self.store, "3", "n=9"), ("truncate", self.store, "20"),
                ("truncate", self.store, "2K"), self.importing, ("recover", self.store),
                ("resize", self.store, "--capacity", "2000"), ("create", self.new, "--struct", DECLARATION, "--quiet")]

    def looks(self):
        return [("get", self.store, "3"), ("info", self.store), ("info", self.store, "--json"),
                ("schema", self.store), ("verify", self.store), ("export", self.store, "--format", "csv"),
                ("export", self.store, "--format", "ndjson"), ("help",), ("version",)]

    def outcomes(self, words):
        """The records before and after @words."""
        self.begin()
        before = self.raw(self.store)
        out = self.ends(0, *words).out
        return before, self.raw(self.store), out

    def judge(self, words, before, after, done, is_partial=False):
        """@done failed; what it left is of before or after, and it works now."""
        self.assertEqual(done.code, 3, done.err)
        self.assertNotIn("handle", done.err)
        self.assertTrue(done.err.startswith("stele"), done.err)
        self.assertLessEqual(len(done.err.splitlines()), 3, done.err)
        found = self.raw(self.store)
        if is_partial:
            self.assertEqual(found, after[:len(found)])
            self.assertGreaterEqual(len(found), len(before))
        else:
            self.assertIn(found, (before, after))
        self.ends(0, "verify", self.store)
        if words[0] == "create" and os.path.exists(self.new):
            self.ends(0, "verify", self.new)  # refused by its close, or by the sync of its folder
        elif words[0] in ("set", "recover", "resize"):
            self.ends(0, *words)
            self.assertEqual(self.raw(self.store), after)


@not_on_windows("strace shows the calls of this system, and under Wine those are not the program's")
class Syncs(Refusals):
    def refuse(self, words, calls, when):
        self.begin()
        names = all_names(calls)
        code, _, error = traced([*STELE, *words], self.folder, "-e", "trace=" + names, "-e",
                                "inject=%s:error=EIO:when=%s" % (names, when))
        return Done(code, b"", error.encode())

    def test_a_sync_that_fails_is_told_and_nothing_acknowledged_is_lost(self):
        failures = 0
        for words in self.changes():
            before, after, _ = self.outcomes(words)
            for name in SYNC_CALLS:
                number, done = 0, None
                while number == 0 or done.code:
                    number += 1
                    done = self.refuse(words, [name], number)
                    with self.subTest(words=words, call=name, number=number):
                        # Behind its name only the mark in the old file is left to make.
                        if done.code == 0:
                            self.assertEqual(self.raw(self.store), after)
                            continue
                        failures += 1
                        self.judge(words, before, after, done, words[0] == "import")
                        self.assertIn("rror", done.err)
                        if "may or may not" in done.err and words[0] != "import":
                            self.assertIn("before you make it again", done.err)
        print("%d failed syncs" % failures, flush=True)
        self.assertGreater(failures, 40)

    def test_where_no_sync_works_nothing_is_acknowledged(self):
        for words in self.changes():
            before, after, _ = self.outcomes(words)
            with self.subTest(words=words):
                done = self.refuse(words, SYNC_CALLS, "1+")
                self.judge(words, before, after, done, words[0] == "import")


@not_on_windows("hundreds of starts of Wine; unit/memory shows the library's part there")
class Memory(Refusals):
    def failing(self, words, kind, number, goes_on):
        environment = dict(os.environ, STELE_FAIL=kind, STELE_FAIL_AT=str(number))
        if goes_on:
            environment["STELE_FAIL_ON"] = "1"
        done = subprocess.run([*program("tests", "agents", "failing_stele"), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=WAIT_S_MAX,
                              check=False)
        lines = done.stderr.decode().splitlines()
        self.assertRegex(lines[-1] if lines else "", r"^\d+ calls$", "it died: %d %s" % (done.returncode, done.stderr))
        ended = Done(done.returncode, done.stdout, b"")
        return ended, lines[:-1], int(lines[-1].split()[0])

    def fail_everywhere(self, kind, pattern):
        run_count = 0
        for words in self.changes() + self.looks():
            before, after, out = self.outcomes(words)
            self.begin()
            done, _, call_count = self.failing(words, kind, 0, False)
            self.assertEqual(done.code, 0)
            numbers = range(1, call_count + 1, max(1, 100 // SCALE if SCALE else 1))
            for number in numbers:
                for goes_on in (False, True):
                    with self.subTest(words=words, number=number, goes_on=goes_on):
                        self.begin()
                        done, lines, _ = self.failing(words, kind, number, goes_on)
                        run_count += 1
                        if done.code == 0:
                            self.assertEqual((done.out, lines), (out, []))
                            continue
                        self.assertEqual(done.code, 3, lines)
                        self.assertRegex("\n".join(lines), pattern)
                        self.assertTrue(all(line.startswith("stele") for line in lines), lines)
                        stored = self.raw(self.store)
                        if words[0] == "import":
                            self.assertEqual(stored, after[:len(stored)])
                        else:
                            self.assertIn(stored, (before, after))
                        self.ends(0, "verify", self.store)
        print("%d runs" % run_count, flush=True)

    def test_each_allocation_of_each_command_fails_with_a_sentence(self):
        self.fail_everywhere("memory", "memory")

    def test_each_map_of_each_command_fails_with_a_sentence(self):
        self.fail_everywhere("maps", "address")


def limit_files(byte_count):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, resource.RLIM_INFINITY))
    return limit


@not_on_windows("Windows sets no limit on the size of files")
class Full(Refusals):
    def limited(self, words, byte_count):
        done = subprocess.run([*STELE, *words], preexec_fn=limit_files(byte_count), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT_S_MAX, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def test_an_import_without_room_stops_between_two_rows_and_goes_on_there(self):
        words = self.importing
        _, after, _ = self.outcomes(words)
        whole = os.path.getsize(self.store)
        self.begin()
        refused = 0
        for limit in range(os.path.getsize(self.store), whole, max(4096, (whole - os.path.getsize(self.store)) // 12)):
            with self.subTest(limit=limit):
                self.begin()
                done = self.limited(words, limit)
                self.assertEqual(done.code, 3, done.err)
                refused += 1
                self.assertRegex(done.err, "ulimit -f|full")
                count = self.count(self.store, ROW_BYTES) - 50
                self.ends(0, "verify", self.store)
                self.ends(0, *words, "--skip-rows", str(count))
                self.assertEqual(self.raw(self.store), after)
        self.assertGreater(refused, 3)

    def test_no_command_dies_of_a_limit_on_the_size_of_files(self):
        refused = 0
        for words in self.changes():
            before, after, _ = self.outcomes(words)
            for limit in range(MIB // 2, 5 * MIB, MIB // 2):
                with self.subTest(words=words, limit=limit):
                    self.begin()
                    done = self.limited(words, limit)
                    if done.code == 0:
                        self.assertEqual(self.raw(self.store), after)
                        continue
                    refused += 1
                    self.judge(words, before, after, done, words[0] == "import")
        self.assertGreater(refused, 20)


class Reserve(SteleCase):
    """tools/examples/reserve.c: room is promised or refused, at once."""

    def start(self, path, count, **options):
        return subprocess.Popen([*program("tools", "examples", "reserve"), "room", path, str(count)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                **options)

    def make(self, path):
        done = run([*program("tools", "examples", "reserve"), "make", path, "300"])
        self.assertEqual((done.code, done.out.strip()), (0, "made 300"), done.err)

    def goes_on(self, process, path, make_room):
        before = self.raw(path)
        with process:
            self.assertEqual(process.stdout.readline().strip(), "no room; nothing changed")
            self.assertEqual(self.raw(path), before)
            process.stdin.write("again\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline().strip(), "no room; nothing changed")
            make_room(process)
            out, error = process.communicate("again\n", timeout=WAIT_S_MAX)
        self.assertEqual((process.returncode, out.strip()), (0, "room for 40000"), error)
        self.assertRegex(error, "full|ulimit -f")
        self.assertEqual(self.raw(path)[:len(before)], before)
        self.assertEqual(len(self.raw(path)), len(before) + 64)
        self.ends(0, "verify", path)

    @not_on_windows("Windows sets no limit on the size of files")
    def test_room_above_the_limit_of_the_process_is_refused_and_given_when_it_is_raised(self):
        path = self.path("s")
        self.make(path)

        def raise_limit(process):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        process = self.start(path, 40000, preexec_fn=limit_files(os.path.getsize(path) + 4096))
        self.goes_on(process, path, raise_limit)

    def test_room_on_a_full_disk_is_refused_and_given_when_there_is_some(self):
        folder = self.path("small")
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", folder], stderr=subprocess.DEVNULL,
                          check=False).returncode:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", folder], check=False)
        path, ballast = os.path.join(folder, "s"), os.path.join(folder, "ballast")
        self.make(path)
        room = shutil.disk_usage(folder).free
        with open(ballast, "wb") as file:
            file.write(bytes(room - MIB // 2))
        self.goes_on(self.start(path, 40000), path, lambda process: os.remove(ballast))


class Dirty(Traced):
    """A durable commit while 100 MiB of other records of the same file wait to be written."""

    def test_a_durable_set_stays_one_sync_of_at_most_8_kib_beside_100_mib_of_dirty_records(self):
        self.store = self.path("s")
        shape = Shape("set", 3584, MIB, 19)
        self.make_store(shape, 40, capacity=40000)
        first, size = self.info(r'"records": {\s*"offset": (\d+)'), 100 * MIB
        self.assertGreater(os.path.getsize(self.store), first + size + 32 * MIB)
        with open(self.store, "r+b") as file:
            os.fsync(file.fileno())
            # The same bytes again: what the records hold stays, and the pages are dirty.
            for at in range(first + 16 * MIB, first + 16 * MIB + size, MIB):
                piece = os.pread(file.fileno(), MIB, at)
                self.assertEqual(os.pwrite(file.fileno(), piece, at), MIB)
        code, calls, error = traced([*WRITER, "one", self.store, *shape.words, "40", "30"], self.fast)
        self.assertEqual(code, 0, error)
        segments = between_marks(calls)
        self.assertEqual(len(segments), 30)
        for segment in segments[5:]:
            names = [name for name, _, _ in segment]
            self.assertEqual([name for name in names if name in SYNCS], [])
            synced = [int(result) for name, words, result in segment if name == "pwritev2" and "RWF_DSYNC" in words]
            self.assertEqual(len(synced), 1, names)
            self.assertLessEqual(synced[0], 8192)
            self.assertFalse({"fstat", "newfstatat", "stat"} & set(names), names)


if __name__ == "__main__":
    unittest.main()
