"""The program of the main job, on a small store. tools/quickstart runs it on a million records."""
import os
import re
import subprocess
import tempfile
import unittest

from steletool import STELE, program

PROGRAM = program("tools", "quickstart_job")


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Quickstart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "members.stele")

    def test_the_job_leaves_a_store_that_the_command_line_reads(self):
        done = run(*PROGRAM, self.path, "20000")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("load", "read", "change", "append", "verify", "size"):
            self.assertRegex(done.stdout, "(?m)^%s .*[0-9]" % word)
        self.assertEqual(run(*STELE, "verify", self.path).returncode, 0)
        last = run(*STELE, "get", self.path, "-1", "--format", "json")
        self.assertEqual((last.returncode, last.stderr), (0, ""))
        self.assertRegex(last.stdout, '"id": ?"M0020000"')
        names = run(*STELE, "export", self.path, "-", "--format", "csv", "--fields", "name").stdout
        self.assertEqual(len(names.splitlines()), 20001)
        self.assertTrue(re.search("Renamed in transaction 199", names))

    def test_the_job_can_be_run_again(self):
        for _ in range(2):
            self.assertEqual(run(*PROGRAM, self.path, "100").returncode, 0)

    def test_the_job_does_not_touch_what_is_no_store(self):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("a letter")
        done = run(*PROGRAM, self.path, "100")
        self.assertEqual(done.returncode, 1)
        self.assertIn("quickstart: create: ", done.stderr)
        with open(self.path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "a letter")

    def test_the_job_says_how_it_is_used(self):
        self.assertEqual(run(*PROGRAM).returncode, 2)
        self.assertEqual(run(*PROGRAM, self.path, "none").returncode, 2)


if __name__ == "__main__":
    unittest.main()
