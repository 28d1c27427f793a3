"""info, schema, verify, recover, resize: what they print, and that looking never changes a byte."""
import fcntl
import hashlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import unittest

from steletool import IS_WINDOWS, KILLED_ITSELF, STELE, SteleCase, holder

PLAIN = "struct S { int32_t number; char name[28]; };"
NESTED = """#include <stdint.h>
enum color { RED, GREEN = 5, BLUE = -7 };
struct Inner { char c; double d; };
struct All { int8_t a; struct Inner one; struct Inner many[2][3]; enum color color, colors[2]; bool flag;
             char text[5]; char letter; unsigned char raw[3]; uint8_t small; float m[2][3]; char names[3][7]; };"""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class LookCase(SteleCase):
    def filled(self, name="a", count=1000, *words):
        path = self.create(name, PLAIN, *words)
        rows = self.write("rows", "".join("%d,name %d\n" % (i, i) for i in range(count)))
        self.ends(0, "import", path, rows, "--format", "csv", "--quiet")
        return path

    def info(self, path):
        return json.loads(self.ends(0, "info", path, "--json").out)

    def verify(self, code, path, *words):
        return json.loads(self.ends(code, "verify", path, "--json", *words).out)

    def spoil(self, path, offset, value=None):
        with open(path, "r+b") as file:
            file.seek(offset)
            old = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([old ^ 0x40 if value is None else value]))


class Info(LookCase):
    def test_json_has_exactly_the_keys_that_help_lists(self):
        info = self.info(self.filled())
        text = self.ends(0, "help", "info").out
        text = text[text.index("with the keys"):text.index("--wait")]
        documented = set(re.findall(r"[a-z][a-z0-9_]*", text))

        def check(value):
            for key, inner in value.items():
                self.assertIn(key, documented)
                if isinstance(inner, dict) and key != "schema":
                    check(inner)
        check(info)
        self.assertEqual(sorted(info), sorted(
            "file format_version library_version file_id origin_file_id origin_sequence features state clean sparse "
            "header_damage created_us modified_us checkpoint_us file_bytes disk_bytes count capacity record_bytes "
            "records_per_block records_per_cell generation session layout_version sequence checkpoint_sequence regions "
            "journal user_version user tag writer recovery schema".split()))

    def test_json_tells_layout_counts_and_state(self):
        path = self.filled()
        info = self.info(path)
        self.assertEqual((info["file"], info["count"], info["record_bytes"], info["format_version"]), (path,
                                                                                                       1000, 32, 1))
        self.assertEqual((info["records_per_block"], info["records_per_cell"]), (128, 4))
        self.assertEqual((info["state"], info["clean"], info["sparse"], info["header_damage"]), ("closed", True,
                                                                                                 False, []))
        self.assertEqual((info["file_bytes"], info["disk_bytes"] > 0), (os.path.getsize(path), True))
        self.assertEqual(len(bytes.fromhex(info["file_id"])), 16)
        with open(path, "rb") as file:
            file.seek(info["regions"]["records"]["offset"])
            self.assertEqual(file.read(32000), self.raw(path))
        self.assertEqual(info["schema"], json.loads(self.ends(0, "schema", path, "--as", "json").out))

    def test_text_shows_the_same_to_people(self):
        text = self.ends(0, "info", self.filled()).out
        for line in (r"records +1000 of 32 bytes, room for \d+", "state +closed in good order\n",
                     r"sessions +\d+\n +the last one began by opening for writing:\n +20\d\d-",
                     "format +1, written by stele", "struct S", r" 0  i32 +4  number", r" 4  text +28  name"):
            self.assertRegex(text, line)
        path = self.filled("open")
        held = holder("hold", path)
        self.assertEqual(held.stdout.readline(), "held\n")
        self.assertIn("state       idle, open for writing now\n", self.ends(0, "info", path).out)
        held.communicate()


class Schema(LookCase):
    def test_c_compiles_and_parses_back_to_the_same_layout(self):
        for words in ((), ("--pack", "1"), ("--pack", "2"), ("--pack", "4")):
            with self.subTest(words=words):
                path = self.create("s" + "".join(words), NESTED, *words)
                declarations = self.ends(0, "schema", path).out
                self.assertEqual(declarations, self.ends(0, "schema", path, "--as", "c").out)
                header = self.write("out.h", declarations)
                self.ends(0, "create", self.path("again"), "--struct-file", header, "--name", "All", "--force")
                schemas = [json.loads(self.ends(0, "schema", each, "--as", "json").out) for each in (path,
                                                                                                     self.path("again"))]
                self.assertEqual(schemas[0]["fields"], schemas[1]["fields"])
                self.assertEqual(schemas[0]["record_bytes"], schemas[1]["record_bytes"])
                self.compile_check(declarations, schemas[0])

    def compile_check(self, declarations, schema):
        compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
        if os.uname().machine != "x86_64":
            return
        text = declarations + "#include <stddef.h>\n_Static_assert(sizeof(struct All) == %d, \"\");\n" % schema["record_bytes"]
        for field in schema["fields"]:
            text += "_Static_assert(offsetof(struct All, %s) == %d, \"\");\n" % (field["name"], field["offset"])
        source = self.write("check.c", text)
        done = subprocess.run([compiler, "-std=c11", "-Wall", "-Werror", "-fsyntax-only", source], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_json_names_types_offsets_dimensions_and_constants(self):
        schema = json.loads(self.ends(0, "schema", self.create("a", NESTED), "--as", "json").out)
        self.assertEqual(sorted(schema), ["fields", "name", "pack", "record_bytes"])
        fields = {field.pop("name"): field for field in schema["fields"]}
        self.assertEqual(fields["color"]["constants"], {"RED": 0, "GREEN": 5, "BLUE": -7})
        self.assertEqual(fields["m"]["dims"], [2, 3])
        self.assertEqual((fields["names"]["type"], fields["names"]["element_bytes"], fields["names"]["dims"]),
                         ("text", 7, [3]))
        self.assertEqual((fields["many[1][2].d"]["type"], fields["many[1][2].d"]["offset"]), ("f64",
                                                                                              8 + 16 + 5 * 16 + 8))

    def test_numpy_is_a_python_expression(self):
        path = self.create("a", "struct S { char c[3]; double d[2]; uint8_t b[4]; short m[2][3]; bool f; };")
        text = self.ends(0, "schema", path, "--as", "numpy").out

        class Numpy:
            dtype = staticmethod(lambda parts: parts)
        self.assertEqual(eval(text, {"numpy": Numpy}), {
            "names": ["c", "d", "b", "m", "f"], "formats": ["S3", ("<f8", (2,)), "V4", ("<i2", (2, 3)), "?"],
            "offsets": [0, 8, 24, 28, 40], "itemsize": 48})


class Verify(LookCase):
    def test_a_sound_store_is_sound(self):
        path = self.filled()
        report = self.verify(0, path)
        self.assertEqual((report["sound"], report["error"], report["records"], report["blocks"]), (True, None, 1000, 8))
        self.assertEqual((report["damaged_blocks"], report["first_damaged_block"], report["damage"]), (0, None, []))
        self.assertEqual(self.ends(0, "verify", path).out, "%s: 1000 records in 8 blocks checked, 0 damaged\n" % path)
        empty = self.create("empty", PLAIN)
        self.assertEqual(self.verify(0, empty)["records"], 0)

    def test_damage_is_a_finding_that_names_block_and_records(self):
        path = self.filled()
        offset = self.info(path)["regions"]["records"]["offset"]
        for record in (130, 140, 999):
            self.spoil(path, offset + 32 * record)
        report = self.verify(1, path)
        self.assertEqual((report["sound"], report["damaged_blocks"], report["first_damaged_block"]), (False, 2, 1))
        self.assertEqual([(each["block"], each["first_record"], each["record_count"], each["kind"])
                          for each in report["damage"]], [(1, 128, 128, "sum"), (7, 896, 104, "sum")])
        self.assertEqual(report["damage"][0]["file_offset"], offset + 32 * 128)
        self.assertNotEqual(report["damage"][0]["stored_word"], report["damage"][0]["computed_word"])
        text = self.ends(1, "verify", path).out
        self.assertIn("block 1, records 128..256, 4096 bytes at %d: its bytes do not fit its sum" % (offset + 4096), text)
        self.assertIn("block 7, records 896..1000", text)
        self.assertIn("8 blocks checked, 2 damaged", text)

    def test_max_limits_what_is_listed_and_not_what_is_counted(self):
        path = self.filled()
        offset = self.info(path)["regions"]["records"]["offset"]
        for block in range(8):
            self.spoil(path, offset + 4096 * block)
        self.assertEqual(len(self.verify(1, path)["damage"]), 8)
        for most in (0, 1, 3):
            report = self.verify(1, path, "--max", str(most))
            self.assertEqual((len(report["damage"]), report["damaged_blocks"]), (most, 8))
            text = self.ends(1, "verify", path, "--max=%d" % most).out
            self.assertEqual(text.count("\nblock ") + text.startswith("block "), most)
            self.assertIn("and %d more blocks" % (8 - most), text)

    def test_a_spoilt_header_slot_is_reported_though_the_other_serves(self):
        for offset, name in ((200, "header slot A"), (4096 + 200, "header slot B")):
            path = self.filled(name[-1])
            self.spoil(path, offset)
            self.assertEqual(self.verify(1, path)["file_damage"], [name])
            self.assertIn(name + ": damaged\n", self.ends(1, "verify", path).out)
            self.assertEqual(self.info(path)["header_damage"], [name])
            self.assertEqual(self.count(path, 32), 1000)

    def test_damage_that_keeps_the_store_shut_is_a_finding_too(self):
        path = self.filled()
        self.spoil(path, 200)
        self.spoil(path, 4096 + 200)
        report = self.verify(1, path)
        self.assertEqual((report["sound"], report["damage"]), (False, []))
        self.assertTrue(report["error"])
        self.ends(1, "verify", path)
        self.ends(3, "info", path)

    def test_json_has_exactly_the_keys_that_help_lists(self):
        report = self.verify(0, self.filled())
        self.assertEqual(sorted(report), sorted(
            "file sound error blocks records bytes never_written_blocks damaged_blocks known_damaged_blocks "
            "unreadable_blocks first_damaged_block file_damage damage".split()))
        text = self.ends(0, "help", "verify").out
        for key in report:
            self.assertRegex(text, r"\b%s\b" % key)

    def test_progress_is_not_shown_when_stderr_is_no_terminal(self):
        self.assertEqual(self.ends(0, "verify", self.filled(count=50000)).err, "")


class Unclean(LookCase):
    def unclean(self, commits=3):
        path = self.filled(count=10)
        done = holder("die", path, commits)
        self.assertEqual(done.communicate()[0], "held\n", done.returncode)
        self.assertEqual(done.returncode, KILLED_ITSELF)
        return path

    def test_opening_says_in_one_line_that_entries_were_replayed_and_looking_changes_nothing(self):
        path = self.unclean()
        before = digest(path)
        for words in (("info", path), ("get", path, "-1"), ("schema", path), ("verify", path),
                      ("export", path, "--format", "csv")):
            with self.subTest(words=words):
                done = self.ends(0, *words)
                self.assertRegex(done.err, r"^stele %s: %s: .* 3 journal entries replayed in memory, .*unchanged\n$" %
                                 (words[0], re.escape(path)))
                self.assertEqual(self.ends(0, *words, "--quiet").err, "")
        self.assertIn("closed by the death of its last writer, or with --async; the next to write", self.ends(0, "info", path).out)
        self.assertEqual(self.count(path, 32), 13)
        self.assertEqual(digest(path), before)

    def test_a_writer_replays_once_and_says_so(self):
        path = self.unclean(1)
        done = self.ends(0, "append", path, "number=7")
        self.assertEqual(done.out, "11\n")
        self.assertRegex(done.err, r"^stele append: .* 1 journal entry replayed\n$")
        self.assertEqual(self.ends(0, "append", path, "number=8").err, "")
        self.ends(0, "verify", path)
        self.assertEqual(self.info(path)["recovery"]["kind"], "replay")

    def test_recover_reports_what_it_did_and_then_has_nothing_to_do(self):
        path = self.unclean()
        report = json.loads(self.ends(0, "recover", path, "--json").out)
        self.assertEqual((report["kind"], report["entries"], report["records"], report["lost_first"]),
                         ("replay", 3, 13, None))
        self.assertEqual((report["damaged_blocks"], report["header_mended"]), (0, []))
        text = self.ends(0, "help", "recover").out
        for key in report:
            self.assertRegex(text, r"\b%s\b" % key)
        self.assertEqual(self.ends(0, "recover", path).out, "%s: nothing to recover; 13 records\n" % path)
        self.assertEqual(json.loads(self.ends(0, "recover", path, "--json", "--force").out)["kind"], "none")
        self.ends(0, "verify", path)

    def test_recover_tells_people_what_it_did(self):
        path = self.unclean(2)
        self.assertRegex(self.ends(0, "recover", path).out,
                         "2 journal entries replayed, 2 records stored again; 12 records\n")


class Resize(LookCase):
    def test_capacity_and_journal_change_and_the_records_stay(self):
        path = self.filled()
        before, old = self.raw(path), self.info(path)
        done = self.ends(0, "resize", path, "--capacity", "8K", "--journal", "64K")
        self.assertEqual((done.out, done.err), ("", ""))
        new = self.info(path)
        self.assertGreaterEqual(new["capacity"], 8192)
        self.assertEqual(new["regions"]["journal"]["bytes"], 65536)
        self.assertEqual(new["schema"], old["schema"])
        self.assertEqual(self.raw(path), before)
        self.ends(0, "verify", path)
        self.ends(0, "resize", path, "--capacity=1000")
        self.assertEqual(self.raw(path), before)
        self.ends(0, "resize", path, "--journal=1M")
        self.assertEqual(self.info(path)["regions"]["journal"]["bytes"], 1 << 20)
        self.assertEqual([name for name in os.listdir(self.folder) if name not in ("a", "rows")], [])

    def test_damage_is_refused_or_with_force_carried_over_and_still_named(self):
        path = self.filled()
        self.spoil(path, self.info(path)["regions"]["records"]["offset"] + 4096 * 3)
        before = self.raw(path)
        self.assertIn("--force", self.ends(3, "resize", path, "--capacity", "8K").err)
        self.assertLess(self.info(path)["capacity"], 8192)
        self.ends(0, "resize", path, "--capacity", "8K", "--force")
        self.assertGreaterEqual(self.info(path)["capacity"], 8192)
        report = self.verify(1, path)
        self.assertEqual([(each["first_record"], each["kind"]) for each in report["damage"]], [(384, "known")])
        self.assertEqual(self.raw(path), before)

    def test_sizes_that_cannot_be_are_refused_and_the_store_is_as_before(self):
        path = self.filled()
        kept = ("file_id", "count", "capacity", "regions", "file_bytes", "schema", "clean")
        before = [self.info(path)[key] for key in kept], self.raw(path)
        self.assertIn("is missing", self.ends(2, "resize", path).err)
        for words in (("--capacity", "999"), ("--capacity", "1024T"), ("--journal", "1K"), ("--journal", "1T")):
            with self.subTest(words=words):
                self.assertIn(path, self.ends(2, "resize", path, *words).err)
        self.assertEqual(([self.info(path)[key] for key in kept], self.raw(path)), before)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "rows"])


class Looking(LookCase):
    def test_no_verb_that_looks_changes_a_byte_or_a_time(self):
        path = self.filled()
        os.utime(path, ns=(10 ** 18, 10 ** 18))
        before = digest(path)
        for words in (("info",), ("info", "--json"), ("schema",), ("schema", "--as=json"), ("schema",
                                                                                            "--as=numpy"), ("verify",),
                      ("verify", "--json"), ("get", "0", "-1", "5..9"), ("get", "..", "--format", "raw"),
                      ("export", "--format", "csv"), ("export", "--format", "ndjson"), ("export", "--format", "raw")):
            self.ends(0, words[0], path, *words[1:])
            self.assertEqual((digest(path), os.stat(path).st_mtime_ns), (before, 10 ** 18), words)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "rows"])

    def test_a_reader_that_goes_away_is_no_crash(self):
        path = self.filled(count=50000)
        done = subprocess.run(shlex.join([*STELE, "get", path, ".."]) + " | head -1", shell=True, capture_output=True,
                              check=False)
        self.assertEqual((done.stdout, done.stderr), (b"record 0\n", b""))

    def test_long_work_shows_progress_on_a_terminal_and_ends_with_130_when_interrupted(self):
        path = self.create("big", "struct S { int i; };", "--sparse")
        # Where holes are known there is little to look at; where they are not, each look may allocate memory.
        self.ends(0, "truncate", path, "4G" if IS_WINDOWS else "64G")
        terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("4H", 24, 400, 0, 0))  # no line is folded
        done = subprocess.Popen([*STELE, "verify", path], stdout=subprocess.PIPE, stderr=inside)
        os.close(inside)
        shown = b""
        while b"left" not in shown:
            shown += os.read(terminal, 1000)
        done.send_signal(signal.SIGINT)
        self.assertEqual(done.wait(), 130)
        self.assertRegex(shown, br"\d+ %  [0-9.]+ [kMG]B  [0-9.]+ [kMG]?B/s  \d+:\d\d left")
        while b"not looked at" not in shown:
            shown += os.read(terminal, 1000)
        self.assertRegex(shown, br"interrupted: [1-9]\d* records in [1-9]\d* blocks checked, 0 damaged; the rest was")
        os.close(terminal)
        self.assertEqual(done.communicate()[0], b"")

    def test_interrupting_a_long_get_ends_with_130(self):
        path = self.create("big", "struct S { int i; };", "--sparse")
        self.ends(0, "truncate", path, "64M")
        done = subprocess.Popen([*STELE, "get", path, ".."], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(done.stdout.readline())
        done.send_signal(signal.SIGINT)
        err = done.communicate()[1]
        self.assertEqual(done.returncode, 130)
        self.assertIn(b"interrupted", err)


if __name__ == "__main__":
    sys.exit(unittest.main())
