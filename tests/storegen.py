#!/usr/bin/env python3
"""Make a store file without the library, from lib/FORMAT.md alone.

    storegen.py OUT --seed N [--entries N] [--torn] [--records N] [--expect FILE]

A random schema, random records, and the entries of --entries commits in the ring, each of them in
place wholly, partly or not at all; --torn spoils the last one, as a power cut would. The same
arguments give the same bytes. --expect writes the records after recovery as NDJSON, from the
values and not from the file, in the form of `tools/dump.py OUT --records`.

As a module: `random_store(seed, entries, torn)` gives a Store; `Store` can be made by hand;
`store.write(path)` makes the file, `store.rows()` the records that a reader has to find.
"""

import argparse
import json
import math
import os
import random
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import xxh3  # noqa: E402

MIB = 1 << 20
SLOT_MAGIC = bytes([0x89, 0x53, 0x54, 0x45, 0x4C, 0x45, 0x0A, 0x1A])
ENTRY_MAGIC = 0x4C455453
MASK64 = (1 << 64) - 1
LIVE_AT, LIVE_BYTES = 65536, 524288
SCHEMA_AT, SCHEMA_BYTES = 8192, 57344
RING_AT = 2 * MIB
LIVE, JOURNAL, RECORDS, SUMS, SCHEMA = 1, 2, 3, 4, 5

TYPE_NUMBERS = {"i8": 1, "u8": 2, "i16": 3, "u16": 4, "i32": 5, "u32": 6, "i64": 7, "u64": 8, "f32": 9,
                "f64": 10, "bool": 11, "text": 12, "bytes": 13}
TYPE_CODES = {"i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
              "f32": "f", "f64": "d", "bool": "?"}


def up(value, unit):
    return (value + unit - 1) // unit * unit


class Field:
    def __init__(self, name, kind, offset, size=None, dims=(), attributes=()):
        self.name, self.kind, self.offset, self.dims = name, kind, offset, tuple(dims)
        self.element_bytes = size or struct.calcsize("<" + TYPE_CODES[kind])
        self.attributes = list(attributes)
        self.elements = math.prod(self.dims)
        self.bytes = self.element_bytes * self.elements

    def schema_entry(self):
        name = self.name.encode()
        tail = name + b"".join(struct.pack("<HH", tag, len(body)) + body for tag, body in self.attributes)
        size = up(40 + len(tail), 8)
        dims = (self.dims + (0, 0, 0, 0))[:4]
        head = struct.pack("<HBBI4IQHHI", size, TYPE_NUMBERS[self.kind], 0, self.element_bytes, *dims,
                           self.offset, len(name), len(self.attributes), 0)
        return (head + tail).ljust(size, b"\0")

    def random_element(self, rng):
        if self.kind == "text":
            word = "".join(rng.choice("abcxyz \"\\äß€") for _ in range(rng.randrange(0, self.element_bytes + 1)))
            while len(word.encode()) > self.element_bytes:
                word = word[:-1]
            return word
        if self.kind == "bytes":
            return rng.randbytes(self.element_bytes)
        if self.kind == "bool":
            return rng.random() < 0.5
        if self.kind == "f64":
            return rng.choice([0.0, -0.0, 0.1, 1e300, math.inf, -math.inf, rng.gauss(0, 1e6)])
        if self.kind == "f32":
            value = rng.choice([0.0, 0.1, 1.5e-45, 3.4028234e38, -math.inf, rng.gauss(0, 1000)])
            return struct.unpack("<f", struct.pack("<f", value))[0]
        raw = rng.choice([bytes(self.element_bytes), b"\xff" * self.element_bytes, rng.randbytes(self.element_bytes)])
        return struct.unpack("<" + TYPE_CODES[self.kind], raw)[0]

    def pack_element(self, value):
        if self.kind == "text":
            return value.encode().ljust(self.element_bytes, b"\0")
        if self.kind == "bytes":
            return value
        return struct.pack("<" + TYPE_CODES[self.kind], value)

    def nest(self, values, dims=None):
        """The flat @values as lists within lists, by the field's dimensions."""
        dims = self.dims if dims is None else dims
        if not dims:
            return values[0]
        step = len(values) // dims[0]
        return [self.nest(values[i * step:(i + 1) * step], dims[1:]) for i in range(dims[0])]


def readable(value, kind):
    """A value as the JSON of a reader has it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if kind == "f32":
        return shortest_f32(value)
    return value


def shortest_f32(value):
    """The f64 with the fewest digits that rounds to the f32 @value."""
    raw = struct.pack("<f", value)
    for digits in range(1, 18):
        near = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", near) == raw:
                return near
        except OverflowError:
            pass
    return value


class Entry:
    """A commit: items (type, flags, region, first, n, payload); count and model rows afterwards."""

    def __init__(self, items, flags=0, kind=0):
        self.items, self.flags, self.kind = items, flags, kind

    def bytes(self, sequence, session, chain, synced, writer):
        body = b""
        for kind, flags, region, first, n, payload in self.items:
            body += struct.pack("<HHIQQQ", kind, flags, region, len(payload), first, n)
            body += payload.ljust(up(len(payload), 8), b"\0")
        head = struct.pack("<IHHQQQQQQ", ENTRY_MAGIC, self.kind, self.flags, 64 + len(body) + 8, sequence, session,
                           chain, synced, writer)
        text = head + struct.pack("<Q", xxh3.hash64(head, session)) + body
        return text + struct.pack("<Q", xxh3.hash64(text, session))


class Store:
    """A store with its model: `records` are the raw records, in place; `model` those after recovery."""

    def __init__(self, fields, record_bytes, capacity, seed=0, ring_bytes=65536, pack=0):
        self.rng = random.Random(f"store {seed}")
        self.fields, self.record_bytes, self.capacity, self.ring_bytes = fields, record_bytes, capacity, ring_bytes
        self.pack = pack
        self.per_block = 1
        while 2 * self.per_block * record_bytes <= 4096:
            self.per_block *= 2
        self.per_cell = 1
        while self.per_cell * record_bytes < 128 and self.per_cell < self.per_block:
            self.per_cell *= 2
        self.blocks = (capacity + self.per_block - 1) // self.per_block
        self.sum_seed, self.session, self.chain = (self.rng.getrandbits(64) for _ in range(3))
        self.sequence = self.rng.getrandbits(40)
        self.file_id = self.rng.randbytes(16)
        self.ring = bytearray(ring_bytes)
        self.ring_head = self.ring_tail = 0
        self.last_chain, self.last_sequence, self.synced = self.chain, self.sequence, self.sequence
        self.places = []
        self.count = 0
        self.records, self.words = {}, {}
        self.model, self.model_count, self.values = {}, 0, {}
        self.model_words = {}
        self.slot_changes = {}
        self.user_version, self.user, self.tag, self.history = 0, bytes(64), b"", []
        self.unknown_regions = []

    # -- values

    def random_values(self):
        return {f.name: [f.random_element(self.rng) for _ in range(f.elements)] for f in self.fields}

    def pack_record(self, values):
        raw = bytearray(self.record_bytes)
        for f in self.fields:
            raw[f.offset:f.offset + f.bytes] = b"".join(f.pack_element(v) for v in values[f.name])
        return bytes(raw)

    def zero_values(self):
        zero = {"text": "", "bool": False, "f32": 0.0, "f64": 0.0}
        return {f.name: [bytes(f.element_bytes) if f.kind == "bytes" else zero.get(f.kind, 0)] * f.elements
                for f in self.fields}

    def rows(self):
        """The records that a reader has to find after recovery."""
        for index in range(self.model_count):
            values = self.values.get(index) or self.zero_values()
            yield {"index": index, **{f.name: f.nest([readable(v, f.kind) for v in values[f.name]])
                                      for f in self.fields}}

    # -- sums

    def word(self, block, records, count):
        zero = bytes(self.record_bytes)
        first, end = block * self.per_block, min((block + 1) * self.per_block, count)
        total = 0
        for cell in range(first, end, self.per_cell):
            raw = b"".join(records.get(i, zero) for i in range(cell, min(cell + self.per_cell, end)))
            total += xxh3.hash64(raw, (cell + self.sum_seed) & MASK64)
        return total % (1 << 63) << 1 | 1

    # -- what is in place at the checkpoint

    def fill(self, count):
        """Write @count random records, all in place."""
        for index in range(count):
            self.values[index] = self.random_values()
            self.model[index] = self.pack_record(self.values[index])
        self.count = self.model_count = count
        for block in range((count + self.per_block - 1) // self.per_block):
            self.model_words[block] = self.word(block, self.model, count)
        self.records, self.words = dict(self.model), dict(self.model_words)

    # -- commits

    def place_entry(self, raw, is_first_after_sync):
        """Where an entry of len(raw) goes: here, at the next 4096 now and then, or at the ring's start."""
        begin = place = self.ring_tail
        if is_first_after_sync or (self.rng.random() < 0.3 and up(place, 4096) + len(raw) <= self.ring_bytes):
            place = up(place, 4096)
        if place + len(raw) > self.ring_bytes:
            begin = place = 0
        is_free = all(place + len(raw) <= at or begin >= at + size for at, size in self.places)
        return place if is_free and place + len(raw) <= self.ring_bytes else None

    def append(self, entry, synced=None):
        """Put an entry into the ring; False when it is full."""
        sequence = self.last_sequence + 1
        synced = self.synced if synced is None else synced
        raw = entry.bytes(sequence, self.session, self.last_chain, synced, self.rng.getrandbits(64))
        place = self.place_entry(raw, synced == sequence - 1)
        if place is None:
            return False
        if place > self.ring_tail:
            self.ring[self.ring_tail:place] = bytes(place - self.ring_tail)
        self.ring[place:place + len(raw)] = raw
        self.places.append((place, len(raw)))
        self.ring_tail = place + len(raw)
        self.last_sequence, self.last_chain = sequence, struct.unpack("<Q", raw[-8:])[0]
        return True

    def random_commit(self):
        """A commit: some records changed, some appended, at times some dropped; applied to the model."""
        rng, before = self.rng, self.model_count
        lowest = rng.randrange(before + 1) if before and rng.random() < 0.25 else before
        after = min(self.capacity, lowest + (rng.randrange(0, 2 * self.per_block + 2) if rng.random() < 0.6 else 0))
        changed = set(range(lowest, after))
        if lowest:
            changed |= {rng.randrange(lowest) for _ in range(rng.randrange(4))}
        values = {i: self.random_values() for i in changed}
        model = {i: r for i, r in self.model.items() if i < lowest}
        model.update((i, self.pack_record(v)) for i, v in values.items())
        blocks = {i // self.per_block for i in changed}
        for cut in (lowest, after):
            if cut % self.per_block and (after != before or lowest != before):
                blocks.add(cut // self.per_block)
        if before % self.per_block and after != before and before < after:
            blocks.add(before // self.per_block)
        blocks = sorted(b for b in blocks if b * self.per_block < after)
        items = []
        if after != before or lowest != before or rng.random() < 0.3:
            items.append((1, 0, 0, lowest, after, b""))
        body = [(2, 0, RECORDS, run[0], len(run), b"".join(model[i] for i in run)) for run in runs(sorted(changed))]
        words = {b: self.word(b, model, after) for b in blocks}
        body += [(3, 0, SUMS, run[0], len(run), struct.pack(f"<{len(run)}Q", *(words[b] for b in run)))
                 for run in runs(blocks)]
        body += self.random_extras()
        rng.shuffle(body)
        entry = Entry(items + body)
        if not self.append(entry):
            return False
        self.model, self.model_count = model, after
        self.values = {i: v for i, v in self.values.items() if i < lowest}
        self.values.update(values)
        self.model_words.update(words)
        self.put_in_place(entry)
        if rng.random() < 0.5:
            self.synced = self.last_sequence
        return True

    def random_extras(self):
        rng, extras = self.rng, []
        if rng.random() < 0.3:
            extras.append((5, 0, 0, rng.getrandbits(40), 0, rng.randbytes(64)))
        if rng.random() < 0.3:
            extras.append((6, 0, 0, 0, 0, b"tag %d" % rng.randrange(1000)))
        if rng.random() < 0.5:
            extras.append((7, 0, 0, 1700000000000000 + rng.getrandbits(30), 0, b""))
        if rng.random() < 0.2:
            extras.append((0x777, 1, 0, rng.getrandbits(64), rng.getrandbits(64), rng.randbytes(rng.randrange(40))))
        return extras

    def put_in_place(self, entry):
        """Some of the images reach the records: all, none, or each by chance, as a crash leaves them."""
        share = self.rng.choice([0, 0.5, 1])
        for kind, _, _, first, n, payload in entry.items:
            size = len(payload) // n if n and kind in (2, 3) else 0
            for i in range(n if size else 0):
                if self.rng.random() < share:
                    part = payload[i * size:(i + 1) * size]
                    if kind == 2:
                        self.records[first + i] = part
                    else:
                        self.words[first + i] = struct.unpack("<Q", part)[0]

    def tear_last(self):
        """Spoil the last entry in the ring: some bytes from a point on are not there."""
        place, size = self.places[-1]
        begin = place + self.rng.randrange(0, size)
        for i in range(begin, place + size):
            self.ring[i] ^= 0xA5

    # -- the file

    def offsets(self):
        records = up(RING_AT + self.ring_bytes, 2 * MIB)
        sums = up(records + self.capacity * self.record_bytes, 65536)
        return records, sums, up(sums + 8 * self.blocks, 4096)

    def schema_bytes(self):
        entries = b"".join(f.schema_entry() for f in sorted(self.fields, key=lambda f: f.offset))
        return struct.pack("<IIQII64s", 1, 88 + len(entries), self.record_bytes, self.pack, len(self.fields),
                           b"generated") + entries

    def slot(self, generation):
        records, sums, _ = self.offsets()
        schema = self.schema_bytes()
        raw = bytearray(4096)
        values = [
            (0, "8s", SLOT_MAGIC), (8, "I", 1), (12, "I", 0x01020304), (16, "I", 1 << 16), (20, "I", 4096),
            (24, "Q", 0), (32, "Q", 0), (40, "Q", 0), (48, "16s", self.file_id), (80, "Q", 0),
            (88, "Q", self.sum_seed), (96, "Q", generation), (104, "Q", self.session),
            (112, "Q", 1700000000000000), (120, "Q", 1700000001000000), (128, "Q", 1700000002000000),
            (136, "I", self.record_bytes), (140, "I", self.per_block), (144, "I", self.per_cell),
            (148, "H", 1), (150, "H", 1), (152, "I", len(schema)), (156, "I", 0),
            (160, "16s", xxh3.disk128(schema)), (176, "Q", 1), (184, "Q", self.capacity), (192, "Q", self.count),
            (200, "Q", self.sequence), (208, "Q", self.ring_head), (216, "Q", self.chain),
            (224, "64s", self.tag), (288, "I", len(self.tag)), (312, "Q", self.user_version), (320, "64s", self.user),
            (1152, "Q", len(self.history))]
        for at, form, value in values:
            struct.pack_into("<" + form, raw, at, value)
        regions = [(LIVE, 0, LIVE_AT, LIVE_BYTES, 0), (JOURNAL, 0, RING_AT, self.ring_bytes, 0),
                   (RECORDS, 0, records, self.capacity * self.record_bytes, 0), (SUMS, 0, sums, 8 * self.blocks, 0),
                   (SCHEMA, 0, SCHEMA_AT, SCHEMA_BYTES, 0)] + self.unknown_regions
        for i, region in enumerate(regions):
            struct.pack_into("<IIQQQ", raw, 384 + 32 * i, *region)
        for k, entry in enumerate(self.history):
            struct.pack_into("<QQQII", raw, 1160 + 32 * (k % 64), *entry)
        for at, (form, value) in self.slot_changes.items():
            struct.pack_into("<" + form, raw, at, value)
        raw[4080:] = xxh3.disk128(bytes(raw[:4080]))
        return bytes(raw)

    def write(self, path, generations=(3, 3)):
        records, sums, end = self.offsets()
        with open(path, "wb") as out:
            out.truncate(end)
            pieces = [(0, self.slot(generations[0])), (4096, self.slot(generations[1])),
                      (SCHEMA_AT, self.schema_bytes()), (LIVE_AT + 64, self.rng.randbytes(8)),
                      (RING_AT, bytes(self.ring))]
            pieces += [(records + i * self.record_bytes, raw) for i, raw in self.records.items()]
            pieces += [(sums + 8 * b, struct.pack("<Q", word)) for b, word in self.words.items()]
            for at, raw in sorted(pieces):
                out.seek(at)
                out.write(raw)


def runs(numbers):
    """Sorted numbers as lists of neighbours."""
    result = []
    for n in numbers:
        if result and result[-1][-1] == n - 1:
            result[-1].append(n)
        else:
            result.append([n])
    return result


def random_fields(rng):
    fields, offset = [], rng.choice([0, 0, 3])
    for number in range(rng.randrange(1, 9)):
        kind = rng.choice(list(TYPE_NUMBERS))
        size = rng.randrange(1, rng.choice([9, 40, 300])) if kind in ("text", "bytes") else None
        dims = [rng.randrange(1, 4) for _ in range(rng.choice([0, 0, 0, 1, 2, 4]))]
        attributes = []
        if kind == "i32" and rng.random() < 0.4:
            attributes = [(0x8001, struct.pack("<i", value) + name)
                          for name, value in ((b"RED", 0), (b"GREEN", 1), (b"NONE", -1))]
        if rng.random() < 0.2:
            attributes.append((0x9ABC, rng.randbytes(rng.randrange(9))))
        name = rng.choice(["plain", "outer.inner", "points[0].x", "größe"]) + str(number)
        fields.append(Field(name, kind, offset, size, dims, attributes))
        offset += fields[-1].bytes + rng.choice([0, 0, 0, 1, 5])
    return fields, offset


def random_store(seed, entries=0, torn=False, records=None):
    """A store of random shape with @entries commits in the ring, as many as fit."""
    rng = random.Random(f"shape {seed}")
    fields, record_bytes = random_fields(rng)
    per_block = 4096 // record_bytes or 1
    count = rng.randrange(0, 4 * per_block + 20) if records is None else records
    store = Store(fields, record_bytes, count + rng.randrange(1, 3 * per_block + 30), seed,
                  ring_bytes=max(rng.choice([16384, 65536]), up(3 * record_bytes, 4096)))
    store.fill(count)
    store.ring_head = store.ring_tail = rng.randrange(0, store.ring_bytes // 8) * 8
    stale = Entry([(7, 0, 0, 5, 0, b"")]).bytes(max(0, store.sequence - 1), store.session ^ 1, 1, 1, 1)
    stale_at = rng.randrange(0, (store.ring_bytes - len(stale)) // 8) * 8
    store.ring[stale_at:stale_at + len(stale)] = stale
    done = 0
    while done < entries and store.random_commit():
        done += 1
    if torn:
        last = Entry([(7, 0, 0, 1, 0, b""), (6, 0, 0, 0, 0, b"torn")])
        if store.append(last):
            store.tear_last()
    return store


def main():
    parser = argparse.ArgumentParser(description="Make a store file without the library.")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--records", type=int)
    parser.add_argument("--torn", action="store_true")
    parser.add_argument("--expect", metavar="FILE")
    options = parser.parse_args()
    store = random_store(options.seed, options.entries, options.torn, options.records)
    store.write(options.out)
    if options.expect:
        with open(options.expect, "w", encoding="utf-8") as out:
            for row in store.rows():
                out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
