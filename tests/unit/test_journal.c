/*
 * The journal ring: entries there and back, every place in the smallest ring, what is believed and what is not, and
 * what the scan of the rest says.
 */
#include "journal.h"

#include "hash.h"
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 100, CAPACITY = 1000, BLOCKS = 32, RING = 16 * KIB, ENTRIES_MAX = 4096 };

static struct stele_os_file file;
static struct stele_layout layout;
static struct stele_slot slot;

/* What a writer knows. */
static struct {
    struct stele_ring ring;
    struct stele_entry_identity identity; /* of the next entry; acknowledged one by one */
    struct stele_entry entry;
    uint64_t places[ENTRIES_MAX], lengths[ENTRIES_MAX];
    size_t count;
} writer;

static void begin_ring(uint64_t ring_bytes, uint64_t head)
{
    assert_ok(stele_layout_plan(RECORD_BYTES, CAPACITY, ring_bytes, &layout));
    slot = (struct stele_slot){ .session = 0x1122334455667788, .sequence = 10, .chain = 0xabcdef, .ring_head = head };
    writer.ring = (struct stele_ring){ .bytes = ring_bytes, .head = head, .tail = head };
    writer.identity = (struct stele_entry_identity){ .sequence = 11, .session = slot.session, .chain = slot.chain,
                                                     .synced_seq = 10, .writer = 5 };
    writer.count = 0;
    assert_ok(stele_journal_blank(&file, &layout));
}

static int make_ring(void **state)
{
    if (scratch_make_fast(state))
        return -1;
    poke(scratch_path, 8 * MIB - 1, "", 1);
    return stele_os_open(scratch_path, true, &file) ? -1 : 0;
}

static int drop_ring(void **state)
{
    stele_entry_done(&writer.entry);
    stele_entry_done(&writer.entry);
    stele_os_close(&file);
    return scratch_drop(state);
}

#define IN_RING(test) cmocka_unit_test_setup_teardown(test, make_ring, drop_ring)

/* An entry of one records item and its word; the payload's first bytes tell its sequence. */
static void encode(uint64_t record_count)
{
    uint8_t *payload;

    assert_ok(stele_entry_begin(&writer.entry));
    assert_ok(stele_entry_add(&writer.entry, STELE_ITEM_COUNT, 0, 0, record_count, 0, &payload));
    assert_ok(stele_entry_add(&writer.entry, STELE_ITEM_RECORDS, STELE_REGION_RECORDS, 0, record_count,
                              (size_t)record_count * RECORD_BYTES, &payload));
    fill_records(payload, RECORD_BYTES, 0, record_count, writer.identity.sequence);
    assert_ok(stele_entry_add(&writer.entry, STELE_ITEM_SUMS, STELE_REGION_SUMS, 0, 1, 8, &payload));
    memcpy(payload, &writer.identity.sequence, 8);
}

static void write_at(uint64_t place)
{
    uint64_t trailer;
    size_t padded_bytes;

    assert_ok(stele_entry_seal(&writer.entry, &writer.identity, &trailer, &padded_bytes));
    assert_u64(padded_bytes % 4096, 0);
    assert_true(padded_bytes >= writer.entry.used_bytes && padded_bytes < writer.entry.used_bytes + 4096);
    assert_ok(stele_os_write(&file, layout.journal_offset + place, writer.entry.bytes, padded_bytes));
    writer.places[writer.count] = place;
    writer.lengths[writer.count++] = writer.entry.used_bytes;
    writer.ring.tail = place + writer.entry.used_bytes;
    writer.identity.chain = trailer;
    writer.identity.synced_seq = writer.identity.sequence++;
}

/* Append an entry of @record_count records where there is room. */
static bool put(uint64_t record_count)
{
    uint64_t place;

    encode(record_count);
    if (!stele_ring_place(&writer.ring, stele_round_up(writer.entry.used_bytes + 8, 4096), &place))
        return false;
    write_at(place);
    return true;
}

static void assert_walk_finds(size_t count)
{
    struct stele_walk walk;
    struct stele_walk_entry found;

    stele_walk_init(&walk, &file, &layout, &slot);
    for (size_t i = 0; i < count; i++) {
        assert_ok(stele_walk_next(&walk, &found));
        assert_u64(found.head->sequence, slot.sequence + 1 + i);
        assert_u64(found.place, writer.places[i]);
        assert_u64(found.head->length, writer.lengths[i]);
    }
    assert_code(stele_walk_next(&walk, &found), STELE_END);
    assert_u64(walk.sequence, slot.sequence + count);
    stele_walk_done(&walk);
    stele_walk_done(&walk);
}

static struct stele_scan scan_ring(void)
{
    struct stele_walk walk;
    struct stele_walk_entry found;
    struct stele_scan scan;
    int rc;

    stele_walk_init(&walk, &file, &layout, &slot);
    while ((rc = stele_walk_next(&walk, &found)) == STELE_OK)
        ;
    assert_code(rc, STELE_END);
    assert_ok(stele_journal_scan(&walk, &slot, &scan));
    stele_walk_done(&walk);
    return scan;
}

static void ring_peek(uint64_t place, void *out, size_t byte_count)
{
    peek(scratch_path, layout.journal_offset + place, out, byte_count);
}

static void ring_poke(uint64_t place, const void *bytes, size_t byte_count)
{
    poke(scratch_path, layout.journal_offset + place, bytes, byte_count);
}

static void flip_byte(uint64_t place, uint8_t bits)
{
    uint8_t byte;

    ring_peek(place, &byte, 1);
    byte ^= bits;
    ring_poke(place, &byte, 1);
}

/* ---- entries ---- */

static void an_entry_comes_back_with_every_item_as_it_was(void **state)
{
    static const struct { uint16_t type; uint32_t region; uint64_t first, n; size_t payload_bytes; } items[] = {
        { STELE_ITEM_COUNT, 0, 3, 900, 0 },
        { STELE_ITEM_RECORDS, STELE_REGION_RECORDS, 5, 1, 100 },
        { STELE_ITEM_RECORDS, STELE_REGION_RECORDS, 999, 1, 100 },
        { STELE_ITEM_RECORDS, STELE_REGION_RECORDS, 40, 20, 2000 },
        { STELE_ITEM_SUMS, STELE_REGION_SUMS, 0, 3, 24 },
        { STELE_ITEM_REPAIR, STELE_REGION_SUMS, 31, 1, 8 },
        { STELE_ITEM_USER, 0, 77, 0, 64 },
        { STELE_ITEM_TAG, 0, 0, 0, 5 },
        { STELE_ITEM_TIME, 0, 1234567, 0, 0 },
    };
    struct stele_walk walk;
    struct stele_walk_entry found;
    const struct stele_item *item;
    const uint8_t *at, *bytes;
    uint8_t expected[2000], *payload;

    begin_ring(RING, 0);
    assert_ok(stele_entry_begin(&writer.entry));
    for (size_t i = 0; i < COUNT_OF(items); i++) {
        size_t used_bytes = writer.entry.used_bytes;
        assert_ok(stele_entry_add(&writer.entry, items[i].type, items[i].region, items[i].first, items[i].n,
                                  items[i].payload_bytes, &payload));
        fill_record(payload, items[i].payload_bytes, i, 1);
        assert_u64(writer.entry.used_bytes - used_bytes, stele_item_bytes(items[i].payload_bytes));
    }
    write_at(0);
    assert_u64(writer.entry.used_bytes % 8, 0);
    stele_walk_init(&walk, &file, &layout, &slot);
    assert_ok(stele_walk_next(&walk, &found));
    assert_u64(found.head->writer, 5);
    assert_u64(found.head->synced_seq, 10);
    at = found.items;
    for (size_t i = 0; i < COUNT_OF(items); i++) {
        item = stele_item_next(&at, found.items_end, &bytes);
        assert_non_null(item);
        assert_u64(item->type, items[i].type);
        assert_u64(item->region, items[i].region);
        assert_u64(item->first, items[i].first);
        assert_u64(item->n, items[i].n);
        assert_u64(item->bytes, items[i].payload_bytes);
        fill_record(expected, items[i].payload_bytes, i, 1);
        assert_memory_equal(bytes, expected, items[i].payload_bytes);
        assert_true(stele_is_zero(bytes + items[i].payload_bytes, (8 - items[i].payload_bytes % 8) % 8));
    }
    assert_null(stele_item_next(&at, found.items_end, &bytes));
    stele_walk_done(&walk);
    /* What is dropped, sealed or not, leaves zeros in the page that it shares with what was sealed before it. */
    size_t sealed_bytes = writer.entry.used_bytes, padded_bytes;
    uint64_t trailer;
    assert_ok(stele_entry_follow(&writer.entry));
    assert_ok(stele_entry_add(&writer.entry, STELE_ITEM_TIME, 0, 1, 0, 0, &payload));
    assert_ok(stele_entry_seal(&writer.entry, &writer.identity, &trailer, &padded_bytes));
    stele_entry_drop(&writer.entry);
    assert_u64(writer.entry.used_bytes, sealed_bytes);
    assert_true(stele_is_zero(writer.entry.bytes + sealed_bytes,
                              (size_t)stele_round_up(sealed_bytes, 4096) - sealed_bytes));
}

static void an_entry_s_bytes_are_those_of_the_format(void **state)
{
    uint8_t bytes[4096];
    uint64_t word;

    begin_ring(RING, 0);
    assert_true(put(1));
    size_t length = (size_t)writer.lengths[0];
    ring_peek(0, bytes, sizeof(bytes));
    assert_memory_equal(bytes, "STEL", 4);
    memcpy(&word, bytes + 8, 8);
    assert_u64(word, length);
    assert_u64(word, 64 + 32 + 32 + 104 + 32 + 8 + 8);
    memcpy(&word, bytes + 56, 8);
    assert_u64(word, stele_hash64(bytes, 56, slot.session));
    memcpy(&word, bytes + length - 8, 8);
    assert_u64(word, stele_hash64(bytes, length - 8, slot.session));
    assert_u64(word, writer.identity.chain);
    assert_true(stele_is_zero(bytes + length, 4096 - length));
}

/* ---- places ---- */

static void the_smallest_ring_is_filled_and_walked_from_every_offset(void **state)
{
    static const uint64_t sizes[] = { 1, 39, 80, 120 }; /* records: entries of 1, 1, 2 and 3 pages */
    const uint64_t step = scale_percent() < 100 ? 8 * 61 : 8;

    for (uint64_t head = 0; head < RING; head += step) {
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            begin_ring(RING, head);
            while (put(sizes[s]))
                assert_true(writer.count < 5);
            size_t pages = (size_t)((sizes[s] * RECORD_BYTES + 176 + 4095) / 4096);
            /* Empty at 0 the ring takes all but one page. */
            if (head == 0)
                assert_u64(writer.count, 3 / pages);
            assert_walk_finds(writer.count);
            assert_false(scan_ring().is_entry_lost);
        }
    }
}

static void a_ring_goes_round_at_every_wrap_and_only_what_is_behind_the_checkpoint_is_found(void **state)
{
    struct chance chance = chance_begin();

    begin_ring(RING, 0);
    for (unsigned i = 0; i < scaled(3000, 200); i++) {
        if (!put(1 + chance_below(&chance, 110)) || chance_below(&chance, 7) == 0) {
            /* A checkpoint: what is in the ring is in place. */
            assert_walk_finds(writer.count);
            slot.sequence = writer.identity.sequence - 1;
            slot.chain = writer.identity.chain;
            slot.ring_head = chance_below(&chance, 2) ? stele_round_up(writer.ring.tail, 4096) % RING : 0;
            writer.ring.head = writer.ring.tail = slot.ring_head;
            writer.count = 0;
            assert_walk_finds(0);
        }
    }
}

static void an_entry_that_fills_the_ring_fits_and_one_byte_more_does_not(void **state)
{
    static const uint64_t rings[] = { 16 * KIB, 20 * KIB, 64 * KIB, MIB };

    for (size_t i = 0; i < COUNT_OF(rings); i++) {
        struct stele_ring ring = { .bytes = rings[i] };
        uint64_t place = 99, most = stele_ring_entry_bytes_max(rings[i]);
        assert_u64(most, rings[i] - 4096);
        assert_true(stele_ring_place(&ring, most, &place));
        assert_u64(place, 0);
        assert_false(stele_ring_place(&ring, most + 4096, &place));
        /* With the head at the last page the rest before it is one page short of full. */
        ring.head = ring.tail = rings[i] - 4096;
        assert_true(stele_ring_place(&ring, 4096, &place));
        assert_u64(place, rings[i] - 4096);
        assert_false(stele_ring_place(&ring, rings[i] - 4096, &place));
        assert_true(stele_ring_place(&ring, rings[i] - 8192, &place));
        assert_u64(place, 0);
    }
}

/* Against a map of pages: nothing used is given away, and a full ring never looks empty. */
static void a_place_never_lies_on_what_is_used(void **state)
{
    enum { PAGES = 8 };
    unsigned given = 0;

    for (uint64_t head = 0; head < PAGES * 4096; head += 4096 / 4) {
        for (uint64_t tail = 0; tail <= PAGES * 4096; tail += 4096 / 4) {
            struct stele_ring ring = { .bytes = PAGES * 4096, .head = head, .tail = tail };
            bool is_used[PAGES] = { false };
            for (uint64_t at = head; at != tail;) {
                if (at >= ring.bytes) {
                    at = 0;
                    continue;
                }
                is_used[at / 4096] = true;
                at += 4096 / 4;
            }
            assert_u64(stele_ring_used(&ring), tail >= head ? tail - head : ring.bytes - head + tail);
            for (uint64_t pages = 1; pages <= PAGES; pages++) {
                uint64_t place;
                if (!stele_ring_place(&ring, pages * 4096, &place))
                    continue;
                given++;
                assert_u64(place % 4096, 0);
                assert_true(place + pages * 4096 <= ring.bytes);
                for (uint64_t page = place / 4096; page < place / 4096 + pages; page++)
                    assert_false(is_used[page]);
                assert_true(place + pages * 4096 != head);
                assert_false(place == 0 && pages * 4096 == ring.bytes);
            }
        }
    }
    assert_true(given > 2000);
}

/* ---- what is not believed ---- */

static void the_walk_stops_at_an_entry_that_a_power_cut_tore(void **state)
{
    uint8_t old[3 * 4096], sector[512];

    for (unsigned pages = 1; pages <= 2; pages++) {
        for (unsigned cut = 0; cut < pages * 8; cut++) {
            for (unsigned kind = 0; kind < 3; kind++) {
                begin_ring(RING, 0);
                assert_true(put(1));
                assert_true(put(pages * 40 - 3));
                ring_peek(writer.places[1], old, pages * 4096);
                if (cut * 512 >= writer.lengths[1])
                    continue;
                /* What the sector held before: zeros, ones, or bytes of another life. */
                memset(sector, kind == 0 ? 0 : kind == 1 ? 0xff : 0x5a, sizeof(sector));
                if (memcmp(old + cut * 512, sector, sizeof(sector)) == 0)
                    continue;
                ring_poke(writer.places[1] + cut * 512, sector, sizeof(sector));
                assert_walk_finds(1);
                assert_false(scan_ring().is_entry_lost);
            }
        }
    }
}

static void no_byte_of_an_entry_can_change_unnoticed(void **state)
{
    begin_ring(RING, 0);
    assert_true(put(2));
    assert_true(put(3));
    assert_true(put(1));
    for (uint64_t at = 0; at < writer.lengths[1]; at++) {
        for (unsigned bit = 0; bit < 8; bit += scale_percent() < 100 ? 3 : 1) {
            flip_byte(writer.places[1] + at, (uint8_t)(1u << bit));
            assert_walk_finds(1);
            flip_byte(writer.places[1] + at, (uint8_t)(1u << bit));
        }
    }
    assert_walk_finds(3);
    /* The padding behind it means nothing. */
    flip_byte(writer.places[1] + writer.lengths[1], 0xff);
    flip_byte(writer.places[1] + 4095, 0xff);
    assert_walk_finds(3);
}

static void entries_that_do_not_continue_the_slot_are_not_followed(void **state)
{
    struct stele_slot good;

    begin_ring(RING, 0);
    assert_true(put(1));
    assert_true(put(1));
    good = slot;
    assert_walk_finds(2);
    slot.session++; /* of another session */
    assert_walk_finds(0);
    assert_false(scan_ring().is_entry_lost);
    slot = good;
    slot.chain++;
    assert_walk_finds(0);
    slot = good;
    slot.sequence--;
    assert_walk_finds(0);
    slot = good;
    slot.ring_head = 8;
    /* Tried at the next page and at 0 as well. */
    assert_walk_finds(2);
    slot.ring_head = 4096;
    assert_walk_finds(2);
}

/* Seal the bytes of the last entry anew, as who forges it would. */
static void reseal(uint64_t place)
{
    struct stele_entry_head head;
    uint8_t bytes[RING];

    ring_peek(place, &head, sizeof(head));
    head.hash = stele_hash64(&head, 56, head.session);
    ring_poke(place, &head, sizeof(head));
    ring_peek(place, bytes, (size_t)head.length);
    uint64_t trailer = stele_hash64(bytes, (size_t)head.length - 8, head.session);
    ring_poke(place + head.length - 8, &trailer, 8);
}

static int walk_one(void)
{
    struct stele_walk walk;
    struct stele_walk_entry found;

    stele_walk_init(&walk, &file, &layout, &slot);
    int rc = stele_walk_next(&walk, &found);
    stele_walk_done(&walk);
    return rc;
}

static void newer_kinds_and_items_are_refused_unless_they_say_that_they_may_be_skipped(void **state)
{
    static const struct { size_t at; uint16_t value; int code; } cases[] = {
        { 4, 1, STELE_E_VERSION },              /* kind of the entry */
        { 4, 0xffff, STELE_E_VERSION },
        { 6, 1, STELE_E_VERSION },              /* its flags */
        { 64, 9, STELE_E_VERSION },             /* type of the first item */
        { 64, 0, STELE_E_VERSION },
        { 64, 0xffff, STELE_E_VERSION },
        { 64, STELE_ITEM_BYTES, STELE_E_VERSION }, /* known to the format, never written by this version */
        { 66, 2, STELE_E_VERSION },             /* its flags */
        { 66, 0x8000, STELE_E_VERSION },
        { 66, 3, STELE_E_VERSION },
        { 66, 1, STELE_OK },                    /* a known type that may be skipped is not */
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        begin_ring(RING, 0);
        assert_true(put(1));
        ring_poke(cases[i].at, &cases[i].value, 2);
        assert_code(walk_one(), STELE_END);
        reseal(0);
        assert_code(walk_one(), cases[i].code);
    }
    for (unsigned type = 9; type < 0x10000; type += 997) {
        uint16_t words[2] = { (uint16_t)type, STELE_ITEM_OPTIONAL };
        begin_ring(RING, 0);
        assert_true(put(1));
        ring_poke(64, words, sizeof(words));
        reseal(0);
        assert_code(walk_one(), STELE_OK);
    }
}

/* The items of an entry of put(1): count at 64, records at 96, sums at 232. */
enum { AT_COUNT = 64, AT_RECORDS = 96, AT_SUMS = 232, AT_REGION = 4, AT_BYTES = 8, AT_FIRST = 16, AT_N = 24 };

static void hostile_items_with_right_hashes_are_damage(void **state)
{
    static const struct { size_t at, bytes; uint64_t value; } cases[] = {
        { AT_COUNT + AT_BYTES, 8, 8 },
        { AT_COUNT + AT_FIRST, 8, 2 },             /* lowest above the count */
        { AT_COUNT + AT_N, 8, CAPACITY + 1 },
        { AT_COUNT + AT_N, 8, UINT64_MAX },
        { AT_RECORDS + AT_REGION, 4, 0 },
        { AT_RECORDS + AT_REGION, 4, STELE_REGION_SUMS },
        { AT_RECORDS + AT_FIRST, 8, CAPACITY },
        { AT_RECORDS + AT_FIRST, 8, UINT64_MAX },
        { AT_RECORDS + AT_FIRST, 8, UINT64_MAX / RECORD_BYTES },
        { AT_RECORDS + AT_N, 8, 0 },
        { AT_RECORDS + AT_N, 8, 2 },
        { AT_RECORDS + AT_N, 8, UINT64_MAX },
        { AT_RECORDS + AT_N, 8, (UINT64_C(1) << 62) + 1 }, /* times the record's size it is 100, modulo 2^64 */
        { AT_RECORDS + AT_BYTES, 8, 0 },
        { AT_RECORDS + AT_BYTES, 8, 99 },
        { AT_RECORDS + AT_BYTES, 8, 101 },
        { AT_RECORDS + AT_BYTES, 8, 4096 },
        { AT_RECORDS + AT_BYTES, 8, RING },
        { AT_RECORDS + AT_BYTES, 8, UINT64_MAX },
        { AT_RECORDS + AT_BYTES, 8, UINT64_MAX - 6 },
        { AT_RECORDS + AT_BYTES, 8, UINT64_C(1) << 63 },
        { AT_SUMS + AT_REGION, 4, STELE_REGION_RECORDS },
        { AT_SUMS + AT_FIRST, 8, BLOCKS },
        { AT_SUMS + AT_FIRST, 8, UINT64_MAX },
        { AT_SUMS + AT_N, 8, 0 },
        { AT_SUMS + AT_N, 8, 2 },
        { AT_SUMS + AT_N, 8, (UINT64_C(1) << 61) + 1 }, /* times 8 it is 8, modulo 2^64 */
        { AT_SUMS + AT_BYTES, 8, 16 },
        { AT_SUMS + AT_BYTES, 8, 0 },
        { AT_SUMS, 2, STELE_ITEM_USER },
        { AT_SUMS, 2, STELE_ITEM_TIME },
        { AT_RECORDS, 2, STELE_ITEM_TAG },
        { AT_COUNT, 2, STELE_ITEM_TAG },
        { AT_COUNT, 2, STELE_ITEM_RECORDS },
        /* the region goes, too: it is their size, or their place, that cannot be */
        { AT_SUMS, 8, STELE_ITEM_USER },
        { AT_SUMS, 8, STELE_ITEM_TIME },
        { AT_SUMS, 8, STELE_ITEM_COUNT },
        { AT_RECORDS, 8, STELE_ITEM_TAG },
    };

    begin_ring(RING, 0);
    assert_true(put(1));
    uint16_t type;
    ring_peek(AT_SUMS, &type, 2);
    assert_u64(type, STELE_ITEM_SUMS);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        begin_ring(RING, 0);
        assert_true(put(1));
        ring_poke(cases[i].at, &cases[i].value, cases[i].bytes);
        reseal(0);
        int rc = walk_one();
        if (rc != STELE_E_DAMAGED)
            fail_msg("case %zu: %d: %s", i, rc, stele_last_error()->text);
    }
    /* Two records and a byte more: the quotient is right. */
    const uint64_t bytes = 2 * RECORD_BYTES + 1;
    begin_ring(RING, 0);
    assert_true(put(2));
    ring_poke(AT_RECORDS + AT_BYTES, &bytes, sizeof(bytes));
    reseal(0);
    assert_code(walk_one(), STELE_E_DAMAGED);
}

static void lengths_beyond_the_ring_end_the_walk(void **state)
{
    static const uint64_t lengths[] = { 0, 8, 64, 71, 73, RING + 8, RING - 8, UINT64_C(1) << 40, UINT64_MAX,
                                        UINT64_MAX - 7 };

    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct stele_entry_head head;
        begin_ring(RING, 0);
        assert_true(put(1));
        ring_peek(0, &head, sizeof(head));
        head.length = lengths[i];
        head.hash = stele_hash64(&head, 56, head.session);
        ring_poke(0, &head, sizeof(head));
        assert_code(walk_one(), STELE_END);
        assert_false(scan_ring().is_entry_lost);
    }
}

/* ---- the scan ---- */

static void an_acknowledged_entry_in_the_middle_that_is_gone_is_a_loss(void **state)
{
    for (unsigned lost_first = 0; lost_first < 5; lost_first++) {
        for (unsigned lost_last = lost_first; lost_last < 5; lost_last++) {
            begin_ring(64 * KIB, 0);
            for (unsigned i = 0; i < 5; i++)
                assert_true(put(2 + i));
            for (unsigned i = lost_first; i <= lost_last; i++)
                flip_byte(writer.places[i] + (i % 2 ? 0 : 150), 4);
            struct stele_scan scan = scan_ring();
            /* Entry i says that entry i - 1 was durable: behind the last one nobody says so. */
            assert_int_equal(scan.is_entry_lost, lost_last < 4);
            assert_false(scan.is_header_lost);
            if (lost_last < 4) {
                assert_u64(scan.lost_first, 11 + lost_first);
                assert_u64(scan.lost_last, 11 + lost_last);
                assert_u64(scan.resume_place, writer.places[lost_last + 1]);
                assert_u64(scan.highest_sequence, 15);
            }
        }
    }
}

static void the_walk_goes_on_behind_a_loss(void **state)
{
    struct stele_walk walk;
    struct stele_walk_entry found;
    struct stele_scan scan;

    begin_ring(64 * KIB, 0);
    for (unsigned i = 0; i < 6; i++)
        assert_true(put(2));
    flip_byte(writer.places[2] + 100, 1);
    flip_byte(writer.places[3] + 100, 1);
    stele_walk_init(&walk, &file, &layout, &slot);
    assert_ok(stele_walk_next(&walk, &found));
    assert_ok(stele_walk_next(&walk, &found));
    assert_code(stele_walk_next(&walk, &found), STELE_END);
    assert_ok(stele_journal_scan(&walk, &slot, &scan));
    assert_true(scan.is_entry_lost);
    assert_ok(stele_walk_resume(&walk, &scan));
    assert_ok(stele_walk_next(&walk, &found));
    assert_u64(found.head->sequence, 15);
    assert_ok(stele_walk_next(&walk, &found));
    assert_u64(found.head->sequence, 16);
    assert_code(stele_walk_next(&walk, &found), STELE_END);
    assert_ok(stele_journal_scan(&walk, &slot, &scan));
    assert_false(scan.is_entry_lost);
    stele_walk_done(&walk);
}

static void a_group_that_was_never_acknowledged_may_be_torn_anywhere(void **state)
{
    for (unsigned torn = 0; torn < 4; torn++) {
        begin_ring(64 * KIB, 0);
        for (unsigned i = 0; i < 4; i++) {
            writer.identity.synced_seq = 10;
            assert_true(put(2));
        }
        flip_byte(writer.places[torn] + 100, 1);
        assert_walk_finds(torn);
        assert_false(scan_ring().is_entry_lost);
    }
}

static void entries_of_earlier_laps_are_no_loss(void **state)
{
    begin_ring(RING, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_true(put(2));
    /* A checkpoint took them all; the next lap begins at 0. */
    slot.sequence = 13;
    slot.chain = writer.identity.chain;
    writer.ring.head = writer.ring.tail = 0;
    writer.count = 0;
    assert_false(scan_ring().is_entry_lost);
    assert_true(put(2));
    assert_walk_finds(1);
    assert_false(scan_ring().is_entry_lost);
    assert_u64(scan_ring().highest_sequence, 14);
}

static void entries_of_a_later_header_are_seen_and_their_sequences_never_given_out_again(void **state)
{
    begin_ring(RING, 0);
    assert_true(put(2));
    writer.identity.session = 99;
    writer.identity.sequence = 11 + (UINT64_C(1) << 32) - 2;
    write_at(4096);
    assert_false(scan_ring().is_header_lost); /* 1 short of a leap */
    begin_ring(RING, 0);
    encode(2);
    writer.identity.session = 99;
    writer.identity.sequence = 10 + (UINT64_C(1) << 32);
    write_at(4096);
    struct stele_scan scan = scan_ring();
    assert_true(scan.is_header_lost);
    assert_false(scan.is_entry_lost);
    assert_u64(scan.highest_sequence, 10 + (UINT64_C(1) << 32));
    flip_byte(4096 + 80, 1); /* its trailer is wrong: it proves nothing */
    scan = scan_ring();
    assert_false(scan.is_header_lost);
    assert_u64(scan.highest_sequence, 10);
}

static uint64_t bytes_read;

WRAPPED(int, stele_os_read, const struct stele_os_file *from, uint64_t offset, void *out, size_t byte_count)
{
    bytes_read += byte_count;
    return REAL(stele_os_read)(from, offset, out, byte_count);
}

/* An overwritten entry leaves the rest of its body, and records may hold whole entries. */
static void an_entry_that_does_not_begin_a_page_proves_nothing(void **state)
{
    static const struct { uint64_t place; bool is_later, is_found; } cases[] = {
        { 4096, true, true }, { 4096 + 8, true, false }, { 4096 + 96, true, false }, { 8192 - 8, true, false },
        { 4096, false, true }, { 4096 + 8, false, false }, { 8192 - 8, false, false }, { 8192, false, true },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        begin_ring(RING, 0);
        if (cases[i].is_later) {
            writer.identity.session = 4711;
            writer.identity.sequence = 10 + (UINT64_C(1) << 40);
        } else {
            writer.identity.sequence = 14;
            writer.identity.synced_seq = 13;
        }
        encode(1);
        write_at(cases[i].place);
        struct stele_scan scan = scan_ring();
        assert_int_equal(scan.is_header_lost, cases[i].is_later && cases[i].is_found);
        assert_int_equal(scan.is_entry_lost, !cases[i].is_later && cases[i].is_found);
    }
}

static void a_ring_full_of_forged_heads_is_hashed_twice_at_most(void **state)
{
    const uint64_t ring_bytes = MIB;

    begin_ring(ring_bytes, 0);
    for (uint64_t place = 64; place + 128 < ring_bytes; place += 64) {
        struct stele_entry_head head = { .magic = STELE_ENTRY_MAGIC, .length = ring_bytes - place,
                                         .sequence = 1000000 - place / 64, .session = slot.session,
                                         .synced_seq = 999 };
        head.hash = stele_hash64(&head, 56, head.session);
        assert_ok(stele_os_write(&file, layout.journal_offset + place, &head, sizeof(head)));
    }
    bytes_read = 0;
    assert_false(scan_ring().is_entry_lost);
    /* Once to look, and what was hashed. */
    assert_true(bytes_read >= 2 * ring_bytes);
    assert_true(bytes_read <= 3 * ring_bytes + 64 * KIB);
}

static void rings_of_noise_end_the_walk_and_the_scan(void **state)
{
    struct chance chance = chance_begin();
    static uint8_t noise[RING];

    for (unsigned i = 0; i < scaled(300, 20); i++) {
        begin_ring(RING, 8 * chance_below(&chance, RING / 8));
        chance_fill(&chance, noise, sizeof(noise));
        /* Magics and right heads all over. */
        for (unsigned n = 0; n < 40; n++) {
            struct stele_entry_head head = { .magic = STELE_ENTRY_MAGIC, .length = 8 * chance_below(&chance, RING / 4),
                                             .sequence = 5 + chance_below(&chance, 20), .session = slot.session,
                                             .chain = slot.chain, .synced_seq = chance_below(&chance, 30) };
            head.hash = stele_hash64(&head, 56, head.session);
            memcpy(noise + 8 * chance_below(&chance, RING / 8 - 8), &head, sizeof(head));
        }
        ring_poke(0, noise, sizeof(noise));
        assert_walk_finds(0);
        assert_false(scan_ring().is_entry_lost);
    }
}

static void a_new_ring_is_all_zeros(void **state)
{
    static uint8_t bytes[20 * KIB];

    begin_ring(20 * KIB, 0);
    memset(bytes, 0xff, sizeof(bytes));
    ring_poke(0, bytes, sizeof(bytes));
    assert_ok(stele_journal_blank(&file, &layout));
    ring_peek(0, bytes, sizeof(bytes));
    assert_true(stele_is_zero(bytes, sizeof(bytes)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RING(an_entry_comes_back_with_every_item_as_it_was),
        IN_RING(an_entry_s_bytes_are_those_of_the_format),
        IN_RING(the_smallest_ring_is_filled_and_walked_from_every_offset),
        IN_RING(a_ring_goes_round_at_every_wrap_and_only_what_is_behind_the_checkpoint_is_found),
        cmocka_unit_test(an_entry_that_fills_the_ring_fits_and_one_byte_more_does_not),
        cmocka_unit_test(a_place_never_lies_on_what_is_used),
        IN_RING(the_walk_stops_at_an_entry_that_a_power_cut_tore),
        IN_RING(no_byte_of_an_entry_can_change_unnoticed),
        IN_RING(entries_that_do_not_continue_the_slot_are_not_followed),
        IN_RING(newer_kinds_and_items_are_refused_unless_they_say_that_they_may_be_skipped),
        IN_RING(hostile_items_with_right_hashes_are_damage),
        IN_RING(lengths_beyond_the_ring_end_the_walk),
        IN_RING(an_acknowledged_entry_in_the_middle_that_is_gone_is_a_loss),
        IN_RING(the_walk_goes_on_behind_a_loss),
        IN_RING(a_group_that_was_never_acknowledged_may_be_torn_anywhere),
        IN_RING(entries_of_earlier_laps_are_no_loss),
        IN_RING(entries_of_a_later_header_are_seen_and_their_sequences_never_given_out_again),
        IN_RING(an_entry_that_does_not_begin_a_page_proves_nothing),
        IN_RING(a_ring_full_of_forged_heads_is_hashed_twice_at_most),
        IN_RING(rings_of_noise_end_the_walk_and_the_scan),
        IN_RING(a_new_ring_is_all_zeros),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
