"""Running the programs that were built from tests: STELE_BIN names stele, STELE_BUILD the folder of all.

Each is started behind the words of STELE_WRAPPER, as `wine`; STELE_PLATFORM says what it was built for. The tests
themselves run on the machine that builds: paths are its own, and a program under Wine finds them, too.
"""
import os
import shlex
import struct
import subprocess
import tempfile
import unittest

PLATFORM = os.environ.get("STELE_PLATFORM") or "linux64"
IS_WINDOWS = PLATFORM == "windows"
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAIT_S_MAX = 120
SCALE = int(os.environ.get("STELE_TEST_SCALE") or 100)  # percent of the repetitions


class Build:
    """Programs that were built for one system, in @folder; each is started behind the words of @wrapper."""

    def __init__(self, name, folder, stele_path, wrapper):
        self.name, self.folder, self.wrapper = name, folder, shlex.split(wrapper)
        self.ending = ".exe" if stele_path.endswith(".exe") else ""
        self.stele = [*self.wrapper, stele_path]
        # The exit code of an agent that died by its own hand (tests/agents/system.h).
        self.killed_itself = 137 if self.ending else -9

    def program(self, *names):
        """The words that start a program."""
        return [*self.wrapper, os.path.join(self.folder, *names) + self.ending]


HERE = Build(PLATFORM, os.environ["STELE_BUILD"], os.environ["STELE_BIN"], os.environ.get("STELE_WRAPPER") or "")
STELE, STELE_PATH = HERE.stele, os.environ["STELE_BIN"]
KILLED_ITSELF = HERE.killed_itself
program = HERE.program


def peers():
    """Builds for other systems, from STELE_PEERS: words NAME=STELE or NAME=STELE:WRAPPER."""
    found = []
    for word in shlex.split(os.environ.get("STELE_PEERS", "")):
        name, _, rest = word.partition("=")
        path, _, wrapper = rest.partition(":")
        found.append(Build(name, os.path.dirname(os.path.dirname(path)), path, wrapper))
    return found


def not_on_windows(reason):
    """Skip there, and say why; tests/allowed_skips.txt lists it."""
    return unittest.skipIf(IS_WINDOWS, reason)


def only_on_windows(reason):
    return unittest.skipUnless(IS_WINDOWS, reason)


class Done:
    """What a run came to: code, out and err; bytes as they are in out_bytes."""

    def __init__(self, code, out, err):
        self.code, self.out_bytes = code, out
        self.out, self.err = out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")


def run_once(words, data):
    done = subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT_S_MAX,
                          check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def is_behind_wine(words):
    return any(isinstance(word, str) and word.endswith(".exe") for word in words[1:3])


def run(command, data=b""):
    """Run the words of @command; @data, text or bytes, goes to standard input."""
    data = data.encode() if isinstance(data, str) else data
    words = [os.fspath(word) for word in command]
    done = run_once(words, data)
    # One start of Wine in some thousands ends so before the program begins; no program of ours ends with 1 and no word.
    if done.code == 1 and not done.out and not done.err and is_behind_wine(words):
        print("Wine did not start %s: once more" % words[1], flush=True)
        done = run_once(words, data)
    return done


def stele(*words, data=b"", build=HERE):
    """Run stele with @words; @data, text or bytes, goes to its standard input."""
    return run([*build.stele, *words], data)


def holder(*words, build=HERE):
    """Start tests/agents/store_holder.c with @words, with pipes."""
    return subprocess.Popen([*build.program("tests", "agents", "store_holder"), *map(str, words)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class SteleCase(unittest.TestCase):
    """A folder of its own, and checks that show what stele said."""
    maxDiff = 2000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return self.path(name)

    def ends(self, code, *words, data=b"", build=HERE):
        done = stele(*words, data=data, build=build)
        self.assertEqual(done.code, code, "stele %s\n%s" % (" ".join(map(str, words)), done.err))
        return done

    def create(self, name, declaration, *words, build=HERE):
        self.ends(0, "create", self.path(name), "--struct", declaration, "--quiet", *words, build=build)
        return self.path(name)

    def raw(self, path, build=HERE):
        """All records as they are stored."""
        return self.ends(0, "export", path, "--format", "raw", build=build).out_bytes

    def count(self, path, record_bytes):
        raw = self.raw(path)
        self.assertEqual(len(raw) % record_bytes, 0)
        return len(raw) // record_bytes

    def records(self, path, form):
        """All records unpacked by the struct format @form."""
        return list(struct.iter_unpack(form, self.raw(path)))
