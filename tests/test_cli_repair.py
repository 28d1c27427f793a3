"""stele repair and verify --jobs: what was damaged is made good as asked for, and what it held stands in FILE.repairs."""
import json
import os
import signal
import subprocess
import time
import unittest

from steletool import IS_WINDOWS, STELE, WAIT_S_MAX, SteleCase, not_on_windows

RECORD_BYTES = 32
BLOCK_RECORDS = 128
COUNT = 1000


class RepairCase(SteleCase):
    def filled(self, name="s.stele", add=0):
        path = self.path(name)
        self.ends(0, "create", path, "--struct", "struct Row { uint64_t a; uint64_t b[3]; };")
        with open(self.path("rows.bin"), "wb") as file:
            for index in range(COUNT):
                file.write((index + add).to_bytes(8, "little") + bytes([index % 255 + 1]) * 24)
        self.ends(0, "import", path, self.path("rows.bin"), "--format", "raw")
        return path

    def place(self, path, record):
        regions = json.loads(self.ends(0, "info", path, "--json").out)["regions"]
        return regions["records"]["offset"] + record * RECORD_BYTES

    def spoil(self, path, record, records_offset=None):
        """Change a byte of @record; gives its bytes as they are then."""
        offset = self.place(path, record) if records_offset is None else records_offset + record * RECORD_BYTES
        with open(path, "r+b") as file:
            file.seek(offset + 9)
            byte = file.read(1)[0]
            file.seek(offset + 9)
            file.write(bytes([byte ^ 64]))
            file.seek(offset)
            return file.read(RECORD_BYTES)

    def bytes_of(self, path, first, end):
        with open(path, "rb") as file:
            file.seek(self.place(path, first))
            return file.read((end - first) * RECORD_BYTES)

    def lines(self, path):
        with open(path + ".repairs", encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]


class Ways(RepairCase):
    def test_zero_replaces_by_zeros_and_keeps_what_was(self):
        path = self.filled()
        self.spoil(path, 130)
        before = self.bytes_of(path, 128, 256)
        done = self.ends(0, "repair", path, "128..256", "--zero")
        self.assertIn("block 1, records 128..256: repaired (zero)", done.out)
        self.assertIn(path + ".repairs", done.out)
        self.ends(0, "verify", path)
        self.assertEqual(self.bytes_of(path, 128, 256), bytes(128 * RECORD_BYTES))
        line, = self.lines(path)
        self.assertEqual(sorted(line), sorted("time file_id block kind how first_record record_count record_bytes "
                                              "old_word old_records".split()))
        self.assertEqual((line["block"], line["kind"], line["how"], line["first_record"], line["record_count"],
                          line["record_bytes"]), (1, "sum", "zero", 128, 128, RECORD_BYTES))
        self.assertEqual(bytes.fromhex(line["old_records"]), before)
        self.assertEqual(len(line["old_word"]), 16)
        text = self.ends(0, "help", "repair").out
        for key in line:
            self.assertRegex(text, r"\b%s\b" % key)
        if not IS_WINDOWS:
            self.assertEqual(os.stat(path + ".repairs").st_mode & 0o777, 0o600)

    def test_accept_keeps_the_bytes(self):
        path = self.filled()
        spoilt = self.spoil(path, 999)
        self.ends(0, "repair", path, "..", "--accept")
        self.ends(0, "verify", path)
        self.assertEqual(self.bytes_of(path, 999, 1000), spoilt)

    def test_a_backup_gives_back_what_was_and_takes_nothing_newer_away(self):
        path = self.filled()
        self.ends(0, "backup", path, self.path("b.stele"))
        self.ends(0, "set", path, "500", "a=77")
        whole = self.bytes_of(path, 0, COUNT)
        for record in (3, 300, 999):
            self.spoil(path, record)
        report = json.loads(self.ends(0, "repair", path, "..", "--from", self.path("b.stele"), "--json").out)
        self.assertEqual((report["how"], report["damaged_blocks"], report["repaired_blocks"], report["repairs_file"]),
                         ("replace", 3, 3, path + ".repairs"))
        self.assertEqual([(each["block"], each["kind"], each["first_record"], each["record_count"])
                          for each in report["repaired"]],
                         [(0, "sum", 0, 128), (2, "sum", 256, 128), (7, "sum", 896, 104)])
        self.assertEqual(self.bytes_of(path, 0, COUNT), whole)
        self.ends(0, "verify", path)
        text = self.ends(0, "help", "repair").out
        for key in report:
            self.assertRegex(text, r"\b%s\b" % key)

    def test_one_record_from_raw_data_is_enough_if_it_is_the_one(self):
        path = self.filled()
        with open(self.path("one.bin"), "wb") as file:
            file.write(self.bytes_of(path, 130, 131))
        self.spoil(path, 130)
        refused = self.ends(2, "repair", path, "131", "--from", self.path("one.bin"))
        self.assertIn("128..256", refused.err)
        self.ends(0, "repair", path, "130", "--from", self.path("one.bin"))
        self.ends(0, "verify", path)

    def test_raw_data_of_a_range_is_taken_from_its_place(self):
        path = self.filled()
        whole = self.bytes_of(path, 0, COUNT)
        with open(self.path("some.bin"), "wb") as file:
            file.write(whole[128 * RECORD_BYTES:896 * RECORD_BYTES])
        for record in (200, 201, 700, 895):
            self.spoil(path, record)
        self.ends(0, "repair", path, "128..896", "--from", self.path("some.bin"))
        self.assertEqual(self.bytes_of(path, 0, COUNT), whole)
        self.ends(0, "verify", path)

    def test_where_nothing_is_damaged_nothing_is_done(self):
        path = self.filled()
        self.spoil(path, 10)
        done = self.ends(0, "repair", path, "128..", "--zero")
        self.assertIn("nothing is damaged", done.out)
        report = json.loads(self.ends(0, "repair", path, "200..200", "--accept", "--json").out)
        self.assertEqual((report["damaged_blocks"], report["repairs_file"], report["repaired"]), (0, None, []))
        self.assertFalse(os.path.exists(path + ".repairs"))


class Log(RepairCase):
    def test_lines_are_added_and_one_that_was_cut_short_spoils_no_other(self):
        path = self.filled()
        self.spoil(path, 10)
        self.ends(0, "repair", path, "0..128", "--accept")
        with open(path + ".repairs", "ab") as file:
            file.write(b'{"time":1')
        self.spoil(path, 10)
        self.ends(0, "repair", path, "0..128", "--zero")
        with open(path + ".repairs", "rb") as file:
            lines = [line for line in file.read().split(b"\n") if line]
        self.assertEqual(lines[1], b'{"time":1')
        self.assertEqual([json.loads(lines[i])["how"] for i in (0, 2)], ["accept", "zero"])

    def test_where_it_cannot_be_kept_nothing_changes(self):
        path = self.filled()
        self.spoil(path, 10)
        before = self.bytes_of(path, 0, COUNT)
        os.mkdir(path + ".repairs")
        self.assertIn(".repairs", self.ends(3, "repair", path, "..", "--zero").err)
        self.assertEqual(self.bytes_of(path, 0, COUNT), before)
        self.ends(1, "verify", path)


class Refusals(RepairCase):
    def test_a_part_of_a_damaged_block_is_refused_before_anything_changes(self):
        path = self.filled()
        for record in (10, 300):
            self.spoil(path, record)
        before = self.bytes_of(path, 0, COUNT)
        for way in ("--zero", "--accept"):
            self.assertIn("256..384", self.ends(2, "repair", path, "0..301", way).err)
            self.assertIn("0..128", self.ends(2, "repair", path, "10..256", way).err)
        self.assertEqual(self.bytes_of(path, 0, COUNT), before)

    def test_data_that_does_not_fit_is_refused(self):
        path = self.filled()
        self.spoil(path, 10)
        short = self.path("short.bin")
        with open(short, "wb") as file:
            file.write(bytes(100))
        self.assertIn("4096", self.ends(3, "repair", path, "0..128", "--from", short).err)
        self.assertIn("absent.bin", self.ends(3, "repair", path, "0..128", "--from", self.path("absent.bin")).err)
        self.ends(0, "create", self.path("other.stele"), "--struct", "struct Row { uint32_t a[8]; };")
        self.ends(2, "repair", path, "0..128", "--from", self.path("other.stele"))
        self.ends(0, "create", self.path("empty.stele"), "--struct", "struct Row { uint64_t a; uint64_t b[3]; };")
        self.ends(2, "repair", path, "0..128", "--from", self.path("empty.stele"))
        damaged = self.filled("damaged.stele", 5)
        self.spoil(damaged, 20)
        self.assertIn("damaged itself", self.ends(3, "repair", path, "0..128", "--from", damaged).err)
        self.ends(1, "verify", path)

    def test_wrong_words_are_refused(self):
        path = self.filled()
        for words in (["0..1"], ["0..1", "--zero", "--accept"], ["0..1", "--zero", "--from", path], ["x", "--zero"],
                      ["0..1001", "--zero"], ["--zero"], ["5..2", "--zero"]):
            self.ends(2, "repair", path, *words)


class Interrupts(RepairCase):
    @not_on_windows("a process behind Wine gets no SIGINT from here")
    def test_an_interrupt_says_how_far_it_got_and_the_same_command_goes_on(self):
        path, damaged_count = self.filled(), 600
        self.ends(0, "truncate", path, str(2 * damaged_count * BLOCK_RECORDS))
        offset = self.place(path, 0)
        for block in range(damaged_count):
            self.spoil(path, 2 * block * BLOCK_RECORDS, offset)
        process = subprocess.Popen([*STELE, "repair", path, "..", "--zero", "--json"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + WAIT_S_MAX
        kept = path + ".repairs"
        while (process.poll() is None and time.monotonic() < deadline and
               not (os.path.exists(kept) and os.path.getsize(kept))):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=WAIT_S_MAX)
        done_count = json.loads(out)["repaired_blocks"] if out else 0
        if process.returncode:  # it was not done by then
            self.assertEqual(process.returncode, 130, error)
            self.assertIn("interrupted: %d of %d damaged blocks are repaired" % (done_count, damaged_count), error)
        report = json.loads(self.ends(0, "repair", path, "..", "--zero", "--json").out)
        self.assertEqual(report["repaired_blocks"], damaged_count - done_count)
        self.ends(0, "verify", path)


class Jobs(RepairCase):
    def test_verify_says_the_same_with_any_number_of_threads(self):
        path = self.filled()
        for record in (10, 300, 999):
            self.spoil(path, record)
        for words in ([], ["--json"], ["--json", "--max", "1"]):
            alone = self.ends(1, "verify", path, *words).out
            for jobs in ("1", "2", "64"):
                self.assertEqual(self.ends(1, "verify", path, "--jobs", jobs, *words).out, alone)
        for jobs in ("0", "65", "many"):
            self.ends(2, "verify", path, "--jobs", jobs)


if __name__ == "__main__":
    unittest.main()
