"""The frame of the command line: help, verbs, typos, words and where messages go."""
import re
import subprocess
import unittest

from steletool import STELE, SteleCase, stele

VERBS = ["create", "import", "export", "append", "get", "set", "info", "schema", "verify", "recover", "repair",
         "backup", "resize", "truncate", "help", "version"]


def options_of(verb):
    return sorted(set(re.findall(r"(?m)^  --([a-z-]+)", stele("help", verb).out)))


class Frame(SteleCase):
    def test_help_lists_every_verb_and_the_exit_codes(self):
        for words in (("help",), ("--help",), ("-h",)):
            done = self.ends(0, *words)
            self.assertEqual(re.findall(r"(?m)^  ([a-z]+) +\S", done.out), VERBS)
            self.assertIn("130 interrupted", done.out)
            self.assertEqual(done.err, "")

    def test_help_of_each_verb_has_a_synopsis_an_example_and_the_common_options(self):
        for verb in VERBS:
            with self.subTest(verb=verb):
                done = self.ends(0, "help", verb)
                self.assertTrue(done.out.startswith("stele %s" % verb))
                self.assertIn("\nExample: stele %s" % verb, done.out)
                self.assertLessEqual(max(map(len, done.out.splitlines())), 110)
                self.assertEqual(self.ends(0, verb, "--help").out, done.out)
                self.assertEqual(self.ends(0, verb, "nothing", "-h", "--unknown").out, done.out)
                if verb not in ("help", "version"):
                    self.assertRegex(done.out, r"\n  --wait MS .*\n  --quiet ")
                    self.assertIn("\nExit: 0 ", done.out)

    def test_version_is_that_of_the_library(self):
        self.assertRegex(self.ends(0, "version").out, r"^stele \d+\.\d+\.\d+\n$")
        self.assertEqual(self.ends(0, "--version").out, self.ends(0, "version").out)
        self.assertIn("one word too many", self.ends(2, "version", "now").err)

    def test_an_unknown_verb_is_refused_and_the_nearest_named(self):
        for typo, verb in (("creat", "create"), ("verfy", "verify"), ("imprt", "import"), ("gte", "get")):
            done = self.ends(2, typo, "file")
            self.assertIn('"%s" is no verb, did you mean %s?' % (typo, verb), done.err)
            self.assertEqual(done.out, "")
            self.assertIn(verb, self.ends(2, "help", typo).err)
        self.assertNotIn("mean", self.ends(2, "xyzzy").err)
        self.assertIn("which verb?", self.ends(2).err)

    def test_verbs_of_later_versions_are_unknown(self):
        for verb in ("watch", "bench", "unlink"):
            self.assertIn("is no verb", self.ends(2, verb, "file").err)

    def test_a_typo_in_any_option_of_any_verb_is_refused_and_the_option_named(self):
        seen = 0
        for verb in VERBS:
            for option in options_of(verb):
                typo = option[:1] + option[2:]
                with self.subTest(verb=verb, option=option):
                    done = self.ends(2, verb, self.path("absent"), "--" + typo, "1")
                    self.assertIn("stele %s: --%s: unknown option; did you mean --%s?" % (verb, typo, option), done.err)
                    self.assertIn("`stele help %s`" % verb, done.err)
                    self.assertEqual(self.ends(2, verb, self.path("absent"), "--%s=1" % typo).err, done.err)
                    seen += 1
        self.assertGreaterEqual(seen, 45)

    def test_an_option_without_its_value_is_refused(self):
        for words in (("create", "f", "--struct"), ("get", "f", "0", "--fields"), ("create", "f", "--struct",
                                                                                   "--sparse"),
                      ("verify", "f", "--max"), ("info", "f", "--wait")):
            self.assertRegex(self.ends(2, *words).err, "--%s needs a value" % words[-1 - ("--sparse" in words)][2:])

    def test_a_flag_takes_no_value(self):
        for words in (("info", "f", "--json=yes"), ("create", "f", "--force=1"), ("recover", "f", "--quiet=")):
            self.assertIn("takes no value", self.ends(2, *words).err)

    def test_a_value_that_is_none_of_the_choices_is_refused_and_the_nearest_named(self):
        done = self.ends(2, "get", "f", "0", "--format", "jsn")
        self.assertIn('--format: "jsn" is none of text, json, csv, raw; did you mean json?', done.err)
        self.assertIn("c, json, numpy", self.ends(2, "schema", "f", "--as=rust").err)

    def test_numbers_of_options_are_checked(self):
        struct = ("create", self.path("f"), "--struct", "struct S { int i; };")
        for words, sentence in (
                (("--capacity", "-5"), "--capacity: -5 is negative"),
                (("--capacity=-5",), "--capacity: -5 is negative"),
                (("--capacity", "many"), '"many" is no size'),
                (("--capacity", "1.5K"), '"1.5K" is no size'),
                (("--capacity", ""), '"" is no size'),
                (("--capacity", "18446744073709551616"), "more than 64 bits hold"),
                (("--journal", "16777216T"), "more than 64 bits hold"),
                (("--journal", "1MB"), '"1MB" is no size'),
                (("--pack", "3"), "3 is none of 1, 2, 4, 8, 16"),
                (("--pack", "1K"), '"1K" is no number'),
                (("--mode", "0888"), '"0888" is no file mode'),
                (("--mode", "rw"), '"rw" is no file mode'),
                (("--mode", "1777"), '"1777" is no file mode'),
                (("--mode", "0"), '"0" is no file mode'),
                (("--wait", "-1"), "--wait: -1 is negative"),
                (("--wait", "4294967296"), "more than 49 days"),
                (("--wait", "5s"), '"5s" is no number')):
            with self.subTest(words=words):
                self.assertIn(sentence, self.ends(2, *struct, *words).err)

    def test_short_options_are_unknown_and_missing_words_are_told(self):
        self.assertIn("-q: unknown option; all options are long", self.ends(2, "info", "f", "-q").err)
        for verb in VERBS[:-2]:
            self.assertIn("FILE is missing", self.ends(2, verb).err)
            self.assertIn("FILE is an empty word", self.ends(2, verb, "").err)
        for words, missing in ((("get", "f"), "INDEX|A..B"), (("set", "f"), "INDEX"), (("set", "f", "0"), "field=value"),
                               (("truncate", "f"), "COUNT"), (("import", "f", "--header"), "DATA|-")):
            sentence = '%s is missing behind "%s"' % (missing, [word for word in words if word[0] != "-"][-1])
            self.assertIn(" " + sentence, self.ends(2, *words).err)
        for words in (("info", "f", "g"), ("truncate", "f", "1", "2"), ("verify", "f", "--", "--json")):
            self.assertIn('"%s" is one word too many' % words[-1], self.ends(2, *words).err)

    def test_indexes_and_ranges_are_checked_before_the_file_is_opened(self):
        for word in ("x", "1.2", "5..2", "-1..-2", "1..x", "", "0x1", "99999999999999999999999", "1...2"):
            with self.subTest(word=word):
                self.assertIn('"%s" is no index and no range' % word, self.ends(2, "get", "absent", word).err)
        for word in ("x", "1..2", "..", "-"):
            self.assertIn('"%s" is no index' % word, self.ends(2, "set", "absent", word, "i=1").err)
        for word in ("x", "-1", "1.5", "18446744073709551616"):
            self.assertIn('"%s" is no count' % word, self.ends(2, "truncate", "absent", word).err)

    def test_shared_memory_is_a_usage_error(self):
        for words in (("info", "shm:a"), ("create", "shm:a", "--struct", "struct S { int i; };"), ("get",
                                                                                                   "shm:a", "0")):
            self.assertIn("stores in files only", self.ends(2, *words).err)

    def test_results_that_cannot_be_written_are_a_failure(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*STELE, "help"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"standard output", done.stderr)
        store = self.create("s.stele", "struct S { char text[1000]; };")
        self.ends(0, "truncate", store, "1000")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*STELE, "get", store, ".."], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"not complete: No space left on device", done.stderr)


if __name__ == "__main__":
    unittest.main()
