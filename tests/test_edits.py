"""The programs of tools/examples that change records through a pointer, killed in the middle and started again.

Each commits piece after piece, with a mark in the same entry, so what is found after a kill is a first part as edited,
at least as long as the program said, and the rest as before; and after some kills more the whole is byte-exact.
STELE_SEED, printed by each test, draws texts and moments again; moments are real time.
"""
import json
import os
import random
import re
import signal
import struct
import subprocess
import time
import unittest

from killing import SEED, fast_folder, scaled
from steletool import IS_WINDOWS, SCALE, WAIT_S_MAX, SteleCase, program, run

MIB = 1 << 20
KILLS_MAX = 4  # of a store; the next run goes to its end


class EditCase(SteleCase):
    def setUp(self):
        super().setUp()
        print("STELE_SEED=%d" % SEED, flush=True)
        self.rng = random.Random("%d %s" % (SEED, self.id()))
        self.kill_count = self.inside_count = 0

    def does(self, name, *words):
        done = run([*program("tools", "examples", name), *map(str, words)])
        self.assertEqual((done.code, done.err), (0, ""), (name, words))
        return done.out.replace("\r", "")

    def until_killed(self, name, *words, lines, seconds):
        """Kill it @seconds after it said @lines lines; (all that it said, whether it came to its end before)."""
        said = b""
        with subprocess.Popen([*program("tools", "examples", name), *map(str, words)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while said.count(b"\n") < lines and (more := os.read(process.stdout.fileno(), 4096)):
                said += more
            time.sleep(seconds)
            process.kill()
            while more := os.read(process.stdout.fileno(), 4096):
                said += more
            error = process.stderr.read()
            code = process.wait(WAIT_S_MAX)
        self.assertIn(code, (0, -signal.SIGKILL), error)
        self.kill_count += code != 0
        return said.decode().replace("\r", ""), code == 0

    def said_count(self, said, before):
        """How far it got, as the last whole line says; a run that said nothing is where it began."""
        found = re.findall(r"^(?:added to|brightened) (\d+) of \d+$", said, re.M)
        return int(found[-1]) if found else before

    def check_kills(self):
        print("%d kills, %d of them in the middle" % (self.kill_count, self.inside_count), flush=True)
        if self.kill_count >= 8:
            self.assertGreater(self.inside_count, 0, "no kill in the middle")


class Shift(EditCase):
    """One is added to every byte of a text."""
    TABLE = bytes((byte + 1) % 256 for byte in range(256))

    def text_of(self, path):
        out = self.path("out.txt")
        self.does("shift", "text", path, out)
        with open(out, "rb") as file:
            return file.read()

    def test_one_is_added_to_every_byte_of_a_text(self):
        text = self.rng.randbytes(300001) + bytes(range(256)) * 3
        path = self.path("s.stele")
        self.does("shift", "load", path, self.write("a.txt", text))
        for turn in range(2):
            out = self.does("shift", "add", path)
            self.assertEqual(out, "added to %d of %d\n" % (len(text), len(text)), turn)
            text = text.translate(self.TABLE)
            self.assertEqual(self.text_of(path), text)
        self.ends(0, "verify", path)

    def test_a_text_of_nothing_and_a_journal_that_is_small_are_no_trouble(self):
        for size, journal in ((0, 0), (1, 16384), (100000, 16384)):
            path = self.path("s%d.stele" % size)
            text = self.rng.randbytes(size)
            self.does("shift", "load", path, self.write("a.txt", text), journal)
            self.does("shift", "add", path)
            self.assertEqual(self.text_of(path), text.translate(self.TABLE))

    def check_killed(self, path, old, least, most):
        """How many bytes of @old were added to, of the first ones, at least @least."""
        self.ends(0, "verify", path)
        found = self.text_of(path)
        new = old.translate(self.TABLE)
        self.assertEqual(len(found), len(old))
        at = next((i for i, (a, b) in enumerate(zip(found, new)) if a != b), len(old))
        self.assertTrue(found == new[:at] + old[at:], "a byte is neither old nor new, or behind one that is old")
        self.assertGreaterEqual(at, least, "what it said it did is not there")
        self.assertLessEqual(at, most)
        self.inside_count += 0 < at < len(old)
        return at

    def kill_till_done(self, folder, turn):
        old = self.rng.randbytes(self.rng.randrange(50000, 400000))
        piece = self.rng.choice((511, 1000, 4096, 10007))
        path = os.path.join(folder, "s%d.stele" % turn)
        self.does("shift", "load", path, self.write("a.txt", old), self.rng.choice((16384, 65536, MIB)))
        done, is_done = 0, False
        for _ in range(KILLS_MAX):
            said, is_done = self.until_killed("shift", "add", path, piece, lines=self.rng.randrange(8),
                                              seconds=self.rng.uniform(0, self.rng.choice((0.0005, 0.005))))
            least = self.said_count(said, done)
            done = self.check_killed(path, old, least, len(old) if is_done else least + piece)
            if is_done or done == len(old):
                break
        if done < len(old):
            self.does("shift", "add", path, piece)
        self.assertEqual(self.text_of(path), old.translate(self.TABLE))
        self.ends(0, "verify", path)
        os.remove(path)

    def test_each_byte_is_old_or_new_at_every_kill_and_the_next_run_goes_on(self):
        folder = fast_folder(self)
        for turn in range(scaled(10)):
            with self.subTest(turn=turn):
                self.kill_till_done(folder, turn)
        self.check_kills()


class Brighten(EditCase):
    """The middle of a large image is brightened, within little memory."""
    BYTES, FIRST, END = 1024 * MIB, 256 * MIB, 768 * MIB
    STEP = 256 << 10 if SCALE < 1000 else 16 << 10
    BY = 100
    FORM = struct.Struct("<4h")

    def sown(self, pixel):
        return pixel % 100, pixel % 30000, 32767 - pixel % 50, 255

    def brightened(self, pixel):
        r, g, b, a = self.sown(pixel)
        return min(r + self.BY, 32767), min(g + self.BY, 32767), min(b + self.BY, 32767), a

    def pixels_at(self, path, offsets):
        """The pixels at bytes @offsets of the image; the rest of their pages must be zero."""
        at = json.loads(self.ends(0, "info", path, "--json").out)["regions"]["records"]["offset"]
        last = self.BYTES - self.FORM.size
        with open(path, "rb") as file:
            for offset in offsets:
                file.seek(at + offset // 4096 * 4096)
                page = file.read(4096)
                place = offset % 4096
                rest = page[:place] + page[place + 8:4088 if offset != last else None]
                self.assertFalse(any(rest), "beside the pixel at byte %d" % offset)
                yield self.FORM.unpack_from(page, place)

    def check_image(self, path, end):
        """Pixels from FIRST to the byte @end are brightened, all others as they were sown."""
        offsets = [*range(0, self.BYTES, self.STEP), self.BYTES - 8]
        for offset, pixel in zip(offsets, self.pixels_at(path, offsets)):
            want = self.brightened if self.FIRST <= offset < end else self.sown
            self.assertEqual(pixel, want(offset // 8), "the pixel at byte %d, done until %d" % (offset, end))

    def test_a_large_image_is_brightened_within_64_mib_and_killed_in_the_middle(self):
        path = self.path("image.stele")
        self.does("brighten", "create", path, self.BYTES, self.STEP)
        words = "up", path, self.FIRST, self.END, self.BY, 64 * MIB
        end, is_done = self.FIRST, False
        for _ in range(scaled(2)):
            said, is_done = self.until_killed("brighten", *words, lines=self.rng.randrange(1, 12),
                                              seconds=self.rng.uniform(0, 0.02))
            # What the journal has is put in place, and the mark says how far it is.
            self.ends(0, "recover", path)
            mark = json.loads(self.ends(0, "info", path, "--json").out)["user_version"]
            end = mark * 8 if mark else self.END if is_done or end > self.FIRST else self.FIRST
            self.assertGreaterEqual(end, self.FIRST + 8 * self.said_count(said, 0))
            self.check_image(path, end)
            self.inside_count += self.FIRST < end < self.END
            if end == self.END:
                break
        if end < self.END:
            out = self.does("brighten", *words)
            self.assertIn("brightened %d of %d\n" % (64 * MIB, 64 * MIB), out)
        self.check_image(path, self.END)
        self.check_kills()
        if not IS_WINDOWS:
            # Holes are holes still: only what was sown takes disk.
            self.assertLess(os.stat(path).st_blocks * 512, 32 * MIB + self.BYTES // self.STEP * 8192)

    def test_another_job_is_not_taken_for_the_one_that_was_killed(self):
        path = self.path("image.stele")
        self.does("brighten", "create", path, 16 * MIB, 4096)
        said, is_done = self.until_killed("brighten", "up", path, 0, 16 * MIB, 7, 2 * MIB, lines=2, seconds=0)
        if not is_done and self.said_count(said, 0) < 2 * MIB:
            done = run([*program("tools", "examples", "brighten"), "up", path, "0", str(16 * MIB), "8"])
            self.assertEqual(done.code, 1)
            self.assertIn("finish that one first", done.err)
            self.does("brighten", "up", path, 0, 16 * MIB, 7)
        self.does("brighten", "up", path, 0, 16 * MIB, 8)
        self.assertEqual(self.ends(0, "get", path, "1024", "--format", "json").out.strip(),
                         '{"r":%d,"g":%d,"b":%d,"a":255}' % (24 + 15, 1024 + 15, 32767 - 24 + 15))
        self.ends(0, "verify", path)


if __name__ == "__main__":
    unittest.main()
