"""Bugs planted in the library, one at a time: each of them is noticed by the suite `crash`.

A bug is a row of BUGS: what it is, the tests that are to fail, and what stands where in another way. The library is
compiled as it is, and for each bug the files that it changes once more.
"""
import os
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIB = os.path.join(TOP, "lib")
CRASH = os.path.join(TOP, "tests", "crash")
SCALE = "10"

CUT = "every_cut_of_%s_leaves_what_was_acknowledged"

BUGS = [
    (1, "no journal sync", CUT % "set", [
        ("settle.c", "rc = stele_os_write_durable(&store->file, store->fixed.journal_offset + run->place",
         "rc = stele_os_write(&store->file, store->fixed.journal_offset + run->place")]),
    (2, "acknowledged before the sync", CUT % "set", [
        ("commit.c", "is_async = durability == STELE_ASYNC;", "is_async = (int)durability >= 0;"),
        ("txn.c", "if (!rc && durability == STELE_DURABLE) {", "if (!rc && (int)durability < 0) {")]),
    (3, "a durable commit that does not rewrite pending asynchronous entries", CUT % "async", [
        ("settle.c", "store->fixed.journal_offset + run->place, run->run.bytes,\n",
         "store->fixed.journal_offset + run->place + FROM, run->run.bytes + FROM,\n"),
        ("settle.c", "(size_t)stele_round_up(run->run.used_bytes, STELE_PAGE_BYTES));",
         "(size_t)stele_round_up(run->run.used_bytes, STELE_PAGE_BYTES) - FROM);"),
        ("settle.c", "#include <stdlib.h>\n",
         "#include <stdlib.h>\n#define FROM ((size_t)stele_round_down(run->written_bytes, STELE_PAGE_BYTES))\n")]),
    (4, "the header flipped before the data", CUT % "checkpoint", [
        ("checkpoint.c", "    rc = stele_checkpoint_sync(store);\n    if (rc)\n        return rc;\n    uint64_t head",
         "    uint64_t head"),
        ("checkpoint.c", "    start_over(store, head);\n",
         "    start_over(store, head);\n    rc = stele_checkpoint_sync(store);\n    if (rc)\n        return rc;\n")]),
    (5, "only one slot written", CUT % "checkpoint", [
        ("superblock.c", "rc = write_slot(file, &slot, 1 - other);", "rc = STELE_OK;")]),
    (6, "the clean flag trusted instead of the ring", CUT % "checkpoint", [
        ("recover.c", "if (rc == STELE_END && (superblock->slot", "if ((superblock->slot"),
        ("recover.c", "    slot.state_flags &= ~STELE_CLEAN;\n", "")]),
    (7, "a wrap that is off by one", CUT % "wrap_exact", [
        ("journal.c", "padded_bytes >= head_page - place)", "padded_bytes > head_page - place)")]),
    (8, "an entry of another session trusted", CUT % "recovery", [
        ("journal_walk.c", "if (!is_head(&head) || head.session != walk->session || head.sequence != walk->sequence + 1 ||\n"
         "        head.chain != walk->chain)", "if (!is_head(&head))")]),
    (9, "a walk that takes a rotten middle for the end", "a_rotten_entry_*", [
        ("journal_walk.c", "        scan->is_entry_lost = true;", "        scan->is_entry_lost = false;")]),
    (10, "a bulk append into freed space without a checkpoint", "a_rotten_last_entry_*", [
        ("bulk.c", "if (stele_load(&words->count.word) >= stele_load(&words->count_high.word))", "if (words)")]),
    (11, "a sum computed anew instead of checked", "a_rotten_record_*neighbour", [
        ("block.c", "    if (stele_lookup_find(&store->checked, block))", "    if (store)"),
        ("block.c", "bool is_unwritten = stele_word_is_unwritten(old_word) || old_count == 0;",
         "bool is_unwritten = old_word || old_count == 0;")]),
    (12, "a checkpoint that does not store again what other handles applied", CUT % "two", [
        ("checkpoint.c", "            rc = stele_apply_replay(store, &replay);\n        if (!rc)\n            stele_replay_to",
         "            rc = STELE_OK;\n        if (!rc)\n            stele_replay_to")]),
    (13, "a sequence given out again after a recovery", CUT % "set", [
        ("recover.c", "base = finding->highest_sequence + STELE_SEQUENCE_LEAP;", "base = finding->replay.sequence;")]),
    (14, "a rewrite that does not verify", "a_rotten_record_*new_file", [
        ("rewrite.c", "if (stele_word_is_known_damaged(word) ||\n        !stele_sum_check(from,",
         "if (stele_word_is_known_damaged(word) &&\n        !stele_sum_check(from,")]),
]


def sources():
    names = [name for name in sorted(os.listdir(LIB)) if name.endswith(".c") and not name.startswith("os_")]
    return ([os.path.join(LIB, name) for name in names if not name.endswith("_win32.c")]
            + [os.path.join(TOP, "tests", "os_sim.c")]
            + [os.path.join(CRASH, name) for name in sorted(os.listdir(CRASH)) if name.endswith(".c")])


class Planted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="planted-")
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        cls.objects = {path: cls.compile(path, "%d.o" % number) for number, path in enumerate(sources())}

    @classmethod
    def compile(cls, path, name, folder=LIB):
        out = os.path.join(cls.scratch, name)
        subprocess.run(["cc", "-std=c11", "-O1", "-w", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64",
                        "-DSTELE_PRINTF=printf", "-I" + folder, "-I" + LIB, "-I" + os.path.dirname(CRASH), "-c", path,
                        "-o", out], check=True, stdin=subprocess.DEVNULL)
        return out

    def link(self, objects, name):
        out = os.path.join(self.scratch, name)
        subprocess.run(["cc", *objects.values(), "-o", out, "-lcmocka", "-lxxhash", "-lpthread"], check=True,
                       stdin=subprocess.DEVNULL)
        return out

    def run_suite(self, program, pattern):
        scale = "100" if "rotten" in pattern else SCALE
        environment = dict(os.environ, STELE_TEST_SCALE=scale, CMOCKA_MESSAGE_OUTPUT="STDOUT")
        environment.pop("STELE_CRASH", None)
        environment.pop("STELE_SEED", None)
        done = subprocess.run([program, pattern], env=environment, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def plant(self, number, changes):
        """The objects with one bug; each change fits exactly one place."""
        texts = {}
        for name, old, new in changes:
            if name not in texts:
                with open(os.path.join(LIB, name), encoding="utf-8") as file:
                    texts[name] = file.read()
            self.assertEqual(texts[name].count(old), 1, "%s: to be there once: %s" % (name, old))
            texts[name] = texts[name].replace(old, new)
        objects = dict(self.objects)
        for name, text in texts.items():
            path = os.path.join(self.scratch, "%d_%s" % (number, name))
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            objects[os.path.join(LIB, name)] = self.compile(path, os.path.basename(path) + ".o")
        return objects

    def test_each_planted_bug_is_noticed(self):
        for number, name, pattern, changes in BUGS:
            with self.subTest(bug=number, name=name):
                program = self.link(self.plant(number, changes), "bug_%d" % number)
                exit_code, text = self.run_suite(program, pattern)
                self.assertIn("[ RUN      ]", text)
                self.assertNotEqual(exit_code, 0, "nobody notices bug %d: %s\n%s" % (number, name, text[-2000:]))
                said = [line for line in text.splitlines() if "STELE_SEED=" in line and ": " in line]
                print("bug %d, %s: %s" % (number, name, said[-1] if said else "hangs or crashes"))

    def test_without_a_bug_the_same_tests_pass(self):
        program = self.link(self.objects, "none")
        for pattern in sorted({pattern for _, _, pattern, _ in BUGS}):
            exit_code, text = self.run_suite(program, pattern)
            self.assertIn("[       OK ]", text)
            self.assertEqual(exit_code, 0, text[-2000:])

    def test_the_numbers_are_those_of_the_list(self):
        self.assertEqual([number for number, _, _, _ in BUGS], list(range(1, 15)))


if __name__ == "__main__":
    unittest.main()
