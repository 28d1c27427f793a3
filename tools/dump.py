#!/usr/bin/env python3
"""Read a stele store without the library: an independent reader, written from lib/FORMAT.md.

    dump.py FILE                     report: header, schema, history, journal, live words, sums
    dump.py FILE --journal           the journal only, with the payload of every item
    dump.py FILE --records [A..B]    the records (A to B, both included) as NDJSON, nothing else
    --json                           the report as one line of JSON (with --records: ahead of them)
    --no-replay                      as the records lie in the file, without the journal

Nothing is written and no lock is taken. With --records the findings go to the standard error.
A record is {"index": i, "field": value, ...}: integers exact, arrays as JSON arrays, text up to
its zero padding (a byte that is not UTF-8 as a lone surrogate, \\udc80 to \\udcff), bytes as
lower-case hex, NaN and the infinities as strings.

Exit codes: 0 fine; 1 damage found, a line for each finding; 2 usage; 3 not a store, or a store
that cannot be read.
"""

import argparse
import array
import bisect
import datetime
import functools
import itertools
import json
import math
import os
import re
import stat
import struct
import sys
from decimal import Decimal

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import xxh3  # noqa: E402

MIB = 1 << 20
MAGIC = bytes.fromhex("89535445 4c450a1a")
ENTRY_MAGIC = 0x4C455453
LIVE_MAGIC = 0x4556494C454C4554
SLOT_BYTES = 4096
RECORD_BYTES_MAX = 16 * MIB
CAPACITY_MAX = 1 << 48
FILE_BYTES_MAX = 1 << 61
SEQUENCE_MAX = (1 << 62) - 1
RECOVERY_STEP = 1 << 32
FEATURES_KNOWN = 1
ENTRY_HEAD_BYTES = 64
ITEM_HEAD_BYTES = 32
CHUNK_BYTES = MIB
PAGE_BYTES = 1 << 16
HOLES_HASHED_BYTES_MAX = 1 << 30
FINDINGS_MAX = 10000
TRIES_WHILE_IN_USE = 5

LIVE, JOURNAL, RECORDS, SUMS, SCHEMA = 1, 2, 3, 4, 5
REGION_NAMES = {LIVE: "live", JOURNAL: "journal", RECORDS: "records", SUMS: "sums", SCHEMA: "schema"}
HISTORY_NAMES = {1: "replay", 2: "forced", 3: "restore", 4: "conversion"}
ITEM_NAMES = {1: "count", 2: "records", 3: "sums", 4: "repair", 5: "user", 6: "tag", 7: "time", 8: "bytes"}
ITEMS_KNOWN = (1, 2, 3, 4, 5, 6, 7)
STATE_NAMES = {0: "idle", 1: "committing", 2: "recovering", 3: "failed"}
TYPES = {1: ("i8", 1, "b"), 2: ("u8", 1, "B"), 3: ("i16", 2, "h"), 4: ("u16", 2, "H"), 5: ("i32", 4, "i"),
         6: ("u32", 4, "I"), 7: ("i64", 8, "q"), 8: ("u64", 8, "Q"), 9: ("f32", 4, "f"), 10: ("f64", 8, "d"),
         11: ("bool", 1, "B"), 12: ("text", 0, "s"), 13: ("bytes", 0, "s")}

ENUM_KIND = 5
IDENTIFIER = re.compile("[A-Za-z_$\x80-\U0010ffff][0-9A-Za-z_$\x80-\U0010ffff]*")
FIELD_NAME = re.compile(rf"(?:{IDENTIFIER.pattern}(?:\[[0-9]+\])*\.)*{IDENTIFIER.pattern}")

SLOT_FIELDS = [
    ("format_version", "I", 8), ("byte_order", "I", 12), ("library_version", "I", 16), ("slot_bytes", "I", 20),
    ("features_incompatible", "Q", 24), ("features_read_only", "Q", 32), ("features_compatible", "Q", 40),
    ("file_id", "16s", 48), ("origin_file_id", "16s", 64), ("origin_sequence", "Q", 80), ("sum_seed", "Q", 88),
    ("generation", "Q", 96), ("session", "Q", 104), ("created_us", "Q", 112), ("modified_us", "Q", 120),
    ("checkpoint_us", "Q", 128), ("record_bytes", "I", 136), ("records_per_block", "I", 140),
    ("records_per_cell", "I", 144), ("sum_kind", "H", 148), ("stripe_kind", "H", 150), ("schema_bytes", "I", 152),
    ("state_flags", "I", 156), ("schema_hash", "16s", 160), ("layout_version", "Q", 176), ("capacity", "Q", 184),
    ("count", "Q", 192), ("sequence", "Q", 200), ("ring_head", "Q", 208), ("chain", "Q", 216), ("tag", "64s", 224),
    ("tag_bytes", "I", 288), ("superseded_by", "16s", 296), ("user_version", "Q", 312), ("user", "64s", 320),
    ("history_total", "Q", 1152)]

LIVE_WORDS = [
    ("magic", 0), ("live_layout_version", 8), ("session", 64), ("state", 128), ("holds", 192), ("logged", 256),
    ("synced", 320), ("applied", 384), ("chain", 448), ("ring_head", 512), ("ring_tail", 576), ("version", 640),
    ("count", 704), ("count_high", 768), ("layout_version", 832), ("progress", 896), ("wanted", 960),
    ("writer_pid", 1024), ("writer_started_us", 1032), ("last_commit_us", 1040), ("stored_end", 1048)]


class Refused(Exception):
    """The file is not a store, or not one that this reader can read."""


class Findings:
    def __init__(self):
        self.lines, self.notes, self.left_off = [], [], 0

    def add(self, line):
        if len(self.lines) < FINDINGS_MAX:
            self.lines.append(line)
        else:
            self.left_off += 1

    def all_lines(self):
        return self.lines + ([f"and {self.left_off} more"] if self.left_off else [])


def round_up(value, unit):
    return -(-value // unit) * unit


def record_shape(record_bytes):
    """FORMAT.md 4: records per block, records per cell."""
    per_block = 1
    while per_block * 2 * record_bytes <= 4096:
        per_block *= 2
    per_cell = 1
    while per_cell * record_bytes < 128:
        per_cell *= 2
    return per_block, min(per_cell, per_block)


class File:
    def __init__(self, path):
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise Refused(f"{path}: not a regular file")
        self.path = path
        self.handle = open(path, "rb", buffering=0)
        self.bytes = self.handle.seek(0, os.SEEK_END)

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.handle.close()

    def read(self, offset, n):
        """Up to @n bytes from @offset: fewer only at the end of the file."""
        if n <= 0 or offset >= self.bytes:
            return b""
        self.handle.seek(offset)
        parts = []
        while n > 0:
            part = self.handle.read(n)
            if not part:
                break
            parts.append(part)
            n -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def extents(self, offset, n):
        """The stretches of @n bytes from @offset that are not holes, as (begin, end) in the stretch."""
        end = min(offset + n, self.bytes)
        if offset >= end:
            return
        if not hasattr(os, "SEEK_DATA"):
            yield 0, end - offset
            return
        at = offset
        while at < end:
            try:
                data = self.handle.seek(at, os.SEEK_DATA)
            except OSError:
                return
            if data >= end:
                return
            hole = min(self.handle.seek(data, os.SEEK_HOLE), end)
            yield data - offset, hole - offset
            at = max(hole, data + 1)


# --- header -----------------------------------------------------------------------------------

def parse_slot(raw):
    slot = {name: struct.unpack_from("<" + form, raw, at)[0] for name, form, at in SLOT_FIELDS}
    slot["regions"] = []
    for i in range(24):
        kind, flags, offset, size, parameter = struct.unpack_from("<IIQQQ", raw, 384 + 32 * i)
        if kind:
            slot["regions"].append({"place": i, "kind": kind, "name": REGION_NAMES.get(kind, "unknown"),
                                    "flags": flags, "offset": offset, "bytes": size, "parameter": parameter})
    slot["history"] = parse_history(raw, slot["history_total"])
    return slot


def parse_history(raw, total):
    entries = []
    for k in range(max(0, total - 64), total):
        last, first, session, kind, time_s = struct.unpack_from("<QQQII", raw, 1160 + 32 * (k % 64))
        entries.append({"number": k, "last_kept": last, "first_new": first, "session": session, "kind": kind,
                        "name": HISTORY_NAMES.get(kind, "unknown"), "time_s": time_s})
    return entries


def region_problems(slot):
    problems = []
    known = {}
    capacity, record_bytes = slot["capacity"], slot["record_bytes"]
    blocks = -(-capacity // slot["records_per_block"])
    for region in slot["regions"]:
        kind, name = region["kind"], region["name"]
        if kind in REGION_NAMES:
            if kind in known:
                problems.append(f"two regions {name}")
            known[kind] = region
        elif region["flags"] & 1:
            raise Refused(f"region kind {kind} is unknown and marked as one that a reader must know")
        if kind in (LIVE, JOURNAL, SUMS) and region["offset"] % 65536:
            problems.append(f"region {name} does not start on a multiple of 65536")
        if region["offset"] + region["bytes"] > FILE_BYTES_MAX:
            problems.append(f"region {name} ends behind 2^61")
    missing = [REGION_NAMES[kind] for kind in REGION_NAMES if kind not in known]
    if missing:
        return problems + ["no region " + ", ".join(missing)]
    if known[RECORDS]["offset"] % (2 * MIB):
        problems.append("region records does not start on a multiple of 2 MiB")
    sizes = {RECORDS: capacity * record_bytes, SUMS: 8 * blocks}
    for kind, size in sizes.items():
        if known[kind]["bytes"] != size:
            problems.append(f"region {REGION_NAMES[kind]} has {known[kind]['bytes']} bytes instead of {size}")
    ring = known[JOURNAL]["bytes"]
    if ring % 4096 or not 16384 <= ring <= 128 * MIB:
        problems.append(f"the journal has {ring} bytes")
    if slot["ring_head"] % 8 or slot["ring_head"] >= ring:
        problems.append(f"ring_head {slot['ring_head']} is not a place in the journal")
    if slot["schema_bytes"] % 8 or not 88 <= slot["schema_bytes"] <= known[SCHEMA]["bytes"]:
        problems.append(f"schema_bytes {slot['schema_bytes']} is impossible")
    taken = sorted([(0, 2 * SLOT_BYTES, "header")]
                   + [(r["offset"], r["offset"] + r["bytes"], r["name"]) for r in slot["regions"] if r["bytes"]])
    for (_, end, one), (begin, _, other) in zip(taken, taken[1:]):
        if begin < end:
            problems.append(f"{one} and {other} overlap")
    return problems


def is_valid(raw):
    return len(raw) == SLOT_BYTES and raw[:8] == MAGIC and xxh3.disk128(raw[:4080]) == raw[4080:]


def why_not_valid(raw):
    if len(raw) < SLOT_BYTES:
        return "cut by the end of the file"
    return "the hash differs" if raw[:8] == MAGIC else "no magic"


def refuse_newer(slot):
    if slot["format_version"] > 1:
        raise Refused(f"format version {slot['format_version']}: this reader knows version 1")
    if slot["features_incompatible"] & ~FEATURES_KNOWN:
        raise Refused(f"unknown incompatible features {slot['features_incompatible'] & ~FEATURES_KNOWN:#x}")
    if slot["sum_kind"] != 1 or slot["stripe_kind"] != 1:
        raise Refused(f"unknown sum kind {slot['sum_kind']} or stripe kind {slot['stripe_kind']}")


def slot_problems(slot):
    """What of the ruling slot cannot be; Refused when it is of a kind that this reader does not know."""
    refuse_newer(slot)
    if slot["format_version"] != 1 or slot["byte_order"] != 0x01020304 or slot["slot_bytes"] != SLOT_BYTES:
        return [f"format version {slot['format_version']}, byte order {slot['byte_order']:#x} or slot_bytes "
                f"{slot['slot_bytes']} is impossible"]
    if not 1 <= slot["record_bytes"] <= RECORD_BYTES_MAX:
        return [f"record_bytes {slot['record_bytes']} is impossible"]
    if (slot["records_per_block"], slot["records_per_cell"]) != record_shape(slot["record_bytes"]):
        return ["records per block or per cell do not follow from record_bytes"]
    problems = []
    if slot["capacity"] > CAPACITY_MAX or slot["count"] > slot["capacity"]:
        problems.append(f"count {slot['count']} or capacity {slot['capacity']} is impossible")
    for name in ("sequence", "generation"):
        if slot[name] > SEQUENCE_MAX:
            problems.append(f"{name} {slot[name]} has more than 62 bits")
    if slot["tag_bytes"] > 64:
        problems.append(f"tag_bytes {slot['tag_bytes']}")
    return problems + region_problems(slot)


def choose_slot(raws, findings):
    """FORMAT.md 2, which slot rules: (states of both, the ruling slot)."""
    states, valid = [], []
    for name, raw in zip("AB", raws):
        slot = parse_slot(raw.ljust(SLOT_BYTES, b"\0"))
        problems = [] if is_valid(raw) else [why_not_valid(raw)]
        states.append({"slot": name, "valid": not problems, "problems": problems,
                       "generation": slot["generation"], "sequence": slot["sequence"], "rules": False})
        if not problems:
            valid.append((slot["generation"], len(states) - 1, slot))
    if not valid:
        if all(raw[:8] != MAGIC for raw in raws):
            raise Refused("not a stele store: no magic")
        raise Refused("no header slot is valid: " + "; ".join(
            f"slot {s['slot']}: {', '.join(s['problems'])}" for s in states))
    for state in states:
        if not state["valid"]:
            findings.add(f"header slot {state['slot']} (no block, no records): {', '.join(state['problems'])}")
    if len(valid) == 2 and valid[0][0] == valid[1][0] and raws[0] != raws[1]:
        raise Refused("header slots A and B are of one generation and differ")
    generation = max(v[0] for v in valid)
    _, which, slot = next(v for v in valid if v[0] == generation)
    states[which]["rules"] = True
    problems = slot_problems(slot)
    if problems:
        raise Refused(f"header slot {'AB'[which]}: {', '.join(problems)}")
    if len(valid) == 2 and valid[0][0] != valid[1][0]:
        findings.notes.append(f"header slot {'BA'[which]} is older: the last change of the header was cut short")
    return states, slot


# --- schema -----------------------------------------------------------------------------------

def utf8(raw, what):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None


def parse_attributes(raw, count, number, kind):
    enum, at = [], 0
    for _ in range(count):
        if at + 4 > len(raw):
            raise ValueError(f"field {number}: an attribute runs over the end of the field")
        tag, size = struct.unpack_from("<HH", raw, at)
        body = raw[at + 4:at + 4 + size]
        at += 4 + size
        if len(body) < size:
            raise ValueError(f"field {number}: an attribute runs over the end of the field")
        if tag == 0x8001:
            name = utf8(body[4:], f"field {number}: an enum constant")
            if kind != ENUM_KIND or not IDENTIFIER.fullmatch(name) or size > 67:
                raise ValueError(f"field {number}: an enum constant that cannot be")
            enum.append([name, struct.unpack_from("<i", body)[0]])
        elif not tag & 0x8000:
            raise ValueError(f"field {number}: attribute {tag:#06x} is unknown and must be known")
    if any(raw[at:]) or len(raw) - at >= 8:
        raise ValueError(f"field {number}: bytes behind its attributes")
    return enum


def parse_field(raw, number, record_bytes):
    size, kind, flags, element_bytes = struct.unpack_from("<HBBI", raw)
    dims = struct.unpack_from("<4I", raw, 8)
    offset, name_bytes, attribute_count, zero = struct.unpack_from("<QHHI", raw, 24)
    if kind not in TYPES:
        raise ValueError(f"field {number}: unknown type {kind}")
    type_name, type_bytes, _ = TYPES[kind]
    if flags or zero:
        raise ValueError(f"field {number}: flags {flags} or a zero word {zero} that are not zero")
    if not 1 <= name_bytes <= 63 or 40 + name_bytes > size:
        raise ValueError(f"field {number}: a name of {name_bytes} bytes")
    if element_bytes < 1 or (type_bytes and element_bytes != type_bytes):
        raise ValueError(f"field {number}: elements of {element_bytes} bytes for {type_name}")
    used = [d for d in dims if d]
    if used != list(dims[:len(used)]):
        raise ValueError(f"field {number}: an unused dimension ahead of a used one")
    total = element_bytes * math.prod(used)
    if offset + total > record_bytes:
        raise ValueError(f"field {number}: ends behind the record")
    name = utf8(raw[40:40 + name_bytes], f"field {number}: the name")
    if not FIELD_NAME.fullmatch(name):
        raise ValueError(f"field {number}: {name!r} is no name")
    return {"name": name, "type": type_name, "kind": kind,
            "element_bytes": element_bytes, "dims": used, "offset": offset, "bytes": total,
            "enum": parse_attributes(raw[40 + name_bytes:], attribute_count, number, kind)}


def parse_schema(raw):
    """The schema as a dictionary; ValueError with what is wrong."""
    version, size, record_bytes, pack, field_count = struct.unpack_from("<IIQII", raw)
    if version != 1:
        raise Refused(f"schema version {version}: this reader knows version 1")
    if size != len(raw):
        raise ValueError(f"its head says {size} bytes, the header slot {len(raw)}")
    name = utf8(raw[24:88].rstrip(b"\0"), "the name of the struct")
    if not IDENTIFIER.fullmatch(name) or not raw[87] == 0:
        raise ValueError(f"{name!r} is no name of a struct")
    if pack not in (0, 1, 2, 4, 8, 16) or field_count < 1:
        raise ValueError(f"pack {pack}, {field_count} fields")
    fields, at, end = [], 88, 0
    for number in range(field_count):
        field_bytes = struct.unpack_from("<H", raw, at)[0] if at + 40 <= len(raw) else 0
        if field_bytes < 48 or field_bytes % 8 or at + field_bytes > len(raw):
            raise ValueError(f"field {number} runs over the end of the schema, or has {field_bytes} bytes")
        field = parse_field(raw[at:at + field_bytes], number, record_bytes)
        if field["offset"] < end:
            raise ValueError(f"field {number} overlaps the one before, or is out of order")
        if any(field["name"] == other["name"] for other in fields):
            raise ValueError(f"field {number}: a second {field['name']!r}")
        end = field["offset"] + field["bytes"]
        fields.append(field)
        at += field_bytes
    if at != len(raw):
        raise ValueError("bytes behind the last field")
    return {"name": name, "record_bytes": record_bytes, "pack": pack, "fields": fields}


def load_schema(file, slot, region, findings):
    raw = file.read(region["offset"], slot["schema_bytes"])
    if len(raw) < slot["schema_bytes"]:
        findings.add("schema (every block, all records): cut by the end of the file")
        return None
    if xxh3.disk128(raw) != slot["schema_hash"]:
        findings.add("schema (every block, all records): the hash differs; records cannot be decoded")
        return None
    try:
        schema = parse_schema(raw)
        if schema["record_bytes"] != slot["record_bytes"]:
            raise ValueError(f"records of {schema['record_bytes']} bytes, the header says {slot['record_bytes']}")
        return schema
    except ValueError as reason:
        findings.add(f"schema (every block, all records): {reason}")
        return None


# --- journal ----------------------------------------------------------------------------------

ENTRY_HEAD = struct.Struct("<IHH7Q")
ITEM_HEAD = struct.Struct("<HHIQQQ")


def parse_head(ring, place):
    """The head at @place as a dictionary when its magic, hash and length are right, else None."""
    if place + ENTRY_HEAD_BYTES + 8 > len(ring):
        return None
    magic, kind, flags, length, sequence, session, chain, synced, writer, digest = ENTRY_HEAD.unpack_from(ring, place)
    if magic != ENTRY_MAGIC or length % 8 or not 72 <= length <= len(ring) - place:
        return None
    if xxh3.hash64(ring[place:place + 56], session) != digest:
        return None
    return {"place": place, "kind": kind, "flags": flags, "length": length, "sequence": sequence,
            "session": session, "chain": chain, "synced_seq": synced, "writer": writer}


def trailer_of(ring, head):
    """The trailer of an entry when it is right, else None."""
    end = head["place"] + head["length"]
    stored = struct.unpack_from("<Q", ring, end - 8)[0]
    return stored if xxh3.hash64(memoryview(ring)[head["place"]:end - 8], head["session"]) == stored else None


def entry_at(ring, place, session, sequence, chain):
    head = parse_head(ring, place)
    if not head or (head["session"], head["sequence"], head["chain"]) != (session, sequence, chain):
        return None
    head["trailer"] = trailer_of(ring, head)
    return None if head["trailer"] is None else head


def walk(ring, slot):
    """FORMAT.md 5, walk: the entries in order. It never laps: entries overlap none before them."""
    entries, place, room = [], slot["ring_head"], len(ring)
    sequence, chain = slot["sequence"], slot["chain"]
    while True:
        entry = None
        for candidate in (place, round_up(place, 4096), 0):
            skipped = (candidate - place) % len(ring) if entries else 0
            entry = entry_at(ring, candidate, slot["session"], sequence + 1, chain)
            if entry and skipped + entry["length"] <= room:
                break
            entry = None
        if not entry:
            return entries, place, sequence
        room -= skipped + entry["length"]
        place = entry["place"] + entry["length"]
        sequence, chain = entry["sequence"], entry["trailer"]
        entries.append(entry)


def find_loss(ring, slot, last, findings):
    """FORMAT.md 5, loss: entries that show that a commit, or a header, is missing."""
    skip_until = 0
    for at in range(0, len(ring), 4096):
        head = parse_head(ring, at) if at >= skip_until else None
        if not head or trailer_of(ring, head) is None:
            continue
        skip_until = at + head["length"]
        what = loss_shown_by(head, slot, last)
        if what:
            findings.add(f"journal (no block, no records named): {what}: place {at} holds sequence "
                         f"{head['sequence']}, synced {head['synced_seq']}")
            return


def loss_shown_by(head, slot, last):
    """What the whole entry of @head shows to be missing behind sequence @last, or nothing."""
    if head["session"] != slot["session"]:
        return "a later header is lost" if head["sequence"] >= slot["sequence"] + RECOVERY_STEP else None
    if head["sequence"] > last + 1 and head["synced_seq"] > last:
        return f"commit {last + 1} was acknowledged and is lost"
    return None


def parse_items(ring, entry, store):
    """The items of an entry, one by one. ValueError: damaged. Refused: of a newer version."""
    if entry["kind"] or entry["flags"]:
        raise Refused(f"journal entry {entry['sequence']}: kind {entry['kind']}, flags {entry['flags']:#x}")
    at, end = entry["place"] + ENTRY_HEAD_BYTES, entry["place"] + entry["length"] - 8
    number = 0
    while at < end:
        if at + ITEM_HEAD_BYTES > end:
            raise ValueError("an item runs over the end of the entry")
        kind, flags, region, size, first, n = ITEM_HEAD.unpack_from(ring, at)
        if flags & ~1 or (kind not in ITEMS_KNOWN and not flags & 1):
            raise Refused(f"journal entry {entry['sequence']}: item type {kind}, flags {flags:#x}")
        at += ITEM_HEAD_BYTES
        if size > end - at:
            raise ValueError("an item runs over the end of the entry")
        item = {"type": kind, "name": ITEM_NAMES.get(kind, "unknown"), "region": region, "bytes": size,
                "first": first, "n": n, "at": at}
        problem = item_problem(item, store, number == 0)
        if problem:
            raise ValueError(f"item {number} ({item['name']}): {problem}")
        yield item
        number += 1
        at += round_up(size, 8)


def item_problem(item, store, is_first):
    kind, region, size, first, n = (item[k] for k in ("type", "region", "bytes", "first", "n"))
    regions = {1: 0, 2: RECORDS, 3: SUMS, 4: SUMS, 5: 0, 6: 0, 7: 0}
    if kind in regions and region != regions[kind]:
        return f"names region {region}"
    if kind == 1:
        if not is_first:
            return "does not stand first"
        if size or first > n or n > store.capacity:
            return f"count {n}, lowest {first}, capacity {store.capacity}"
    units = {2: (store.record_bytes, store.capacity, "records"), 3: (8, store.blocks, "blocks"),
             4: (8, store.blocks, "blocks")}
    if kind in units:
        unit, limit, word = units[kind]
        if n < 1 or size != unit * n or first + n > limit:
            return f"{n} {word} from {first} in {size} bytes, where the region has {limit}"
    if (kind == 5 and size != 64) or (kind == 6 and not 1 <= size <= 64) or (kind == 7 and size):
        return f"{size} bytes"
    return None


# --- records and sums with the journal laid over them -----------------------------------------

class Overlay:
    """A region of the file with images from the ring laid over it, in order.

    A cut at a byte says that from there on no image before the cut counts; what no image names is
    as it lies in the file. Nothing is copied: an image is four numbers of its page's array: serial,
    begin, end, place in the ring.
    """

    def __init__(self, file, region, ring):
        self.file, self.region, self.ring = file, region, ring
        self.pages, self.cuts, self.serials, self.limits = {}, [], [], []

    def image(self, serial, begin, end, place):
        for page in range(begin // PAGE_BYTES, -(-end // PAGE_BYTES)):
            self.pages.setdefault(page, array.array("Q")).extend((serial, begin, end, place))

    def cut(self, serial, at):
        self.cuts.append((serial, at))

    def finish(self):
        """For every cut the lowest one from it on: what an earlier image keeps."""
        lowest = self.region["bytes"]
        for serial, at in reversed(self.cuts):
            lowest = min(lowest, at)
            self.serials.append(serial)
            self.limits.append(lowest)
        self.serials.reverse()
        self.limits.reverse()

    def limit(self, serial):
        i = bisect.bisect_right(self.serials, serial)
        return self.limits[i] if i < len(self.limits) else self.region["bytes"]

    def read(self, begin, n):
        """@n bytes from @begin: zeros where the file ends and the journal has none."""
        end = begin + n
        data = bytearray(self.file.read(self.region["offset"] + begin, n))
        data.extend(bytes(n - len(data)))
        if not self.pages:
            return data
        for page in range(begin // PAGE_BYTES, -(-end // PAGE_BYTES)):
            low, high = max(begin, page * PAGE_BYTES), min(end, (page + 1) * PAGE_BYTES)
            images = iter(self.pages.get(page, ()))
            for serial, image_begin, image_end, place in zip(images, images, images, images):
                a, b = max(low, image_begin), min(high, image_end, self.limit(serial))
                if a < b:
                    data[a - begin:b - begin] = self.ring[place + a - image_begin:place + b - image_begin]
        return data

    def busy(self, n):
        """The stretches of the first @n bytes that may be anything but zeros: sorted, merged (begin, end)."""
        stretches = list(self.file.extents(self.region["offset"], min(n, self.region["bytes"])))
        stretches += [(p * PAGE_BYTES, min((p + 1) * PAGE_BYTES, n)) for p in self.pages if p * PAGE_BYTES < n]
        return merged(stretches)


def merged(stretches):
    result = []
    for begin, end in sorted(stretches):
        if result and begin <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([begin, end])
    return result


def hits(stretches, begin, end):
    i = bisect.bisect_left(stretches, [end])
    return i > 0 and stretches[i - 1][1] > begin


# --- store ------------------------------------------------------------------------------------

class Store:
    """One reading of a file: header, schema, journal, and the records as they are after recovery."""

    def __init__(self, file, is_replayed):
        self.findings = Findings()
        self.file = file
        raws = [self.file.read(0, SLOT_BYTES), self.file.read(SLOT_BYTES, SLOT_BYTES)]
        self.states, self.slot = choose_slot(raws, self.findings)
        slot = self.slot
        self.regions = {r["kind"]: r for r in slot["regions"]}
        self.record_bytes, self.capacity = slot["record_bytes"], slot["capacity"]
        self.per_block, self.per_cell = slot["records_per_block"], slot["records_per_cell"]
        self.blocks = -(-self.capacity // self.per_block)
        self.seed = slot["sum_seed"]
        self.count, self.sequence, self.modified_us = slot["count"], slot["sequence"], slot["modified_us"]
        self.user_version, self.user = slot["user_version"], slot["user"]
        self.tag = slot["tag"][:slot["tag_bytes"]]
        self.is_newer, self.is_replayed = False, is_replayed
        end = round_up(max(r["offset"] + r["bytes"] for r in slot["regions"]), 4096)
        if self.file.bytes < end:
            self.findings.add(f"file: {end - self.file.bytes} bytes shorter than its layout of {end}")
        self.schema = load_schema(self.file, slot, self.regions[SCHEMA], self.findings)
        self.check_zeros()
        self.live = self.read_live()
        self.read_journal()
        self.overlay()

    def check_zeros(self):
        """FORMAT.md 1 and 3: what is zero behind the schema, the records and the sums."""
        schema, records, sums = (self.regions[kind] for kind in (SCHEMA, RECORDS, SUMS))
        ends = {kind: self.regions[kind]["offset"] + self.regions[kind]["bytes"] for kind in (RECORDS, SUMS)}
        for name, begin, end in (
                ("schema", schema["offset"] + self.slot["schema_bytes"], schema["offset"] + min(schema["bytes"], 57344)),
                ("records", ends[RECORDS], min(round_up(ends[RECORDS], 65536), sums["offset"])),
                ("sums", ends[SUMS], round_up(ends[SUMS], 4096))):
            if any(self.file.read(begin, end - begin)):
                self.findings.add(f"zeros behind the {name} (no block, no records): other bytes stand there")

    def read_live(self):
        raw = self.file.read(self.regions[LIVE]["offset"], 4096).ljust(4096, b"\0")
        return {name: struct.unpack_from("<Q", raw, at)[0] for name, at in LIVE_WORDS}

    def read_journal(self):
        region = self.regions[JOURNAL]
        ring = self.file.read(region["offset"], region["bytes"])
        self.ring = ring.ljust(region["bytes"], b"\0")
        self.entries, self.ring_tail, last = walk(self.ring, self.slot)
        find_loss(self.ring, self.slot, last, self.findings)
        for number, entry in enumerate(self.entries):
            try:
                for _ in parse_items(self.ring, entry, self):
                    pass
            except ValueError as reason:
                self.findings.add(f"journal entry {entry['sequence']} at place {entry['place']} "
                                  f"(no block, no records named): {reason}; it and those behind it not applied")
                self.entries = self.entries[:number]
                return
            except Refused as reason:
                self.is_newer = entry["is_newer"] = True
                self.findings.notes.append(f"{reason}: of a newer version, nothing is applied")

    def overlay(self):
        self.records = Overlay(self.file, self.regions[RECORDS], self.ring)
        self.sums = Overlay(self.file, self.regions[SUMS], self.ring)
        if self.is_replayed and not self.is_newer:
            for serial, entry in enumerate(self.entries):
                self.sequence = entry["sequence"]
                for item in parse_items(self.ring, entry, self):
                    self.apply(serial, item)
        self.records.finish()
        self.sums.finish()

    def apply(self, serial, item):
        kind, first, n, at, size = (item[k] for k in ("type", "first", "n", "at", "bytes"))
        if kind == 1:
            self.count = n
            # An image of the same entry stands behind its count item and so survives the cut.
            self.records.cut(serial, first * self.record_bytes)
            self.sums.cut(serial, 8 * -(-first // self.per_block))
        elif kind == 2:
            self.records.image(serial, first * self.record_bytes, (first + n) * self.record_bytes, at)
        elif kind == 3:
            self.sums.image(serial, 8 * first, 8 * (first + n), at)
        elif kind == 5:
            self.user_version, self.user = first, self.ring[at:at + 64]
        elif kind == 6:
            self.tag = self.ring[at:at + size]
        elif kind == 7:
            self.modified_us = first

    def block_name(self, block):
        first = block * self.per_block
        return f"block {block} (records {first}..{min(first + self.per_block, self.count) - 1})"

    def sum_of(self, data, first_record):
        """FORMAT.md 4: the sum of a block whose records below the count are @data."""
        step = self.per_cell * self.record_bytes
        seed = first_record + self.seed
        total = 0
        for at in range(0, len(data), step):
            total += xxh3.hash64(data[at:at + step], seed & xxh3.MASK64)
            seed += self.per_cell
        return total & ((1 << 63) - 1)

    def check_block(self, block, data, word):
        if word == 0:
            if data.count(0) != len(data):
                self.findings.add(f"{self.block_name(block)}: never written by its word, but not all zeros")
        elif not word & 1:
            self.findings.add(f"{self.block_name(block)}: known damaged, word {word:016x}")
        else:
            right = self.sum_of(bytes(data), block * self.per_block) << 1 | 1
            if right != word:
                self.findings.add(f"{self.block_name(block)}: sum differs: word {word:016x}, "
                                  f"the records give {right:016x}")

    def check_sums(self):
        """Check every block below the count; holes whose word is a hole as well need no look."""
        used = -(-self.count // self.per_block)
        block_bytes = self.per_block * self.record_bytes
        count_bytes = self.count * self.record_bytes
        busy_records = self.records.busy(count_bytes)
        busy_sums = self.sums.busy(8 * used)
        wanted = merged([(a // block_bytes, -(-b // block_bytes)) for a, b in busy_records]
                        + [(a // 8, -(-b // 8)) for a, b in busy_sums])
        step = max(1, CHUNK_BYTES // block_bytes)
        holes, unchecked, self.blocks_checked = 0, 0, 0
        for begin, end in wanted:
            for block in range(begin, min(end, used), step):
                n = min(step, end - block, used - block)
                words = struct.unpack(f"<{n}Q", self.sums.read(8 * block, 8 * n))
                first_byte, last_byte = block * block_bytes, min((block + n) * block_bytes, count_bytes)
                if not hits(busy_records, first_byte, last_byte):
                    if not any(words):
                        continue
                    holes += last_byte - first_byte
                    if holes > HOLES_HASHED_BYTES_MAX:
                        unchecked += n
                        continue
                data = memoryview(self.records.read(first_byte, last_byte - first_byte))
                for i, word in enumerate(words):
                    self.check_block(block + i, bytes(data[i * block_bytes:(i + 1) * block_bytes]), word)
                self.blocks_checked += n
        self.blocks_in_holes = used - self.blocks_checked - unchecked
        if unchecked:
            self.findings.notes.append(f"{unchecked} blocks in holes with words in place were not checked")

    def present_count(self):
        """Records that the file, or the journal, has any byte of: a hostile header may claim more."""
        room = max(0, self.file.bytes - self.regions[RECORDS]["offset"])
        top = max([room] + [(p + 1) * PAGE_BYTES for p in self.records.pages])
        return min(self.count, -(-top // self.record_bytes))


def is_moved(before, after):
    return any(before[k] != after[k] for k in ("session", "state", "holds", "logged", "progress", "version"))


def read_store(file, is_replayed):
    """Read and check; again when another process committed meanwhile."""
    for attempt in itertools.count(1):
        store = Store(file, is_replayed)
        store.check_sums()
        if not is_moved(store.live, store.read_live()):
            return store
        if attempt == TRIES_WHILE_IN_USE:
            store.findings.notes.append("the file was written to while it was read: findings may come from that")
            return store


# --- values -----------------------------------------------------------------------------------

def json_text(text):
    try:
        text.encode("utf-8")
        return json.dumps(text, ensure_ascii=False)
    except UnicodeEncodeError:
        return json.dumps(text)


def float_text(value):
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def is_f32(text, raw):
    try:
        return struct.pack("<f", float(text)) == raw
    except OverflowError:
        return False


@functools.lru_cache(maxsize=65536)
def f32_digits(raw):
    """The shortest digits that read back as the f32 of the four bytes @raw."""
    value = struct.unpack("<f", raw)[0]
    is_lopsided = math.frexp(value)[0] in (0.5, -0.5)
    for digits in range(6 if abs(value) >= 2.0 ** -126 else 1, 10):
        text = f"{value:.{digits - 1}e}"
        candidates = [text]
        if is_lopsided:
            unit = Decimal(1).scaleb(int(text[text.index("e") + 1:]) - digits + 1)
            candidates += [str(Decimal(text) + unit), str(Decimal(text) - unit)]
        fitting = [c for c in candidates if is_f32(c, raw)]
        if fitting:
            return repr(float(min(fitting, key=lambda c: abs(Decimal(c) - Decimal(value)))))
    return repr(value)


def f32_text(value):
    return f32_digits(struct.pack("<f", value)) if math.isfinite(value) else float_text(value)


def bool_text(value):
    return "true" if value else "false"


def string_text(raw):
    return json_text(raw.rstrip(b"\0").decode("utf-8", "surrogateescape"))


def hex_text(raw):
    return f'"{raw.hex()}"'


def nested(parts, dims):
    for size in reversed(dims):
        parts = ["[" + ", ".join(parts[i:i + size]) + "]" for i in range(0, len(parts), size)]
    return parts[0]


def record_layout(schema):
    """A struct.Struct for a record, and for each field (key, first value, values, text of one, field)."""
    form, at, place, columns = "<", 0, 0, []
    for field in schema["fields"]:
        _, size, code = TYPES[field["kind"]]
        n = field["bytes"] // field["element_bytes"] if size else 1
        form += f"{field['offset'] - at}x" if field["offset"] > at else ""
        form += f"{n}{code}" if size else f"{field['bytes']}s"
        writers = {"f": f32_text, "d": float_text}
        text = {11: bool_text, 12: string_text, 13: hex_text}.get(field["kind"], writers.get(code, str))
        columns.append((", " + json_text(field["name"]) + ": ", place, n, text, field))
        place += n
        at = field["offset"] + field["bytes"]
    form += f"{schema['record_bytes'] - at}x" if schema["record_bytes"] > at else ""
    return struct.Struct(form), columns


def column_text(values, place, n, text, field):
    if not field["dims"]:
        return text(values[place])
    if TYPES[field["kind"]][1]:
        return nested([text(v) for v in values[place:place + n]], field["dims"])
    raw, size = values[place], field["element_bytes"]
    return nested([text(raw[i:i + size]) for i in range(0, len(raw), size)], field["dims"])


def write_records(store, wanted, out):
    """Write the records from wanted[0] to wanted[1], both included, one line each."""
    layout, columns = record_layout(store.schema)
    first, end = wanted[0], min(wanted[1] + 1, store.present_count())
    step = max(1, CHUNK_BYTES // store.record_bytes)
    for begin in range(first, end, step):
        n = min(step, end - begin)
        data = store.records.read(begin * store.record_bytes, n * store.record_bytes)
        lines = []
        for index, values in enumerate(layout.iter_unpack(data), begin):
            lines.append('{"index": %d%s}\n' % (index, "".join(
                [c[0] + column_text(values, *c[1:]) for c in columns])))
        out.write("".join(lines).encode("utf-8"))


# --- report -----------------------------------------------------------------------------------

def as_json(value):
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(type(value))


def entry_report(store, entry, with_payload):
    items = []
    for item in () if "is_newer" in entry else parse_items(store.ring, entry, store):
        shown = {k: item[k] for k in ("type", "name", "region", "bytes", "first", "n")}
        if with_payload:
            shown["payload"] = store.ring[item["at"]:item["at"] + item["bytes"]]
        items.append(shown)
    return {**entry, "items": items}


def journal_report(store, with_payload):
    return {"head": store.slot["ring_head"], "tail": store.ring_tail,
            "entries": [entry_report(store, e, with_payload) for e in store.entries]}


def report(store, with_payload):
    header = {k: v for k, v in store.slot.items() if k not in ("regions", "history")}
    header["tag"] = header["tag"][:header["tag_bytes"]]
    return {"file": store.file.path, "file_bytes": store.file.bytes, "slots": store.states, "header": header,
            "regions": store.slot["regions"], "schema": store.schema, "history": store.slot["history"],
            "journal": journal_report(store, with_payload), "live": store.live,
            "replayed": store.is_replayed and not store.is_newer,
            "records": {"count": store.count, "sequence": store.sequence, "modified_us": store.modified_us,
                        "user_version": store.user_version, "user": store.user, "tag": store.tag},
            "sums": {"blocks_checked": store.blocks_checked, "blocks_in_holes": store.blocks_in_holes},
            "findings": store.findings.all_lines(), "notes": store.findings.notes}


def time_text(us):
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=us)
        return f"{us} ({moment.isoformat()}Z)"
    except OverflowError:
        return str(us)


def plain_value(name, value):
    if isinstance(value, bytes):
        return value.hex() or "-"
    return time_text(value) if name.endswith("_us") and value else str(value)


def entry_lines(entry):
    yield (f"  place {entry['place']}: sequence {entry['sequence']}, {entry['length']} bytes, kind {entry['kind']}, "
           f"synced {entry['synced_seq']}, writer {entry['writer']:016x}, trailer {entry['trailer']:016x}")
    for item in entry["items"]:
        line = f"    {item['name']}: region {item['region']}, first {item['first']}, n {item['n']}"
        line += f", {item['bytes']} bytes" if item["bytes"] else ""
        yield line + (f" {item['payload'].hex()}" if item.get("payload") else "")


def journal_lines(journal):
    yield f"journal: from place {journal['head']} to {journal['tail']}, {len(journal['entries'])} entries"
    for entry in journal["entries"]:
        yield from entry_lines(entry)


def schema_lines(schema):
    if schema is None:
        yield "schema: not readable"
        return
    yield f"schema: struct {schema['name']!r}, {schema['record_bytes']} bytes, pack {schema['pack']}"
    for field in schema["fields"]:
        dims = "".join(f"[{d}]" for d in field["dims"])
        size = f"({field['element_bytes']})" if field["kind"] >= 12 else ""
        enum = " {" + ", ".join(f"{name}={value}" for name, value in field["enum"]) + "}" if field["enum"] else ""
        yield f"  {field['offset']:8} {field['name']!r}: {field['type']}{size}{dims}{enum}"


def report_lines(data):
    yield f"file: {data['file']}, {data['file_bytes']} bytes"
    for state in data["slots"]:
        yield (f"slot {state['slot']}: generation {state['generation']}, sequence {state['sequence']}, "
               + ("valid" if state["valid"] else "INVALID: " + ", ".join(state["problems"]))
               + (", rules" if state["rules"] else ""))
    yield "header:"
    for name, value in data["header"].items():
        yield f"  {name}: {plain_value(name, value)}"
    yield "regions:"
    for r in data["regions"]:
        yield f"  {r['kind']} {r['name']}: offset {r['offset']}, {r['bytes']} bytes, flags {r['flags']}"
    yield from schema_lines(data["schema"])
    yield f"history: {data['header']['history_total']} in all"
    for h in data["history"]:
        yield (f"  {h['number']} {h['name']}: kept to {h['last_kept']}, goes on at {h['first_new']}, "
               f"session {h['session']:016x}, time {time_text(h['time_s'] * 1000000)}")
    yield from journal_lines(data["journal"])
    yield "live words (they mean nothing on a file that nobody has open):"
    for name, value in data["live"].items():
        extra = f" ({STATE_NAMES.get(value, 'unknown')})" if name == "state" else ""
        extra = " (none)" if name == "magic" and value != LIVE_MAGIC else extra
        yield f"  {name}: {value}{extra}"
    yield "records after recovery:" if data["replayed"] else "records as they lie in the file:"
    for name, value in data["records"].items():
        yield f"  {name}: {plain_value(name, value)}"
    yield (f"sums: {data['sums']['blocks_checked']} blocks checked, "
           f"{data['sums']['blocks_in_holes']} never written")
    yield from (f"note: {line}" for line in data["notes"])
    yield from (f"DAMAGE: {line}" for line in data["findings"])
    if not data["findings"]:
        yield "no damage found"


# --- command ----------------------------------------------------------------------------------

def record_range(text):
    match = re.fullmatch(r"([0-9]{1,19})?(\.\.([0-9]{1,19})?)?", text)
    if not match or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range such as 3..9")
    first = int(match[1] or 0)
    last = first if not match[2] else CAPACITY_MAX if match[3] is None else int(match[3])
    if last < first:
        raise argparse.ArgumentTypeError(f"{text!r} is a range that ends before it begins")
    return first, last


def write_report(store, options, out):
    data = report(store, options.journal)
    if options.json:
        shown = {"journal": data["journal"], "findings": data["findings"]} if options.journal else data
        out.write(json.dumps(shown, default=as_json).encode("utf-8") + b"\n")
    elif options.journal:
        lines = itertools.chain(journal_lines(data["journal"]), (f"DAMAGE: {line}" for line in data["findings"]))
        out.write("".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))
    else:
        out.write("".join(line + "\n" for line in report_lines(data)).encode("utf-8", "backslashreplace"))


def run(options, file, out):
    store = read_store(file, not options.no_replay)
    if options.json or options.journal or not options.records:
        write_report(store, options, out)
    if options.records:
        for line in store.findings.notes + store.findings.all_lines():
            print("dump.py: " + line, file=sys.stderr)
        if store.is_newer and not options.no_replay:
            raise Refused("the journal is of a newer version: the records after recovery are unknown")
        if store.schema:
            write_records(store, options.records, out)
    if store.is_newer:
        return 3
    return 1 if store.findings.lines else 0


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Read a stele store without the library.")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="the report as one line of JSON")
    parser.add_argument("--records", nargs="?", type=record_range, const=(0, CAPACITY_MAX), metavar="A..B",
                        help="the records as NDJSON: all, or from A to B")
    parser.add_argument("--journal", action="store_true", help="the journal only, with its payloads")
    parser.add_argument("--no-replay", action="store_true", help="leave the journal out")
    options = parser.parse_args(arguments)
    out = sys.stdout.buffer
    try:
        with File(options.file) as file:
            code = run(options, file, out)
        out.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Refused, OSError, MemoryError, struct.error) as reason:
        out.flush()
        print(f"dump.py: {options.file}: cannot be read: {reason or 'not enough memory'}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
