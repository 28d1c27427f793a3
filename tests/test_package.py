"""What an installed stele looks like to a program: header, names, pkg-config, and the program of the README.

Needs STELE_BUILD, a configured and built folder. The compilers are those on the path.
"""
import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("STELE_BUILD", os.path.join(TOP, ".build", "native"))
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]

C_PROGRAM = r"""
#include <stele.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    struct stele *store = NULL;
    int rc = stele_open("there is no such file", NULL, &store);
    if (rc != STELE_E_ABSENT || store || strcmp(stele_strerror(rc), "") == 0)
        return 1;
    puts(stele_version());
    return 0;
}
"""


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **options)
    if done.returncode:
        raise AssertionError("%s\nended with %d:\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def pinned_names():
    return [line.strip() for line in read("lib/exports.txt").splitlines() if line.strip() and line[0] != "#"]


def defined_names(library):
    """Names that @library exports; versions and the linker's own left out."""
    listed = run("nm", "-D", "--defined-only", "--format=posix", library)
    return [line.split()[0] for line in listed.splitlines()
            if line.split()[1] != "A" and line.split()[0] not in ("_init", "_fini", "_edata", "_end", "__bss_start")]


def readme_program(text):
    """The first block of C in @text that contains a main."""
    for block in re.findall(r"^```c\n(.*?)^```", text, re.M | re.S):
        if re.search(r"\bmain\s*\(", block):
            return block
    return None


class Header(unittest.TestCase):
    USE = "struct stele_options a_program_has_options = STELE_OPTIONS_INIT;\n"

    def compile(self, text, *command):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(TOP, "lib", "stele.h"), folder)
            source = os.path.join(folder, "alone.c")
            with open(source, "w", encoding="utf-8") as file:
                file.write('#include "stele.h"\n#include "stele.h"\n' + text)
            run(command[0], *STRICT, *command[1:], "-fsyntax-only", source)

    def test_the_header_compiles_alone_as_c11(self):
        for compiler in ("gcc", "clang"):
            self.compile(self.USE, compiler, "-std=c11", "-Wstrict-prototypes")

    def test_the_header_compiles_alone_as_cpp17(self):
        for compiler in ("g++", "clang++"):
            # A struct and a function may share a name, as stat does.
            words = [compiler, "-x", "c++", "-std=c++17", "-Wno-shadow"]
            self.compile("int a_program;\n", *words)
            # Designated initialisers are C++20, which both compilers take as an extension before.
            self.compile(self.USE, *words, "-Wno-pedantic", "-Wno-missing-field-initializers")

    def test_a_header_with_a_mistake_is_noticed(self):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "alone.c")
            with open(source, "w", encoding="utf-8") as file:
                file.write(read("lib/stele.h").replace("#include <stdint.h>", ""))
            with self.assertRaises(AssertionError):
                run("gcc", "-std=c11", *STRICT, "-fsyntax-only", source)


class Names(unittest.TestCase):
    def test_the_list_of_exported_names_is_sorted_and_without_doubles(self):
        self.assertEqual(pinned_names(), sorted(set(pinned_names())))

    def test_the_shared_library_exports_the_pinned_names(self):
        library = os.path.join(BUILD, "lib", "libstele.so")
        self.assertEqual(sorted(defined_names(library)), pinned_names())

    def test_the_header_declares_the_pinned_names(self):
        declared = re.findall(r"^STELE_API\b[^;(]*?\b(stele_\w+)\s*\(", read("lib/stele.h"), re.M)
        self.assertEqual(sorted(declared), pinned_names())

    def test_a_name_too_many_is_noticed(self):
        with tempfile.TemporaryDirectory() as folder:
            library = os.path.join(folder, "libextra.so")
            source = os.path.join(folder, "extra.c")
            with open(source, "w", encoding="utf-8") as file:
                file.write("int stele_extra(void);\nint stele_extra(void) { return 0; }\n"
                           "__attribute__((visibility(\"hidden\"))) int stele_hidden(void) { return 0; }\n")
            run("gcc", "-shared", "-fPIC", source, "-o", library)
            self.assertEqual(defined_names(library), ["stele_extra"])


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        run("meson", "install", "-C", BUILD, "--no-rebuild", env=dict(os.environ, DESTDIR=cls.folder))
        cls.root = os.path.join(cls.folder, "usr", "local")
        found = glob.glob(cls.root + "/lib*/**/stele.pc", recursive=True)
        if len(found) != 1:
            raise AssertionError("expected one stele.pc below %s, found %s" % (cls.root, found))
        cls.libraries = os.path.dirname(os.path.dirname(found[0]))
        cls.environment = dict(os.environ, PKG_CONFIG_LIBDIR=os.path.dirname(found[0]),
                               PKG_CONFIG_SYSROOT_DIR=cls.folder, LD_LIBRARY_PATH=cls.libraries)

    def build(self, text, *compiler, static=False):
        """Compile @text as a user would; the path of the program."""
        source = os.path.join(self.folder, "program.c")
        program = os.path.join(self.folder, "program")
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        flags = run("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "stele",
                    env=self.environment).split()
        if static:
            flags = [os.path.join(self.libraries, "libstele.a") if flag == "-lstele" else flag for flag in flags]
        run(*compiler, *STRICT, source, "-o", program, *flags)
        return program

    def run_in_new_folder(self, program, environment):
        with tempfile.TemporaryDirectory() as folder:
            return run(program, cwd=folder, env=environment)

    def test_only_what_a_user_needs_is_installed(self):
        files = [os.path.relpath(os.path.join(folder, name), self.root)
                 for folder, _, names in os.walk(self.root) for name in names]
        places = {re.sub(r"^lib(64)?/.*?(?=libstele|pkgconfig)", "lib/", name) for name in files}
        version = re.search(r"version: '([\d.]+)'", read("meson.build")).group(1)
        major = version.split(".")[0]
        self.assertEqual(places, {"include/stele.h", "bin/stele", "lib/libstele.a", "lib/libstele.so",
                                  "lib/libstele.so." + major, "lib/libstele.so." + version,
                                  "lib/pkgconfig/stele.pc"})

    def test_the_soname_follows_the_major_version(self):
        version = run("pkg-config", "--modversion", "stele", env=self.environment).strip()
        dynamic = run("readelf", "-d", os.path.join(self.libraries, "libstele.so"))
        self.assertIn("[libstele.so.%s]" % version.split(".")[0], dynamic)

    def test_the_library_depends_on_nothing_but_the_system(self):
        dynamic = run("readelf", "-d", os.path.join(self.libraries, "libstele.so"))
        needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
        self.assertLessEqual({name.split(".so")[0] for name in needed}, {"libc", "libpthread", "ld-linux-x86-64"})

    def test_versions_of_header_build_and_pkg_config_agree(self):
        header = ".".join(re.search(r"STELE_VERSION_%s (\d+)" % part, read("lib/stele.h")).group(1)
                          for part in ("MAJOR", "MINOR", "PATCH"))
        self.assertEqual(run("pkg-config", "--modversion", "stele", env=self.environment).strip(), header)
        program = self.build(C_PROGRAM, "gcc", "-std=c11")
        self.assertEqual(self.run_in_new_folder(program, self.environment).strip(), header)

    def test_a_program_links_the_static_library(self):
        program = self.build(C_PROGRAM, "gcc", "-std=c11", static=True)
        self.assertNotIn("libstele", run("readelf", "-d", program))
        self.run_in_new_folder(program, dict(os.environ, LD_LIBRARY_PATH=""))

    def test_the_program_of_the_readme_compiles_and_runs_as_printed(self):
        path = os.path.join(TOP, "README.md")
        self.assertTrue(os.path.exists(path), "README.md is missing")
        text = readme_program(read("README.md"))
        self.assertIsNotNone(text, "README.md has no block of C (```c) with a main in it: its program is gone")
        for compiler in ("gcc", "clang"):
            with self.subTest(compiler=compiler):
                self.run_in_new_folder(self.build(text, compiler, "-std=c11"), self.environment)

    def test_the_search_for_the_readme_program_takes_the_first_with_a_main(self):
        text = "```c\nint a;\n```\n```sh\nmain()\n```\n```c\nint main(void) { return 7; }\n```\n```c\nint main;\n```\n"
        self.assertEqual(readme_program(text), "int main(void) { return 7; }\n")
        self.assertIsNone(readme_program("```sh\nmain()\n```\n"))


if __name__ == "__main__":
    unittest.main()
