"""The protocol as a model, under every crash that spin can think of (tests/model).

STELE_MODEL=full runs the large bounds too: minutes, and several GiB.
"""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(TOP, "tests", "model")
DURABLE, SEQLOCK = "durable.pml", "seqlock.pml"
IS_FULL = os.environ.get("STELE_MODEL") == "full"
MEMORY_MIB, MEMORY_FULL_MIB = 2000, 16000
DEPTH = 1000000

# What is looked at to the end, at each check.
RUNS = [
    ("a ring of two pages, which wraps", {"COMMITS": 4, "CRASHES": 1, "PLACES": 2, "CHECKPOINTS": 0}),
    ("two crashes, counts that go down and up", {"COMMITS": 2, "CRASHES": 2, "COUNTS": 1}),
    ("two crashes, a close, a bad sector", {"COMMITS": 2, "CRASHES": 2, "CHECKPOINTS": 0, "CLOSES": 1, "ROTS": 1}),
    ("a sync that fails", {"COMMITS": 1, "CRASHES": 1, "FAILS": 1}),
]
FULL_RUNS = [
    ("three commits, a crash, counts", {"COMMITS": 3, "CRASHES": 1, "COUNTS": 1}),
    ("three commits, two crashes", {"COMMITS": 3, "CRASHES": 2}),
    ("three commits, two crashes, counts", {"COMMITS": 3, "CRASHES": 2, "CHECKPOINTS": 0, "COUNTS": 1}),
    ("three commits, two crashes, a close", {"COMMITS": 3, "CRASHES": 2, "CHECKPOINTS": 0, "CLOSES": 1}),
    ("three commits, two crashes, a bad sector", {"COMMITS": 3, "CRASHES": 2, "ROTS": 1}),
    ("two commits, three crashes", {"COMMITS": 2, "CRASHES": 3}),
    ("five commits round a ring of two pages", {"COMMITS": 5, "CRASHES": 1, "PLACES": 2, "CHECKPOINTS": 0}),
    ("two commits, a sync that fails", {"COMMITS": 2, "CRASHES": 1, "FAILS": 1}),
    ("two commits, a sync that fails, counts", {"COMMITS": 2, "CRASHES": 1, "FAILS": 1, "COUNTS": 1}),
    ("two syncs that fail", {"COMMITS": 1, "CRASHES": 1, "FAILS": 2}),
]
SCENES = [
    ("two commits behind each other", {"SCENE": 1}),
    ("a bulk append", {"SCENE": 2}),
    ("a record that is cut and stored anew", {"SCENE": 3}),
    ("a first open beside a detached reader", {"SCENE": 4}),
]

# What is planted, one at a time, and the bounds within which it shows.
SMALL = {"COMMITS": 2, "CRASHES": 2}
PLANTED = [
    (1, "no journal sync", SMALL),
    (2, "acknowledged before the sync", SMALL),
    (3, "a durable commit that does not write what is pending again", SMALL),
    (4, "headers flipped before the data is durable", SMALL),
    (5, "only one slot written", {"COMMITS": 2, "CRASHES": 2, "ROTS": 1}),
    (6, "the clean flag trusted instead of the ring", {"COMMITS": 2, "CRASHES": 2, "CLOSES": 1}),
    (7, "a wrap that reaches the head", {"COMMITS": 4, "CRASHES": 1, "PLACES": 2}),
    (8, "an entry of another session trusted", SMALL),
    (9, "a walk that takes a rotten middle for the end", {"COMMITS": 2, "CRASHES": 2, "ROTS": 1}),
    (10, "a bulk append into freed space without a checkpoint", {"COMMITS": 3, "CRASHES": 1, "COUNTS": 1}),
    (12, "a checkpoint that does not store again what other handles put in place", SMALL),
    (13, "sequences given out again after a recovery", SMALL),
    (20, "a recovery that does not write the ruling slot again", SMALL),
    (21, "a recovery that does not write the walked tail again", SMALL),
    (22, "a recovery that flips before the data is durable", SMALL),
    (23, "what is pending put in place while the state is idle", SMALL),
    (24, "a checkpoint over entries that were never put in place", SMALL),
    (25, "a handle that does not notice who put its pending entries in place", SMALL),
    (26, "a failed sync made good by another sync alone", {"COMMITS": 1, "CRASHES": 1, "FAILS": 1}),
]
PLANTED_BESIDE_READERS = [
    (17, "the count published before the records", {"SCENE": 2}),
    (18, "a recovery without a new session", {"SCENE": 4}),
    (101, "no release fence behind the odd stripe", {"SCENE": 1}),
    (102, "the even stripe stored without release", {"SCENE": 1}),
    (103, "the first load of the stripe without acquire", {"SCENE": 1}),
    (104, "no acquire fence before the second load of the stripe", {"SCENE": 1}),
    (105, "the count stored without release", {"SCENE": 2}),
    (106, "the count loaded without acquire", {"SCENE": 2}),
    (107, "a cut that leaves the stripe as it was", {"SCENE": 3}),
    (108, "no release fence behind the new session", {"SCENE": 4}),
    (109, "no acquire fence before the second look at the session", {"SCENE": 4}),
]


class Violation(Exception):
    """What is asserted, and how it came to be broken."""


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def must(folder, *command):
    code, text = run(folder, *command)
    if code:
        raise AssertionError("%s\nended with %d:\n%s" % (" ".join(command), code, text))
    return text


def name_of(sector):
    """What a sector of durable.pml is."""
    if sector < 4:
        return "slot %s, %s half" % ("AB"[sector // 2], ("first", "second")[sector % 2])
    if sector < 6:
        return "record %d" % (sector - 4)
    return "page %d of the ring, %s half" % ((sector - 6) // 2, ("first", "second")[sector % 2])


def readable(trail):
    """The steps of a trail, without what spin says about itself."""
    lines = [line.rstrip() for line in trail.splitlines()
             if not re.match(r"spin: (warning|trail ends)|#processes|\s*\d+:\s+proc|\d+ process|\t", line)]
    text = "\n".join(line[6:] if line.startswith("      ") else line for line in lines)
    text = re.sub(r"sectors (\d+) and \d+",
                  lambda found: "%s" % name_of(int(found.group(1))).replace(", first half", ""), text)
    return re.sub(r"sector (\d+)", lambda found: name_of(int(found.group(1))), text)


class Checker:
    """spin, made for one model."""

    def __init__(self, case, model, defines, is_trail_short):
        folder = tempfile.TemporaryDirectory()
        case.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.model = model
        self.words = ["-D%s=%s" % pair for pair in sorted(defines.items())]
        shutil.copy(os.path.join(FOLDER, model), self.folder)
        must(self.folder, "spin", "-a", *self.words, model)
        # Breadth first a violation is found by its shortest way; depth first takes less memory.
        way = ["-O0", "-DBFS"] if is_trail_short or model == SEQLOCK else ["-O2", "-DCOLLAPSE"]
        memory = MEMORY_FULL_MIB if IS_FULL else MEMORY_MIB
        must(self.folder, "gcc", *way, "-w", "-DSAFETY", "-DMEMLIM=%d" % memory, "-o", "pan", "pan.c")

    def look(self):
        """How many states there are; Violation where one of them breaks a promise."""
        code, text = run(self.folder, "./pan", "-m%d" % DEPTH, "-w26" if IS_FULL else "-w24")
        found = re.search(r"errors: (\d+)", text)
        if code == 0 and found and found.group(1) != "0":
            raise Violation(self.trail())
        states = re.search(r"(\d+) states, stored", text)
        if code or not found or not states or re.search(r"not completed|too small|out of memory|limit reached", text):
            raise AssertionError("spin did not come to an end:\n" + text)
        return int(states.group(1))

    def trail(self):
        return readable(run(self.folder, "spin", "-t", *self.words, "-k", self.model + ".trail", self.model)[1])


class Protocol(unittest.TestCase):
    def setUp(self):
        self.assertTrue(shutil.which("spin"), "spin is missing: ./tools/setup installs it")

    def verify(self, model, runs):
        for name, defines in runs:
            with self.subTest(name):
                try:
                    states = Checker(self, model, defines, False).look()
                except Violation as violation:
                    self.fail("%s: the model breaks a promise:\n%s" % (name, violation))
                print("%s: %d states" % (name, states))
                self.assertGreater(states, 100, "that few states prove nothing")

    def catch(self, model, planted):
        for number, what, defines in planted:
            with self.subTest(what):
                checker = Checker(self, model, dict(defines, BUG=number, JUDGE_ONLY=1), True)
                with self.assertRaises(Violation, msg="%s: not noticed" % what) as caught:
                    checker.look()
                self.assertIn("assertion", str(caught.exception))

    def test_every_crash_leaves_what_was_acknowledged(self):
        self.verify(DURABLE, RUNS + (FULL_RUNS if IS_FULL else []))

    def test_each_planted_bug_loses_something(self):
        self.catch(DURABLE, PLANTED)

    def test_a_reader_takes_whole_records_only(self):
        self.verify(SEQLOCK, SCENES)

    def test_each_missing_fence_tears_a_record(self):
        self.catch(SEQLOCK, PLANTED_BESIDE_READERS)

    def test_a_trail_reads_as_a_story(self):
        with self.assertRaises(Violation) as caught:
            Checker(self, DURABLE, dict(SMALL, BUG=1, JUDGE_ONLY=1), True).look()
        story = str(caught.exception)
        for words in ["handle 0: COMMIT", "commit 1: SET", "stores 1 to page 0 of the ring, first half",
                      "THE POWER GOES", "the disk has 0 in page 0 of the ring", "text of failed assertion: assert("]:
            self.assertIn(words, story)
        self.assertNotRegex(story, r"sector|proc ")


if __name__ == "__main__":
    unittest.main()
