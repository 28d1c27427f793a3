#!/usr/bin/env python3
"""The one reporter: runs suites, reads what they print, and says what passed.

  report.py run BUILD [NAME...]    run the suites of a build folder (all, or those named)
  report.py script FILE [WORD...]  run one Python suite, or the tests with WORD in their name; prints as cmocka does

A suite fails when a test function fails, when it crashes, hangs or prints nothing, when its exit code says so,
when it has more or fewer test functions than tests/pinned_counts.txt says, and when a test skips that is not in
tests/allowed_skips.txt for the platform that it was built for. The last line is always `N passed, N failed,
N skipped`; the exit code is 1 when anything failed.
"""
import argparse
import concurrent.futures
import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PINNED_PATH = os.path.join("tests", "pinned_counts.txt")
ALLOWED_PATH = os.path.join("tests", "allowed_skips.txt")
PLATFORMS = {  # words of tests/allowed_skips.txt
    "any": {"linux64", "linux32", "windows"},
    "linux": {"linux64", "linux32"},
    "linux64": {"linux64"},
    "linux32": {"linux32"},
    "windows": {"windows"},
}
FAST_PLACE = "/dev/shm"  # files in memory; a program of another system cannot know of it
MARK = re.compile(r"\[\s*(RUN|OK|FAILED|SKIPPED)\s*\] (\S.*)$")
SHOWN_LINES_MAX = 120


# ---- what a suite printed ----------------------------------------------------------------------

def read_marks(text):
    """Results by test, in order of appearance ("RUN" where a test began and said no more), and how often each ran."""
    results = {}
    repeated = []
    for line in text.splitlines():
        found = MARK.search(line)
        if not found:
            continue
        word, name = found.group(1), found.group(2).strip()
        if word == "RUN":
            if name in results:
                repeated.append(name)
            results[name] = "RUN"
        elif name in results:  # the summary at the end repeats failures, and counts them in the same form
            results[name] = word
    return results, repeated


def judge(suite, text, exit_code, is_hung, pinned, allowed, wall_s_max=0):
    """What a suite's output and end amount to: passed and skipped counts, and failures as (test, why)."""
    results, repeated = read_marks(text)
    failures = [(name, "failed") for name, word in results.items() if word == "FAILED"]
    cut = [name for name, word in results.items() if word == "RUN"]
    if is_hung:
        end = "hung: killed after %d s" % wall_s_max
    elif exit_code < 0:
        end = "crashed: signal %d" % -exit_code
    else:
        end = "ended with exit code %d" % exit_code
    failures += [(name, "began and did not finish: the suite " + end) for name in cut]
    if not results:
        failures.append(("(suite)", "ran no test: it " + end))
    elif exit_code != 0 and not failures:
        failures.append(("(suite)", "every test passed, but the suite " + end))
    failures += [(name, "two tests of one suite have this name") for name in repeated]

    skipped = [name for name, word in results.items() if word == "SKIPPED"]
    failures += [(name, "skipped, and %s does not allow it on this platform" % ALLOWED_PATH)
                 for name in skipped if (suite, name) not in allowed and (suite, "*") not in allowed]
    is_complete = not is_hung and not cut and results
    function_count = sum(" " not in name for name in results)  # "setUpClass (…)" failed, but is no test function
    if suite not in pinned:
        failures.append(("(suite)", "not in %s: add the line `%s %d`" % (PINNED_PATH, suite, function_count)))
    elif is_complete and function_count != pinned[suite][0]:
        failures.append(("(suite)", "has %d test functions, %s line %d pins %d: mend that line if this was meant"
                         % (function_count, PINNED_PATH, pinned[suite][1], pinned[suite][0])))
    passed_count = sum(word == "OK" for word in results.values())
    return passed_count, len(skipped), failures


def lines_of(text, tests):
    """Of what a suite printed, what says why @tests failed: theirs alone, or its end where that is not known."""
    lines, shown, is_theirs = text.splitlines(), [], False
    for line in lines:
        found = MARK.search(line)
        if found and found.group(1) == "RUN":
            is_theirs = found.group(2).strip() in tests
        if is_theirs:
            shown.append(line)
        if found and found.group(1) != "RUN":
            is_theirs = False
    shown = shown or lines
    left = len(shown) - SHOWN_LINES_MAX
    return (["... %d lines before" % left] if left > 0 else []) + shown[-SHOWN_LINES_MAX:]


def read_table(path):
    """Lines of words, with their numbers; # starts a comment."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if words:
                yield number, words


def read_pinned(top):
    pinned = {}
    for number, words in read_table(os.path.join(top, PINNED_PATH)):
        if len(words) != 2 or not words[1].isdigit() or words[0] in pinned:
            sys.exit("%s:%d: expected a suite, once, and its number of test functions" % (PINNED_PATH, number))
        pinned[words[0]] = (int(words[1]), number)
    return pinned


def read_allowed(top):
    """By platform, the (suite, test) that may skip."""
    allowed = {name: set() for name in PLATFORMS["any"]}
    for number, words in read_table(os.path.join(top, ALLOWED_PATH)):
        if len(words) < 4 or words[0] not in PLATFORMS:
            sys.exit("%s:%d: expected a platform (%s), a suite, a test (or *) and a reason"
                     % (ALLOWED_PATH, number, ", ".join(PLATFORMS)))
        for name in PLATFORMS[words[0]]:
            allowed[name].add((words[1], words[2]))
    return allowed


# ---- Windows on this system --------------------------------------------------------------------

class Wine:
    """
    A Windows of Wine in @folder, kept running while the suites run.

    The first program of a Windows that does not run starts its services, which then keep that program's standard error
    open: whoever reads it waits for ever. So a program of ours is the first, and the last: when this process dies,
    its input ends, it goes, and Wine ends by itself.
    """

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.stamp = os.path.join(self.folder, "stamp")
        self.keeper = None

    def environment(self):
        environment = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "DISPLAY")}
        environment.update(WINEPREFIX=self.folder, WINEDEBUG="-all",
                           WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe=")
        return environment

    def call(self, *words, check=True):
        # A file, no pipe: see above. A session: Ctrl-C is ours to handle.
        with tempfile.TemporaryFile() as output:
            process = subprocess.run(words, check=False, env=self.environment(), stdin=subprocess.DEVNULL,
                                     stdout=output, stderr=subprocess.STDOUT, timeout=300, start_new_session=True)
            output.seek(0)
            text = output.read().decode("utf-8", "replace").strip()
        if check and process.returncode:
            raise OSError("%s ended with %d: %s" % (" ".join(words), process.returncode, text))
        return text

    def up(self):
        """Make it unless it is there; one that another user, or another Wine, made is thrown away."""
        wanted = self.call("wine", "--version") + "\n"
        if os.path.isdir(self.folder) and not self.is_made(wanted):
            if os.stat(self.folder).st_uid == os.geteuid():
                self.down()
            shutil.rmtree(self.folder)
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder)
            self.call("wineboot", "-i")
            with open(self.stamp, "w", encoding="utf-8") as file:
                file.write(wanted)
        self.keeper = subprocess.Popen(["wine", "cmd", "/q"], env=self.environment(), stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        self.keeper.stdin.write(b"echo it runs\r\n")
        self.keeper.stdin.flush()
        while True:
            line = self.keeper.stdout.readline()
            if b"it runs" in line:
                return
            if not line:
                raise OSError("Wine does not run: `wine cmd` ended with %d" % self.keeper.wait())

    def is_made(self, wanted):
        try:
            with open(self.stamp, encoding="utf-8") as file:
                return file.read() == wanted and os.stat(self.folder).st_uid == os.geteuid()
        except OSError:
            return False

    def down(self):
        """End it, and with it all that runs there."""
        self.call("wineserver", "-k", check=False)
        if self.keeper:
            self.keeper.kill()
            self.keeper.wait()
            self.keeper.stdin.close()
            self.keeper.stdout.close()
            self.keeper = None


# ---- running suites ----------------------------------------------------------------------------

def processes_of(mark):
    """Processes of ours that were started with the variable STELE_SUITE=@mark, whatever group they are in."""
    wanted = b"STELE_SUITE=" + os.fsencode(mark)
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and int(name) != os.getpid():
                with open("/proc/%s/environ" % name, "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        yield int(name)


class Runner:
    """Runs the suites of one build folder; @args as `run` has them."""

    lock = threading.Lock()  # of all: one speaks at a time

    def __init__(self, args):
        self.args = args
        self.pinned = read_pinned(TOP)
        self.allowed = read_allowed(TOP)
        self.groups = {}  # process -> mark
        self.is_stopped = False
        self.prefix = None  # of Wine
        self.peers = ""  # builds for other systems, as tests/test_platforms.py wants them
        self.futures = []
        self.missing = []

    def suites(self):
        """(name, test) of what meson knows, as label/word."""
        listed = subprocess.run(["meson", "introspect", "--tests", self.args.build], check=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
        labels = self.args.suites.split(",")
        found = []
        for test in json.loads(listed):
            label = test["suite"][0].split(":")[-1]
            name = label + "/" + test["name"]
            if label in labels and name not in self.args.without:
                found.append((name, test))
        return found

    def environment(self, test, scratch):
        environment = dict(os.environ)
        environment.update(test["env"])
        environment.update(TMPDIR=scratch, CMOCKA_MESSAGE_OUTPUT="STDOUT", PYTHONDONTWRITEBYTECODE="1",
                           STELE_VARIANT=self.args.variant, STELE_SUITE=scratch, LC_ALL="C.UTF-8")
        if self.args.scale:
            environment.setdefault("STELE_TEST_SCALE", self.args.scale)
        if self.prefix:
            environment["WINEPREFIX"] = self.prefix
        if self.peers:
            environment["STELE_PEERS"] = self.peers
        if test["env"].get("STELE_WRAPPER") and os.access(FAST_PLACE, os.W_OK):
            environment["STELE_FAST_PLACE"] = tempfile.mkdtemp(prefix="stele-test-", dir=FAST_PLACE)
        return environment

    def command(self, name, test):
        """meson tells a suite's command without the words that its programs need before them."""
        if not name.startswith("unit/"):
            return list(test["cmd"])
        return shlex.split(self.args.wrap) + shlex.split(test["env"].get("STELE_WRAPPER", "")) + list(test["cmd"])

    def execute(self, name, test, wall_s_max, **variables):
        """Run a suite with @variables added to its environment: what it printed, its exit code, whether it hung."""
        scratch = tempfile.mkdtemp(prefix="stele-test-")
        os.chmod(scratch, 0o755)  # tests of access rights run as another user inside
        environment = dict(self.environment(test, scratch), **variables)
        is_hung = False
        # A file, no pipe: a child that outlives the suite must not keep the reporter waiting.
        with tempfile.TemporaryFile() as output:
            try:
                process = self.start(self.command(name, test), environment, output)
                try:
                    process.wait(wall_s_max)
                except subprocess.TimeoutExpired:
                    is_hung = True
                self.end_group(process.pid)
                process.wait()
            finally:
                for folder in (scratch, environment.get("STELE_FAST_PLACE")):
                    if folder:
                        shutil.rmtree(folder, ignore_errors=True)
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        return text, process.returncode, is_hung

    def allowed_of(self, test):
        return self.allowed[test["env"].get("STELE_PLATFORM", "linux64")]

    def run_one(self, name, test):
        began = time.monotonic()
        wall_s_max = test["timeout"] * self.args.patience
        text, exit_code, is_hung = self.execute(name, test, wall_s_max)
        passed, skipped, failures = judge(name, text, exit_code, is_hung, self.pinned, self.allowed_of(test), wall_s_max)
        seconds = time.monotonic() - began
        with self.lock:
            self.show(name, text, passed, skipped, failures, seconds)
        return {"suite": name, "passed": passed, "skipped": skipped, "failures": failures, "seconds": seconds}

    def start(self, command, environment, output):
        with self.lock:
            if self.is_stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(command, cwd=environment["TMPDIR"], env=environment,
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            self.groups[process.pid] = environment["STELE_SUITE"]
        return process

    def end_group(self, pid):
        """End what a suite started: its group, and what has left the group."""
        mark = self.groups.pop(pid, None)
        if not mark:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        for left in processes_of(mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(left, signal.SIGKILL)

    def show(self, name, text, passed, skipped, failures, seconds):
        print("%s  %-28s %4d passed %3d failed %3d skipped %7.1f s"
              % (self.args.variant, name, passed, len(failures), skipped, seconds))
        for test, why in failures:
            print("  FAILED %s %s: %s" % (name, test, why))
        if failures:
            for line in lines_of(text, [test for test, _ in failures]):
                print("    | " + line)
        sys.stdout.flush()

    def submit(self, pool):
        """Hand the suites to @pool, longest first, so that one long suite does not run alone at the end."""
        suites = self.suites()
        labels = self.args.suites.split(",")
        built = {name for name, _ in suites}
        if self.args.name:
            for name in self.args.name:
                if not any(name in (full, full.split("/")[1]) for full in built):
                    sys.exit("no suite called %s: there are %s" % (name, ", ".join(sorted(built)) or "none"))
            suites = [(name, test) for name, test in suites
                      if name in self.args.name or name.split("/")[1] in self.args.name]
        else:
            self.missing = [name for name in self.pinned if name.split("/")[0] in labels and name not in built
                            and name not in self.args.without]
        suites.sort(key=lambda item: -item[1]["timeout"])
        self.futures = [pool.submit(self.run_one, name, test) for name, test in suites]

    def results(self):
        """Of all that was submitted, once it has ended."""
        results = [future.result() for future in self.futures]
        for name in self.missing:
            why = "pinned in %s line %d, but not built" % (PINNED_PATH, self.pinned[name][1])
            print("  FAILED %s (suite): %s" % (name, why))
            results.append({"suite": name, "passed": 0, "skipped": 0, "failures": [["(suite)", why]], "seconds": 0})
        return results

    def stop(self):
        with self.lock:
            self.is_stopped = True
            groups = list(self.groups)
        for pid in groups:
            self.end_group(pid)


def end_by_exception(number, _):
    raise KeyboardInterrupt("signal %d" % number)


def command_run(args):
    signal.signal(signal.SIGTERM, end_by_exception)
    began = time.monotonic()
    runner = Runner(args)
    wine = None
    if any(test["env"].get("STELE_WRAPPER") for _, test in runner.suites()) and not os.environ.get("WINEPREFIX"):
        wine = Wine(os.path.join(args.build, "wine"))
        runner.prefix = wine.folder
    pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
    try:
        if wine:
            wine.up()
        runner.submit(pool)
        suites = runner.results()
    except KeyboardInterrupt:
        print("report: interrupted", file=sys.stderr)
        return 130
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        runner.stop()
        if wine:
            wine.down()
    return total([{"variant": args.variant, "suites": suites, "build_seconds": 0}], time.monotonic() - began)


# ---- adding up ---------------------------------------------------------------------------------

def failure_of(suite, why):
    """A failure that is no test, as a build that failed."""
    return {"suite": suite, "passed": 0, "skipped": 0, "failures": [["(all)", why]], "seconds": 0}


def total(outcomes, wall_seconds):
    """Print what @outcomes come to, by variant; seconds are those of all processes. Returns the exit code."""
    passed = failed = skipped = 0
    print("\n%-14s %7s %7s %7s %8s %9s %9s"
          % ("variant", "suites", "passed", "failed", "skipped", "build s", "suites s"))
    for outcome in outcomes:
        suites = outcome["suites"]
        counts = (sum(suite["passed"] for suite in suites), sum(len(suite["failures"]) for suite in suites),
                  sum(suite["skipped"] for suite in suites))
        print("%-14s %7d %7d %7d %8d %9.0f %9.0f" % (outcome["variant"], len(suites), *counts,
              outcome["build_seconds"], sum(suite["seconds"] for suite in suites)))
        passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
    if not passed and not failed:
        print("nothing ran: that is a failure")
        failed = 1
    for outcome in outcomes:
        for suite in outcome["suites"]:
            for test, why in suite["failures"]:
                print("FAILED %s: %s %s: %s" % (outcome["variant"], suite["suite"], test, why))
    print("%d min %d s" % divmod(round(wall_seconds), 60))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped), flush=True)
    return 1 if failed else 0


# ---- one Python suite --------------------------------------------------------------------------

class Marks(unittest.TestResult):
    """Prints each test's begin and end in cmocka's words, so that one reader serves both."""

    def __init__(self):
        super().__init__()
        self.failed = False
        self.begun = set()
        self.word = ""
        self.held_back = {}  # class or module -> why all its tests skip

    @staticmethod
    def name(test):
        return ".".join(test.id().split(".")[-2:])

    @staticmethod
    def say(word, name):
        print("[%s] %s" % (word.center(10), name), flush=True)

    def startTest(self, test):
        self.begun.add(test.id())
        self.word = "OK"
        self.say("RUN", self.name(test))

    def stopTest(self, test):
        self.say(self.word, self.name(test))

    def fail(self, test, error):
        self.failed = True
        self.word = "FAILED"
        print("".join(traceback.format_exception(*error)), flush=True)
        if test.id() not in self.begun:  # setUpClass, tearDownClass, setUpModule
            self.say("RUN", test.id())
            self.say("FAILED", test.id())

    addError = fail
    addFailure = fail

    def addSubTest(self, test, subtest, error):
        if error:
            print("in " + subtest.id().split(".")[-1])
            self.fail(test, error)

    def addUnexpectedSuccess(self, test):
        self.failed = True
        self.word = "FAILED"
        print("expected to fail, but passed")

    def addSkip(self, test, reason):
        print("skipped: " + reason, flush=True)
        if test.id() in self.begun:
            self.word = "SKIPPED" if self.word == "OK" else self.word
        else:
            self.held_back[re.sub(r".*\((.*)\)", r"\1", test.id())] = reason

    def end(self, tests):
        """Account for the tests that never began."""
        for test in tests:
            if test.id() in self.begun:
                continue
            self.say("RUN", self.name(test))
            if any(test.id().startswith(place + ".") for place in self.held_back):
                self.say("SKIPPED", self.name(test))
            else:
                self.failed = True
                self.say("FAILED", self.name(test))


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def command_script(args):
    sys.dont_write_bytecode = True
    path = os.path.abspath(args.file)
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    tests = [test for test in flatten(unittest.TestLoader().loadTestsFromModule(module))
             if not args.word or any(word in test.id() for word in args.word)]
    marks = Marks()
    unittest.TestSuite(tests).run(marks)
    marks.end(tests)
    return 1 if marks.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("build")
    run.add_argument("name", nargs="*")
    run.add_argument("--variant", default="native", help="a name for this way of building")
    run.add_argument("--suites", default="unit,script,once", help="labels of suites to run")
    run.add_argument("--without", nargs="*", default=[], help="suites to leave out, as label/word")
    run.add_argument("--wrap", default="", help="command put before each unit suite, as valgrind")
    run.add_argument("--patience", type=int, default=1, help="multiply each suite's time limit")
    run.add_argument("--jobs", type=int, default=int(os.environ.get("STELE_JOBS") or os.cpu_count() or 1))
    run.add_argument("--scale", default="", help="percent of repetitions, unless STELE_TEST_SCALE says so")
    run.set_defaults(call=command_run)
    script = commands.add_parser("script")
    script.add_argument("file")
    script.add_argument("word", nargs="*")
    script.set_defaults(call=command_script)
    args = parser.parse_args()
    return args.call(args)


if __name__ == "__main__":
    sys.exit(main())
