"""Names of files as people have them: any alphabet, spaces, longer than old limits, devices, places that are not there,
files that others keep to themselves or that must not be written. It works, or a sentence names the file and nothing
changes.
"""
import os
import shutil
import subprocess
import tempfile
import time
import unittest

from steletool import HERE, IS_WINDOWS, STELE_PATH, Done, SteleCase, holder, only_on_windows, stele

PLAIN = "struct S { int32_t number; char name[28]; };"
NOBODY = 65534
READERS = [("info",), ("get", "0"), ("schema",), ("verify",), ("export", "--format", "csv")]
WRITERS = [("append", "number=1"), ("set", "0", "number=1"), ("truncate", "5"), ("recover",),
           ("resize", "--capacity", "9000"), ("import", "-", "--format", "csv")]
CREATORS = [("create", "--struct", PLAIN), ("create", "--struct", PLAIN, "--force")]


class PathCase(SteleCase):
    def filled(self, path):
        self.ends(0, "create", path, "--struct", PLAIN, "--quiet")
        self.ends(0, "append", path, "number=1", "name=one")
        return path

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def refused(self, path, verbs, pattern, run=stele):
        """Each of @verbs says in one line what is the matter with @path."""
        for verb in verbs:
            with self.subTest(verb=verb, path=path):
                done = run(verb[0], path, *verb[1:])
                self.assertEqual((done.code, done.out), (3, ""), done.err)
                self.assertEqual(len(done.err.splitlines()), 1, done.err)
                self.assertTrue(done.err.startswith("stele %s: %s" % (verb[0], path)), done.err)
                self.assertRegex(done.err, pattern)

    def used(self, path, out):
        """Every verb works on @path, and writes and reads @out."""
        done = self.ends(0, "create", path, "--struct", PLAIN)
        self.assertEqual(done.err, "stele create: %s: created, struct S, 32 bytes a record\n" % path)
        self.assertEqual(self.ends(0, "append", path, "number=7", "name=größe 😀").out, "0\n")
        self.assertEqual(self.ends(0, "get", path, "0", "--format", "csv").out, "7,größe 😀\n")
        self.ends(0, "export", path, out, "--format", "csv")
        self.assertIn("is there already", self.ends(3, "export", path, out, "--format", "csv").err)
        self.ends(0, "import", path, out, "--format", "csv", "--quiet")
        self.ends(0, "set", path, "1", "number=8")
        self.ends(0, "resize", path, "--capacity", "9000")
        self.ends(0, "create", path, "--struct", PLAIN, "--force", "--quiet")
        self.ends(0, "import", path, out, "--format", "csv", "--quiet")
        self.ends(0, "truncate", path, "3")
        self.assertIn("%s: 3 records" % path, self.ends(0, "verify", path).out)
        self.assertIn("%s: nothing to recover" % path, self.ends(0, "recover", path).out)
        self.assertIn("store       %s\n" % path, self.ends(0, "info", path).out)
        header = self.ends(0, "schema", path).out_bytes
        with open(out + ".h", "wb") as file:
            file.write(header)
        self.ends(0, "create", path + "2", "--struct-file", out + ".h", "--quiet")
        self.assertEqual(sorted(os.listdir(os.path.dirname(path))),
                         sorted(map(os.path.basename, (path, path + "2", out, out + ".h"))))


class Names(PathCase):
    def test_names_of_any_alphabet_with_spaces_work_with_every_verb(self):
        for number, name in enumerate(("two words", "größe", "журнал", "空白 と 仮名", "😀", "e\u0301", "a'b(1)")):
            folder = self.path("%d %s" % (number, name))
            os.mkdir(folder)
            with self.subTest(name):
                self.used(os.path.join(folder, name + ".stele"), os.path.join(folder, name + ".csv"))

    def test_paths_of_more_than_260_characters_work_with_every_verb(self):
        for parts in (3, 9):
            folder = os.path.join(self.path("deep%d" % parts), *["größe " + "x" * 94] * parts)
            os.makedirs(folder)
            path = os.path.join(folder, "s.stele")
            self.assertGreater(len(path), 260)
            self.used(path, os.path.join(folder, "s.csv"))

    def test_paths_relative_to_the_folder_work(self):
        os.mkdir(self.path("inner"))
        for path in ("plain.stele", "./dot.stele", "inner/../up.stele", "inner/in.stele"):
            words = [*HERE.stele, "create", path, "--struct", PLAIN, "--quiet"]
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.ends(0, "append", os.path.join(self.folder, path), "number=1")

    def test_a_name_longer_than_a_name_can_be_is_refused(self):
        path = self.path("n" * 300)
        store = self.filled(self.path("s"))
        before = self.bytes_of(store)
        self.refused(path, READERS + WRITERS[:4] + CREATORS[:1], r"\S \S")
        self.ends(3, "export", store, path, "--format", "csv")
        self.ends(3, "import", store, path, "--format", "csv")
        self.assertTrue(self.bytes_of(store) == before)
        self.assertEqual(os.listdir(self.folder), ["s"])


class Places(PathCase):
    def test_a_place_that_is_not_there_is_named(self):
        places = [self.path("no/such/s"), self.path("absent/s")]
        if IS_WINDOWS:
            places += ["Q:\\s", "q:/folder/s"]
        store = self.filled(self.path("s"))
        for path in places:
            self.refused(path, READERS + WRITERS + CREATORS, "not there|no drive|no directory")
            self.assertIn("%s cannot be written: its directory is not there" % path,
                          self.ends(3, "export", store, path, "--format", "csv").err)
            self.assertIn(path, self.ends(3, "import", store, path, "--format", "csv").err)
        self.assertEqual(os.listdir(self.folder), ["s"])

    def test_devices_are_no_stores_and_take_what_is_exported(self):
        store = self.filled(self.path("s"))
        devices = ["/dev/null"] + (["NUL", "nul", "AUX", "CON", "\\\\.\\C:"] if IS_WINDOWS else ["/dev/zero"])
        for path in devices:
            self.refused(path, READERS + WRITERS, "a device")
            self.refused(path, CREATORS[:1], "a device|there already")
        for path in devices[:3] if IS_WINDOWS else devices:
            done = self.ends(0, "export", store, path, "--format", "csv")
            self.assertEqual((done.out, done.err), ("", ""))
        self.ends(0, "import", store, devices[0], "--format", "csv", "--quiet")
        self.assertEqual(self.ends(0, "get", store, "..", "--format", "csv").out, "1,one\n")
        self.assertEqual(os.listdir(self.folder), ["s"])

    def test_a_folder_is_no_store_and_no_data(self):
        store = self.filled(self.path("s"))
        folder = self.path("größe und mehr")
        os.mkdir(folder)
        for path in (folder, folder + "/"):
            self.refused(path, READERS + WRITERS, "is a directory")
        self.assertIn("is a directory", self.ends(3, "export", store, folder, "--format", "csv").err)
        self.assertIn("is a directory", self.ends(3, "import", store, folder, "--format", "csv").err)
        self.assertEqual(os.listdir(folder), [])

    @only_on_windows("this version of stele does not ask this system where a file lies")
    def test_a_network_drive_is_refused(self):
        share = self.path("share")
        os.mkdir(share)
        store = self.filled(os.path.join(share, "s"))
        before = self.bytes_of(store)
        self.refused("\\\\server\\share\\s", READERS + WRITERS + CREATORS, "on a network share")
        prefix = self.network_prefix(share)

        def run(*words):
            # Files, no pipes: what Wine starts in the background would keep them open.
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                done = subprocess.run([*HERE.stele, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                      env=dict(os.environ, WINEPREFIX=prefix), check=False)
                out.seek(0)
                err.seek(0)
                return Done(done.returncode, out.read(), err.read())

        self.assertEqual(run("get", self.filled(self.path("local")), "0", "--format", "csv").out, "1,one\n")
        self.refused("N:\\s", READERS + WRITERS + CREATORS, "N: is a network drive.*copy the store to a disk", run=run)
        self.refused("n:/new", CREATORS, "n: is a network drive", run=run)
        self.assertTrue(self.bytes_of(store) == before)
        self.assertEqual(os.listdir(share), ["s"])

    def network_prefix(self, share):
        """A Windows of Wine like the one in use, where N: is a network drive that leads to @share."""
        home, prefix = os.environ["WINEPREFIX"], self.path("wine")
        os.makedirs(os.path.join(prefix, "dosdevices"))
        # The server writes it half a minute after it began at the latest.
        registry = os.path.join(home, "system.reg")
        while not os.path.exists(registry) or os.path.getsize(registry) < 1 << 20:
            time.sleep(0.1)
        for name in ("system.reg", "user.reg", "userdef.reg", ".update-timestamp"):
            shutil.copy(os.path.join(home, name), prefix)
        with open(os.path.join(prefix, "system.reg"), "a", encoding="utf-8") as file:
            file.write('\n[Software\\\\Wine\\\\Drives]\n"n:"="network"\n')
        os.symlink(os.path.join(os.path.abspath(home), "drive_c"), os.path.join(prefix, "drive_c"))
        for name, target in (("c:", "../drive_c"), ("z:", "/"), ("n:", share)):
            os.symlink(target, os.path.join(prefix, "dosdevices", name))
        # Wine looks for its server in TMPDIR, and tools/wine takes that away.
        environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        environment["WINEPREFIX"] = prefix

        def server(*words):
            subprocess.run(["wineserver", *words], env=environment, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

        self.addCleanup(server, "-w")
        self.addCleanup(server, "-k")
        server("-p60")
        return prefix


class Kept(PathCase):
    """Files that others keep to themselves, or that must not be written."""

    def test_a_file_that_another_program_does_not_share_is_refused_until_it_does(self):
        path = self.filled(self.path("größe s"))
        before = self.bytes_of(path)
        held = holder("alone", path)
        self.addCleanup(held.communicate)
        self.assertEqual(held.stdout.readline(), "held\n")
        self.refused(path, READERS + WRITERS + CREATORS[1:], "another (program|process)")
        if IS_WINDOWS:  # elsewhere import waits until the other gives it back
            done = self.ends(3, "import", self.filled(self.path("t")), path, "--format", "raw")
            self.assertRegex(done.err, "another program")
        held.communicate()
        self.assertEqual(held.returncode, 0)
        self.assertTrue(self.bytes_of(path) == before)
        self.assertEqual(self.ends(0, "append", path, "number=2").out, "1\n")

    def as_anybody(self, *words):
        """stele by a user to whom the rights of files mean something."""
        if IS_WINDOWS or os.geteuid() != 0:
            return stele(*words)
        program = self.path("program")
        if not os.path.exists(program):
            shutil.copy(STELE_PATH, program)
            os.chmod(program, 0o755)
            os.chmod(self.folder, 0o777)
        done = subprocess.run([program, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              user=NOBODY, group=NOBODY, extra_groups=[])
        return Done(done.returncode, done.stdout, done.stderr)

    def test_a_read_only_file_is_read_and_not_written(self):
        path = self.filled(self.path("größe s"))
        os.chmod(path, 0o444)
        before = self.bytes_of(path)
        for verb in READERS:
            self.assertEqual(self.as_anybody(verb[0], path, *verb[1:]).code, 0, verb)
        self.refused(path, WRITERS + CREATORS[1:], "(?i)read-only|permission|may not", run=self.as_anybody)
        self.assertTrue(self.bytes_of(path) == before)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o444)
        os.chmod(path, 0o666)
        self.assertEqual(self.as_anybody("append", path, "number=2").out, "1\n")


if __name__ == "__main__":
    unittest.main()
