"""tools/torture: what it must tell of suites that fail, hang or are cut, with a build folder that is made up."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TORTURE = os.path.join(TOP, "tools", "torture")
WAIT_S_MAX = 120

# What stands for meson: it says that the folder has these suites.
MESON = """#!/bin/sh
cat "$3/suites.json"
"""
# What stands for a suite of @1 tests: it prints what a suite prints. The body may end it or fail.
SUITE = """
import os, sys, time
print("seed: STELE_SEED=" + os.environ.get("STELE_SEED", "none"), "scale " + os.environ["STELE_TEST_SCALE"], flush=True)
with open({log!r}, "a") as file:
    file.write("{name} " + os.environ.get("STELE_SEED", "none") + "\\n")
word = "OK"
for number in range({count}):
    print("[ RUN      ] test_%d" % number, flush=True)
    {body}
    print("[ %8s ] test_%d" % (word, number), flush=True)
sys.exit(word != "OK")
"""


def pinned(name):
    with open(os.path.join(TOP, "tests", "pinned_counts.txt"), encoding="utf-8") as file:
        return int(re.search(r"^%s (\d+)$" % name, file.read(), re.M).group(1))


class Torture(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = place.name
        self.log = os.path.join(self.folder, "log")
        self.write("bin/meson", MESON)
        os.chmod(os.path.join(self.folder, "bin/meson"), 0o755)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def begin(self, suites, *words, timeout=60, jobs=2):
        """Start it on a build with @suites: (label/word, body)."""
        listed = []
        for name, body in suites:
            label, word = name.split("/")
            code = SUITE.format(log=self.log, name=name, count=pinned(name), body=body)
            listed.append({"name": word, "suite": [label], "env": {}, "timeout": timeout,
                           "cmd": [sys.executable, "-c", code]})
        self.write("build/suites.json", json.dumps(listed))
        environment = dict(os.environ, PATH=os.path.join(self.folder, "bin") + ":" + os.environ["PATH"],
                           STELE_BUILD_DIR=self.folder)
        environment.pop("STELE_TEST_SCALE", None)
        environment.pop("STELE_SEED", None)
        return subprocess.Popen([TORTURE, *words, "--build", os.path.join(self.folder, "build"), "--jobs", str(jobs),
                                 "--report", os.path.join(self.folder, "report.md")], stdin=subprocess.DEVNULL,
                                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                # also where the tests run in the background, whose processes ignore it
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    def torture(self, suites, *words, code, **options):
        """Run it to its end; what it printed."""
        process = self.begin(suites, *words, **options)
        output = process.communicate(timeout=WAIT_S_MAX)[0]
        self.assertEqual(process.returncode, code, output)
        return output

    def drawn(self):
        """Suite and seed of every run."""
        with open(self.log, encoding="utf-8") as file:
            return [line.split() for line in file]

    def report(self):
        with open(os.path.join(self.folder, "report.md"), encoding="utf-8") as file:
            return file.read()

    def test_a_failing_suite_is_told_with_its_seed_and_the_line_that_runs_it_again(self):
        body = "if number == 1: word = 'FAILED'; print('it broke')"
        counts = "print('7 states, 3 runs'); print('x: 4 runs'); print('of 5 runs')"
        output = self.torture([("unit/model", counts), ("unit/bits", "pass"), ("unit/txn", body)], "--rounds", "1",
                              code=1)
        seeds = dict(self.drawn())
        self.assertEqual(set(seeds), {"unit/model", "unit/txn"}, "bits has no long form")
        again = "STELE_SEED=%s STELE_TEST_SCALE=100 ./tools/report.py run " % seeds["unit/txn"]
        for text in (output, self.report()):
            self.assertIn("test_1: failed", text)
            self.assertIn(again, text)
            self.assertRegex(text, r"(?m)^\| `unit/txn` \| 1 \| +\| 1 \| 0 \|")
            self.assertRegex(text, r"(?m)^\| `unit/model` \| 1 \| %d runs, %d states \| 0 \| 0 \|"
                             % (4 * pinned("unit/model"), 7 * pinned("unit/model")))
        kept = os.path.join(self.folder, "torture", "unit-txn-%s.log" % seeds["unit/txn"])
        with open(kept, encoding="utf-8") as file:
            text = file.read()
        self.assertIn(again, text)
        self.assertIn("it broke", text)

    def test_every_run_has_a_seed_of_its_own(self):
        self.torture([("unit/model", "pass"), ("unit/replay", "pass")], "--rounds", "3", code=0)
        drawn = self.drawn()
        self.assertEqual(sorted(name for name, _ in drawn), ["unit/model"] * 3 + ["unit/replay"] * 3)
        self.assertEqual(len({seed for _, seed in drawn}), 6)

    def test_a_suite_that_draws_by_itself_is_given_no_seed(self):
        self.torture([("script/dump_compare", "pass")], "--rounds", "1", code=0)
        self.assertEqual(self.drawn(), [["script/dump_compare", "none"]])

    def test_repetitions_are_raised_as_far_as_a_run_is_short(self):
        output = self.torture([("unit/model", "pass")], "--rounds", "2", code=0, jobs=1)
        self.assertIn("STELE_TEST_SCALE=100\n", output)
        self.assertIn("STELE_TEST_SCALE=1000\n", output)

    def test_crashes_and_hangs_are_failures(self):
        output = self.torture([("unit/model", "os.abort()"), ("unit/txn", "time.sleep(600)")], "--rounds", "1",
                              code=1, timeout=1)
        self.assertIn("signal 6", output)
        self.assertIn("hung", output)

    def test_time_that_is_over_cuts_off_what_runs_and_keeps_what_failed(self):
        body = "word = 'FAILED' if number == 0 else 'OK'; number and time.sleep(600)"
        output = self.torture([("unit/txn", "time.sleep(600)"), ("unit/replay", body)], "0.05", code=1)
        self.assertRegex(output, r"(?m)^\| `unit/txn` \| 0 \| +\| 0 \| 1 \|")
        self.assertRegex(output, r"(?m)^\| `unit/replay` \| 0 \| +\| 1 \| 1 \|")
        self.assertIn("test_0: failed", output)

    def test_ctrl_c_leaves_the_report_and_no_process(self):
        """It is interrupted once the suite has begun for the second time."""
        body = "os.path.exists(%r) and time.sleep(600); open(%r, 'w')" % (self.log + ".second", self.log + ".second")
        process = self.begin([("unit/model", body)], "5", jobs=1)
        deadline = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < deadline and not (os.path.exists(self.log) and len(self.drawn()) == 2):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=WAIT_S_MAX)[0]
        self.assertEqual(process.returncode, 130, output)
        self.assertRegex(output, r"(?m)^\| `unit/model` \| 1 \|")
        self.assertIn("Interrupted", self.report())

    def test_a_time_in_which_nothing_ends_proves_nothing(self):
        self.assertIn("no run", self.torture([("unit/txn", "time.sleep(600)")], "0.02", code=1))

    def test_where_nothing_has_a_long_form_it_fails(self):
        self.assertIn("no suite", self.torture([("unit/bits", "pass")], "--rounds", "1", code=1))

    def test_every_pattern_of_a_suite_that_exists_is_of_one(self):
        """A name without a star is that of a suite that is pinned: none is lost by a new name."""
        with open(TORTURE, encoding="utf-8") as file:
            names = re.findall(r'^    \("([\w/]+)", ', file.read(), re.M)
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertGreater(pinned(name), 0, name)


if __name__ == "__main__":
    unittest.main()
