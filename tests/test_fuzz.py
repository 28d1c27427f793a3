"""Hostile stores and schemas by the hundred thousand (tests/fuzz): changed by chance, their checksums made right.

The build with clang and its sanitizers has libFuzzer, which is guided by what it reached; the others change the seeds
without a guide. Inputs that once broke something are in tests/data/fuzz and are replayed by each.

STELE_FUZZ_RUNS is how many executions of each there are instead; STELE_SEED the seed.
"""
import os
import random
import re
import shutil
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
from steletool import HERE, IS_WINDOWS, SCALE, TOP, SteleCase, program  # noqa: E402

KEPT = os.path.join(TOP, "tests", "data", "fuzz")
RUNS_GUIDED, RUNS_BLIND = 100000, 30000
INPUT_BYTES_MAX = 96 * 1024
# No execution of ours takes a thousandth of that; it ends what hangs.
SECONDS_PER_RUN, SECONDS_LEAST = 0.2, 600


def words_of(name):
    return program("tests", "fuzz", "fuzz_" + name)


def is_guided(name):
    """Whether libFuzzer is in it: it explains itself."""
    done = subprocess.run([*words_of(name), "-help=1", "-runs=0"], capture_output=True, text=True, timeout=60,
                          check=False)
    return "Usage:" in done.stdout + done.stderr


def kept(name):
    folder = os.path.join(KEPT, name)
    return [os.path.join(folder, file) for file in sorted(os.listdir(folder))]


class Fuzz(SteleCase):
    def run_program(self, name, *words, timeout=120):
        done = subprocess.run([*words_of(name), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, check=False,
                              cwd=self.folder)
        if done.returncode:
            self.fail(f"{name} {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-6000:]}\n"
                      + self.keep_artifacts(name))
        return done.stdout

    def keep_artifacts(self, name):
        """What broke it, where it stays: libFuzzer leaves it in the folder it runs in."""
        said = []
        for file in os.listdir(self.folder):
            if re.match("(crash|leak|oom|timeout|slow-unit)-", file):
                place = os.path.join(HERE.folder, "tests", "fuzz", name + "-" + file)
                shutil.copyfile(self.path(file), place)
                said.append("kept: " + place)
        return "\n".join(said)

    def fuzz(self, name):
        """Run it; the numbers of its last line."""
        guided = is_guided(name)
        given = os.environ.get("STELE_FUZZ_RUNS")
        runs = int(given) if given else RUNS_GUIDED if guided else max(200, RUNS_BLIND * min(SCALE, 100) // 100)
        if IS_WINDOWS and not given:
            runs //= 4  # Wine opens a file in as many milliseconds as Linux in tenths
        seed = int(os.environ.get("STELE_SEED") or random.SystemRandom().randrange(1, 1 << 31)) % (1 << 31)
        print(f"{name}: {runs} runs, STELE_SEED={seed}, {'guided' if guided else 'blind'}", flush=True)
        inputs = self.path("inputs")
        os.mkdir(inputs)
        for path in kept(name):
            shutil.copy(path, inputs)
        words = [f"-runs={runs}", f"-seed={seed}", inputs]
        if guided:
            words += [f"-max_len={INPUT_BYTES_MAX}", "-malloc_limit_mb=17", "-rss_limit_mb=1024", "-verbosity=0"]
            if given:
                words += ["-timeout=10", "-report_slow_units=1"]
        out = self.run_program(name, *words, timeout=max(SECONDS_LEAST, runs * SECONDS_PER_RUN))
        counts = re.search(r"^(?:Opened|Taken): (.*)$", out, re.M)
        self.assertTrue(counts, out[-2000:])
        print(f"{name}: {counts.group(1)}", flush=True)
        return runs, [int(number) for number in re.findall(r"\d+", counts.group(1))]

    def test_inputs_that_once_broke_something_are_survived(self):
        for name in ("open", "schema"):
            files = kept(name)
            self.assertTrue(files)
            self.run_program(name, *files)

    def test_stores_that_lie_behind_right_checksums_open_or_are_refused(self):
        runs, (to_read, to_write, by_force) = self.fuzz("open")
        # Many lies are so small that a store is left: else the checks of the header would be all that is met.
        self.assertGreater(to_read, runs // 100)
        self.assertGreater(to_write, runs // 200)
        self.assertGreater(by_force, runs // 200)

    def test_schemas_that_lie_are_schemas_or_refused(self):
        runs, (texts, encoded) = self.fuzz("schema")
        self.assertGreater(texts, runs // 200)
        self.assertGreater(encoded, runs // 400)


if __name__ == "__main__":
    unittest.main()
