"""Writers that are killed, and the judge of what they leave: what the kill suites share.

The work itself is in agents/work.h: operation after operation, each a function of its number, so that a number says
what a store must hold.
"""
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import time

from steletool import HERE, SCALE, WAIT_S_MAX, run

SEED = int(os.environ.get("STELE_SEED", str(time.time_ns() % 1000000007)))
SPARSE = 4
NOTE = struct.Struct("=4Q")
OPENED, BEGUN, ACKNOWLEDGED = b"O"[0], b"B"[0], b"A"[0]


def fast_folder(case):
    """A folder in memory, where no sync takes time, if there is one with room; else the test's own."""
    room = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if not room or room.f_bavail * room.f_frsize < 512 << 20:
        return case.folder
    folder = tempfile.TemporaryDirectory(prefix="stele-kill-", dir="/dev/shm")
    case.addCleanup(folder.cleanup)
    return folder.name


def scaled(count):
    return 1 + (count - 1) * SCALE // 100


class Refused(AssertionError):
    """The judge did not find what must be there."""


class Shape:
    """The four words that say what a writer does."""

    def __init__(self, kind, record_bytes, journal_bytes, seed):
        self.words = [kind, str(record_bytes), str(journal_bytes), str(seed)]

    def __str__(self):
        return " ".join(self.words)


class Claim:
    """What may be in a store: low operations, or high; the commits of the two; the room that was promised."""

    def __init__(self, low, high=None, low_sequence=0, high_sequence=0, capacity=0):
        self.low, self.high = low, low if high is None else high
        self.low_sequence, self.high_sequence, self.capacity = low_sequence, high_sequence, capacity

    def words(self):
        return list(map(str, (self.low, self.high, self.low_sequence, self.high_sequence, self.capacity)))


def ended(words, code, out, err):
    return "%s\nended with %d\n%s%s" % (" ".join(words), code, out, err)


def writer_of(build):
    return build.program("tests", "agents", "kill_writer")


WRITER = writer_of(HERE)


def writer(verb, path, shape, *numbers, build=HERE):
    """Run a writer to its end."""
    words = [*writer_of(build), verb, path, *shape.words, *map(str, numbers)]
    done = run(words)
    if done.code:
        raise AssertionError(ended(words, done.code, "", done.err))


def judge(verb, path, shape, claim, build=HERE):
    """Judge the store: (operations found, entries replayed). Verbs: look; recover, which looks first."""
    if verb == "look":
        return judge_once("look", path, shape, claim, build)
    found, entry_count = judge_once("open", path, shape, claim, build)
    settled = judge_once("settle", path, shape, claim, build)
    if settled != (found, 0):
        raise Refused("found %d operations, and after recovery %d with %d entries to replay" % (found, *settled))
    return found, entry_count


def judge_once(verb, path, shape, claim, build):
    words = [*build.program("tests", "agents", "kill_judge"), verb, path, *shape.words, *claim.words()]
    done = run(words)
    found = re.match(r"found (\d+) entries (\d+)$", done.out.strip())
    if done.code != (build.killed_itself if verb == "open" else 0) or not found:
        raise Refused(ended(words, done.code, done.out, done.err))
    return int(found.group(1)), int(found.group(2))


def begun_count(read):
    whole = read[:len(read) // NOTE.size * NOTE.size]
    return sum(mark == BEGUN for mark, *_ in NOTE.iter_unpack(whole))


def wait_and_kill(process, notes, begins, seconds):
    """Read @notes until @begins of them begin something, then for @seconds, kill, and read the rest."""
    fd = process.stdout.fileno()
    deadline, is_begun, read = time.monotonic() + WAIT_S_MAX, False, b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([fd], [], [], left)[0]:
            break
        more = os.read(fd, 1 << 16)
        if not more:
            break
        read += more
        if not is_begun and begun_count(read) >= begins:
            is_begun, deadline = True, time.monotonic() + seconds
    process.kill()
    while more := os.read(fd, 1 << 16):
        read += more
    error = process.stderr.read().decode()
    code = process.wait(WAIT_S_MAX)
    notes += NOTE.iter_unpack(read)
    return code, error


class Life:
    """A writer from its start to its end by SIGKILL, @seconds after it began its operation @begins."""

    def __init__(self, verb, path, shape, done, begins, seconds, build=HERE):
        notes = []
        with subprocess.Popen([*writer_of(build), verb, path, *shape.words, str(done)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            code, error = wait_and_kill(process, notes, begins, seconds)
        if code != -signal.SIGKILL:
            raise AssertionError("the writer was not killed, it ended with %d: %s" % (code, error))
        self.generation = 0
        claim = Claim(done)
        self.commit_count = 0
        for mark, number, sequence, capacity in notes:
            if mark == OPENED:
                self.generation = sequence
            elif mark == BEGUN:
                claim.high, claim.high_sequence = number, sequence
            elif mark == ACKNOWLEDGED:
                claim.low = number
                claim.low_sequence = sequence or claim.low_sequence
                self.commit_count += bool(sequence)
            claim.capacity = capacity
        self.is_inside = claim.high > claim.low
        self.claim = claim
        if not self.is_inside:
            claim.high_sequence = 0


def kill_recovery(path, shape, seconds, build=HERE):
    """Recover @path in a process of its own, and kill it after @seconds; whether it came to its end before that."""
    notes = []
    with subprocess.Popen([*writer_of(build), "recover", path, *shape.words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        code, error = wait_and_kill(process, notes, 1, seconds)
    if code not in (0, -signal.SIGKILL):
        raise AssertionError("recovery ended with %d: %s" % (code, error))
    return any(mark == ACKNOWLEDGED for mark, *_ in notes)
