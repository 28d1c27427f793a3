"""Words of 64 bits on a 32-bit machine, in what compilers make of the library: readers load them whole.

A read-modify-write (cmpxchg8b) writes even where it changes nothing, and faults on a map that is read-only; two loads
of 32 bits tear. The files are compiled here, as the 32-bit build does it.
"""
import os
import re
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIB = os.path.join(TOP, "lib")
# What a handle that only reads runs; a word stands for all files that begin with it.
READERS = ["cursor", "handle", "live", "reader", "record", "view", "window"]
COMPILERS = {"gcc": "-O3", "clang": "-O2"}
FLAGS = ["-m32", "-std=c11", "-fPIC", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DSTELE_PRINTF=printf", "-I" + LIB]

LOAD = '#include "bits.h"\nuint64_t look(const uint64_t *word) { return stele_load_acquire(word); }\n'
STORE = '#include "bits.h"\nvoid put(uint64_t *word, uint64_t value) { stele_store_release(word, value); }\n'
TORN = '#include "bits.h"\nuint64_t look(const uint64_t *word) { return *word; }\n'
COUNTED = ('#include "bits.h"\nuint64_t add(uint64_t *word)\n'
           '{ return __atomic_fetch_add((stele_word *)word, 1, __ATOMIC_RELAXED); }\n')
# x87 and SSE move 64 bits at once.
WHOLE = re.compile(r"\b(fildll|fistpll|movq|movlps|movsd|vmovq|vmovlps|vmovsd)\b.*\(%e[a-d]x\)|"
                   r"\b(fildll|fistpll|movq|movlps|movsd|vmovq|vmovlps|vmovsd)\b.*\(%e[sd]i\)")


def run(*command, **options):
    if not options.get("input"):
        options = {"stdin": subprocess.DEVNULL}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise AssertionError("%s\nended with %d:\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def sources():
    """By word of READERS, its files."""
    return {word: [os.path.join(LIB, name) for name in sorted(os.listdir(LIB))
                   if name.endswith(".c") and name[:-2].split("_")[0] == word] for word in READERS}


class Words(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.object = os.path.join(folder.name, "object.o")

    def compile(self, compiler, *words, text=None):
        """What it comes to: instructions, and the names it needs."""
        run(compiler, COMPILERS[compiler], *FLAGS, "-c", "-o", self.object, *words, input=text)
        return run("objdump", "-d", self.object), run("nm", "-u", self.object)

    def test_a_read_modify_write_is_noticed(self):
        for compiler in COMPILERS:
            self.assertIn("cmpxchg8b", self.compile(compiler, "-x", "c", "-", text=COUNTED)[0], compiler)

    def test_readers_read_modify_and_write_no_word(self):
        for word, paths in sources().items():
            self.assertTrue(paths, "no file of %s: the check would prove nothing" % word)
            for path in paths:
                for compiler in COMPILERS:
                    with self.subTest(path=os.path.basename(path), compiler=compiler):
                        code, names = self.compile(compiler, path)
                        self.assertIn("ret", code)
                        self.assertNotIn("cmpxchg8b", code)
                        self.assertNotIn("__atomic", names)

    def test_a_word_is_loaded_and_stored_by_one_instruction(self):
        for compiler in COMPILERS:
            for text in (LOAD, STORE):
                with self.subTest(compiler=compiler, text=text):
                    code, names = self.compile(compiler, "-x", "c", "-", text=text)
                    self.assertRegex(code, WHOLE)
                    self.assertNotIn("__atomic", names)

    def test_a_torn_load_is_noticed(self):
        for compiler in COMPILERS:
            self.assertNotRegex(self.compile(compiler, "-x", "c", "-", text=TORN)[0], WHOLE, compiler)


if __name__ == "__main__":
    unittest.main()
