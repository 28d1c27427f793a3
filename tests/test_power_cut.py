"""The parts of tools/power-cut that need no file system: its disk, its images, what it claims. The rest needs root."""
import importlib.machinery
import importlib.util
import os
import random
import socket
import struct
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tools"))
loader = importlib.machinery.SourceFileLoader("power_cut", os.path.join(TOP, "tools", "power-cut"))
power_cut = importlib.util.module_from_spec(importlib.util.spec_from_loader("power_cut", loader))
loader.exec_module(power_cut)

SEED = int(os.environ.get("STELE_SEED") or random.SystemRandom().randrange(1 << 32))
B, A, O = power_cut.BEGUN, power_cut.ACKNOWLEDGED, power_cut.OPENED


class Images(unittest.TestCase):
    BYTES = 16 * 4096

    def setUp(self):
        print("STELE_SEED=%d" % SEED, flush=True)
        self.draw = random.Random(SEED)
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = place.name

    def some_log(self):
        log = []
        for _ in range(40):
            if self.draw.random() < 0.2:
                log.append(None)
            else:
                offset = self.draw.randrange(0, self.BYTES, 512)
                log.append((offset, self.draw.randbytes(min(self.draw.randint(1, 20) * 512, self.BYTES - offset))))
        return log

    def test_a_write_is_cut_at_pages_and_nowhere_else(self):
        data = self.draw.randbytes(3 * 4096)
        cut = list(power_cut.pages(1024, data))
        self.assertEqual([offset for offset, _ in cut], [1024, 4096, 8192, 12288])
        self.assertEqual(b"".join(piece for _, piece in cut), data)

    def test_what_a_flush_covers_is_there_and_what_comes_later_is_open(self):
        log = self.some_log()
        power_cut.SYSTEMS["made up"] = ("", "", [], self.BYTES)
        images = power_cut.Images("made up", "", power_cut.Recording(log, 0, [], []), self.folder)
        for place in range(len(log) + 1):
            images.advance(place)
            last = max([i for i in range(place) if log[i] is None], default=0)
            wanted = bytearray(self.BYTES)
            for offset, data in filter(None, log[:last]):
                wanted[offset:offset + len(data)] = data
            with open(images.durable, "rb") as file:
                self.assertTrue(file.read() == wanted, place)
            later = [page for write in filter(None, log[last:place]) for page in power_cut.pages(*write)]
            self.assertEqual(images.pending, later)

    def test_choices_keep_the_order_and_come_to_nothing_all_and_some(self):
        units = [(i, b"") for i in range(6)]
        seen = set()
        for _ in range(1000):
            chosen = power_cut.choose(units, self.draw)
            self.assertEqual(chosen, sorted(chosen))
            self.assertLessEqual(set(chosen), set(units))
            seen.add(len(chosen))
        self.assertEqual(seen, set(range(7)))
        self.assertEqual(power_cut.choose([], self.draw), [])

    def test_holes_are_copied_as_holes(self):
        source, target = (os.path.join(self.folder, name) for name in ("a", "b"))
        for places in ((), (0,), (1 << 20, 3 << 20)):
            with open(source, "wb") as file:
                file.truncate(4 << 20)
                for place in places:
                    file.seek(place)
                    file.write(b"data")
            power_cut.copy_sparse(source, target, 4 << 20)
            with open(source, "rb") as file, open(target, "rb") as other:
                self.assertTrue(file.read() == other.read())
            self.assertLess(os.stat(target).st_blocks * 512, 1 << 20)


class Claims(unittest.TestCase):
    def test_a_claim_follows_the_notes_before_its_place(self):
        notes = [(10, (O, 0, 7, 50)), (10, (B, 1, 101, 50)), (14, (A, 1, 101, 50)), (14, (B, 2, 0, 50)),
                 (20, (A, 2, 0, 90)), (20, (B, 3, 102, 90)), (25, (A, 3, 102, 90))]
        recording = power_cut.Recording([], 0, [], notes)
        for place, claim in ((9, (0, 0, 0, 0, 0)), (10, (0, 1, 0, 101, 50)), (13, (0, 1, 0, 101, 50)),
                             (14, (1, 2, 101, 0, 50)), (19, (1, 2, 101, 0, 50)), (20, (2, 3, 101, 102, 90)),
                             (24, (2, 3, 101, 102, 90)), (25, (3, 3, 102, 0, 90)), (99, (3, 3, 102, 0, 90))):
            self.assertEqual(recording.claim(place), list(map(str, claim)), place)


class Disk(unittest.TestCase):
    def test_the_server_keeps_what_is_written_and_records_it(self):
        server_class = power_cut.Server
        with tempfile.TemporaryDirectory() as folder:
            disk = power_cut.Disk(1 << 20)
            path = os.path.join(folder, "nbd")
            with power_cut.served(disk, path), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(path)
                stream = client.makefile("rwb")
                self.assertEqual(stream.read(18)[:8], b"NBDMAGIC")
                stream.write(struct.pack(">IQII", 3, server_class.OPTION, 99, 0))  # one that nobody knows
                stream.write(struct.pack(">QII", server_class.OPTION, server_class.EXPORT_NAME, 0))
                stream.flush()
                self.assertEqual(struct.unpack(">I", stream.read(20)[12:16])[0], server_class.UNSUPPORTED)
                self.assertEqual(struct.unpack(">QH", stream.read(10)), (1 << 20, server_class.FLAGS))
                for flags, kind, offset, size, data in ((0, server_class.WRITE, 512, 4, b"abcd"),
                                                        (0, server_class.FLUSH, 0, 0, b""),
                                                        (server_class.FUA, server_class.WRITE, 0, 2, b"xy"),
                                                        (0, server_class.READ, 511, 6, b"")):
                    stream.write(struct.pack(">IHHQQI", server_class.REQUEST, flags, kind, 5, offset, size) + data)
                    stream.flush()
                    self.assertEqual(struct.unpack(">IIQ", stream.read(16)), (server_class.SIMPLE, 0, 5))
                self.assertEqual(stream.read(6), b"\0abcd\0")
                stream.close()
        self.assertEqual(disk.log, [(512, b"abcd"), None, (0, b"xy"), None])


class Manners(unittest.TestCase):
    def test_what_is_held_is_released_whatever_happens(self):
        for error in (KeyboardInterrupt, OSError):
            released = []
            with self.assertRaises(error), power_cut.held(lambda: "thing", released.append):
                raise error
            self.assertEqual(released, ["thing"])

    def test_a_signal_to_end_is_heeded_before_anything_more_is_held(self):
        released = []
        with self.assertRaises(KeyboardInterrupt), power_cut.held(lambda: "outer", released.append):
            self.addCleanup(setattr, power_cut.Stop, "is_asked", False)
            power_cut.Stop.ask()
            with power_cut.held(lambda: self.fail("it was begun"), released.append):
                pass
        self.assertEqual(released, ["outer"])

    def test_what_is_missing_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            said = "\n".join(power_cut.missing(["ext4"], folder))
        self.assertIn("kill_judge is not built", said)


if __name__ == "__main__":
    unittest.main()
