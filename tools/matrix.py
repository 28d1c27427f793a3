#!/usr/bin/env python3
"""Build in several ways, run the suites of each, and say what passed; tools/check calls it.

Usage: tools/matrix.py [--quick | VARIANT...]    --quick: the native one only; none named: all
Environment: STELE_BUILD_DIR where to build (default .build), STELE_JOBS, STELE_TEST_SCALE, STELE_TEST_DATA

One way after the other is built while the suites of those before it run. Leftovers of another clone, user, compiler
or table are thrown away.
"""
import concurrent.futures
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
import types

import report

TOP = report.TOP
LIBRARIES = os.path.join(TOP, "tools", "libraries")

RELEASE = ["--buildtype=release"]
SANITIZED = ["--buildtype=debugoptimized", "-Dc_args=-fno-sanitize-recover=all"]
CLANG = ["-Db_lundef=false"]  # its sanitizers live in the program, not in the library
# all registers: a handler that mends a page goes back to the load that faulted
MEMCHECK = ("valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --fair-sched=yes "
            "--vex-iropt-register-updates=allregs-at-mem-access")


def variant(name, compiler, options, suites="", without=(), scale="10", patience=3, target="", cross=(), wrap="",
            folder="", meets=False):
    """Without suites it is compiled and linked only; a target is one of tools/libraries; meets: see PEERS."""
    return types.SimpleNamespace(name=name, compiler=compiler, options=options, suites=suites, without=without,
                                 scale=scale, patience=patience, target=target, cross=cross, wrap=wrap,
                                 folder=folder or name, meets=meets)


# Stores that move between systems are shown where there is another build to meet.
ALONE = ["script/platforms"]

VARIANTS = [
    variant("native", "gcc", RELEASE + ["-Ddebug=true"], "unit,script,once", scale="", patience=1),
    variant("linux32", "gcc", RELEASE, "unit,script", target="linux32", cross=["linux32"], meets=True),
    variant("win64", "x86_64-w64-mingw32-gcc", RELEASE, "unit,script", target="win64", cross=["x86_64-w64-mingw32"],
            meets=True),
    variant("clang", "clang", RELEASE, "unit,script", meets=True),
    variant("memcheck", "gcc", RELEASE + ["-Ddebug=true"], "unit", scale="5", patience=10, wrap=MEMCHECK,
            folder="native"),
    variant("torture", "gcc", RELEASE + ["-Dwindow_torture=true"], "unit,script", without=ALONE),
    variant("clang-san", "clang", SANITIZED + CLANG + ["-Db_sanitize=address,undefined"], "unit,script",
            without=ALONE),
    variant("gcc-san", "gcc", SANITIZED + ["-Db_sanitize=address,undefined"], "unit"),
    # it runs handlers of signals in its own way, so it cannot tell who gets which
    variant("clang-tsan", "clang", SANITIZED + CLANG + ["-Db_sanitize=thread"], "unit", without=["unit/guard"]),
    variant("linux32-clang", "clang", RELEASE, target="linux32", cross=["linux32", "linux32-clang"]),
    variant("win32", "i686-w64-mingw32-gcc", RELEASE, target="win32", cross=["i686-w64-mingw32"]),
]
QUICK = ["native"]
PEERS = {"native": "linux64", "linux32": "linux32"}  # builds whose stores others meet, and what they are called
LOG_LINES_MAX = 80  # shown of what failed


class Matrix:
    def __init__(self, variants, build, jobs):
        self.variants = variants
        self.build = build
        self.jobs = jobs
        self.wine = None
        self.runners = []
        self.process = None
        self.peers = {}
        self.made = set()  # folders
        self.names = []  # of suites; none: all

    def call(self, log, *command, **environment):
        """Run a step of the build; False after showing what it said."""
        with open(log, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(command, cwd=TOP, env=dict(os.environ, **environment),
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            start_new_session=True)
            return self.process.wait() == 0

    def cross_files(self, way):
        libraries = os.path.join(self.build, "libraries")
        return ["--cross-file=" + path for path in
                [os.path.join(TOP, "tools", "cross", name + ".ini") for name in way.cross]
                + [os.path.join(libraries, way.target, "meson.ini")]]

    def stamp_of(self, way):
        """What a folder was configured with."""
        words = [way.compiler, *way.options]
        for name in way.cross:
            with open(os.path.join(TOP, "tools", "cross", name + ".ini"), encoding="utf-8") as file:
                words.append(file.read())
        return "\n".join(words)

    def configure(self, way, folder, log):
        stamp = folder + ".stamp"
        words = way.options + (self.cross_files(way) if way.target else [])
        # of a foreign target the cross file says the compiler
        environment = {"CC": "cc" if way.cross else way.compiler}
        if self.wine:
            environment["WINEPREFIX"] = self.wine.folder
        with contextlib.suppress(OSError), open(stamp, encoding="utf-8") as file:
            if (file.read() == self.stamp_of(way) and os.path.exists(os.path.join(folder, "build.ninja"))
                    and self.call(log, "meson", "setup", "--reconfigure", folder, "--werror", *words, **environment)):
                return True
        shutil.rmtree(folder, ignore_errors=True)
        if not self.call(log, "meson", "setup", folder, "--werror", *words, **environment):
            return False
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(self.stamp_of(way))
        return True

    def make(self, way):
        """Build it; why it failed, or None."""
        folder = os.path.join(self.build, way.folder)
        log = folder + ".log"
        # Not again: meson would have all of it linked anew, under the hands of the suites that run there.
        if way.folder in self.made:
            return None
        steps = [("what it needs", lambda: not way.target or self.call(
                     log, LIBRARIES, way.target, os.path.join(self.build, "libraries"))),
                 ("meson setup", lambda: self.configure(way, folder, log)),
                 ("the build", lambda: self.call(log, "nice", "ninja", "-C", folder, "-j", str(self.jobs)))]
        for what, step in steps:
            if not step():
                with open(log, encoding="utf-8", errors="replace") as file:
                    self.say("".join(file.readlines()[-LOG_LINES_MAX:]))
                return what + " failed: see above"
        self.made.add(way.folder)
        return None

    @staticmethod
    def say(text):
        with report.Runner.lock:
            print(text, flush=True)

    def run(self):
        outcomes = []
        pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        try:
            if any("mingw32" in name and way.suites for way in self.variants for name in way.cross):
                self.wine = report.Wine(os.path.join(self.build, "wine"))
                self.wine.up()
            for way in self.variants:
                outcomes.append(self.begin(way, pool))
            for outcome in outcomes:
                if outcome["runner"]:
                    outcome["suites"] += outcome["runner"].results()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self.stop()
        return outcomes

    def begin(self, way, pool):
        """Build @way and have its suites run."""
        self.say("== %s: %s %s %s" % (way.name, way.compiler, " ".join(way.options), " ".join(way.cross)))
        began = time.monotonic()
        outcome = {"variant": way.name, "suites": [], "runner": None}
        failure = self.make(way)
        outcome["build_seconds"] = time.monotonic() - began
        if failure:
            self.say("  FAILED %s: %s" % (way.name, failure))
            outcome["suites"].append(report.failure_of("build", failure))
        elif way.suites:
            runner = report.Runner(types.SimpleNamespace(
                build=os.path.join(self.build, way.folder), variant=way.name, suites=way.suites, name=self.names,
                without=way.without, wrap=way.wrap, patience=way.patience, scale=way.scale))
            runner.prefix = self.wine.folder if self.wine else None
            if way.meets:
                runner.peers = " ".join(word for name, word in self.peers.items() if name != (way.target or "linux64"))
            self.runners.append(runner)
            runner.submit(pool)
            outcome["runner"] = runner
        if not failure and way.name in PEERS:
            stele = os.path.join(self.build, way.folder, "cli", "stele")
            self.peers[PEERS[way.name]] = shlex.quote("%s=%s" % (PEERS[way.name], stele))
        return outcome

    def stop(self):
        """End what still runs: nothing, unless this was cut short."""
        with contextlib.suppress(ProcessLookupError, AttributeError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for runner in self.runners:
            runner.stop()
        if self.wine:
            self.wine.down()


def sanitizer_options():
    for name, words in (("ASAN_OPTIONS", "halt_on_error=1:detect_leaks=1:detect_stack_use_after_return=1"),
                        ("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1"),
                        # and takes one that is left by a jump for one that never ends
                        ("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1:report_signal_unsafe=0")):
        os.environ[name] = words + ":" + os.environ.get(name, "")


def main():
    known = [way.name for way in VARIANTS]
    words = QUICK if sys.argv[1:] == ["--quick"] else sys.argv[1:] or known
    unknown = [word for word in words if word not in known]
    if unknown:
        print("check: unknown word '%s': usage: tools/check [--quick | VARIANT...]; variants: %s"
              % (unknown[0], " ".join(known)), file=sys.stderr)
        return 2
    build = os.path.join(TOP, os.environ.get("STELE_BUILD_DIR") or ".build")
    try:
        os.makedirs(build, exist_ok=True)
        with open(os.path.join(build, "check.lock"), "w", encoding="utf-8"):
            pass
    except OSError as error:
        print("check: cannot write to %s: %s: set STELE_BUILD_DIR to a folder of yours" % (build, error.strerror),
              file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, report.end_by_exception)
    sanitizer_options()
    jobs = int(os.environ.get("STELE_JOBS") or os.cpu_count() or 1)
    began = time.monotonic()
    ways = [way for way in VARIANTS if way.name in words]
    if ways[0].name != "native" and any(way.meets for way in ways):
        native = types.SimpleNamespace(**vars(VARIANTS[0]))
        native.suites = ""
        ways.insert(0, native)
    matrix = Matrix(ways, build, jobs)
    try:
        outcomes = matrix.run()
    except KeyboardInterrupt:
        print("check: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # what breaks here has failed as a test has
        traceback.print_exc()
        outcomes = [{"variant": "matrix", "build_seconds": 0, "suites": [report.failure_of("matrix", str(error))]}]
    return report.total(outcomes, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
