"""The programs of tools/examples and tools/figures, run as a user would; their output is the scenario's."""
import os
import subprocess
import unittest

from steletool import SteleCase, not_on_windows, program


def run(name, *words):
    return subprocess.run([*program("tools", *name.split("/")), *words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)


class Examples(SteleCase):
    def runs(self, name, *words):
        done = run(name, *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""), (name, words))
        return done.stdout

    def same_bytes(self, *paths):
        contents = []
        for path in paths:
            with open(path, "rb") as file:
                contents.append(file.read())
        self.assertEqual(contents[0], contents[1])

    def test_a_packed_struct_goes_from_one_process_to_another(self):
        store = self.path("smtest.stele")
        self.runs("examples/smtest", "write", store)
        self.assertEqual(self.runs("examples/smtest", "print", store), "c:a i:100, s:10\n")
        info = self.ends(0, "info", store, "--json").out
        self.assertIn('"record_bytes": 7', info)

    def test_a_store_of_one_small_record_takes_at_most_2_mib_of_disk(self):
        store = self.path("smtest.stele")
        self.runs("examples/smtest", "write", store)
        self.assertLessEqual(os.stat(store).st_blocks * 512, 2 << 20)

    def test_writing_the_packed_struct_again_replaces_it(self):
        store = self.path("smtest.stele")
        self.runs("examples/smtest", "write", store)
        self.ends(0, "set", store, "0", "i=7")
        self.runs("examples/smtest", "write", store)
        self.assertEqual(self.runs("examples/smtest", "print", store), "c:a i:100, s:10\n")
        self.assertIn('"count": 1', self.ends(0, "info", store, "--json").out)

    def test_the_unpacked_struct_is_refused_by_its_first_field_that_differs(self):
        store = self.path("smtest.stele")
        self.runs("examples/smtest", "write", store)
        done = run("examples/smtest", "unpacked", store)
        self.assertEqual(done.returncode, 1)
        self.assertIn("field `i`: program has offset 4, file has offset 1", done.stderr)
        self.assertIn("packed", done.stderr)

    def test_an_array_written_by_fwrite_is_read_by_index_and_through_a_view(self):
        raw, store = self.path("members.raw"), self.path("members.stele")
        self.runs("examples/members", "array", raw)
        self.runs("examples/members", "load", store, raw)
        want = "member[2].id = id-2, member[3].name = name of member 3\n"
        self.assertEqual(self.runs("examples/members", "print", store), "get:  " + want + "view: " + want)
        self.ends(0, "export", store, self.path("out.raw"), "--format", "raw")
        self.same_bytes(raw, self.path("out.raw"))

    def test_the_raw_array_is_imported_and_exported_byte_for_byte(self):
        raw = self.path("members.raw")
        self.runs("examples/members", "array", raw)
        store = self.create("imported.stele", "struct Member { char id[256]; char name[256]; };")
        self.ends(0, "import", store, raw, "--format", "raw")
        self.ends(0, "export", store, self.path("out.raw"), "--format", "raw")
        self.same_bytes(raw, self.path("out.raw"))
        self.assertIn("member[3].name = name of member 3", self.runs("examples/members", "print", store))

    def test_a_short_array_is_refused(self):
        raw = self.write("short.raw", b"x" * 512 * 999)
        done = run("examples/members", "load", self.path("members.stele"), raw)
        self.assertEqual(done.returncode, 1)
        self.assertIn("999 read", done.stderr)
        self.assertFalse(os.path.exists(self.path("members.stele")))

    @not_on_windows("figures measures against bare calls of POSIX, and is not built there")
    def test_figures_print_each_row(self):
        out = self.runs("figures", "--dir", self.folder, "--bytes", "2M", "--gets", "1000", "--sets", "3",
                        "--scan", "4M")
        for row in ("bulk load, 512", "random get, 512", "durable set, 512", "bulk load, 16", "random get, 16",
                    "durable set, 16", "read-only open", "scan with 64 MiB"):
            self.assertRegex(out, "(?m)^  %s.* [0-9]+\\.[0-9]" % row)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
