"""The reporter itself: what it must not let pass."""
import contextlib
import importlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import time
import types
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATH = os.path.join(TOP, "tools", "report.py")
spec = importlib.util.spec_from_file_location("report", PATH)
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)

GOOD = """[==========] Running 2 test(s).
[ RUN      ] first
seed 5
[       OK ] first
[ RUN      ] second
[       OK ] second
[==========] 2 test(s) run.
[  PASSED  ] 2 test(s).
"""
SKIPPING = GOOD.replace("[       OK ] second", "[  SKIPPED ] second")
FAILING = GOOD.replace("[       OK ] second", "[  FAILED  ] second") + """[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] second
"""
PINNED = {"unit/a": (2, 9)}

PYTHON_SUITE = """
import unittest

class A(unittest.TestCase):
    def test_good(self): pass
    def test_bad(self): self.assertTrue(False)
    def test_error(self): {}["a"]
    def test_skipped(self): self.skipTest("no reason")
    def test_bad_part(self):
        for i in range(3):
            with self.subTest(i=i): self.assertNotEqual(i, 1)
    @unittest.expectedFailure
    def test_unexpected(self): pass

class B(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("all of B")
    def test_held_back(self): pass

class C(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("broken")
    def test_never_begun(self): pass
"""


class Judge(unittest.TestCase):
    CASES = [
        # what               text      exit hung   passed skipped failures, a word of the reason
        ("all good",         GOOD,      0, False,  2, 0, []),
        ("one failed",       FAILING,   1, False,  1, 0, [("second", "failed")]),
        ("failed, exit 0",   FAILING,   0, False,  1, 0, [("second", "failed")]),
        ("silent",           "",        0, False,  0, 0, [("(suite)", "ran no test")]),
        ("only noise",       "hello\n", 0, False,  0, 0, [("(suite)", "ran no test")]),
        ("late report",      GOOD,      1, False,  2, 0, [("(suite)", "exit code 1")]),
        ("late crash",       GOOD,    -11, False,  2, 0, [("(suite)", "signal 11")]),
        ("crash in second",  GOOD[:GOOD.index("[       OK ] second")], -6, False, 1, 0, [("second", "signal 6")]),
        ("exit in second",   GOOD[:GOOD.index("[       OK ] second")], 0, False, 1, 0, [("second", "did not finish")]),
        ("hang in second",   GOOD[:GOOD.index("[       OK ] second")], -9, True, 1, 0, [("second", "hung")]),
        ("one too few",      GOOD[:GOOD.index("[ RUN      ] second")], 0, False, 1, 0, [("(suite)", "line 9 pins 2")]),
        ("one too many",     GOOD + "[ RUN      ] x\n[       OK ] x\n", 0, False, 3, 0, [("(suite)", "has 3 test")]),
        ("twice",            GOOD + "[ RUN      ] first\n[       OK ] first\n", 0, False, 2, 0, [("first", "two tests")]),
        ("skip not allowed", SKIPPING,  0, False,  1, 1, [("second", "does not allow")]),
    ]

    def test_what_fails_and_what_passes(self):
        for what, text, exit_code, is_hung, passed, skipped, failures in self.CASES:
            with self.subTest(what=what):
                got = report.judge("unit/a", text, exit_code, is_hung, PINNED, set())
                self.assertEqual(got[:2], (passed, skipped))
                self.assertEqual([test for test, _ in got[2]], [test for test, _ in failures])
                for (_, why), (_, word) in zip(got[2], failures):
                    self.assertIn(word, why)

    def test_an_allowed_skip_passes_and_is_counted(self):
        for allowed in ("second", "*"):
            self.assertEqual(report.judge("unit/a", SKIPPING, 0, False, PINNED, {("unit/a", allowed)}), (1, 1, []))

    def test_a_suite_that_is_not_pinned_fails_and_names_the_line_to_add(self):
        failures = report.judge("unit/b", GOOD, 0, False, PINNED, set())[2]
        self.assertIn("unit/b 2", failures[0][1])

    def test_a_line_that_shares_its_row_with_other_output_is_still_read(self):
        self.assertEqual(report.judge("unit/a", GOOD.replace("seed 5\n", "seed 5 "), 0, False, PINNED, set())[2], [])


class Shown(unittest.TestCase):
    def test_a_failed_test_is_shown_without_what_others_printed(self):
        text = "[ RUN      ] a\nfine\n[       OK ] a\n[ RUN      ] b\nwhy\nit broke\n[  FAILED  ] b\n[ RUN      ] c\n"
        self.assertEqual(report.lines_of(text, ["b"]), ["[ RUN      ] b", "why", "it broke", "[  FAILED  ] b"])

    def test_where_the_suite_failed_its_end_is_shown(self):
        text = "".join("line %d\n" % i for i in range(report.SHOWN_LINES_MAX + 1))
        lines = report.lines_of(text, ["(suite)"])
        self.assertEqual(len(lines), report.SHOWN_LINES_MAX + 1)
        self.assertEqual((lines[0], lines[-1]), ("... 1 lines before", text.splitlines()[-1]))


class Script(unittest.TestCase):
    def test_python_suites_print_what_the_reporter_reads(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "test_sample.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(PYTHON_SUITE)
            done = subprocess.run([sys.executable, PATH, "script", path], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        results, repeated = report.read_marks(done.stdout)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(repeated, [])
        results = {name: word for name, word in results.items() if "setUpClass" not in name}
        self.assertEqual(results, {
            "A.test_good": "OK", "A.test_bad": "FAILED", "A.test_error": "FAILED", "A.test_skipped": "SKIPPED",
            "A.test_bad_part": "FAILED", "A.test_unexpected": "FAILED", "B.test_held_back": "SKIPPED",
            "C.test_never_begun": "FAILED"})

    def test_the_last_line_counts_and_the_exit_code_tells(self):
        good = {"variant": "v", "build_seconds": 1, "suites": [
            {"suite": "unit/a", "passed": 3, "skipped": 1, "failures": [], "seconds": 1}]}
        bad = {"variant": "w", "build_seconds": 1, "suites": [
            {"suite": "unit/a", "passed": 2, "skipped": 0, "failures": [["x", "failed"]], "seconds": 1}]}
        unbuilt = {"variant": "x", "build_seconds": 1, "suites": [report.failure_of("build", "no compiler")]}
        for outcomes, code, line in (([good], 0, "3 passed, 0 failed, 1 skipped"),
                                     ([good, bad], 1, "5 passed, 1 failed, 1 skipped"),
                                     ([good, unbuilt], 1, "3 passed, 1 failed, 1 skipped"),
                                     ([], 1, "0 passed, 1 failed, 0 skipped")):
            with contextlib.redirect_stdout(io.StringIO()) as output:
                self.assertEqual(report.total(outcomes, 61), code)
            self.assertEqual(output.getvalue().splitlines()[-1], line)


class Skips(unittest.TestCase):
    def allowed(self, text):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "tests"))
            with open(os.path.join(folder, report.ALLOWED_PATH), "w", encoding="utf-8") as file:
                file.write(text)
            return report.read_allowed(folder)

    def test_a_skip_is_allowed_on_its_platform_only(self):
        for word, names in (("any", {"linux64", "linux32", "windows"}), ("linux", {"linux64", "linux32"}),
                            ("linux32", {"linux32"}), ("windows", {"windows"})):
            with self.subTest(word=word):
                allowed = self.allowed("# comment\n%s unit/a second  a reason\n" % word)
                self.assertEqual({name for name, tests in allowed.items() if ("unit/a", "second") in tests}, names)

    def test_a_line_without_a_platform_or_a_reason_is_refused(self):
        for line in ("unit/a second some reason", "macos unit/a second reason", "any unit/a second"):
            with self.subTest(line=line), self.assertRaises(SystemExit):
                self.allowed(line + "\n")


class Variants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, os.path.join(TOP, "tools"))
        cls.matrix = importlib.import_module("matrix")

    def test_every_variant_is_explained(self):
        with open(os.path.join(TOP, "tests", "TESTING.md"), encoding="utf-8") as file:
            rows = re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \| (.*) \|$", file.read(), re.M)
        explained = {name: (suites, part) for name, suites, part in rows}
        for way in self.matrix.VARIANTS:
            suites = way.suites.replace(",", ", ") or "compiled and linked"
            part = (way.scale + " %" if way.scale else "all") if way.suites else "none"
            self.assertEqual(explained.get(way.name),
                             ("all" if suites == "unit, script, once" else suites, part), way.name)

    def test_what_is_left_out_exists(self):
        pinned = report.read_pinned(TOP)
        self.assertEqual([name for way in self.matrix.VARIANTS for name in way.without if name not in pinned], [])

    def test_a_folder_is_built_once_also_where_two_variants_share_it(self):
        """Suites of the first are running when the second begins: a program that is linked anew is missing for them."""
        shared = [way for way in self.matrix.VARIANTS if way.folder == "native"]
        self.assertEqual([way.name for way in shared], ["native", "memcheck"])
        with tempfile.TemporaryDirectory() as folder:
            matrix = self.matrix.Matrix(shared, folder, 1)
            steps = []
            matrix.call = lambda log, *command, **environment: steps.append(command[0]) or True
            for way in shared:
                self.assertIsNone(matrix.make(way))
        self.assertEqual(steps, ["meson", "nice"])

    def test_an_unknown_variant_is_refused(self):
        done = subprocess.run([sys.executable, os.path.join(TOP, "tools", "matrix.py"), "win65"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("win65", done.stdout)
        self.assertIn("win64", done.stdout)


class Processes(unittest.TestCase):
    """Of a suite that hangs, also those that left its group."""
    SUITE = "import subprocess, time\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\ntime.sleep(600)\n"

    def test_a_hung_suite_takes_its_processes_along(self):
        args = types.SimpleNamespace(build=".", variant="v", suites="unit", name=[], without=[], wrap="",
                                     patience=1, scale="")
        test = {"cmd": [sys.executable, "-c", self.SUITE], "env": {}, "timeout": 1}
        runner = report.Runner(args)
        seen = []
        end_group = runner.end_group

        def look_and_end(pid):
            seen.extend(report.processes_of(runner.groups[pid]))
            end_group(pid)

        runner.end_group = look_and_end
        with contextlib.redirect_stdout(io.StringIO()) as output:
            outcome = runner.run_one("unit/a", test)
        self.assertIn("hung", output.getvalue())
        self.assertEqual(len(outcome["failures"]), 2)
        self.assertEqual(len(seen), 2)
        self.assertEqual([pid for pid in seen if self.is_running(pid)], [])

    @staticmethod
    def is_running(pid):
        for _ in range(200):
            try:
                with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        return False
            except OSError:
                return False
            time.sleep(0.05)
        return True

    def test_a_wrapper_stands_before_programs_and_not_before_python(self):
        args = types.SimpleNamespace(build=".", variant="v", suites="unit", name=[], without=[],
                                     wrap="watch -q", patience=1, scale="")
        test = {"cmd": ["program"], "env": {"STELE_WRAPPER": "wine words"}, "timeout": 1}
        runner = report.Runner(args)
        self.assertEqual(runner.command("unit/a", test), ["watch", "-q", "wine", "words", "program"])
        self.assertEqual(runner.command("script/a", test), ["program"])


if __name__ == "__main__":
    unittest.main()
