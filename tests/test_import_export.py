"""import and export: every format there and back, what does not fit refused with its place, and no row lost or
doubled, however an import ends.

Random tests print STELE_SEED; set it to run them again.
"""
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from steletool import IS_WINDOWS, SCALE, STELE, WAIT_S_MAX, SteleCase  # noqa: E402

SEED = int(os.environ.get("STELE_SEED", str(time.time_ns() % 1000000007)))
PLAIN = "struct Plain { int32_t a; char b[4]; };"

INTEGERS = [("int8_t", 8, True), ("uint8_t", 8, False), ("int16_t", 16, True), ("uint16_t", 16, False),
            ("int32_t", 32, True), ("uint32_t", 32, False), ("int64_t", 64, True), ("uint64_t", 64, False)]


def scaled(count):
    return 1 + count * SCALE // 100


def seeded():
    print("STELE_SEED=%d" % SEED, flush=True)
    return random.Random(SEED)


class Refused(SteleCase):
    """Each case is one file in, with the place of what is wrong; the rows before it stay."""

    def refused(self, form, data, place, words, row_count, *options, declaration=PLAIN):
        with self.subTest(data=data):
            store = self.path("s%d.stele" % len(os.listdir(self.folder)))
            self.ends(0, "create", store, "--struct", declaration, "--quiet")
            path = self.write("data", data)
            done = self.ends(1, "import", store, path, "--format", form, *options)
            self.assertIn("%s:%s: " % (path, place), done.err)
            for word in words:
                self.assertIn(word, done.err)
            self.assertIn("--skip-rows %d continues" % row_count, done.err)
            rows = self.ends(0, "export", store, "--format", "ndjson").out.splitlines()
            self.assertEqual(len(rows), row_count, done.err)

    def test_malformed_csv(self):
        for data, place, word, row_count in [
                ('1,a"b\n', "1:4", "quote inside a field", 0),
                ('1,"a"b\n', "1:6", "closing quote", 0),
                ('1,"a" \n', "1:6", "closing quote", 0),
                ('1,x\n2,"y\n3,z\n', "2:3", "never closed", 1),
                ('1,x\n2,"y""\n', "2:3", "never closed", 1),
                ("1,x\r2,y\r\n", "1:4", "carriage return", 0),
                ('1,x\r\n2,y"\r\n', "2:4", "quote inside a field", 1),
                ('1,"x\ny"\n2,"z"z\n', "3:6", "closing quote", 1),
        ]:
            self.refused("csv", data, place, [word], row_count)
        self.refused("tsv", '1\tx\n2\ty"\n', "2:4", ["quote inside a field"], 1)

    def test_malformed_ndjson(self):
        good = '{"a":1}\n'
        for data, place, word, row_count in [
                ("hello\n", "1:1", "not JSON", 0),
                (good + '{"a":1,}\n', "2:8", "not JSON", 1),
                (good + '{"a":1\n', "2:7", "line ends", 1),
                (good + '{"a":1}{"a":2}\n', "2:8", "not JSON", 1),
                (good + '{"a":01}\n', "2:7", "not JSON", 1),
                (good + "[1]\n", "2:1", "one object", 1),
                (good + '{"a":1,"a":2}\n', "2:8", "twice", 1),
                (good + '{"c":1}\n', "2:2", "no such field", 1),
                (good + '{"a":"1"}\n', "2:6", "field `a`: a number is expected", 1),
                (good + '{"a":true}\n', "2:6", "field `a`: a number is expected", 1),
                (good + '{"a":1.5}\n', "2:6", "field `a`", 1),
                (good + '{"a":[1]}\n', "2:7", "field `a`: an array", 1),
                (good + '{"a":[]}\n', "2:7", "field `a`: an array", 1),
                (good + '{"a":{}}\n', "2:6", "written flat", 1),
                (good + '{"a":1,"b":5}\n', "2:12", "field `b`: a string is expected", 1),
                (good + '{"a":1,"b":"\\ud800"}\n', "2:13", "surrogate", 1),
        ]:
            self.refused("ndjson", data, place, [word], row_count)

    def test_arrays_of_the_wrong_shape_in_ndjson(self):
        declaration = "struct A { int32_t m[2][3]; };"
        for data, place, word in [
                ('{"m":[[1,2,3],[4,5]]}', "1:19", "2 elements, 3 are expected"),
                ('{"m":[[1,2,3]]}', "1:14", "1 elements, 2 are expected"),
                ('{"m":[[1,2,3],[4,5,6,7]]}', "1:22", "more than 3"),
                ('{"m":[[1,2,3],[4,5,6],[7,8,9]]}', "1:24", "more than 2"),
                ('{"m":[1,2]}', "1:7", "nested 2 deep"),
                ('{"m":1}', "1:6", "nested 2 deep"),
                ('{"m":[[[1]]]}', "1:9", "nested 2 deep"),
        ]:
            self.refused("ndjson", data, place, ["field `m`", word], 0, declaration=declaration)

    def test_text_that_is_not_utf8(self):
        for bad in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"x\x80"):
            self.refused("csv", b"1,x\n2," + bad + b"\n", "2:3", ["field `b`", "UTF-8"], 1)
        self.refused("csv", b"1,x\n2,\"" + b"\xff" + b"\"\n", "2:3", ["field `b`", "UTF-8"], 1)
        self.refused("csv", b"1,x\n2,a\0\n", "2:3", ["field `b`"], 1)
        self.refused("ndjson", b'{"b":"x"}\n{"b":"\xff"}\n', "2:7", ["UTF"], 1)
        self.refused("ndjson", b'{"b":"x"}\n{"b":"\xed\xa0\x80"}\n', "2:6", ["field `b`", "UTF-8"], 1)
        self.refused("ndjson", b'{"b":"x"}\n{"b":"\\u0000"}\n', "2:6", ["field `b`"], 1)

    def test_text_that_is_too_long(self):
        self.refused("csv", "1,abcd\n2,abcde\n", "2:3", ["field `b`"], 1)
        self.refused("csv", "1,abcd\n2,abc\u00e9\n", "2:3", ["field `b`"], 1)
        self.refused("csv", "1,abcd\n2,abcde\n", "2:3", ["field `b`"], 1, "--overflow", "error")
        self.refused("ndjson", '{"b":"abcd"}\n{"b":"abcde"}\n', "2:6", ["field `b`"], 1)

    def test_too_few_and_too_many_columns(self):
        for data, place, word, row_count in [
                ("1,a\n2\n", "2:2", "1 columns, 2 are expected: the first missing is `b`", 1),
                ("1,a\n\n2,b\n", "2:1", "1 columns, 2 are expected", 1),
                ("1,a\n2,b,c\n", "2:5", "3 columns, 2 are expected", 1),
                ("1,a,\n", "1:5", "3 columns", 0),
                ('1,"x\ny",z,z,z\n', "2:4", "5 columns", 0),
        ]:
            self.refused("csv", data, place, [word], row_count)

    def test_headers_that_do_not_fit(self):
        for data, place, word in [
                ("a,c\n1,2\n", "1:3", 'no field "c"'),
                ("a,b,a\n1,2,3\n", "1:5", "`a`"),
                ("a,\n1,2\n", "1:3", "header"),
                ("", "1:1", "empty"),
                ('a,"b\n', "1:3", "never closed"),
        ]:
            with self.subTest(data=data):
                store = self.path("h%d.stele" % len(os.listdir(self.folder)))
                self.ends(0, "create", store, "--struct", PLAIN)
                path = self.write("data", data)
                done = self.ends(1, "import", store, path, "--format", "csv", "--header")
                self.assertIn("%s:%s: " % (path, place), done.err)
                self.assertIn(word, done.err)
                self.assertEqual(self.raw(store), b"")
        store = self.create("array.stele", "struct A { int16_t v[2]; };")
        done = self.ends(1, "import", store, "-", "--format", "csv", "--header", data="v\n1\n")
        self.assertIn("v[0]", done.err)
        done = self.ends(1, "import", store, "-", "--format", "csv", "--header", "--columns", "v,-", data="x,y\n1,2\n")
        self.assertIn("standard input:1:4: the header has 2 columns, 3 are expected", done.err)

    def test_numbers_out_of_range(self):
        for name, bits, is_signed in INTEGERS:
            lowest = -(1 << (bits - 1)) if is_signed else 0
            highest = (1 << (bits - is_signed)) - 1
            declaration = "struct N { %s n; };" % name
            store = self.create(name + ".stele", declaration)
            self.ends(0, "import", store, "-", "--format", "csv", data="%d\n%d\n" % (lowest, highest))
            self.ends(0, "import", store, "-", "--format", "ndjson",
                      data='{"n":%d}\n{"n":%d}\n' % (lowest, highest))
            self.assertEqual(self.ends(0, "export", store, "--format", "csv").out.split(),
                             [str(lowest), str(highest)] * 2)
            self.assertEqual(self.ends(0, "export", store, "--format", "ndjson").out.split(),
                             ['{"n":%d}' % n for n in (lowest, highest) * 2])
            for number in (lowest - 1, highest + 1, lowest * 10 - 7, highest * 10 + 7, 1 << 64, 1 << 70):
                if lowest <= number <= highest:
                    continue
                self.refused("csv", "1\n%d\n" % number, "2:1", ["field `n`", str(number)], 1, declaration=declaration)
                self.refused("ndjson", '{"n":1}\n{"n": %d}\n' % number, "2:7", ["field `n`", str(number)], 1,
                             declaration=declaration)

    def test_what_is_no_number(self):
        for text in ("", "x", "1x", " 1", "1 ", "+", "-", "1.0", "1e3", "0x", "1_000", "\u0661", "NaN", "--1"):
            self.refused("csv", "1,x\n%s,y\n" % text, "2:1", ["field `a`"], 1)
        for text in ("", "x", "1x", " 1", "1 ", "1,5", "1e", ".", "0x1p3x", "infinit", "nano"):
            self.refused("csv", '"%s"\n' % text, "1:1", ["field `d`"], 0, declaration="struct D { double d; };")

    def test_bools_and_hex_that_do_not_fit(self):
        for text in ("2", "yes", "", "tru", "-1", "1.0"):
            self.refused("csv", "%s,00\n" % text, "1:1", ["field `t`"], 0,
                         declaration="struct B { bool t; unsigned char u[2]; };")
        for text in ("0", "0g", "000000", "zz", "0x00"):
            self.refused("csv", "1,%s\n" % text, "1:3", ["field `u`"], 0,
                         declaration="struct B { bool t; unsigned char u[2]; };")


class Options(SteleCase):
    def setUp(self):
        super().setUp()
        self.store = self.create("s.stele", PLAIN)
        self.ends(0, "import", self.store, "-", "--format", "csv", data="1,a\n2,b\n")
        self.before = self.raw(self.store)
        self.data = self.write("data.csv", "3,c\n")

    def wrong(self, word, *words):
        with self.subTest(words=words):
            done = self.ends(2, *words, data="3,c\n")
            self.assertIn(word, done.err)
            self.assertEqual(done.out, "")
            self.assertEqual(self.raw(self.store), self.before)

    def test_a_typo_in_every_option_of_import(self):
        good = ("import", self.store, self.data)
        for typo, meant, value in [
                ("--formt", "format", ("csv",)), ("--heder", "header", ()), ("--colums", "columns", ("a,b",)),
                ("--nul", "null", ("x",)), ("--overflw", "overflow", ("error",)), ("--on-eror", "on-error", ("stop",)),
                ("--skip-row", "skip-rows", ("1",)), ("--wiat", "wait", ("1",)), ("--quite", "quiet", ()),
        ]:
            self.wrong(meant, *good, "--format", "csv", typo, *value)
        for option, value, word in [
                ("--format", "cvs", "csv"), ("--overflow", "truncat", "truncate"), ("--on-error", "skp", "skip"),
                ("--skip-rows", "x", "skip-rows"), ("--skip-rows", "-1", "skip-rows"), ("--skip-rows", "", "skip-rows"),
                ("--skip-rows", "18446744073709551616", "skip-rows"), ("--wait", "soon", "wait"),
        ]:
            self.wrong(word, *good, *(("--format", "csv") if option != "--format" else ()), option, value)
        for option in ("--format", "--columns", "--null", "--overflow", "--on-error", "--skip-rows"):
            self.wrong(option[2:], *good, option)
        self.wrong("--format", *good)
        self.wrong("header", *good, "--format", "csv", "--header=yes")

    def test_a_typo_in_every_option_of_export(self):
        good = ("export", self.store, self.path("out"))
        for typo, meant, value in [
                ("--formt", "format", ("csv",)), ("--rang", "range", ("0..1",)), ("--field", "fields", ("a",)),
                ("--heder", "header", ()), ("--nul", "null", ("x",)), ("--invalud", "invalid", ("error",)),
        ]:
            self.wrong(meant, *good, "--format", "csv", typo, *value)
        for option, value, word in [
                ("--format", "jsn", "ndjson"), ("--invalid", "replac", "replace"), ("--range", "x", "range"),
                ("--range", "1...2", "range"), ("--range", "", "range"), ("--fields", "a,c", '"c"'),
                ("--fields", "", "fields"), ("--fields", "a,", "fields"), ("--fields", "a[0]", "fields"),
        ]:
            self.wrong(word, *good, *(("--format", "csv") if option != "--format" else ()), option, value)
        for option in ("--format", "--range", "--fields", "--null", "--invalid"):
            self.wrong(option[2:], *good, option)
        self.wrong("--format", *good)
        self.assertEqual(sorted(os.listdir(self.folder)), ["data.csv", "s.stele"])

    def test_options_that_mean_nothing_for_a_format(self):
        for form, option in [("ndjson", "--header"), ("raw", "--header"), ("ndjson", "--columns=a"),
                             ("raw", "--columns=a"), ("raw", "--null=x"), ("raw", "--overflow=error")]:
            self.wrong(form, "import", self.store, self.data, "--format", form, option)
        for form, option in [("ndjson", "--header"), ("raw", "--header"), ("raw", "--fields=a"), ("raw", "--null=x"),
                             ("raw", "--invalid=replace")]:
            self.wrong(form, "export", self.store, "--format", form, option)

    def test_columns_that_do_not_fit(self):
        for columns, word in [("a,c", '"c"'), ("a,a", "`a`"), ("a,b[0]", "b"), ("a,,b", "columns"), ("", "columns"),
                              ("a,b,-,a", "`a`"), ("a,B", '"B"')]:
            self.wrong(word, "import", self.store, self.data, "--format", "csv", "--columns", columns)

    def test_words_too_few_and_too_many(self):
        self.wrong("import", "import", self.store, "--format", "csv")
        self.wrong("import", "import", self.store, self.data, "more", "--format", "csv")
        self.wrong("export", "export", "--format", "csv")
        self.wrong("export", "export", self.store, "-", "more", "--format", "csv")

    def test_files_that_cannot_be_read(self):
        for words, word in [((self.store, self.path("none")), "none"), ((self.store, self.folder), "directory"),
                            ((self.path("none.stele"), self.data), "none.stele"), ((self.data, self.data), "data.csv")]:
            done = self.ends(3, "import", *words, "--format", "csv")
            self.assertIn(word, done.err)
            self.assertEqual(self.raw(self.store), self.before)

    def test_help_shows_an_example(self):
        for verb in ("import", "export"):
            done = self.ends(0, "help", verb)
            self.assertIn("Example: stele %s " % verb, done.out)
            for option in re.findall(r"\[?(--[a-z-]+)", done.out.split("\n\n")[0]):
                self.assertGreaterEqual(done.out.count(option), 2, option)


class Tables(SteleCase):
    def imported(self, data, *options, declaration=PLAIN, form="csv", code=0):
        store = self.path("t%d.stele" % len(os.listdir(self.folder)))
        self.ends(0, "create", store, "--struct", declaration)
        done = self.ends(code, "import", store, "-", "--format", form, *options, data=data)
        return done, self.ends(0, "export", store, "--format", "csv").out

    def test_line_ends_and_marks(self):
        for data in ("1,a\n2,b\n", "1,a\r\n2,b\r\n", "1,a\n2,b", "\ufeff1,a\n2,b\n", '\ufeff"1","a"\r\n2,b'):
            self.assertEqual(self.imported(data)[1], "1,a\n2,b\n")
        self.assertEqual(self.imported("\ufeffa,b\r\n1,a\r\n", "--header")[1], "1,a\n")
        self.assertEqual(self.imported("")[1], "")
        self.assertEqual(self.imported("a,b\n", "--header")[1], "")

    def test_blank_lines_are_rows_of_one_empty_cell(self):
        declaration = "struct T { char t[4]; };"
        done, rows = self.imported("\nx\n\n", declaration=declaration)
        self.assertIn("3 rows read, 3 stored", done.err)
        self.assertEqual(rows.replace('""', ""), "\nx\n\n")

    def test_fields_with_line_ends_quotes_and_separators(self):
        for text in ("a\nb", "a\r\nb", "\r", '"', '""', ",", "\t", "a,\"b\"\n", " x ", "\u00e9\u20ac", ""):
            declaration = "struct T { int32_t n; char t[16]; };"
            for form in ("csv", "tsv"):
                separator = "," if form == "csv" else "\t"
                store = self.path("q%d.stele" % len(os.listdir(self.folder)))
                self.ends(0, "create", store, "--struct", declaration)
                self.ends(0, "import", store, "-", "--format", form,
                          data='7%s"%s"\n' % (separator, text.replace('"', '""')))
                self.assertEqual(self.raw(store), struct.pack("=i16s", 7, text.encode()))
                out = self.ends(0, "export", store, "--format", form).out_bytes
                again = self.path(store + "2")
                self.ends(0, "create", again, "--struct", declaration)
                self.ends(0, "import", again, "-", "--format", form, data=out)
                self.assertEqual(self.raw(again), self.raw(store))

    def test_columns_choose_order_and_leave_out(self):
        declaration = "struct C { int32_t a; int32_t v[2]; char b[4]; };"
        for columns, data, expected in [
                ("b,-,a", "x,?,1\n", "1,0,0,x\n"),
                ("v", "1,2\n", "0,1,2,\n"),
                ("v[1],a", "1,2\n", "2,0,1,\n"),
                ("-,-,b", "\"1\n\",,y\n", "0,0,0,y\n"),
                ("-", "1\n2\n", "0,0,0,\n" * 2),
        ]:
            self.assertEqual(self.imported(data, "--columns", columns, declaration=declaration)[1], expected)
            if "\n2" not in data:
                self.assertEqual(self.imported("h" + "," * data.count(",") + "\n" + data, "--header", "--columns",
                                               columns, declaration=declaration)[1], expected)

    def test_headers_name_fields_in_any_order(self):
        declaration = "struct C { int32_t a; int32_t v[2]; char b[4]; };"
        self.assertEqual(self.imported('b,"v[1]",a\nx,2,1\n', "--header", declaration=declaration)[1], "1,0,2,x\n")
        self.assertEqual(self.imported("v[0]\n5\n6\n", "--header", declaration=declaration)[1], "0,5,0,\n0,6,0,\n")

    def test_nulls(self):
        declaration = "struct N { int32_t i; float f; double d[2]; char t[4]; bool b; unsigned char u[2]; };"
        done, rows = self.imported("?,?,1,?,?,?,?\n2,2,?,2,x,1,0102\n", "--null", "?", declaration=declaration)
        self.assertEqual(rows, "0,NaN,1,NaN,,false,0000\n2,2,NaN,2,x,true,0102\n")
        self.assertIn("nulls: `i` 1, `f` 1, `d` 2, `t` 1, `b` 1, `u` 1", done.err)
        done, rows = self.imported('{"i":null,"f":null,"d":[null,1],"t":null,"b":null,"u":null}\n{"d":null}\n',
                                   declaration=declaration, form="ndjson")
        self.assertEqual(rows, "0,NaN,NaN,1,,false,0000\n0,0,NaN,NaN,,false,0000\n")
        self.assertIn("nulls: `i` 1, `f` 1, `d` 3, `t` 1, `b` 1, `u` 1", done.err)
        # A quoted text is a text, though it looks like a null.
        done, rows = self.imported('"?","?",1,2,"?",1,00\n', "--null", "?", declaration=declaration)
        self.assertEqual(rows, "0,NaN,1,2,?,true,0000\n")
        # A row that is refused has no nulls.
        done, rows = self.imported("?,x,1,1,?,1,00\n", "--null", "?", "--on-error", "skip", declaration=declaration,
                                   code=1)
        self.assertNotIn("nulls", done.err)
        # Without --null nothing is one.
        self.imported("?,1,1,1,?,1,00\n", declaration=declaration, code=1)

    def test_null_on_export_is_for_nan_only(self):
        store = self.create("n.stele", "struct N { int32_t i; float f[2]; char t[4]; };")
        self.ends(0, "import", store, "-", "--format", "csv", data='0,NaN,inf,\n1,1,-inf,"?"\n')
        self.assertEqual(self.ends(0, "export", store, "--format", "csv", "--null", "?").out,
                         '0,?,Infinity,\n1,1,-Infinity,"?"\n')
        self.assertEqual(self.ends(0, "export", store, "--format", "ndjson").out,
                         '{"i":0,"f":["NaN","Infinity"],"t":""}\n{"i":1,"f":[1,"-Infinity"],"t":"?"}\n')
        self.assertEqual(self.ends(0, "export", store, "--format", "ndjson", "--null", "?").out,
                         '{"i":0,"f":["?","Infinity"],"t":""}\n{"i":1,"f":[1,"-Infinity"],"t":"?"}\n')
        for form in ("csv", "tsv", "ndjson"):
            out = self.ends(0, "export", store, "--format", form, "--null", "?").out
            again = self.create(form + ".stele", "struct N { int32_t i; float f[2]; char t[4]; };")
            self.ends(0, "import", again, "-", "--format", form, "--null", "?", data=out)
            self.assertEqual(self.ends(0, "export", again, "--format", "ndjson").out,
                             self.ends(0, "export", store, "--format", "ndjson").out)

    def test_truncation_never_cuts_a_character(self):
        for text, kept in [("abcde", "abcd"), ("abc\u00e9", "abc"), ("ab\u00e9x", "ab\u00e9"), ("ab\u20ac", "ab"),
                           ("a\u20acx", "a\u20ac"), ("\U0001f600x", "\U0001f600"), ("a\U0001f600", "a"),
                           ("abcd", "abcd")]:
            self.assertEqual(self.imported("1,%s\n" % text, "--overflow", "truncate")[1], "1,%s\n" % kept)
            self.assertEqual(self.imported(json.dumps({"b": text}), "--overflow", "truncate", form="ndjson")[1],
                             "0,%s\n" % kept)
        self.imported(b"1,abcd\xff\n", "--overflow", "truncate", code=1)

    def test_refused_rows_are_left_out_and_the_first_ten_told(self):
        data = "".join("%s,r\n" % ("x" if n % 2 else n) for n in range(30))
        done, rows = self.imported(data + '5,a"b\n31,r\n', "--on-error", "skip", code=1)
        self.assertEqual(rows, "".join("%d,r\n" % n for n in list(range(0, 30, 2)) + [31]))
        told = re.findall(r"standard input:(\d+):1: field `a`", done.err)
        self.assertEqual(told, [str(n + 1) for n in range(1, 20, 2)])
        self.assertIn("32 rows read, 16 stored, 16 skipped", done.err)
        # A quote that is never closed takes all that follows with it: that is no row to leave out.
        done, rows = self.imported('1,a\n2,"b\n3,c\n', "--on-error", "skip", code=1)
        self.assertEqual(rows, "1,a\n")
        self.assertIn("standard input:2:3: ", done.err)
        self.assertIn("--skip-rows 1 continues", done.err)

    def test_rows_passed_over_count_though_they_are_malformed(self):
        for form, data in [("csv", 'x,a\n1,a"\n3,c\n\n5,e\n'),
                           ("ndjson", '{"a":"x"}\n{a\n{"a":3,"b":"c"}\nx\n{"a":5,"b":"e"}\n')]:
            for skipped, expected, code in [(2, "3,c\n", 1), (3, "", 1), (4, "5,e\n", 0), (5, "", 0), (6, "", 1)]:
                done, rows = self.imported(data, "--skip-rows", str(skipped), form=form, code=code)
                self.assertEqual(rows, expected)
                if code and skipped < 6:
                    self.assertIn("--skip-rows 3 continues", done.err)
        self.assertEqual(self.imported("a,b\n1,x\n2,y\n", "--header", "--skip-rows", "1")[1], "2,y\n")

    def test_quiet_says_nothing_when_all_is_well(self):
        self.assertEqual(self.imported("1,a\n", "--quiet")[0].err, "")
        done, _ = self.imported("x,a\n", "--quiet", code=1)
        self.assertIn("standard input:1:1: field `a`", done.err)
        self.assertEqual(done.out, "")

    def test_many_columns(self):
        declaration = "struct W { int16_t v[30][40]; char names[3][5]; };"
        numbers = [str(n - 600) for n in range(1200)]
        row = ",".join(numbers + ["a", "bb", "ccccc"]) + "\n"
        self.assertEqual(self.imported(row, declaration=declaration)[1], row)
        done, _ = self.imported(row.strip() + ",1\n", declaration=declaration, code=1)
        self.assertIn("1204 columns, 1203 are expected", done.err)


class Raw(SteleCase):
    def test_odd_bytes_are_refused_before_anything_is_stored(self):
        store = self.create("s.stele", PLAIN)
        path = self.write("data", b"x" * 8 * 3 + b"yyy")
        done = self.ends(1, "import", store, path, "--format", "raw")
        self.assertIn("27 bytes", done.err)
        self.assertIn("3 odd bytes", done.err)
        self.assertEqual(self.raw(store), b"")
        # The size of a pipe is not known before: whole records are in.
        done = self.ends(1, "import", store, "-", "--format", "raw", data=b"x" * 8 * 3 + b"yyy")
        self.assertIn("3 of 8 bytes", done.err)
        self.assertIn("--skip-rows 3 continues", done.err)
        self.assertEqual(self.raw(store), b"x" * 24)

    def test_padding_is_zeroed_and_said_and_all_else_is_kept(self):
        store = self.create("s.stele", "struct P { char c; int32_t i; bool b; float f; short s; };")
        record = bytes(range(1, 21))
        done = self.ends(0, "import", store, "-", "--format", "raw", data=record * 2)
        self.assertEqual(self.raw(store), 2 * (
            record[:1] + bytes(3) + record[4:9] + bytes(3) + record[12:18] + bytes(2)))
        self.assertIn("padding, 8 bytes a record, is stored as zeros; it was not zero in 2 records", done.err)
        packed = self.create("p.stele", "struct P { char c; int32_t i; };", "--pack", "1")
        done = self.ends(0, "import", packed, "-", "--format", "raw", data=b"\xff" * 10)
        self.assertNotIn("padding", done.err)
        self.assertEqual(self.raw(packed), b"\xff" * 10)

    def test_any_bytes_come_back_also_those_of_a_byte_order_mark(self):
        rng = seeded()
        for record_bytes in (1, 3, 7, 4096, 70001):
            store = self.create("r%d.stele" % record_bytes, "struct R { unsigned char u[%d]; };" % record_bytes)
            data = b"\xef\xbb\xbf\r\n\0" + rng.randbytes(record_bytes * 50)
            data = data[:len(data) // record_bytes * record_bytes]
            self.ends(0, "import", store, self.write("data", data), "--format", "raw")
            self.assertTrue(self.raw(store) == data)
            self.ends(0, "import", store, "-", "--format", "raw", "--skip-rows", "2", data=data)
            self.assertTrue(self.raw(store) == data + data[2 * record_bytes:])


class Everywhere(SteleCase):
    """Random records of every type, through every format and back."""

    KINDS = [("int8_t", "b"), ("uint8_t", "B"), ("int16_t", "h"), ("uint16_t", "H"), ("int32_t", "i"),
             ("uint32_t", "I"), ("int64_t", "q"), ("uint64_t", "Q"), ("float", "f"), ("double", "d"), ("bool", "?")]

    def field(self, rng, index):
        """Declaration, and a function that makes its bytes."""
        kind = rng.randrange(13)
        name = "f%d" % index
        dims = [rng.randint(1, 3) for _ in range(rng.choice([0, 0, 0, 1, 2, 4]))]
        count = 1
        for dim in dims:
            count *= dim
        shape = "".join("[%d]" % dim for dim in dims)
        if kind == 11:
            size = rng.randint(1, 12)
            return "char %s%s[%d]" % (name, shape, size), lambda: b"".join(self.text(rng, size) for _ in range(count))
        if kind == 12:
            size = rng.randint(1, 6)
            return "unsigned char %s[%d]" % (name, size), lambda: rng.randbytes(size)
        declared, code = self.KINDS[kind]
        if declared == "uint8_t" and dims:
            declared, code = "int8_t", "b"
        return "%s %s%s" % (declared, name, shape), lambda: b"".join(self.number(rng, code) for _ in range(count))

    @staticmethod
    def text(rng, size):
        text = "".join(rng.choice("ab,\"\n\r\t\\ ?\u00e9\u20ac\U0001f600\x7f\x01") for _ in range(rng.randint(0, size)))
        while len(text.encode()) > size:
            text = text[:-1]
        return text.encode().ljust(size, b"\0")

    @staticmethod
    def number(rng, code):
        size = struct.calcsize("=" + code)
        if code == "?":
            return bytes([rng.randrange(2)])
        while True:
            word = rng.choice([rng.randbytes(size), bytes(size), b"\xff" * (size - 1) + b"\x7f",
                               bytes(size - 1) + b"\x80", b"\xff" * size,
                               bytes([rng.randrange(256)]) + bytes(size - 1)])
            value = struct.unpack("=" + code, word)[0]
            if value == value:  # one NaN is as good as another: only its bits differ
                return word

    def test_every_format_brings_back_every_bit(self):
        rng = seeded()
        for turn in range(scaled(11)):
            fields = [self.field(rng, index) for index in range(rng.randint(1, 8))]
            declaration = "struct R { %s; };" % "; ".join(field[0] for field in fields)
            data = b"".join(field[1]() for _ in range(rng.choice([1, 20, 300])) for field in fields)
            store = self.create("r%d.stele" % turn, declaration, "--pack", "1")
            self.ends(0, "import", store, "-", "--format", "raw", data=data)
            self.assertTrue(self.raw(store) == data, declaration)
            for form in ("csv", "tsv", "ndjson", "raw"):
                for options in ((), ("--null", "?"), ("--null", ""), ("--header",)):
                    if (options[:1] == ("--header",) and form in ("ndjson", "raw")) or (options and form == "raw"):
                        continue
                    out = self.ends(0, "export", store, "--format", form, *options).out_bytes
                    again = self.create("%d-%s%d.stele" % (turn, form, len(os.listdir(self.folder))), declaration,
                                        "--pack", "1")
                    self.ends(0, "import", again, "-", "--format", form, *options, data=out)
                    self.assertTrue(self.raw(again) == data, "%s %s %s" % (form, options, declaration))

    def test_enums_nested_structs_and_bools_are_read_as_people_write_them(self):
        declaration = ("enum Color { RED, GREEN = 5 }; struct Point { float x; float y; };"
                       "struct S { enum Color color; bool on; struct Point points[2];"
                       "           struct { int32_t inner; } outer; };")
        store = self.create("s.stele", declaration)
        self.ends(0, "import", store, "-", "--format", "csv",
                  data="GREEN,1,1,2,3,4,5\n5,true,1,2,3,4,5\nRED,0,0,0,0,0,0\n")
        self.ends(0, "import", store, "-", "--format", "ndjson", data=(
            '{"color":"GREEN","on":true,"points[0].x":1,"points[0].y":2,'
            '"points[1].x":3,"points[1].y":4,"outer.inner":5}\n'
            '{"outer.inner":5,"points[1].y":4,"points[1].x":3,"points[0].y":2,'
            '"points[0].x":1,"on":1,"color":5}\n{}\n'))
        rows = self.ends(0, "export", store, "--format", "csv").out.splitlines()
        self.assertEqual(rows[0], rows[1])
        self.assertEqual(rows[:3], rows[3:])
        self.assertIn(",true,1,2,3,4,5", rows[0])


class Export(SteleCase):
    def setUp(self):
        super().setUp()
        self.store = self.create("s.stele", PLAIN)
        self.ends(0, "import", self.store, "-", "--format", "csv", data="".join("%d,r%d\n" % (n, n) for n in range(10)))

    def test_ranges(self):
        for text, expected in [("0..3", range(3)), ("8..", range(8, 10)), ("..2", range(2)), ("..", range(10)),
                               ("4", [4]), ("-1", [9]), ("-3..-1", [7, 8]), ("-2..", [8, 9]),
                               ("5..5", []), ("10..", [])]:
            out = self.ends(0, "export", self.store, "--format", "csv", "--range", text, "--fields", "a").out
            self.assertEqual(out.split(), [str(n) for n in expected], text)
            self.assertEqual(len(self.ends(0, "export", self.store, "--format", "raw", "--range", text).out_bytes),
                             8 * len(expected))
        for text in ("0..11", "10", "-11", "11..", "20..30"):
            done = self.ends(1, "export", self.store, "--format", "csv", "--range", text)
            self.assertEqual(done.out, "")
            self.assertIn("10", done.err)

    def test_fields(self):
        store = self.create("f.stele", "struct F { int32_t a; int32_t v[2][2]; char b[2]; };")
        self.ends(0, "import", store, "-", "--format", "csv", data="1,2,3,4,5,x\n")
        for fields, header, row, line in [
                ("b,a", "b,a", "x,1", '{"b":"x","a":1}'),
                ("v", "v[0][0],v[0][1],v[1][0],v[1][1]", "2,3,4,5", '{"v":[[2,3],[4,5]]}'),
                ("v[1]", "v[1][0],v[1][1]", "4,5", '{"v[1]":[4,5]}'),
                ("v[0][1],b", "v[0][1],b", "3,x", '{"v[0][1]":3,"b":"x"}'),
        ]:
            self.assertEqual(self.ends(0, "export", store, "--format", "csv", "--fields", fields, "--header").out,
                             header + "\n" + row + "\n")
            self.assertEqual(self.ends(0, "export", store, "--format", "ndjson", "--fields", fields).out, line + "\n")

    def test_an_empty_store_is_an_empty_file(self):
        store = self.create("e.stele", PLAIN)
        for form in ("csv", "tsv", "ndjson", "raw"):
            out = self.path("e." + form)
            self.ends(0, "export", store, out, "--format", form)
            with open(out, "rb") as file:
                self.assertEqual(file.read(), b"")
        self.assertEqual(self.ends(0, "export", store, "--format", "tsv", "--header").out, "a\tb\n")

    def test_text_that_is_not_utf8_is_refused_or_replaced(self):
        self.ends(0, "import", self.store, "-", "--format", "raw", data=struct.pack("=i4s", 7, b"a\xffb"))
        out = self.path("out")
        for form in ("csv", "tsv", "ndjson"):
            for words in ((), ("--invalid", "error")):
                done = self.ends(1, "export", self.store, out, "--format", form, *words)
                self.assertIn("record 10, field `b`", done.err)
                self.assertEqual(os.listdir(self.folder), ["s.stele"])
            done = self.ends(0, "export", self.store, "--format", form, "--invalid", "replace", "--range", "-1")
            self.assertIn("a\ufffdb", done.out)
            self.ends(0, "export", self.store, "--format", form, "--fields", "a")
        self.assertTrue(self.raw(self.store).endswith(b"a\xffb\0"))

    def test_a_file_that_is_there_is_not_overwritten(self):
        out = self.write("out", "precious")
        done = self.ends(3, "export", self.store, out, "--format", "csv")
        self.assertIn("out is there already", done.err)
        with open(out, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")
        self.ends(3, "export", self.store, self.store, "--format", "raw")
        self.ends(3, "export", self.store, self.folder, "--format", "csv")
        done = self.ends(3, "export", self.store, self.path("none/out"), "--format", "csv")
        self.assertIn("none/out cannot be written: its directory is not there; make it first", done.err)
        self.ends(0, "export", self.store, "/dev/null", "--format", "csv")
        self.write("new.partial", "left by a killed export")
        done = self.ends(3, "export", self.store, self.path("new"), "--format", "csv")
        self.assertIn("new.partial", done.err)
        self.assertEqual(sorted(os.listdir(self.folder)), ["new.partial", "out", "s.stele"])

    def test_a_full_disk_is_told_and_leaves_no_half_file(self):
        done = self.ends(3, "export", self.store, "/dev/full", "--format", "csv")
        self.assertIn("/dev/full", done.err)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*STELE, "export", self.store, "--format", "csv"], stdout=full, stderr=subprocess.PIPE,
                                  timeout=WAIT_S_MAX, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        big = self.create("big.stele", "struct B { unsigned char u[4096]; };")
        self.ends(0, "import", big, "-", "--format", "raw", data=bytes(4096 * 500))

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        done = subprocess.run([*STELE, "export", big, self.path("out"), "--format", "raw"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=WAIT_S_MAX, check=False, preexec_fn=small_files,
                              restore_signals=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["big.stele", "s.stele"])

    def test_a_reader_that_goes_away_ends_it_quietly(self):
        store = self.create("big.stele", "struct B { unsigned char u[4096]; };")
        self.ends(0, "import", store, "-", "--format", "raw", data=bytes(4096 * 500))
        for form in ("csv", "raw"):
            with subprocess.Popen([*STELE, "export", store, "--format", form], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                process.stdout.read(10)
                process.stdout.close()
                self.assertEqual((process.stderr.read(), process.wait(WAIT_S_MAX)), (b"", 3))


class Ended(SteleCase):
    """However an import ends, what is in is a beginning of the file, and --skip-rows continues behind it."""
    ROW_COUNT = 200000
    DECLARATION = "struct E { uint64_t n; char t[20]; };"
    FORM = "=Q20s"

    def setUp(self):
        super().setUp()
        self.data = self.write("data.csv", "".join("%d,row %d\n" % (n, n) for n in range(self.ROW_COUNT)))
        self.expected = [(n, b"row %d" % n) for n in range(self.ROW_COUNT)]

    def stored(self, store):
        # 4 bytes of padding end each record
        return [(n, t.rstrip(b"\0")) for n, t in self.records(store, self.FORM + "4x")]

    def check_and_continue(self, store, row_count):
        stored = self.stored(store)
        self.assertEqual(len(stored), row_count)
        self.assertTrue(stored == self.expected[:row_count], "what is in is no beginning of the file")
        self.ends(0, "verify", store)
        self.ends(0, "import", store, self.data, "--format", "csv", "--skip-rows", str(row_count))
        self.assertTrue(self.stored(store) == self.expected, "rows were lost or doubled")

    def start(self, store, *words, **options):
        return subprocess.Popen([*STELE, "import", store, *words, "--format", "csv"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def whole_s(self):
        """How long all of it takes here, so that moments can be drawn from that."""
        store = self.create("whole.stele", self.DECLARATION)
        began = time.monotonic()
        self.ends(0, "import", store, self.data, "--format", "csv")
        return time.monotonic() - began

    def test_ctrl_c_while_it_waits_for_input(self):
        store = self.create("s.stele", self.DECLARATION)
        with open(self.data, "rb") as file:
            lines = file.read().split(b"\n")[:30001]
        with self.start(store, "-", stdin=subprocess.PIPE) as process:
            process.stdin.write(b"\n".join(lines[:30000]) + b"\n" + lines[30000][:3])
            process.stdin.flush()
            deadline = time.monotonic() + WAIT_S_MAX
            while len(self.raw(store)) == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            if IS_WINDOWS:
                time.sleep(0.2)
                process.stdin.close()  # Wine cannot end a read of a pipe that is none of its own
            error = process.stderr.read().decode()
            self.assertEqual(process.wait(WAIT_S_MAX), 130, error)
        found = re.search(r"--skip-rows (\d+) continues", error)
        self.assertTrue(found, error)
        self.assertGreater(int(found.group(1)), 0)
        self.check_and_continue(store, int(found.group(1)))

    def moments(self, rng):
        """Moments of an import, as many as the scale says, and then until is_hit says that one was early enough."""
        whole_s = self.whole_s()
        self.is_hit = False
        for turn in range(200):
            if turn >= scaled(11) and self.is_hit:
                return
            yield turn, rng.uniform(0, whole_s)
        self.fail("no import was ended before its end")

    def test_ctrl_c_at_any_moment(self):
        for turn, moment_s in self.moments(seeded()):
            store = self.create("s%d.stele" % turn, self.DECLARATION)
            with self.start(store, self.data) as process:
                time.sleep(moment_s)
                process.send_signal(signal.SIGINT)
                error = process.stderr.read().decode()
                code = process.wait(WAIT_S_MAX)
            found = re.search(r"--skip-rows (\d+) continues", error)
            if code == 130 and found:
                self.is_hit = True
                self.check_and_continue(store, int(found.group(1)))
            elif code == -signal.SIGINT or (IS_WINDOWS and code and not error):  # before it listened
                self.check_and_continue(store, 0)
            else:
                self.assertEqual(code, 0, error)
            os.remove(store)

    def test_kill_at_any_moment(self):
        for turn, moment_s in self.moments(seeded()):
            store = self.create("s%d.stele" % turn, self.DECLARATION)
            with self.start(store, self.data) as process:
                time.sleep(moment_s)
                process.kill()
                is_killed = process.wait(WAIT_S_MAX) == -signal.SIGKILL
            row_count = len(self.stored(store))
            self.is_hit |= is_killed and row_count > 0
            self.check_and_continue(store, row_count)
            os.remove(store)

    def test_a_refused_row_in_the_middle(self):
        rng = seeded()
        with open(self.data, "rb") as file:
            lines = file.read().split(b"\n")
        for at in (0, 1, 16383, 16384, 16385, rng.randrange(self.ROW_COUNT), self.ROW_COUNT - 1):
            store = self.create("s%d.stele" % at, self.DECLARATION)
            broken = self.write("broken.csv", b"\n".join(lines[:at] + [b"x" + lines[at]] + lines[at + 1:]))
            done = self.ends(1, "import", store, broken, "--format", "csv")
            self.assertIn("broken.csv:%d:1: field `n`" % (at + 1), done.err)
            self.assertIn("--skip-rows %d continues" % at, done.err)
            self.check_and_continue(store, at)
            os.remove(store)

    def test_ctrl_c_leaves_no_half_export(self):
        store = self.create("s.stele", self.DECLARATION)
        self.ends(0, "import", store, self.data, "--format", "csv")
        out = self.path("out")
        for _ in range(30):
            with subprocess.Popen([*STELE, "export", store, out, "--format", "ndjson"],
                                  stderr=subprocess.PIPE) as process:
                deadline = time.monotonic() + WAIT_S_MAX
                while not os.path.exists(out + ".partial") and process.poll() is None and time.monotonic() < deadline:
                    pass
                process.send_signal(signal.SIGINT)
                error = process.stderr.read().decode()
                code = process.wait(WAIT_S_MAX)
            self.assertFalse(os.path.exists(out + ".partial"))
            self.assertEqual(os.path.exists(out), code == 0, error)
            if code == 130:
                self.assertIn("interrupted after", error)
                return
            os.remove(out)
        self.fail("no export was interrupted")
