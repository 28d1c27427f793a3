"""A kill at every write-class system call of a commit, a bulk append, a growth, a checkpoint, a recovery, a resize and
a creation; how few of them a durable commit makes; and none at all by commands that only read.

strace does both: it counts the calls between two marks of the writer, and kills at the n-th.
"""
import os
import re
import subprocess
import unittest

from killing import SPARSE, WAIT_S_MAX, WRITER, Claim, Refused, Shape, fast_folder, judge, writer
from steletool import STELE, SteleCase, not_on_windows

SMALLEST = 16 << 10
MIB = 1 << 20
LEAP = 1 << 32  # of the sequence, by every open for writing
MARK = "getppid"
SYNCS = ["fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range"]
# A futex call wakes readers: not a write, but a place between two.
WRITES = SYNCS + ["write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "link",
                  "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "fcntl", "utimensat", "fchmod",
                  "fchown", "fsetxattr", "copy_file_range", "futex"]
# A build with window_torture stores through views, and forbids each behind its use.
IN_VIEWS = os.environ.get("STELE_WINDOW_TORTURE") == "1"
STORE = "mprotect" if IN_VIEWS else "pwrite64"
if IN_VIEWS:
    WRITES.append(STORE)
# A 32-bit process calls some by another name.
OTHER_NAMES = {"mmap2": "mmap", "fcntl64": "fcntl", "ftruncate64": "ftruncate", "truncate64": "truncate",
               "futex_time64": "futex", "utimensat_time64": "utimensat", "fstat64": "fstat", "stat64": "stat",
               "lstat64": "lstat", "fstatat64": "newfstatat"}
LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+|\?)")


def traced(words, folder, *options):
    """Run @words under strace: (exit code, [(call, arguments, result)])."""
    log = os.path.join(folder, "trace")
    # Nothing can look for leaks while it is traced.
    environment = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
    done = subprocess.run(["strace", "-f", "-qq", "-o", log, "-e", "signal=none", *options, "--", *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=WAIT_S_MAX,
                          check=False)
    with open(log, encoding="utf-8", errors="replace") as file:
        calls = [found.groups() for line in file if (found := LINE.match(line))]
    os.remove(log)
    return done.returncode, [(OTHER_NAMES.get(name, name), *rest) for name, *rest in calls], done.stderr.decode()


def all_names(names):
    """What strace is to be asked for @names; some machines lack some."""
    others = [other for other, name in OTHER_NAMES.items() if name in names]
    return ",".join("?" + name for name in [*names, *others])


def between_marks(calls):
    """The calls between each mark and the next one but one: a list per pair."""
    marks = [at for at, (name, _, _) in enumerate(calls) if name == MARK]
    return [calls[first + 1:last] for first, last in zip(marks[::2], marks[1::2])]


@not_on_windows("strace shows the calls of this system, and under Wine those are not the program's")
class Traced(SteleCase):
    def setUp(self):
        super().setUp()
        self.fast = fast_folder(self)
        self.home = os.path.join(self.fast, "home")
        os.mkdir(self.home)
        self.store = os.path.join(self.home, "s")

    def make_store(self, shape, done, flags=0, capacity=4000):
        writer("create", self.store, shape, capacity, flags)
        writer("fill", self.store, shape, 0, done)
        return self.store

    def info(self, pattern):
        """The number that @pattern finds in what info prints."""
        return int(re.search(pattern, self.ends(0, "info", self.store, "--json").out).group(1))

    def sequence(self):
        return self.info(r'"sequence": (\d+)')


class CutCase(Traced):
    litter_max = 0

    def setUp(self):
        super().setUp()
        self.base = os.path.join(self.fast, "base")

    def keep(self):
        """The store as it is now is where each run begins."""
        if os.path.exists(self.store):
            subprocess.run(["cp", "--sparse=always", self.store, self.base], check=True)

    def begin(self):
        for name in os.listdir(self.home):
            os.remove(os.path.join(self.home, name))
        if os.path.exists(self.base):
            subprocess.run(["cp", "--sparse=always", self.base, self.store], check=True)

    def places(self, words):
        """Where to kill: (pair of marks, call, how many of its name came before, and it); each pair's end too."""
        self.begin()
        code, calls, error = traced(words, self.fast, "-e", "trace=" + all_names(WRITES + [MARK]))
        self.assertEqual(code, 0, error)
        seen = dict.fromkeys(WRITES + [MARK], 0)
        places = []
        for name, _, _ in calls:
            seen[name] += 1
            pair, is_inside = divmod(seen[MARK] - (name == MARK), 2)
            if is_inside:
                places.append((pair, name, seen[name]))
        self.assertTrue(any(name == MARK for _, name, _ in places), "the marks are missing")
        return places

    def cut(self, words, name, number):
        self.begin()
        names = all_names([name])
        code, _, error = traced(words, self.fast, "-e", "trace=" + names, "-e",
                                "inject=%s:signal=SIGKILL:when=%d" % (names, number))
        self.assertIn(code, (-9, 137), "was not killed at %s %d: %s" % (name, number, error))

    def cut_everywhere(self, verb, shape, numbers, claim_of):
        """Kill @verb at every place; claim_of(pair, whether it was finished) says what the judge may find."""
        words = [*WRITER, verb, self.store, *shape.words, *map(str, numbers)]
        places = self.places(words)
        for pair, name, number in places:
            with self.subTest(verb=verb, call=name, number=number):
                self.cut(words, name, number)
                self.assertLessEqual(len(os.listdir(self.home)), 1 + self.litter_max, "litter")
                if os.path.exists(self.store):
                    judge("recover", self.store, shape, claim_of(pair, name == MARK))
        print("%s %s: killed at %d places" % (verb, shape, len(places)), flush=True)
        return places


class Cuts(CutCase):
    """Each test: count, then kill at the first, the second … until it finishes."""

    def commits(self, shape, done, count=1, **options):
        """Kill in each of @count operations behind @done."""
        self.make_store(shape, done, **options)
        first = self.sequence() + LEAP
        self.keep()

        def claim_of(pair, is_finished):
            low = done + pair + is_finished
            return Claim(low, done + pair + 1, first + pair + is_finished if low > done else 0, first + pair + 1)

        names = [name for _, name, _ in self.cut_everywhere("one", shape, [done, count], claim_of)]
        self.assertGreaterEqual(names.count("pwritev2"), count)
        self.assertGreaterEqual(names.count(STORE), count)
        return names

    def test_set_is_whole_or_absent_at_every_call(self):
        self.commits(Shape("set", 64, MIB, 1), 30)

    def test_a_transaction_of_100_records_is_whole_or_absent_at_every_call(self):
        names = self.commits(Shape("hundred", 64, MIB, 2), 3)
        self.assertGreater(names.count(STORE), 100)

    def test_commits_that_wrap_the_ring_are_whole_or_absent_at_every_call(self):
        names = self.commits(Shape("many", 512, SMALLEST, 3), 20, count=5)
        self.assertIn("fdatasync", names, "no commit had to empty the ring")

    def test_bulk_append_is_whole_or_absent_at_every_call(self):
        names = self.commits(Shape("bulk", 64, MIB, 4), 2, flags=SPARSE)
        self.assertIn("fdatasync", names)

    def test_bulk_append_that_grows_is_whole_or_absent_at_every_call(self):
        names = self.commits(Shape("bulk", 64, MIB, 5), 1, capacity=1, count=2)
        self.assertIn("fallocate", names)
        self.assertGreater(names.count("pwritev2"), 2, "header slots too")

    def test_count_is_whole_or_absent_at_every_call(self):
        self.commits(Shape("count", 7, SMALLEST, 6), 30, count=4)

    def test_growth_loses_nothing_at_any_call(self):
        for flags, call in ((0, "fallocate"), (SPARSE, "ftruncate")):
            shape = Shape("mixed", 64, SMALLEST, 7)
            self.make_store(shape, 30, flags=flags, capacity=1)
            self.keep()
            places = self.cut_everywhere("grow", shape, [30, 2], lambda pair, is_finished: Claim(32))
            self.assertIn(call, [name for _, name, _ in places])
            os.remove(self.store)

    def test_checkpoint_loses_nothing_at_any_call(self):
        shape = Shape("append", 64, MIB, 8)
        self.make_store(shape, 30)
        self.keep()
        places = self.cut_everywhere("checkpoint", shape, [30, 5], lambda pair, is_finished: Claim(35))
        self.assertEqual([name for _, name, _ in places].count("pwritev2"), 2, "both header slots")

    def leave_unclean(self, verb, shape, numbers, part):
        """Kill a writer so far into its calls; the operations that a reader finds then."""
        words = [*WRITER, verb, self.store, *shape.words, *map(str, numbers)]
        places = self.places(words)
        _, name, number = places[int((len(places) - 1) * part)]
        self.cut(words, name, number)
        self.keep()

    def recoveries(self, shape, claim):
        found, entry_count = judge("look", self.store, shape, claim)
        self.cut_everywhere("open", shape, [], lambda pair, is_finished: Claim(found))
        return entry_count

    def test_recovery_ends_the_same_from_every_call(self):
        shape = Shape("many", 64, MIB, 9)
        self.make_store(shape, 20)
        self.keep()
        self.leave_unclean("one", shape, [20, 6], 0.95)
        self.assertGreaterEqual(self.recoveries(shape, Claim(25, 26)), 5)

    def test_recovery_of_a_growth_ends_the_same_from_every_call(self):
        shape = Shape("append", 64, SMALLEST, 10)
        self.make_store(shape, 20, capacity=1)
        self.keep()
        for part in (0.5, 0.7, 0.85, 0.95):
            self.leave_unclean("grow", shape, [20, 2], part)
            self.recoveries(shape, Claim(22))
            self.begin()
            os.remove(self.base)
            os.remove(self.store)
            self.make_store(shape, 20, capacity=1)
            self.keep()


class CutFiles(CutCase):
    """Whole files that come to be or are replaced: old, new or absent, never half."""

    def test_a_new_store_is_whole_or_absent_at_every_call(self):
        shape = Shape("append", 64, MIB, 11)
        for flags in (0, SPARSE):
            self.is_there = set()

            def claim_of(pair, is_finished):
                self.is_there.add(is_finished)
                return Claim(0)

            places = self.cut_everywhere("made", shape, [1000, flags], claim_of)
            names = [name for _, name, _ in places]
            self.assertTrue({"fdatasync", "fsync"} & set(names), names)
            self.assertIn(True, self.is_there, "a finished store is not there")

    def test_resize_leaves_the_old_or_the_new_store_at_every_call(self):
        shape = Shape("mixed", 64, SMALLEST, 12)
        self.make_store(shape, 40)
        self.keep()
        capacities = set()

        def claim_of(pair, is_finished):
            capacities.add(self.capacity())
            return Claim(40, capacity=min(capacities))

        # A name beside the store is needed to take its place: cut there, it stays.
        self.litter_max = 1
        places = self.cut_everywhere("resize", shape, [], claim_of)
        self.assertEqual(len(capacities), 2, "the old and the new one")
        self.assertIn("rename", "".join(name for _, name, _ in places))

    def capacity(self):
        return self.info(r'"capacity": (\d+)')


class Harness(CutCase):
    def test_a_kill_that_misses_is_noticed(self):
        shape = Shape("set", 64, MIB, 13)
        self.make_store(shape, 10)
        self.keep()
        with self.assertRaisesRegex(AssertionError, "was not killed at pwritev2 1000"):
            self.cut([*WRITER, "one", self.store, *shape.words, "10"], "pwritev2", 1000)

    def test_a_half_transaction_is_noticed(self):
        shape = Shape("hundred", 64, MIB, 14)
        self.make_store(shape, 3)
        self.keep()
        places = self.places([*WRITER, "one", self.store, *shape.words, "3"])
        entry = [name for _, name, _ in places].index("pwritev2")
        _, name, number = [place for place in places[entry:] if place[1] == STORE][50]
        self.cut([*WRITER, "one", self.store, *shape.words, "3"], name, number)
        offset = self.info(r'"journal": {\s*"offset": (\d+)')
        with open(self.store, "r+b") as file:
            file.seek(offset)
            file.write(bytes(MIB))
        with self.assertRaisesRegex(Refused, "neither the acknowledged state"):
            judge("look", self.store, shape, Claim(3, 4))


class Counts(Traced):
    """What a durable commit costs, counted on the file system of the test's own folder."""

    def segments(self, record_bytes):
        self.store = self.path("s")
        shape = Shape("set", record_bytes, MIB, 15)
        self.make_store(shape, 40)
        code, calls, error = traced([*WRITER, "one", self.store, *shape.words, "40", "30"], self.fast)
        self.assertEqual(code, 0, error)
        segments = between_marks(calls)
        self.assertEqual(len(segments), 30)
        return segments[5:]

    def check(self, record_bytes):
        for calls in self.segments(record_bytes):
            names = [name for name, _, _ in calls]
            self.assertEqual([name for name in names if name in SYNCS], [])
            synced = [int(result) for name, words, result in calls if name == "pwritev2" and "RWF_DSYNC" in words]
            self.assertEqual(len(synced), 1, names)
            self.assertTrue(record_bytes < synced[0] <= 8192, synced)
            self.assertEqual(names.count("pwritev2"), 1)
            written = sum(int(result) for name, _, result in calls if name.startswith(("pwrite", "write")))
            self.assertLessEqual(written, 8192 + record_bytes + 8, "all that was written, in place too")
            self.assertFalse({"openat", "ftruncate", "fallocate"} & set(names), names)
            # A look at the file's times makes the next sync write the inode as well: 128 us instead of 90.
            self.assertFalse({"fstat", "newfstatat", "stat", "lstat"} & set(names), names)
            asked = " ".join(words.split("{")[0] for name, words, _ in calls if name == "statx")
            self.assertIn("STATX_SIZE", asked)
            self.assertNotRegex(asked, "STATX_[MC]TIME|STATX_BASIC|STATX_ALL")
            maps = [words for name, words, _ in calls if name == "mmap" and "MAP_ANONYMOUS" not in words]
            self.assertTrue(maps if IN_VIEWS else not maps, maps)

    def test_a_durable_set_of_64_bytes_is_one_syncing_write(self):
        self.check(64)

    def test_a_durable_set_of_3584_bytes_is_one_syncing_write(self):
        self.check(3584)


class ReadOnly(Traced):
    """Commands that look write nothing, on a closed store and on one whose writer was killed."""

    def writes(self, *words):
        """What a command does to the store that could change it."""
        code, calls, error = traced([*STELE, *words], self.fast, "-y")
        self.assertEqual(code, 0, error)
        mine = [call for call in calls if self.store in call[1]]
        self.assertTrue(any(name == "openat" for name, _, _ in mine), "the store was not opened")
        return [call for call in mine if self.is_write(*call[:2])]

    def is_write(self, name, words):
        if name == "openat":
            return "O_RDONLY" not in words or "O_CREAT" in words or "O_TRUNC" in words
        if name == "mmap":
            return "PROT_WRITE" in words and "MAP_PRIVATE" not in words
        if name == "fcntl":
            return "SETLK" in words
        return name in WRITES and name != "futex"

    def check(self):
        with open(self.store, "rb") as file:
            before = file.read()
        for words in (["get", self.store, "0"], ["verify", self.store], ["info", self.store], ["schema", self.store],
                      ["export", self.store, "--format", "raw"]):
            with self.subTest(verb=words[0]):
                self.assertEqual(self.writes(*words), [])
        with open(self.store, "rb") as file:
            self.assertTrue(file.read() == before, "the file changed")

    def test_a_closed_store_is_not_written(self):
        self.make_store(Shape("mixed", 64, MIB, 16), 40)
        self.check()

    def test_an_unclean_store_is_not_written(self):
        shape = Shape("append", 64, MIB, 17)
        self.make_store(shape, 20)
        words = [*WRITER, "one", self.store, *shape.words, "20", "5"]
        code, _, error = traced(words, self.fast, "-e", "inject=%s:signal=SIGKILL:when=10" % MARK)
        self.assertIn(code, (-9, 137), error)
        self.assertEqual(judge("look", self.store, shape, Claim(25)), (25, 5))
        self.check()

    def test_a_command_that_writes_is_noticed(self):
        self.make_store(Shape("mixed", 64, MIB, 18), 40)
        names = {name for name, _, _ in self.writes("truncate", self.store, "3")}
        self.assertLessEqual({"openat", "mmap", "fcntl", "pwritev2", "fdatasync"}, names)


if __name__ == "__main__":
    unittest.main()
