"""tools/coverage: what gcovr found is read and judged; branches of assert are left out, and no others."""
import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def line(number, count, *branches):
    return {"line_number": number, "count": count, "branches": [{"count": taken} for taken in branches]}


class Coverage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, os.path.join(TOP, "tools"))
        loader = importlib.machinery.SourceFileLoader("coverage", os.path.join(TOP, "tools", "coverage"))
        cls.coverage = importlib.util.module_from_spec(importlib.util.spec_from_loader("coverage", loader))
        loader.exec_module(cls.coverage)

    def figures(self, **files):
        return self.coverage.figures({"files": [{"file": "lib/%s.c" % name, "lines": lines}
                                                for name, lines in files.items()]})

    def short(self, **files):
        return list(self.coverage.short_of(self.figures(**files)))

    def test_lines_and_branches_are_counted(self):
        table = self.figures(a=[line(1, 5), line(2, 0), line(3, 1, 1, 0), line(4, 1, 2, 2),
                                dict(line(5, 0), **{"gcovr/noncode": True})])
        self.assertEqual(table, {"lib/a.c": (4, 3, 4, 3, [2], [3])})

    def test_what_keeps_the_limits_passes(self):
        lines = [line(i, i > 4) for i in range(100)] + [line(100 + i, 1, 1, 1 if i else 0) for i in range(5)]
        self.assertEqual(self.short(a=lines, journal=[line(1, 1, 1, 1)]), [])

    def test_too_few_lines_fail(self):
        wrong = self.short(a=[line(i, i > 5) for i in range(100)])
        self.assertEqual(len(wrong), 1)
        self.assertIn("94 of 100 lines", wrong[0])

    def test_too_few_branches_fail(self):
        wrong = self.short(a=[line(1, 1, *[1] * 89, *[0] * 11)])
        self.assertEqual(len(wrong), 1)
        self.assertIn("89 of 100 branches", wrong[0])

    def test_one_branch_left_fails_where_all_are_wanted(self):
        for name, count in (("journal_walk", 1), ("superblock", 1), ("recover", 1), ("guard_posix", 1), ("commit", 0)):
            wrong = self.short(**{name: [line(7, 1, 1, 0)], "other": [line(1, 1, *[1] * 100)]})
            self.assertEqual(len(wrong), count, name)
            self.assertTrue(all("lines 7" in text and name in text for text in wrong))

    def test_counters_begin_empty_and_for_everybody_and_those_of_nothing_go(self):
        with tempfile.TemporaryDirectory() as folder:
            place = os.path.join(folder, "lib.p")
            os.mkdir(place)
            for name in ("a.c.gcno", "a.c.gcda", "b.c.gcno", "other.txt"):
                with open(os.path.join(place, name), "w", encoding="ascii") as file:
                    file.write("of an earlier run")
            self.coverage.begin_counting(folder)
            a, b = (os.path.join(place, name) for name in ("a.c.gcda", "b.c.gcda"))
            for path in (a, b):
                self.assertEqual((os.path.getsize(path), os.stat(path).st_mode & 0o777), (0, 0o666))
            with open(a, "w", encoding="ascii") as file:
                file.write("counters")
            self.coverage.end_counting(folder)
            self.assertEqual((os.path.exists(a), os.path.exists(b)), (True, False))

    def test_nothing_measured_fails(self):
        self.assertEqual(len(self.short()), 1)

    def test_only_assert_is_not_counted(self):
        for text, is_left_out in (("    assert(a && b);", True), ("assert(a);", True), ("  if (assert_all(a))", False),
                                  ("    if (a) assert(b);", False), ("    rc = assert(a);", False)):
            self.assertEqual(bool(re.match(self.coverage.NOT_COUNTED, text)), is_left_out, text)


if __name__ == "__main__":
    unittest.main()
