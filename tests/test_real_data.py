"""Real data goes in, comes out in every format, and is what Python's csv module reads in the original.

Needs the folder STELE_TEST_DATA with airports.dat and routes.dat of openflights.org (quotes, UTF-8, CR LF, and
\\N for what is missing); without it the suite fails, since nothing else proves this.
"""
import csv
import io
import json
import math
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from steletool import TOP, SteleCase  # noqa: E402

DATA = os.environ.get("STELE_TEST_DATA", os.path.join(TOP, "..", "shared", "data", "openflights"))
NULL = "\\N"

# name, type as C writes it, its struct code, kind. Codes follow each other as an x86-64 compiler lays them out.
AIRPORT = [
    ("id", "int32_t id", "i", int), ("name", "char name[80]", "80s", str), ("city", "char city[40]", "40s", str),
    ("country", "char country[40]", "40s", str), ("iata", "char iata[3]", "3s", str),
    ("icao", "char icao[4]", "4s", str),
    ("latitude", "double latitude", "d", float), ("longitude", "double longitude", "d", float),
    ("altitude_feet", "int32_t altitude_feet", "i", int), ("utc_hours", "float utc_hours", "f", float),
    ("dst", "char dst", "1s", str), ("zone", "char zone[32]", "32s", str), ("kind", "char kind[16]", "16s", str),
    ("source", "char source[16]", "16s", str),
]
ROUTE = [
    ("airline", "char airline[3]", "3s", str), ("airline_id", "uint32_t airline_id", "I", int),
    ("origin", "char origin[4]", "4s", str), ("origin_id", "uint16_t origin_id", "H", int),
    ("target", "char target[4]", "4s", str), ("target_id", "int64_t target_id", "q", int),
    ("codeshare", "char codeshare[1]", "1s", str), ("stops", "uint8_t stops", "B", int),
    ("equipment", "char equipment[40]", "40s", str),
]


def declare(name, fields):
    return "struct %s { %s; };" % (name, "; ".join(field[1] for field in fields))


def original(name):
    with open(os.path.join(DATA, name), encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def value(text, kind, code):
    """What a cell of the original must become."""
    if kind is str:
        return "" if text == NULL else text
    if kind is int:
        return 0 if text == NULL else int(text)
    number = math.nan if text == NULL else float(text)
    return struct.unpack("f", struct.pack("f", number))[0] if code == "f" else number


def values_of(row, fields):
    return [value(text, field[3], field[2]) for text, field in zip(row, fields)]


def is_same(a, b):
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


class RealData:
    """The tests, once for each file."""

    def setUp(self):
        super().setUp()
        for name in ("airports.dat", "routes.dat"):
            if not os.path.isfile(os.path.join(DATA, name)):
                why = "%s is not in %s: set STELE_TEST_DATA to the folder of the openflights data" % (name, DATA)
                # Who names a folder means it; a clone by itself has no data.
                if "STELE_TEST_DATA" in os.environ:
                    self.fail(why)
                self.skipTest(why)
        self.rows = original(self.FILE)
        self.expected = [values_of(row, self.FIELDS) for row in self.rows]
        self.names = [field[0] for field in self.FIELDS]
        self.store = self.create("real.stele", declare("Real", self.FIELDS), *self.PACK)
        self.said = self.ends(0, "import", self.store, os.path.join(DATA, self.FILE), "--format", "csv",
                              "--null", NULL)

    def assert_same_rows(self, rows):
        self.assertEqual(len(rows), len(self.expected))
        for index, (row, expected) in enumerate(zip(rows, self.expected)):
            self.assertEqual(len(row), len(expected), "record %d" % index)
            for name, got, wanted in zip(self.names, row, expected):
                if not is_same(got, wanted):
                    self.fail("record %d, field %s: %r, expected %r" % (index, name, got, wanted))

    def from_text(self, row):
        """A row of a CSV export, null as NaN."""
        return [field[3](math.nan if field[3] is float and text == NULL else text)
                for text, field in zip(row, self.FIELDS)]

    def from_f32(self, number, field):
        if field[3] is not float:
            return number
        number = float(number)
        return struct.unpack("f", struct.pack("f", number))[0] if field[2] == "f" else number

    def packed(self):
        """The records as a C compiler lays them out, padding zero."""
        encoded = [[v.encode() if isinstance(v, str) else v for v in row] for row in self.expected]
        return b"".join(struct.pack(self.LAYOUT + "".join(field[2] for field in self.FIELDS) + self.TAIL, *row)
                        for row in encoded)

    def test_it_has_the_rows_that_it_should_have(self):
        self.assertEqual(len(self.rows), self.ROW_COUNT)
        self.assertIn("%d rows read, %d stored, 0 skipped" % (self.ROW_COUNT, self.ROW_COUNT), self.said.err)

    def test_nulls_are_counted_by_field(self):
        for index, name in enumerate(self.names):
            nulls = sum(row[index] == NULL for row in self.rows)
            if nulls:
                self.assertRegex(self.said.err, r"nulls: .*`%s` %d\b" % (name, nulls))
            else:
                self.assertNotRegex(self.said.err, r"`%s` \d" % name)

    def test_stored_bytes_are_those_of_a_c_program(self):
        self.assertTrue(self.raw(self.store) == self.packed(), "the raw export differs from what struct.pack makes")

    def test_csv_comes_out_value_for_value(self):
        for words, skipped in ((("--header",), 1), ((), 0)):
            out = self.ends(0, "export", self.store, "-", "--format", "csv", "--null", NULL, *words).out
            rows = list(csv.reader(io.StringIO(out, newline=""), strict=True))
            if skipped:
                self.assertEqual(rows[0], self.names)
            self.assert_same_rows([[self.from_f32(v, f) for v, f in zip(self.from_text(row), self.FIELDS)]
                                   for row in rows[skipped:]])

    def test_ndjson_comes_out_value_for_value(self):
        lines = self.ends(0, "export", self.store, "-", "--format", "ndjson").out.splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            self.assertEqual(list(row), self.names)
        self.assert_same_rows([[self.from_f32(v, f) for v, f in zip(row.values(), self.FIELDS)] for row in rows])

    def test_every_export_comes_back_byte_for_byte(self):
        for name in ("csv", "tsv", "ndjson", "raw"):
            with self.subTest(format=name):
                null = ("--null", NULL) if name != "raw" else ()
                out = self.path("out." + name)
                self.ends(0, "export", self.store, out, "--format", name, *null)
                again = self.create(name + ".stele", declare("Real", self.FIELDS), *self.PACK)
                self.ends(0, "import", again, out, "--format", name, *null)
                self.assertTrue(self.raw(again) == self.raw(self.store), name + " did not come back as it was")

    def test_columns_in_another_order_come_back_by_their_names(self):
        order = self.names[::-1]
        out = self.path("turned.csv")
        self.ends(0, "export", self.store, out, "--format", "csv", "--fields", ",".join(order), "--header",
                  "--null", NULL)
        for name, words in (("header", ("--header",)), ("columns", ("--header", "--columns", ",".join(order)))):
            again = self.create(name + ".stele", declare("Real", self.FIELDS), *self.PACK)
            self.ends(0, "import", again, out, "--format", "csv", "--null", NULL, *words)
            self.assertTrue(self.raw(again) == self.raw(self.store), name)

    def test_every_field_is_reached_by_get(self):
        last = len(self.expected) - 1
        first_nulls = {next((index for index, row in enumerate(self.rows) if row[column] == NULL), 0)
                       for column in range(len(self.names))}
        indexes = sorted({0, 1, last // 2, last - 1, last} | first_nulls)
        for column, (name, field) in enumerate(zip(self.names, self.FIELDS)):
            lines = self.ends(0, "get", self.store, *map(str, indexes), "--format", "json", "--fields",
                              name).out.splitlines()
            self.assertEqual(len(lines), len(indexes))
            for index, line in zip(indexes, lines):
                got = json.loads(line)
                self.assertEqual(list(got), [name])
                got, wanted = self.from_f32(got[name], field), self.expected[index][column]
                self.assertTrue(is_same(got, wanted), "%s of record %d: %r, expected %r" % (name, index, got, wanted))

    def test_verify_finds_nothing(self):
        self.ends(0, "verify", self.store)

    def test_a_field_that_is_too_short_is_named_with_line_and_column(self):
        """The longest text of each text field, refused by a field one byte shorter."""
        with open(os.path.join(DATA, self.FILE), "rb") as file:
            lines = file.read().split(b"\n")  # no row of these files has a line end inside
        for column, field in enumerate(self.FIELDS):
            if field[3] is not str:
                continue
            bytes_of = [0 if row[column] == NULL else len(row[column].encode()) for row in self.rows]
            longest = max(bytes_of)
            if longest < 2:
                continue
            index = bytes_of.index(longest)
            cells = self.cells(lines[index].rstrip(b"\r"))
            at = len(b",".join(cells[:column])) + (1 if column else 0) + 1
            fields = list(self.FIELDS)
            fields[column] = (field[0], "char %s[%d]" % (field[0], longest - 1), "", str)
            short = self.create("short-%s.stele" % field[0], declare("Real", fields), *self.PACK)
            done = self.ends(1, "import", short, os.path.join(DATA, self.FILE), "--format", "csv", "--null", NULL)
            self.assertIn("%s:%d:%d: field `%s`: " % (self.FILE, index + 1, at, field[0]), done.err)
            self.assertIn("--skip-rows %d continues" % index, done.err)
            kept = self.ends(0, "export", short, "-", "--format", "csv", "--fields", field[0]).out
            self.assertEqual(len(list(csv.reader(io.StringIO(kept, newline="")))), index)

    @staticmethod
    def cells(line):
        """The cells of @line as they stand, with their quotes."""
        cells, begin, is_quoted = [], 0, False
        for at, byte in enumerate(line):
            is_quoted ^= byte == ord('"')
            if byte == ord(",") and not is_quoted:
                cells.append(line[begin:at])
                begin = at + 1
        return cells + [line[begin:]]


class Airports(RealData, SteleCase):
    FILE, FIELDS, ROW_COUNT, PACK = "airports.dat", AIRPORT, 7698, ()
    LAYOUT, TAIL = "@", "0d"


class Routes(RealData, SteleCase):
    FILE, FIELDS, ROW_COUNT, PACK = "routes.dat", ROUTE, 67663, ("--pack", "1")
    LAYOUT, TAIL = "<", ""
