"""The set-up script, with installers that only write down what they were asked for; and where sources come from."""
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETUP = os.path.join(TOP, "tools", "setup")
LINE = "sudo apt-get update && sudo apt-get install -y --no-install-recommends "

# What a fake installer does: write down its words; when it is to install meson, meson is there afterwards.
APT = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case "$*" in *install*meson*) [ -z "$BROKEN" ] && ln -s /bin/true "$PLACE/meson" ;; esac
[ -z "$BROKEN" ]
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] || { echo "a password was asked for" >>"$LOG"; exit 1; }
shift
[ -n "$SUDO_WORKS" ] && "$@"
"""


class Setup(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.place = os.path.join(self.folder, "bin")
        self.log = os.path.join(self.folder, "log")
        os.mkdir(self.place)
        for folder in ("/bin", "/usr/bin"):
            for name in os.listdir(folder):
                if name not in ("sudo", "apt-get", "id"):
                    target = os.path.join(self.place, name)
                    if not os.path.lexists(target):
                        os.symlink(os.path.join(folder, name), target)
        self.write("id", "#!/bin/sh\necho ${FAKE_UID:-1000}\n")
        self.write("apt-get", APT)
        self.write("sudo", SUDO)

    def write(self, name, text):
        path = os.path.join(self.place, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def run_setup(self, *words, without=(), **environment):
        """Exit code, output and what the installers were asked for."""
        for name in without:
            os.unlink(os.path.join(self.place, name))
        done = subprocess.run(["/bin/sh", SETUP, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60,
                              env=dict(environment, PATH=self.place, PLACE=self.place, LOG=self.log))
        log = open(self.log, encoding="utf-8").read() if os.path.exists(self.log) else ""
        return done.returncode, done.stdout, log

    def test_nothing_is_done_where_all_is_there(self):
        self.assertEqual(self.run_setup("all"), (0, "", ""))
        self.assertEqual(self.run_setup("build", without=["sudo", "apt-get"]), (0, "", ""))

    def test_root_installs_what_is_missing_after_an_update(self):
        code, _, log = self.run_setup("all", without=["meson", "sudo"], FAKE_UID="0")
        self.assertEqual(code, 0)
        self.assertEqual(log.splitlines(), ["apt-get update -q",
                                            "apt-get install -q -y --no-install-recommends meson"])

    def test_a_user_with_sudo_installs_without_a_password(self):
        code, _, log = self.run_setup("all", without=["meson"], SUDO_WORKS="1")
        self.assertEqual((code, len(log.splitlines())), (0, 2))
        self.assertNotIn("password", log)

    def test_a_user_without_sudo_is_told_the_exact_line(self):
        code, output, log = self.run_setup("all", without=["meson", "valgrind", "sudo"])
        self.assertEqual((code, log), (3, ""))
        self.assertIn(LINE + "meson valgrind\n", output)

    def test_a_user_whose_sudo_asks_for_a_password_is_told_the_exact_line(self):
        code, output, log = self.run_setup("all", without=["meson"])
        self.assertEqual((code, log), (3, ""))
        self.assertIn(LINE + "meson\n", output)

    def test_an_installation_that_fails_stops_with_the_exact_line(self):
        code, output, _ = self.run_setup("all", without=["meson"], FAKE_UID="0", BROKEN="1")
        self.assertEqual(code, 3)
        self.assertIn(LINE + "meson\n", output)

    def test_what_only_tests_need_is_not_asked_for_by_a_build(self):
        self.assertEqual(self.run_setup("build", without=["valgrind", "clang"])[0], 0)

    def test_what_only_other_platforms_need_is_not_asked_for_by_a_quick_check(self):
        foreign = ["x86_64-w64-mingw32-gcc", "wine", "dpkg-source", "cmake", "valgrind"]
        self.assertEqual(self.run_setup("quick", without=foreign), (0, "", ""))

    def test_only_a_check_of_coverage_asks_for_what_measures_it(self):
        foreign = ["x86_64-w64-mingw32-gcc", "wine", "valgrind", "gcovr", "sudo"]
        if not os.path.lexists(os.path.join(self.place, "gcovr")):
            os.symlink("/bin/true", os.path.join(self.place, "gcovr"))
        self.assertEqual(self.run_setup("coverage"), (0, "", ""))
        code, output, _ = self.run_setup("coverage", without=foreign)
        self.assertEqual(code, 3)
        self.assertIn(LINE + "gcovr\n", output)
        self.assertEqual(self.run_setup("quick"), (0, "", ""))

    def test_all_asks_for_what_other_platforms_need(self):
        code, output, _ = self.run_setup("all", without=["x86_64-w64-mingw32-gcc", "wine", "cmake", "sudo"])
        self.assertEqual(code, 3)
        self.assertIn(LINE + "gcc-mingw-w64-x86-64 wine cmake\n", output)

    def test_a_system_without_apt_is_told_what_is_missing(self):
        code, output, _ = self.run_setup("all", without=["meson", "apt-get"])
        self.assertEqual(code, 3)
        self.assertIn("meson", output)

    def test_an_unknown_word_is_refused(self):
        self.assertEqual(self.run_setup("everything")[0], 2)


class Sources(unittest.TestCase):
    """tools/libraries asks the mirrors of this machine, and no other archive."""
    SUITES = {"bookworm", "bookworm-updates", "bookworm-security"}

    @classmethod
    def setUpClass(cls):
        loader = importlib.machinery.SourceFileLoader("libraries", os.path.join(TOP, "tools", "libraries"))
        cls.libraries = importlib.util.module_from_spec(importlib.util.spec_from_loader("libraries", loader))
        loader.exec_module(cls.libraries)

    def test_lists_of_one_line_are_asked_for_sources(self):
        text = ("# a comment\ndeb http://a.example/debian bookworm main contrib # why\n"
                "deb [arch=amd64 signed-by=/k.gpg] http://b.example/x bookworm-security main\n"
                "deb [arch=amd64] http://c.example/debian bookworm-updates main\n"
                "deb http://foreign.example bookworm-pgdg main\n# deb http://old.example bookworm main\n")
        self.assertEqual(list(self.libraries.source_lines(text, self.SUITES)),
                         ["deb-src http://a.example/debian bookworm main contrib",
                          "deb-src [signed-by=/k.gpg] http://b.example/x bookworm-security main",
                          "deb-src http://c.example/debian bookworm-updates main"])

    def test_lists_of_stanzas_are_asked_for_sources(self):
        text = ("Types: deb\n# snapshot\nURIs: http://a.example/debian\nSuites: bookworm bookworm-backports-sloppy\n"
                "Components: main\nArchitectures: amd64\nSigned-By: /k.gpg\n\n"
                "Types: deb\nURIs: http://foreign.example\nSuites: nodistro\nComponents: main\n\n"
                "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n")
        self.assertEqual(list(self.libraries.source_stanzas(text, self.SUITES)),
                         ["Types: deb-src\nURIs: http://a.example/debian\nSuites: bookworm\nComponents: main\n"
                          "Signed-By: /k.gpg"])


if __name__ == "__main__":
    unittest.main()
