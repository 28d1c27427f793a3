"""create, append, get, set and truncate: normal use, every option, and values that do not fit."""
import json
import os
import stat
import struct
import unittest

from steletool import IS_WINDOWS, SteleCase, not_on_windows

ALL = """#include <stdint.h>
enum color { RED, GREEN = 5, BLUE = -7 };
struct Point { float x, y; };
struct All {
    int8_t i8; uint8_t u8; int16_t i16; uint16_t u16; int32_t i32; uint32_t u32; int64_t i64; uint64_t u64;
    float f32; double f64; bool flag; char text[8]; unsigned char raw[3];
    enum color color; short m[2][3]; char names[2][4]; struct Point points[2];
};"""
MEMBER = "struct Member { char id[16]; char name[16]; int age; };"


class Create(SteleCase):
    def size(self, path):
        return json.loads(self.ends(0, "info", path, "--json").out)

    def test_a_struct_of_the_command_line_is_laid_out_as_the_compiler_does(self):
        declaration = "struct S { char c; int i; short s; };"
        for words, record_bytes, offsets in (((), 12, [0, 4, 8]), (("--pack", "1"), 7, [0, 1, 5]),
                                             (("--pack=2",), 8, [0, 2, 6]), (("--pack", "16"), 12, [0, 4, 8])):
            path = self.create("s%d" % len(os.listdir(self.folder)), declaration, *words)
            schema = self.size(path)["schema"]
            self.assertEqual(schema["record_bytes"], record_bytes)
            self.assertEqual([field["offset"] for field in schema["fields"]], offsets)

    def test_a_struct_comes_from_a_header_file_or_from_standard_input(self):
        header = self.write("all.h", ALL)
        self.ends(0, "create", self.path("a"), "--struct-file", header)
        self.assertEqual(self.size(self.path("a"))["schema"]["name"], "All")
        self.ends(0, "create", self.path("b"), "--struct-file", header, "--name", "Point")
        self.assertEqual(self.size(self.path("b"))["record_bytes"], 8)
        windows = self.write("windows.h", b"\xef\xbb\xbf" + ALL.replace("\n", "\r\n").encode())
        self.ends(0, "create", self.path("d"), "--struct-file", windows)
        self.assertEqual(self.size(self.path("d"))["schema"], self.size(self.path("a"))["schema"])
        self.ends(0, "create", self.path("c"), "--struct-file", "-", data=MEMBER)
        self.assertEqual(self.size(self.path("c"))["schema"]["name"], "Member")

    def test_creation_says_what_it_made_unless_quiet(self):
        done = self.ends(0, "create", self.path("a"), "--struct", MEMBER)
        self.assertEqual((done.out, done.err),
                         ("", "stele create: %s: created, struct Member, 36 bytes a record\n" % self.path("a")))
        done = self.ends(0, "create", self.path("b"), "--struct", MEMBER, "--quiet")
        self.assertEqual((done.out, done.err), ("", ""))

    def test_capacity_and_journal_take_powers_of_1024(self):
        info = self.size(self.create("a", MEMBER, "--capacity", "4K", "--journal", "64K"))
        self.assertGreaterEqual(info["capacity"], 4096)
        self.assertEqual(info["regions"]["journal"]["bytes"], 65536)
        self.assertFalse(info["sparse"])

    def test_a_sparse_store_takes_no_disk_for_its_capacity(self):
        info = self.size(self.create("a", MEMBER, "--capacity", "1G", "--sparse"))
        self.assertTrue(info["sparse"])
        self.assertGreater(info["file_bytes"], 36 << 30)
        self.assertLess(info["disk_bytes"], 128 << 20)

    @not_on_windows("access lists of the folder rule there; mode bits mean nothing")
    def test_mode_gives_the_permissions(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.create("a", MEMBER)).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.create("b", MEMBER, "--mode", "0640")).st_mode), 0o640)

    def test_a_file_that_is_there_is_kept_unless_forced(self):
        path = self.create("a", MEMBER)
        self.ends(0, "append", path, "id=x")
        done = self.ends(3, "create", path, "--struct", MEMBER)
        self.assertIn(path, done.err)
        self.assertEqual(self.ends(0, "get", path, "0", "--format", "csv").out, "x,,0\n")
        self.create("a", MEMBER, "--force")
        self.assertEqual(self.size(path)["count"], 0)
        letter = self.write("letter", "not a store")
        self.ends(3, "create", letter, "--struct", MEMBER)
        self.ends(3, "create", letter, "--struct", MEMBER, "--force")
        with open(letter, encoding="utf-8") as file:
            self.assertEqual(file.read(), "not a store")

    def test_declarations_that_cannot_be_stored_are_refused_with_line_and_column(self):
        for text, place in (("struct S { int *p; };", "1"), ("struct S {\n  int a : 3;\n};", "2"),
                            ("struct S { int a", "1"),
                            ("struct S { union { int a; } u; };", "1"), ("struct S {\n\n long a; };", "3"),
                            ("struct S { unknown_t a; };", "1")):
            with self.subTest(text=text):
                done = self.ends(2, "create", self.path("a"), "--struct", text)
                self.assertRegex(done.err, "stele create: --struct: .*%s" % place)
                self.assertFalse(os.path.exists(self.path("a")))
        header = self.write("bad.h", "struct S {\n  int *p;\n};")
        self.assertIn("bad.h: ", self.ends(2, "create", self.path("a"), "--struct-file", header).err)

    def test_what_is_missing_or_too_much_on_the_command_line_is_told(self):
        self.assertIn("--struct TEXT or --struct-file HEADER is missing", self.ends(2, "create", self.path("a")).err)
        self.assertIn("give one of them", self.ends(2, "create", self.path("a"), "--struct", MEMBER,
                                                    "--struct-file", "x").err)
        self.assertIn("Nobody", self.ends(2, "create", self.path("a"), "--struct", MEMBER, "--name", "Nobody").err)
        self.ends(2, "create", self.path("a"), "--struct", "")
        self.ends(2, "create", self.path("a"), "--struct-file", self.write("empty.h", ""))
        self.assertIn("byte 3 is zero", self.ends(2, "create", self.path("a"), "--struct-file",
                                                  self.write("z.h", "int\0")).err)
        self.assertIn("absent.h", self.ends(3, "create", self.path("a"), "--struct-file", self.path("absent.h")).err)
        self.ends(3, "create", self.path("a"), "--struct-file", self.folder)
        self.assertFalse(os.path.exists(self.path("a")))

    def test_sizes_out_of_range_are_refused_and_nothing_is_left(self):
        for words in (("--capacity", "18446744073709551615"), ("--capacity", "1024T"), ("--journal", "8K"),
                      ("--journal", "1G"),
                      ("--journal", "16777215T")):
            with self.subTest(words=words):
                self.ends(2, "create", self.path("a"), "--struct", MEMBER, *words)
                self.assertEqual(os.listdir(self.folder), [])
        big = "struct Big { unsigned char b[65536]; };"
        self.assertIn(self.path("a"), self.ends(2, "create", self.path("a"), "--struct", big, "--journal", "16K").err)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_folder_that_is_not_there_is_refused(self):
        done = self.ends(3, "create", self.path("no/such/file"), "--struct", MEMBER)
        self.assertIn("no/such/file", done.err)


class Append(SteleCase):
    def test_the_index_is_printed_and_fields_that_are_not_named_are_zero(self):
        path = self.create("a", MEMBER)
        self.assertEqual(self.ends(0, "append", path, "id=gandalf", "name=Gandalf the Grey", "age=2019").out, "0\n")
        self.assertEqual(self.ends(0, "append", path, "age=-5").out, "1\n")
        self.assertEqual(self.ends(0, "append", path).out, "2\n")
        self.assertEqual(self.records(path, "<16s16si"), [
            (b"gandalf".ljust(16, b"\0"), b"Gandalf the Grey", 2019), (bytes(16), bytes(16), -5), (bytes(16),
                                                                                                   bytes(16), 0)])

    def test_every_type_is_stored_exactly(self):
        path = self.create("a", ALL)
        self.ends(0, "append", path, "i8=-128", "u8=255", "i16=-32768", "u16=65535", "i32=-2147483648",
                  "u32=4294967295",
                  "i64=-9223372036854775808", "u64=18446744073709551615", "f32=0.1", "f64=0.1", "flag=true", "text=zürich",
                  "raw=00fF80", "color=BLUE", "m=[[1,2,3],[4,5,-6]]", "names=[ab,\"c,d\"]", "points[1].y=2.5")
        record = json.loads(self.ends(0, "get", path, "0", "--format", "json").out)
        self.assertEqual(record, {
            "i8": -128, "u8": 255, "i16": -32768, "u16": 65535, "i32": -2147483648, "u32": 4294967295,
            "i64": -9223372036854775808, "u64": 18446744073709551615, "f32": 0.1, "f64": 0.1, "flag": True,
            "text": "zürich", "raw": "00ff80", "color": -7, "m": [[1, 2, 3], [4, 5, -6]], "names": ["ab", "c,d"],
            "points[0].x": 0, "points[0].y": 0, "points[1].x": 0, "points[1].y": 2.5})

    def test_a_value_that_does_not_fit_is_refused_naming_the_field_and_nothing_is_stored(self):
        path = self.create("a", ALL)
        for word, field, sentence in (
                ("i8=128", "i8", "does not fit i8: -128 to 127"), ("u8=-1", "u8", "0 to 255"), ("i16=99999",
                                                                                                "i16", "32767"),
                ("u64=18446744073709551616", "u64", "does not fit u64"), ("i64=9223372036854775808", "i64",
                                                                          "does not fit i64"),
                ("i32=1.5", "i32", "not an integer"), ("f32=1e39", "f32", "does not fit f32"), ("f64=x", "f64",
                                                                                                "not a number"),
                ("flag=maybe", "flag", "not true, false"), ("text=more than eight", "text",
                                                            "has 15 bytes, the field 8"),
                (b"text=\xff", "text", "is not UTF-8"), ("raw=123", "raw", "odd number"), ("raw=00112233",
                                                                                           "raw", "has 4 bytes"),
                ("color=PURPLE", "color", "not the name of a constant"), ("m=1", "m", "expected ["),
                ("m=[[1,2,3],[4,5]]", "m", "too few"), ("m[2][0]=1", "m[2][0]", "elements are 0 to 1"),
                ("m[0]=[1,2,70000]", "m[0]", "does not fit"), ("names[0]=12345", "names[0]", "the field 4"),
                ("points[0].z=1", "points[0].z", "did you mean points[0]."), ("tetx=a", "tetx", "did you mean text?"),
                ("q=1", "q", "`stele schema FILE` lists them"),
                ("=5", "", "no field"), ("u8", "u8", "expected field=value")):
            if IS_WINDOWS and isinstance(word, bytes):
                continue  # words are UTF-16 there: no bytes but text come through
            with self.subTest(word=word):
                done = self.ends(2, "append", path, "i8=1", word)
                self.assertIn(sentence, done.err)
                self.assertIn(field, done.err)
        self.assertIn("has a value already", self.ends(2, "append", path, "i8=1", "u8=2", "i8=3").err)
        self.assertEqual(json.loads(self.ends(0, "info", path, "--json").out)["count"], 0)


class Get(SteleCase):
    def setUp(self):
        super().setUp()
        self.store = self.create("a", MEMBER)
        self.write("rows", "".join("m%d,Name %d,%d\n" % (i, i, i) for i in range(10)))
        self.ends(0, "import", self.store, self.path("rows"), "--format", "csv", "--quiet")

    def ages(self, code, *words):
        return [int(line) for line in self.ends(code, "get", self.store, *words, "--format", "csv", "--fields",
                                                "age").out.splitlines()]

    def test_indexes_and_ranges_count_from_both_ends(self):
        for words, ages in ((("0",), [0]), (("-1",), [9]), (("-10",), [0]), (("2..5",), [2, 3, 4]), (("8..",), [8, 9]),
                            (("..2",), [0, 1]), (("-2..",), [8, 9]), (("..-8",), [0, 1]), (("-3..-1",), [7, 8]),
                            (("..",), list(range(10))), (("5..5",), []), (("3", "-1", "0..2", "3"), [3, 9, 0, 1, 3])):
            self.assertEqual(self.ages(0, *words), ages, words)
        done = self.ends(0, "get", "--format", "csv", "--fields=age", "--", self.store, "-1", "-2..")
        self.assertEqual(done.out, "9\n8\n9\n")

    def test_records_that_are_not_there_are_a_finding_and_the_others_are_printed(self):
        for words, ages in ((("10",), []), (("-11",), []), (("8..12",), [8, 9]), (("0", "10", "1"), [0, 1]),
                            (("18446744073709551615",), []), (("11..12",), []), (("-12..2",), [0, 1])):
            with self.subTest(words=words):
                self.assertEqual(self.ages(1, *words), ages)
                self.assertIn("; the store has 10", self.ends(1, "get", self.store, *words).err)

    def test_text_is_for_people(self):
        self.assertEqual(self.ends(0, "get", self.store, "3").out,
                         'record 3\n  id = "m3"\n  name = "Name 3"\n  age = 3\n')
        self.assertEqual(self.ends(0, "get", self.store, "3").out, self.ends(0, "get", self.store, "3",
                                                                             "--format=text").out)

    def test_json_is_an_object_a_line(self):
        lines = self.ends(0, "get", self.store, "3..5", "--format", "json").out.splitlines()
        self.assertEqual([json.loads(line) for line in lines],
                         [{"id": "m%d" % i, "name": "Name %d" % i, "age": i} for i in (3, 4)])

    def test_csv_has_arrays_in_columns_and_raw_the_bytes(self):
        path = self.create("b", ALL)
        self.ends(0, "append", path, "m=[[1,2,3],[4,5,6]]", 'text=a"b,c', "f64=nan", "f32=-inf", "names[1]=x")
        self.assertEqual(self.ends(0, "get", path, "0", "--format", "csv", "--fields", "m,text,f64,f32,names").out,
                         '1,2,3,4,5,6,"a""b,c",NaN,-Infinity,,x\n')
        self.assertEqual(json.loads(self.ends(0, "get", path, "0", "--format", "json", "--fields",
                                              "f64,f32,m[1],m[0][2]").out),
                         {"f64": "NaN", "f32": "-Infinity", "m[1]": [4, 5, 6], "m[0][2]": 3})
        self.assertEqual(self.ends(0, "get", path, "0", "--format", "raw").out_bytes, self.raw(path))
        self.assertEqual(self.ends(0, "get", path, "0", "--format", "raw", "--fields", "m[1],m[0][2]").out_bytes,
                         struct.pack("<4h", 4, 5, 6, 3))

    def test_a_typo_in_a_field_is_refused_and_the_field_named(self):
        self.assertIn("--fields: no field \"nmae\"; did you mean name?",
                      self.ends(2, "get", self.store, "0", "--fields", "id,nmae").err)
        self.assertIn("no field \"\"", self.ends(2, "get", self.store, "0", "--fields", "id,").err)
        self.assertIn("has 0 dimensions", self.ends(2, "get", self.store, "0", "--fields", "id[0]").err)

    def test_text_that_is_no_utf8_is_a_finding_for_programs_and_shown_to_people(self):
        data = self.write("raw", b"a\xffb".ljust(16, b"\0") + bytes(20))
        self.ends(0, "import", self.store, data, "--format", "raw", "--quiet")
        for form in ("json", "csv"):
            done = self.ends(1, "get", self.store, "9..", "--format", form)
            self.assertEqual(len(done.out.splitlines()), 1)
            self.assertIn("record 10, field id: the text is not UTF-8", done.err)
        self.assertIn('id = "a\\xffb"', self.ends(0, "get", self.store, "-1").out)
        self.assertEqual(self.ends(0, "get", self.store, "-1", "--format", "raw").out_bytes[:3], b"a\xffb")


class Set(SteleCase):
    def setUp(self):
        super().setUp()
        self.store = self.create("a", ALL)
        for i in range(3):
            self.ends(0, "append", self.store, "i8=%d" % i, "m=[[1,2,3],[4,5,6]]")

    def fields(self, index, *names):
        done = self.ends(0, "get", self.store, index, "--format", "json", "--fields", ",".join(names))
        return list(json.loads(done.out).values())

    def test_named_fields_change_and_the_others_stay(self):
        done = self.ends(0, "set", self.store, "1", "m[1][2]=-9", "text=new", "color=GREEN")
        self.assertEqual((done.out, done.err), ("", ""))
        self.assertEqual(self.fields("1", "i8", "m", "text", "color"), [1, [[1, 2, 3], [4, 5, -9]], "new", 5])
        self.assertEqual(self.fields("0", "i8", "m", "text", "color"), [0, [[1, 2, 3], [4, 5, 6]], "", 0])

    def test_an_index_counts_from_the_end_when_negative(self):
        self.ends(0, "set", self.store, "-1", "i8=77")
        self.ends(0, "set", "--", self.store, "-3", "i8=-77")
        self.assertEqual([self.fields(i, "i8")[0] for i in ("0", "1", "2")], [-77, 1, 77])

    def test_a_record_that_is_not_there_is_a_finding(self):
        for index in ("3", "-4", "18446744073709551615"):
            self.assertIn("no record %s; the store has 3" % index, self.ends(1, "set", self.store, index, "i8=1").err)

    def test_a_value_that_does_not_fit_changes_nothing(self):
        before = self.raw(self.store)
        for word in ("u8=256", "textt=a", "m[0]=[1,2]", "u8", "text=123456789"):
            self.assertIn(word.split("=")[0], self.ends(2, "set", self.store, "0", "i16=1", word).err)
        self.assertEqual(self.raw(self.store), before)


class Async(SteleCase):
    """What is not synced is in the journal: the next to open the store finds it."""

    def test_set_and_append_leave_it_to_the_journal_and_nothing_is_lost(self):
        path = self.create("s", MEMBER, "--journal", "16K")
        for i in range(40):
            self.assertEqual(self.ends(0, "append", path, "id=m%d" % i, "age=1", "--async", "--quiet").out, "%d\n" % i)
            self.ends(0, "set", path, "-1", "age=%d" % (i + 2), "--async", "--quiet")
        self.assertGreater(json.loads(self.ends(0, "info", path, "--json", "--quiet").out)["journal"]["entries"], 0)
        self.assertEqual(self.ends(0, "get", path, "..", "--format", "csv", "--fields", "id,age", "--quiet").out,
                         "".join("m%d,%d\n" % (i, i + 2) for i in range(40)))
        self.ends(0, "verify", path, "--quiet")

    def test_a_record_that_is_not_there_changes_nothing(self):
        path = self.create("s", MEMBER)
        self.ends(1, "set", path, "0", "age=1", "--async")

    def test_import_goes_in_small_commits_and_is_durable_at_its_end(self):
        path = self.create("s", MEMBER, "--journal", "16K")
        rows = "".join("id%d,name%d,%d\n" % (i, i, i) for i in range(5000))
        done = self.ends(0, "import", path, "-", "--format", "csv", "--async", data=rows)
        self.assertIn("5000 rows read, 5000 stored, 0 skipped", done.err)
        self.assertEqual(self.ends(0, "export", path, "--format", "csv").out.replace("\r\n", "\n"), rows)
        self.assertEqual(json.loads(self.ends(0, "info", path, "--json").out)["journal"]["entries"], 0)
        self.ends(0, "verify", path)


class Truncate(SteleCase):
    def test_lower_cuts_and_higher_adds_zero_records(self):
        path = self.create("a", "struct S { int i; };")
        for i in range(1, 6):
            self.ends(0, "append", path, "i=%d" % i)
        done = self.ends(0, "truncate", path, "3")
        self.assertEqual((done.out, done.err), ("", ""))
        self.assertEqual(self.records(path, "<i"), [(1,), (2,), (3,)])
        self.ends(0, "truncate", path, "5")
        self.assertEqual(self.records(path, "<i"), [(1,), (2,), (3,), (0,), (0,)])
        self.ends(0, "truncate", path, "2K")
        self.assertEqual(self.count(path, 4), 2048)
        self.ends(0, "truncate", path, "0")
        self.assertEqual(self.raw(path), b"")
        self.ends(0, "verify", path)

    def test_a_count_past_what_a_store_holds_is_refused(self):
        path = self.create("a", "struct S { int i; };")
        self.ends(2, "truncate", path, "18446744073709551615")
        self.ends(2, "truncate", path, "1024T")
        self.assertEqual(self.raw(path), b"")


if __name__ == "__main__":
    unittest.main()
