"""What the system or the file refuses: exit 3, a sentence with the path, nothing changed."""
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from steletool import IS_WINDOWS, STELE, STELE_PATH, WAIT_S_MAX, SteleCase, holder, not_on_windows

PLAIN = "struct S { int32_t number; char name[28]; };"
IS_ROOT = os.geteuid() == 0


def verbs(path):
    """A well-formed command of each verb that opens a store."""
    return [("append", path, "number=1"), ("get", path, "0"), ("set", path, "0", "number=1"), ("info", path),
            ("info", path, "--json"), ("schema", path), ("verify", path), ("verify", path, "--json"), ("recover", path),
            ("recover", path, "--force"), ("resize", path, "--capacity", "100"), ("truncate", path, "5"),
            ("export", path, "--format", "csv")]


class Refusals(SteleCase):
    def refused(self, path, pattern):
        for words in verbs(path):
            with self.subTest(words=words):
                done = self.ends(3, *words)
                self.assertEqual(done.out, "")
                self.assertEqual(len(done.err.splitlines()), 1, done.err)
                self.assertTrue(done.err.startswith("stele %s: " % words[0]), done.err)
                self.assertIn(path, done.err)
                self.assertRegex(done.err, pattern)

    def test_a_missing_file(self):
        self.refused(self.path("members"), "is not there")
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_folder(self):
        self.refused(self.folder, "(?i)director|folder|not a (regular )?file")

    def test_a_zero_length_file(self):
        path = self.write("empty", "")
        self.refused(path, "(?i)not a (stele )?store|empty")
        self.assertEqual(os.path.getsize(path), 0)

    def test_files_that_are_no_store(self):
        for data in (b"x", b"a letter to somebody\n" * 300, bytes(1 << 20), os.urandom(3 << 20)):
            path = self.write("other", data)
            self.refused(path, "(?i)not a (stele )?store")
            with open(path, "rb") as file:
                self.assertEqual(file.read(), data)

    def test_a_file_that_begins_as_a_store_and_goes_on_as_something_else(self):
        path = self.write("other", b"\x89STELE\n\x1a" + bytes(9000))
        for words in verbs(path):
            self.assertIn("header", self.ends(1 if words[0] == "verify" else 3, *words).err)

    def test_a_newer_format(self):
        path = self.create("a", PLAIN)
        with open(path, "r+b") as file:
            for slot in (0, 4096):
                file.seek(slot + 8)
                file.write(b"\x63\0\0\0")
        self.refused(path, "version 99")

    def test_a_file_that_was_cut(self):
        path = self.create("a", PLAIN, "--capacity", "100000")
        self.ends(0, "truncate", path, "100000")
        os.truncate(path, 3 << 20)
        for words in verbs(path):
            done = self.ends(1 if words[0] == "verify" else 3, *words)
            self.assertIn(path, done.err)

    @not_on_windows("Wine works for the owner of its prefix only, and root is refused nothing")
    def test_a_store_of_somebody_else(self):
        path = self.create("a", PLAIN)
        self.ends(0, "append", path, "number=1")
        if not IS_ROOT:
            os.chmod(path, 0)
            self.refused(path, "(?i)permission|not allowed|may not")
            return
        self.as_nobody(path, 0o600, 3, ("get", path, "0"), "(?i)permission|not allowed|may not")
        self.as_nobody(path, 0o600, 3, ("append", path, "number=1"), "(?i)permission|not allowed|may not")
        self.as_nobody(path, 0o644, 3, ("append", path, "number=1"), "(?i)permission|not allowed|may not|read-only")
        self.as_nobody(path, 0o644, 0, ("info", path), "^$")
        self.as_nobody(path, 0o644, 0, ("get", path, "0"), "^$")
        self.as_nobody(path, 0o644, 3, ("create", path + "2", "--struct", PLAIN), "(?i)permission|not allowed|may not")
        self.assertEqual(self.count(path, 32), 1)

    def as_nobody(self, path, mode, code, words, pattern):
        with tempfile.TemporaryDirectory() as folder:
            for folder_of in (folder, self.folder):
                os.chmod(folder_of, 0o755)
            program = shutil.copy(STELE_PATH, folder)
            for name in os.listdir(os.path.join(os.environ["STELE_BUILD"], "lib")):
                if name.startswith("libstele.so") and not name.endswith(".p"):
                    shutil.copy(os.path.join(os.environ["STELE_BUILD"], "lib", name), folder)
            os.chmod(path, mode)
            line = " ".join("'%s'" % word for word in (program,) + words)
            done = subprocess.run(["su", "nobody", "-s", "/bin/sh", "-c", "LD_LIBRARY_PATH='%s' %s" % (folder, line)],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr, pattern)

    def test_a_file_above_the_limit_of_the_process(self):
        def limit():
            if IS_WINDOWS:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # stele does that for itself, Wine does not
            resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))

        path = self.create("a", PLAIN)
        self.ends(0, "append", path, "number=1")
        for words in (("create", self.path("b"), "--struct", PLAIN, "--capacity", "1M"), ("truncate", path, "1M"),
                      ("resize", path, "--capacity", "1M")):
            with self.subTest(words=words):
                done = subprocess.run([*STELE, *words], preexec_fn=limit, restore_signals=not IS_WINDOWS,
                                      capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
                self.assertIn(words[1], done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertEqual(os.listdir(self.folder), ["a"])
        self.assertEqual(self.count(path, 32), 1)
        self.ends(0, "verify", path)

    def test_a_full_disk(self):
        folder = self.path("small")
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], stderr=subprocess.DEVNULL,
                          check=False).returncode:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", folder], check=False)
        path = os.path.join(folder, "a")
        self.ends(0, "create", path, "--struct", PLAIN, "--quiet")
        self.ends(0, "append", path, "number=1")
        before = self.raw(path)
        for words in (("create", path + "2", "--struct", PLAIN, "--capacity", "1M"), ("truncate", path, "1M"),
                      ("resize", path, "--capacity", "1M")):
            with self.subTest(words=words):
                done = self.ends(3, *words)
                self.assertEqual(len(done.err.splitlines()), 1, done.err)
                self.assertRegex(done.err, "(?i)full|space|room")
        self.assertEqual(os.listdir(folder), ["a"])
        self.assertEqual(self.raw(path), before)
        self.assertEqual(self.ends(0, "append", path, "number=2").out, "1\n")
        self.ends(0, "verify", path)

    def test_a_writer_that_holds_the_lock_is_waited_for_and_then_told(self):
        path = self.create("a", PLAIN)
        self.ends(0, "append", path, "number=1")
        held = holder("hold", path)
        self.addCleanup(held.communicate)
        self.assertEqual(held.stdout.readline(), "held\n")
        for words in (("append", path, "number=2"), ("set", path, "0", "number=2"), ("truncate", path, "9"),
                      ("resize", path, "--capacity", "5000"), ("recover", path)):
            for wait in ("--wait=0", "--wait=50"):
                with self.subTest(words=words, wait=wait):
                    done = self.ends(3, *words, wait)
                    self.assertIn(path, done.err)
                    self.assertEqual(len(done.err.splitlines()), 1, done.err)
        self.assertEqual(self.ends(0, "get", path, "0", "--format", "csv").out, "1,\n")
        waiting = subprocess.Popen([*STELE, "append", path, "number=3", "--wait", "60000"], stdout=subprocess.PIPE)
        held.communicate()
        self.assertEqual(waiting.communicate()[0], b"1\n")
        self.assertEqual(waiting.returncode, 0)

    def test_a_second_ctrl_c_ends_a_wait_that_the_first_did_not_end(self):
        path = self.create("a", PLAIN)
        held = holder("hold", path)
        self.addCleanup(held.communicate)
        self.assertEqual(held.stdout.readline(), "held\n")
        with subprocess.Popen([*STELE, "append", path, "number=3", "--wait", "100000000"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as waiting:
            for _ in range(2):
                time.sleep(0.5)
                waiting.send_signal(signal.SIGINT)
            self.assertEqual(waiting.communicate(timeout=WAIT_S_MAX)[0], b"")
        self.assertIn(waiting.returncode, (130, -signal.SIGINT))
        held.communicate()
        self.assertEqual(self.ends(0, "append", path, "number=3").out, "0\n")

    def test_a_record_that_a_writer_does_not_finish_is_waited_for_and_then_told(self):
        path = self.create("a", PLAIN)
        self.ends(0, "append", path, "number=1")
        held = holder("hold", path)
        self.addCleanup(held.communicate)
        self.assertEqual(held.stdout.readline(), "held\n")
        live = json.loads(self.ends(0, "info", path, "--json").out)["regions"]["live"]
        with open(path, "r+b") as file: # the stripe of block 0 is odd: being stored
            file.seek(live["offset"] + 65536)
            word = int.from_bytes(file.read(8), "little")
            file.seek(live["offset"] + 65536)
            file.write((word | 1).to_bytes(8, "little"))
        for verb, rest in (("get", ("0",)), ("export", ("--format", "csv"))):
            done = self.ends(3, verb, path, *rest, "--wait", "70")
            self.assertIn("is being stored by a writer that does not go on; waited 70 ms", done.err)

    def test_a_writer_that_died_holding_the_lock_leaves_it_free(self):
        path = self.create("a", PLAIN)
        held = holder("die-holding", path)
        self.assertEqual(held.communicate()[0], "held\n")
        self.assertEqual(self.ends(0, "append", path, "number=1", "--wait=0").out, "0\n")


if __name__ == "__main__":
    unittest.main()
