"""The rules of the house that a program can check. Each check is first shown to fail on a bad example.

What each rule is for stands in lib/DESIGN.md; here are only the tables and the scanners.
"""
import os
import re
import subprocess
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

TOP_ENTRIES = {"lib", "cli", "tests", "tools", "meson.build", "meson_options.txt", "README.md", "LICENSE"}

# An include points to a lower layer, that is to an earlier line. A word stands for all files that begin with it:
# os for os.h, os_posix.c.
ORDER = [
    "bits format error hash version",
    "guard",
    "os layout lookup options",
    "window",
    "superblock sums journal live schema",
    "spec replay create pending",
    "handle",
    "block apply proof",
    "checkpoint",
    "settle growth recover",
    "commit",
    "bulk turn reader",
    "syncer",
    "open txn",
    "store write record cursor view edit verify repair rewrite backup info",
]
LAYERS = {word: index for index, line in enumerate(ORDER) for word in line.split()}
MAPPING = {"window"}
# The design's, and what was split off from txn: commit, bulk, checkpoint, growth.
SYNCING = {"txn", "journal", "superblock", "store", "recover", "rewrite", "backup", "settle", "bulk", "checkpoint", "growth"}
PLATFORM = {"os", "guard"}
SYSTEMS = ("posix", "win32")  # os_posix.c and os_win32.c are twins

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 120

# In two parts, so that this file does not break its own rule.
LEFT_OVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|not (yet )?implem" r"ented|place" r"holder", re.I)
MACHINE_PATH = re.compile("/wo" "rk/|/fa" "rm/|fa" "rm-bench|/\\.lib" "rary|/ho" "me/[a-z]|/ro" "ot/")
PLATFORM_IF = re.compile(
    r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\b(_WIN32|_WIN64|_MSC_VER|__linux__|__linux|__APPLE__|__unix__|__FreeBSD__|"
    r"__MINGW32__|__MINGW64__|__CYGWIN__|__ANDROID__|__GLIBC__|_GNU_SOURCE|__i386__|__x86_64__|_WIN32_WINNT)\b", re.M)
TEXT_ENDINGS = (".c", ".h", ".py", ".build", ".txt", ".md", ".sh", "")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def tracked():
    """The project's files, as git knows them; without git, all but dot folders and leftovers."""
    try:
        listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
                                 "--exclude-standard"], cwd=TOP, check=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        names = [name for name in listed.decode().split("\0") if name]
        return sorted(name for name in names if os.path.exists(os.path.join(TOP, name)))
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, files in os.walk(TOP):
            folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
            names += [os.path.relpath(os.path.join(folder, name), TOP) for name in files]
        return sorted(names)


FILES = tracked()


def c_files(*folders):
    return [path for path in FILES if path.endswith((".c", ".h")) and path.split("/")[0] in folders]


# ---- scanners ----------------------------------------------------------------------------------

def strip_c(text, keep_strings=False):
    """C without comments and, unless kept, without what strings and characters hold; every newline stays."""
    out = []
    at = 0
    token = re.compile(r'//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    for found in token.finditer(text):
        out.append(text[at:found.start()])
        piece = found.group(0)
        if piece[0] == "/":
            out.append(" " + "\n" * piece.count("\n"))
        elif keep_strings:
            out.append(piece)
        else:
            out.append(piece[0] + "\n" * piece.count("\n") + piece[0])
        at = found.end()
    out.append(text[at:])
    return "".join(out)


def line_count(stripped):
    return sum(1 for line in stripped.split("\n") if line.strip())


def without_directives(stripped):
    """Preprocessor lines blanked, with their continuations. Of #if … #else only the first branch is kept,
    so that braces pair."""
    out = []
    dropping = []  # per open #if: whether its current branch is dropped
    lines = stripped.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith("#"):
            word = re.match(r"\s*#\s*(\w*)", line).group(1)
            if word in ("if", "ifdef", "ifndef"):
                dropping.append(False)
            elif word in ("else", "elif") and dropping:
                dropping[-1] = True
            elif word == "endif" and dropping:
                dropping.pop()
            out.append("")
            while line.endswith("\\") and at + 1 < len(lines):
                at += 1
                line = lines[at]
                out.append("")
        else:
            out.append("" if any(dropping) else line)
        at += 1
    return "\n".join(out)


def functions(text):
    """(name, first line, lines of code) of every function body, the signature counted too."""
    return [(name, line, count) for name, line, count, _ in bodies(text)]


def external_functions(text):
    """Names that other files may call, in the order of their bodies."""
    return [name for name, _, _, head in bodies(text) if not re.search(r"\bstatic\b", head)]


def bodies(text):
    """(name, first line, lines of code, signature) of every function body."""
    code = without_directives(strip_c(text))
    found = []
    depth = 0
    begin = 0  # of the declaration being read
    body = None
    for at, char in enumerate(code):
        if char == "{":
            if depth == 0:
                head = code[begin:at]
                if head.rstrip().endswith(")") and "=" not in head.split("(")[0]:
                    name = re.search(r"\(\*\s*(\w+)\s*\(", head) or re.search(r"(\w+)\s*\(", head)
                    body = (name.group(1) if name else "?", begin + len(head) - len(head.lstrip()), head)
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                if body:
                    piece = code[body[1]:at + 1]
                    found.append((body[0], code.count("\n", 0, body[1]) + 1, line_count(piece), body[2]))
                    body = None
                    begin = at + 1
        elif char == ";" and depth == 0:
            begin = at + 1
    return found


def noun(path):
    return os.path.splitext(os.path.basename(path))[0].split("_")[0]


def includes(text):
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', strip_c(text, keep_strings=True), re.M)


# ---- checks: each takes a path and a text, and returns what is wrong -----------------------------

def check_layers(path, text):
    wrong = []
    if noun(path) == "stele":
        return ["%s: stele.h stands alone, it includes nothing of ours" % path] if includes(text) else []
    if noun(path) not in LAYERS:
        return ["%s: no layer for `%s` in tests/house.py" % (path, noun(path))]
    for name in includes(text):
        other = noun(name)
        if name == "stele.h" or other == noun(path):
            continue
        if other not in LAYERS:
            wrong.append("%s: includes %s, which has no layer" % (path, name))
        elif LAYERS[other] >= LAYERS[noun(path)]:
            wrong.append("%s (layer %d) includes %s (layer %d): an include points to a lower layer"
                         % (path, LAYERS[noun(path)], name, LAYERS[other]))
    return wrong


def check_cli_includes(path, text):
    own = {os.path.basename(name) for name in c_files("cli")}
    return ["%s: includes %s: cli sees stele.h and its own headers only" % (path, name)
            for name in includes(text) if name != "stele.h" and name not in own]


def check_public_only(path, text):
    return ["%s: includes %s: it is to be written with stele.h only" % (path, name)
            for name in includes(text) if name != "stele.h"]


def check_budgets(path, text):
    if os.path.basename(path) == "stele.h":
        return []
    wrong = []
    lines = line_count(strip_c(text))
    if lines > FILE_LINES_MAX:
        wrong.append("%s: %d lines of code, %d at most: cut it by nouns" % (path, lines, FILE_LINES_MAX))
    for name, line, count in functions(text):
        if count > FUNCTION_LINES_MAX:
            wrong.append("%s:%d: %s has %d lines of code, %d at most" % (path, line, name, count, FUNCTION_LINES_MAX))
    return wrong


def twin(path):
    """The same file for the other system; None of a file that serves all."""
    words = os.path.basename(path).split("_")
    if words[0] not in PLATFORM or not path.endswith(".c") or len(words) < 2:
        return None
    system = words[1].split(".")[0]
    if system not in SYSTEMS:
        return None
    other = SYSTEMS[1 - SYSTEMS.index(system)]
    return os.path.join(os.path.dirname(path), os.path.basename(path).replace(system, other, 1))


def declared(texts):
    """Names that headers declare as functions; a word in capitals is a macro."""
    return {name for text in texts for name in re.findall(r"\b(\w+)\s*\(", without_directives(strip_c(text)))
            if not name.isupper()}


def check_twin(path, text, other_text, names):
    """Of twins: both have the functions of the headers that all systems share, in one order."""
    own, others = ([name for name in external_functions(each) if name in names] for each in (text, other_text))
    if own == others:
        return []
    at = next((i for i, pair in enumerate(zip(own, others)) if pair[0] != pair[1]), min(len(own), len(others)))
    return ["%s: function %d of the shared headers is %s, in its twin it is %s"
            % (path, at + 1, (own + ["none"])[at], (others + ["none"])[at])]


def check_platform(path, text):
    if noun(path) in PLATFORM:
        return []
    stripped = strip_c(text)
    if path == "lib/stele.h":
        stripped = stripped.replace("#if defined(_WIN32) || !defined(__GNUC__)\n#define STELE_API", "")
    return ["%s: asks for %s: platforms differ in os_* and guard_* only" % (path, found)
            for found in PLATFORM_IF.findall(stripped)]


def calls(text, names):
    return re.findall(r"(?<!\w)(%s)\s*\(" % names, strip_c(text))


def check_mapping(path, text):
    if noun(path) in MAPPING | {"os"}:
        return []
    return ["%s: calls %s: only window maps" % (path, name) for name in calls(text, "stele_os_map|stele_os_unmap")]


def check_syncing(path, text):
    if noun(path) in SYNCING | {"os"}:
        return []
    return ["%s: calls %s: it is not one of the files that sync" % (path, name)
            for name in calls(text, "stele_os_sync|stele_os_write_durable")]


def check_system_calls(path, text):
    if noun(path) in PLATFORM:
        return []
    names = ("mmap|munmap|msync|madvise|open|openat|close|read|pread|write|pwrite|pwritev2|fsync|fdatasync|ftruncate|"
             "fallocate|posix_fallocate|fcntl|flock|fork|kill|sigaction|signal|usleep|nanosleep|fopen")
    return ["%s: calls %s: the system is asked through os.h" % (path, name) for name in calls(text, names)]


def check_manners(path, text):
    wrong = ["%s: calls %s: the library never prints and never exits" % (path, name)
             for name in calls(text, "printf|fprintf|puts|putchar|perror|vprintf|vfprintf|exit|_exit|abort")]
    stripped = strip_c(text)
    if re.search(r"\breturn\s*\(?\s*-\s*1\s*\)?\s*;", stripped):
        wrong.append("%s: return -1 says nothing: raise a code by stele_fail" % path)
    if re.search(r"\btypedef\s+(struct|union)\b", stripped):
        wrong.append("%s: structs have no typedefs" % path)
    if re.search(r"\boff_t\b", stripped) and noun(path) not in PLATFORM:
        wrong.append("%s: file positions are uint64_t" % path)
    return wrong


def check_left_over(path, text):
    return ["%s:%d: left over: %s" % (path, text.count("\n", 0, found.start()) + 1, found.group(0))
            for found in LEFT_OVER.finditer(text)]


def check_machine_paths(path, text):
    return ["%s:%d: a path of some machine: %s" % (path, text.count("\n", 0, found.start()) + 1, found.group(0))
            for found in MACHINE_PATH.finditer(text)]


def check_columns(path, text):
    if path == "lib/stele.h":
        return []
    return ["%s:%d: %d columns, %d at most" % (path, number, len(line), COLUMNS_MAX)
            for number, line in enumerate(text.split("\n"), 1) if len(line) > COLUMNS_MAX]


def check_globs(path, text):
    code = re.sub(r"#.*", "", text)
    return ["%s: %s: the build says what exists" % (path, found)
            for found in re.findall(r"run_command|\bglob\b|'[^'\n]*\*[^'\n]*'", code)]


def check_top(names):
    return ["%s: the top holds %s and dot files" % (name, " ".join(sorted(TOP_ENTRIES)))
            for name in sorted(names) if name not in TOP_ENTRIES and not name.startswith(".")]


# ---- the tests ---------------------------------------------------------------------------------

def long_function(lines):
    return "int f(int a)\n{\n" + "    a++;\n" * (lines - 4) + "    return a;\n}\n"


class CheckCanFail(unittest.TestCase):
    """Every check on an example that it must accept and one that it must refuse."""

    CASES = [
        (check_layers, "lib/journal.c", '#include "journal.h"\n#include "os.h"\n#include "stele.h"\n',
         '#include "txn.h"\n'),
        (check_layers, "lib/sums.c", '#include "window.h"\n', '#include "live.h"\n'),
        (check_layers, "lib/spec.c", '#include "spec_lex.h"\n', '  #  include "unheard.h"\n'),
        (check_layers, "lib/os_posix.c", '#include "os.h"\n', '#include "window.h"\n'),
        (check_layers, "lib/stele.h", '#include <stdint.h>\n', '#include "format.h"\n'),
        (check_cli_includes, "cli/cmd_get.c", '#include "stele.h"\n#include <stdio.h>\n', '#include "schema.h"\n'),
        (check_public_only, "tools/quickstart_job.c", '#include "stele.h"\n', '#include "os.h"\n'),
        (check_budgets, "lib/sums.c", long_function(70), long_function(71)),
        (check_budgets, "lib/sums.c", "int a;\n" * 600 + "\n// b\n" * 50, "int a;\n" * 601),
        (check_budgets, "lib/sums.c", "/* { */ char *s = \"{\"; char c = '{';\n" + long_function(70),
         "/* } */ char *s = \"}\"; char c = '\\'';\n" + long_function(71)),
        (check_platform, "lib/window.c", "#if defined(__GNUC__)\n/* #ifdef _WIN32 */\n#endif\n", "#ifdef _WIN32\n#endif\n"),
        (check_platform, "lib/sums.c", "int linux_count;\n", "# if defined(__linux__)\n#endif\n"),
        (check_platform, "tests/unit/test_os.c", "#if SIZE_MAX == UINT32_MAX\n#endif\n", "#ifndef _WIN32\n#endif\n"),
        (check_platform, "lib/stele.h", "#if defined(_WIN32) || !defined(__GNUC__)\n#define STELE_API\n#endif\n",
         "#if defined(__APPLE__)\n#endif\n"),
        (check_mapping, "lib/sums.c", "/* stele_os_map() */ my_stele_os_map();", "stele_os_map(a);"),
        (check_syncing, "lib/cursor.c", "stele_os_read(a);", "rc = stele_os_write_durable (a);"),
        (check_syncing, "lib/cursor.c", "char *s = \"stele_os_sync()\";", "stele_os_sync(a);"),
        (check_system_calls, "lib/sums.c", "stele_os_read(a); stele_close(b);", "read(a, b, c);"),
        (check_manners, "lib/sums.c", "snprintf(a, b, c);", "printf(a);"),
        (check_manners, "lib/sums.c", "return -10;", "return -1;"),
        (check_manners, "lib/sums.c", "typedef int stele_progress(void);", "typedef struct a { int b; } a;"),
        (check_manners, "lib/sums.c", "uint64_t off_total;", "off_t at;"),
        (check_left_over, "lib/sums.c", "/* all done, XXXXXX is for mkstemp */", "/* TO" "DO: more */"),
        (check_left_over, "lib/sums.c", "/* in the place of it */", "/* not yet implem" "ented */"),
        (check_machine_paths, "README.md", "see ../shared, network", "see /wo" "rk/shared"),
        (check_columns, "lib/sums.c", "x" * COLUMNS_MAX, "x" * (COLUMNS_MAX + 1)),
        (check_globs, "lib/meson.build", "files('a.c') # '*.c'", "run_command('ls')"),
        (check_globs, "lib/meson.build", "files('a.c', 'b.c')", "files('*.c')"),
    ]

    def test_every_check_refuses_its_bad_example_and_accepts_the_good_one(self):
        for check, path, good, bad in self.CASES:
            with self.subTest(check=check.__name__, bad=bad[:60]):
                self.assertEqual(check(path, good), [])
                self.assertNotEqual(check(path, bad), [])

    def test_every_check_has_a_bad_example(self):
        tried = {check.__name__ for check, _, _, _ in self.CASES} | {"check_top", "check_twin"}
        self.assertEqual({name for name in globals() if name.startswith("check_")} - tried, set())

    def test_the_top_refuses_a_stranger(self):
        self.assertEqual(check_top(TOP_ENTRIES | {".gitignore"}), [])
        self.assertEqual(len(check_top({"lib", "Makefile"})), 1)

    def test_twins_that_differ_are_noticed(self):
        names = declared(["int a(void);\nint b(int x);\n"])
        text = "int a(void)\n{\n}\nstatic int c(void)\n{\n}\nint b(int x)\n{\n}\n"
        for what, other, count in (("same", "int a(void)\n{\n}\nint help(void)\n{\n}\nint b(int x)\n{\n}\n", 0),
                                   ("order", "int b(int x)\n{\n}\nint a(void)\n{\n}\n", 1),
                                   ("one is missing", "int a(void)\n{\n}\n", 1),
                                   ("one is static", "int a(void)\n{\n}\nstatic int b(int x)\n{\n}\n", 1)):
            with self.subTest(what=what):
                self.assertEqual(len(check_twin("lib/os_posix.c", text, other, names)), count)
        self.assertEqual(twin("lib/os_posix_lock.c"), "lib/os_win32_lock.c")
        self.assertEqual(twin("cli/os_win32.c"), "cli/os_posix.c")
        self.assertEqual([twin("lib/os.h"), twin("lib/window_posix.c"), twin("lib/os_posix.h")], [None] * 3)

    def test_functions_are_found_and_measured(self):
        text = """
#define WRAP(x) do { \\
        x; \\
    } while (0)
struct a { int b; };
static const int table[] = { 1, 2 };
static int two(void) { return 2; }
/* a comment ( */
int
three(struct a *a,
      int (*call)(int)) __attribute__((noinline))
{
    if (a) { /* { */

        return '{';
    }
#ifdef A
    if (call) {
#else
    if (!call) {
#endif
        return 1;
    }
    return 0;
}
enum { X = 1 };
static int four(void)
{
    return 4;
}
"""
        self.assertEqual([(name, count) for name, _, count in functions(text)], [("two", 1), ("three", 12), ("four", 4)])


class House(unittest.TestCase):
    def assert_clean(self, check, paths):
        self.assertTrue(paths, "no file to check: the check would prove nothing")
        wrong = []
        for path in paths:
            wrong += check(path, read(path))
        if wrong:
            self.fail("\n  " + "\n  ".join(wrong))

    def test_includes_of_the_library_point_down(self):
        self.assert_clean(check_layers, c_files("lib"))

    def test_the_command_line_sees_the_public_header_only(self):
        self.assert_clean(check_cli_includes, c_files("cli"))

    def test_tools_see_the_public_header_only(self):
        self.assert_clean(check_public_only, c_files("tools"))

    def test_files_and_functions_keep_their_budgets(self):
        self.assert_clean(check_budgets, c_files("lib", "cli"))

    def test_platforms_differ_in_os_and_guard_only(self):
        self.assert_clean(check_platform, c_files("lib", "cli", "tests", "tools"))

    def test_twins_have_the_same_functions_in_the_same_order(self):
        wrong = []
        twins = [path for path in c_files("lib", "cli", "tests", "tools") if twin(path)]
        self.assertTrue(twins, "no twins: the check would prove nothing")
        for path in twins:
            if twin(path) not in FILES:
                wrong.append("%s: has no twin %s" % (path, twin(path)))
                continue
            headers = [read(name) for name in FILES if os.path.dirname(name) == os.path.dirname(path)
                       and name.endswith(".h") and os.path.basename(name).split(".")[0] not in ("os_posix", "os_win32")]
            wrong += check_twin(path, read(path), read(twin(path)), declared(headers))
        if wrong:
            self.fail("\n  " + "\n  ".join(wrong))

    def test_the_functions_of_os_h_have_bodies(self):
        for system in SYSTEMS:
            bodies_there = {name for path in c_files("lib") if re.match(r"(os|guard)_%s" % system, os.path.basename(path))
                            for name in external_functions(read(path))}
            for header in ("lib/os.h", "lib/guard.h"):
                promised = set(re.findall(r"^(?!static)\w[\w *]*?\b(stele_\w+)\(", strip_c(read(header)), re.M))
                self.assertTrue(promised)
                self.assertEqual(promised - bodies_there, set(), "%s on %s" % (header, system))

    def test_only_window_maps(self):
        self.assert_clean(check_mapping, c_files("lib"))

    def test_only_the_named_files_sync(self):
        self.assert_clean(check_syncing, c_files("lib"))

    def test_the_system_is_asked_through_os(self):
        self.assert_clean(check_system_calls, c_files("lib"))

    def test_the_library_never_prints_exits_or_returns_minus_one(self):
        self.assert_clean(check_manners, c_files("lib"))

    def test_nothing_is_left_over(self):
        self.assert_clean(check_left_over, self.texts("lib", "cli", "tests", "tools", "README.md"))

    def test_no_path_of_a_machine_is_named(self):
        self.assert_clean(check_machine_paths, self.texts())

    def test_lines_fit_a_window(self):
        self.assert_clean(check_columns, c_files("lib", "cli", "tools"))

    def test_the_build_has_no_globs(self):
        self.assert_clean(check_globs, [path for path in FILES if os.path.basename(path) == "meson.build"])

    def test_the_top_holds_what_it_should(self):
        self.assertEqual(check_top({path.split("/")[0] for path in FILES}), [])
        self.assertEqual(TOP_ENTRIES - {path.split("/")[0] for path in FILES}, set())

    def test_every_source_of_the_library_is_built(self):
        listed = set()
        for name in re.findall(r"'([\w@]+\.c)'", read("lib/meson.build")):
            listed |= {name.replace("@0@", system) for system in SYSTEMS}
        self.assertEqual({os.path.basename(path) for path in c_files("lib") if path.endswith(".c")} - listed, set())

    def test_every_suite_is_in_the_build(self):
        for folder in ("tests/unit", "tests"):
            listed = {word.replace("test_", "") for word in re.findall(r"'(\w+)'", read(folder + "/meson.build"))}
            words = [re.match(r"%s/test_(\w+)\.(c|py)$" % folder, path) for path in FILES]
            self.assertEqual({word.group(1) for word in words if word} - listed, set())

    def test_every_pinned_suite_is_explained(self):
        explained = set(re.findall(r"^\| `(\w+/\w+)` \| \S", read("tests/TESTING.md"), re.M))
        self.assertEqual(self.pinned() - explained, set())

    def test_every_allowed_skip_is_of_a_test_that_exists(self):
        wrong = []
        for line in read("tests/allowed_skips.txt").splitlines():
            words = line.split("#")[0].split()
            if not words:
                continue
            label, name = words[1].split("/")
            parts = [path for path in FILES if re.fullmatch(r"(.*_)?test_%s\.(c|py)" % name, os.path.basename(path))]
            test = words[2].split(".")[-1]
            if words[1] not in self.pinned() or not parts:
                wrong.append("%s: no such suite" % words[1])
            elif test != "*" and not any(re.search(r"\b%s\b" % test, read(path)) for path in parts):
                wrong.append("%s: no such test in %s suite %s" % (words[2], label, name))
        self.assertEqual(wrong, [])

    @staticmethod
    def pinned():
        return set(re.findall(r"^(\w+/\w+) \d+$", read("tests/pinned_counts.txt"), re.M))

    @staticmethod
    def texts(*begins):
        return [path for path in FILES if os.path.splitext(path)[1] in TEXT_ENDINGS
                and (not begins or path.split("/")[0] in begins) and not path.startswith("tests/data/")]


if __name__ == "__main__":
    unittest.main()
