"""Stores that move between systems: written by one build, opened, changed and verified by another, and back; and what a
killed writer of the one leaves, recovered by the other.

STELE_PEERS names the other builds (steletool.peers); the build under test meets each of them in both directions. A
build that meets nobody proves nothing here: then the tests skip, which is allowed only where no other build exists yet.

Random tests print STELE_SEED; set it to draw the same again.
"""
import json
import os
import random
import shutil
import subprocess
import unittest

from killing import SEED, SPARSE, Claim, Life, Shape, judge, kill_recovery, scaled, writer
from steletool import HERE, SteleCase, holder, peers

RING = 16 << 10
STRUCT = """enum level { LOW = -3, HIGH = 7 };
struct Inner { int16_t x; uint16_t y; };
struct Row {
    int8_t a; uint8_t b; int16_t c; uint16_t d; enum level level; uint32_t e; int64_t f; uint64_t g;
    float h; double i; bool j; char name[11]; unsigned char raw[5]; double matrix[2][3]; struct Inner inner;
    char words[2][4];
};"""
# How a store is made: words of create, and how many rows it begins with.
MAKINGS = [((), 200), (("--pack", "1", "--journal", "16K"), 77), (("--sparse", "--capacity", "100K"), 3000)]


def row(rng, k):
    return {"a": rng.randrange(-128, 128), "b": rng.randrange(256), "c": rng.choice([-32768, 32767]), "d": k % 65536,
            "level": rng.choice([-3, 7]), "e": rng.getrandbits(32), "f": rng.choice([-2 ** 63, 2 ** 63 - 1, -k]),
            "g": rng.choice([2 ** 64 - 1, k]), "h": rng.choice([0.1, -0.0, 3.4028235e38, 1e-45]),
            "i": rng.choice([0.1, 1.7976931348623157e308, 5e-324, 1 / 3]), "j": rng.random() < 0.5,
            "name": rng.choice(["", "größe €", "exactly11by", " \"\\\t"]), "raw": rng.randbytes(5).hex(),
            "matrix": [[rng.choice([0, 1.5, -1e-300]) for _ in range(3)] for _ in range(2)], "inner.x": -(k % 100),
            "inner.y": 65535, "words": ["ab", "wxyz"]}


ZERO = {"a": 0, "b": 0, "c": 0, "d": 0, "level": 0, "e": 0, "f": 0, "g": 0, "h": 0, "i": 0, "j": False, "name": "",
        "raw": "0000000000", "matrix": [[0, 0, 0], [0, 0, 0]], "inner.x": 0, "inner.y": 0, "words": ["", ""]}


class PeerCase(SteleCase):
    def setUp(self):
        super().setUp()
        self.peers = peers()
        if not self.peers:
            self.skipTest("STELE_PEERS names no build for another system")
        print("STELE_SEED=%d" % SEED, flush=True)
        self.rng = random.Random("%d %s" % (SEED, self.id()))

    def pairs(self):
        """Who writes first, and who meets it."""
        for peer in self.peers:
            for pair in ((HERE, peer), (peer, HERE)):
                print("%s, then %s" % (pair[0].name, pair[1].name), flush=True)
                yield pair

    def rows(self, path, build):
        return [json.loads(line) for line in
                self.ends(0, "export", path, "--format", "ndjson", "--quiet", build=build).out.splitlines()]

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def assert_holds(self, path, model, build):
        """@build finds the rows of @model, sound, and changes no byte."""
        before = self.bytes_of(path)
        self.assertEqual(self.rows(path, build), model)
        report = json.loads(self.ends(0, "verify", path, "--json", "--quiet", build=build).out)
        self.assertEqual((report["sound"], report["records"]), (True, len(model)))
        self.assertTrue(self.bytes_of(path) == before, "%s changed what it only looked at" % build.name)

    def info(self, path, build):
        return json.loads(self.ends(0, "info", path, "--json", "--quiet", build=build).out)


class Moving(PeerCase):
    def change(self, path, model, build, words):
        """Every way to change a store, by @build, in it and in @model."""
        capacity = self.info(path, build)["capacity"]
        at = self.rng.randrange(len(model))
        model[at] = dict(model[at], name=words, f=-at)
        self.ends(0, "set", path, str(at), "name=" + words, "f=%d" % -at, build=build)
        new = row(self.rng, at)
        self.ends(0, "import", path, "-", "--format", "ndjson", "--quiet", data=json.dumps(new), build=build)
        model.append(new)
        model.append(dict(ZERO, g=2 ** 64 - 1))
        self.ends(0, "append", path, "g=18446744073709551615", build=build)
        del model[-5:]
        self.ends(0, "truncate", path, str(len(model)), build=build)
        # Above what there is room for: the file grows.
        model += [ZERO] * (min(capacity, 2000) + 10 - len(model)) if capacity < 2000 else [ZERO] * 10
        self.ends(0, "truncate", path, str(len(model)), build=build)

    def test_a_store_of_one_build_is_changed_by_another_and_goes_back(self):
        for first, second in self.pairs():
            for number, (words, count) in enumerate(MAKINGS):
                path = self.create("%s%s%d" % (first.name, second.name, number), STRUCT, *words, build=first)
                model = [row(self.rng, k) for k in range(count)]
                data = "".join(json.dumps(each) + "\n" for each in model)
                self.ends(0, "import", path, "-", "--format", "ndjson", "--quiet", data=data, build=first)
                for turn, build in enumerate((second, first, second)):
                    self.assert_holds(path, model, build)
                    self.change(path, model, build, "turn %d" % turn)
                    self.assert_holds(path, model, build)
                self.assert_holds(path, model, first)
                os.remove(path)

    def test_layout_schema_and_bytes_are_those_of_every_build(self):
        for first, second in self.pairs():
            data = "".join(json.dumps(row(random.Random(k), k)) + "\n" for k in range(300))
            paths = []
            for build in (first, second):
                name = "%s of %s %s" % (build.name, first.name, second.name)
                path = self.create(name, STRUCT, "--capacity", "1000", build=build)
                self.ends(0, "import", path, "-", "--format", "ndjson", "--quiet", data=data, build=build)
                paths.append(path)
            infos = [self.info(path, second) for path in paths]
            for key in ("regions", "capacity", "record_bytes", "records_per_block", "records_per_cell", "schema",
                        "format_version", "features", "file_bytes", "count"):
                self.assertEqual(infos[0][key], infos[1][key], key)
            self.assertTrue(self.raw(paths[0], build=second) == self.raw(paths[1], build=first))
            for words in ((), ("--as", "json"), ("--as", "numpy")):
                self.assertEqual(self.ends(0, "schema", paths[0], *words, build=second).out,
                                 self.ends(0, "schema", paths[1], *words, build=first).out)

    def test_a_resize_by_another_build_keeps_every_record(self):
        for first, second in self.pairs():
            path = self.create(first.name + second.name, STRUCT, build=first)
            model = [row(self.rng, k) for k in range(100)]
            self.ends(0, "import", path, "-", "--format", "ndjson", "--quiet",
                      data="".join(json.dumps(each) + "\n" for each in model), build=first)
            self.ends(0, "resize", path, "--capacity", "20K", "--journal", "64K", build=second)
            self.assert_holds(path, model, first)
            self.ends(0, "resize", path, "--capacity", "100", build=first)
            self.assert_holds(path, model, second)


class Dying(PeerCase):
    """Writers of the one build die; the other finds all that was acknowledged, and nothing by half."""

    def killed(self, name, build, entries):
        path = self.create(name, STRUCT, "--journal", "64K", build=build)
        self.ends(0, "append", path, "a=1", "name=one", build=build)
        process = holder("die", path, entries, build=build)
        process.communicate()
        self.assertEqual(process.returncode, build.killed_itself)
        return path, [dict(ZERO, a=1, name="one")] + [ZERO] * entries

    def test_entries_of_a_killed_writer_are_replayed_by_another_build(self):
        for first, second in self.pairs():
            path, model = self.killed(first.name + second.name, first, 9)
            self.assert_holds(path, model, second)
            self.assertIn("9 journal entries replayed", self.ends(0, "append", path, "a=2", build=second).err)
            self.assert_holds(path, model + [dict(ZERO, a=2)], first)

    def test_a_torn_last_entry_is_left_out_by_another_build(self):
        for first, second in self.pairs():
            path, model = self.killed(first.name + second.name, first, 5)
            whole = self.bytes_of(path)
            info = self.info(path, first)
            begin = info["regions"]["journal"]["offset"]
            ring = whole[begin:begin + info["regions"]["journal"]["bytes"]]
            starts = [at for at in range(0, len(ring), 8) if ring[at:at + 4] == b"STEL"]
            last = max(starts)
            length = int.from_bytes(ring[last + 8:last + 16], "little")
            self.assertTrue(64 < length < 4096, length)
            for cut in (0, 8, 64, length // 16 * 8, length - 8):
                with open(path, "wb") as file:
                    file.write(whole[:begin + last + cut] + bytes(length - cut) + whole[begin + last + length:])
                self.assert_holds(path, model[:-1], second)
                self.ends(0, "recover", path, "--quiet", build=second)
                self.assert_holds(path, model[:-1], first)

    def test_writers_of_both_builds_are_killed_in_turn_and_the_other_one_recovers(self):
        kills = inside = replayed = cut = 0
        for first, second in self.pairs():
            for kind, flags in (("mixed", SPARSE), ("growth", 0), ("many", 0), ("bulk", 0)):
                shape = Shape(kind, 64, RING, self.rng.randrange(1 << 40))
                path = self.path("s")
                writer("create", path, shape, 1, flags, build=first)
                done = 0
                for life in range(2 * scaled(3)):
                    dying, judging = ((first, second), (second, first))[life % 2]
                    lived = Life("run", path, shape, done, self.rng.randint(1, 6), self.rng.uniform(0, 0.01), dying)
                    found, entries = judge("look", path, shape, lived.claim, judging)
                    # A recovery that is killed, by the one; looked at and ended by the other.
                    cut += not kill_recovery(path, shape, self.rng.uniform(0, 0.004), dying)
                    self.assertEqual(judge("recover", path, shape, lived.claim, judging)[0], found)
                    done = found
                    kills, inside, replayed = kills + 1, inside + lived.is_inside, replayed + (entries > 0)
                os.remove(path)
        print("%d kills, %d inside an operation, %d left entries to replay, %d recoveries cut" % (
            kills, inside, replayed, cut), flush=True)
        self.assertGreater(inside, 0)
        self.assertGreater(replayed, 0)

    def test_an_import_that_was_killed_is_continued_by_another_build(self):
        data = self.write("rows", "".join("%d,row %d\n" % (n, n) for n in range(60000)))
        for first, second in self.pairs():
            path = self.create("s", "struct E { uint64_t n; char t[24]; };", "--journal", "16K", build=first)
            for build in (first, second, first):
                count = self.info(path, HERE)["count"]
                words = [*build.stele, "import", path, data, "--format", "csv", "--skip-rows", str(count)]
                with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                    while self.info(path, HERE)["count"] == count and process.poll() is None:
                        pass
                    process.kill()
            count = self.info(path, second)["count"]
            self.ends(0, "import", path, data, "--format", "csv", "--skip-rows", str(count), "--quiet", build=second)
            want = "".join("%d,row %d\n" % (n, n) for n in range(60000))
            self.assertTrue(self.ends(0, "export", path, "--format", "csv", build=first).out == want)
            self.ends(0, "verify", path, build=first)
            os.remove(path)


class Harness(PeerCase):
    def test_a_difference_between_the_builds_is_noticed(self):
        peer = self.peers[0]
        path = self.create("s", STRUCT, build=HERE)
        self.ends(0, "append", path, "a=1", build=HERE)
        self.assert_holds(path, [dict(ZERO, a=1)], peer)
        with self.assertRaises(AssertionError):
            self.assert_holds(path, [dict(ZERO, a=2)], peer)
        other = self.path("t")
        shutil.copyfile(path, other)
        with open(other, "r+b") as file:
            file.seek(self.info(path, HERE)["regions"]["records"]["offset"])
            file.write(b"\x07")
        with self.assertRaises(AssertionError):
            self.assert_holds(other, [dict(ZERO, a=1)], peer)
        shape = Shape("append", 64, RING, 1)
        store = self.path("work")
        writer("create", store, shape, 1, 0, build=HERE)
        writer("fill", store, shape, 0, 20, build=peer)
        self.assertEqual(judge("recover", store, shape, Claim(20), HERE), (20, 0))
        with self.assertRaisesRegex(AssertionError, "neither the acknowledged state"):
            judge("look", store, shape, Claim(21), HERE)


if __name__ == "__main__":
    unittest.main()
