import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.codecs.journal import COUNTING, KINDS, MAGIC, Entry, Torn, decode, encode, encode_values
from lsemvae_edge.errors import BadInputError

HEADER = Entry("header", 1000, b'{"driver":"open-6l"}')

contents = {
    **dict.fromkeys(("header", "up", "part"), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3).map(
        lambda values: json.dumps(values).encode())),
    "counting": st.integers(0, len(COUNTING) - 1).map(lambda value: bytes([value])),
    **dict.fromkeys(("source", "data"), st.binary(min_size=1, max_size=60)),
    **dict.fromkeys(("lost", "end", "polled"), st.just(b"")),
}  # fmt: skip


@st.composite
def journals(draw):
    """Entries of a journal, in time."""
    at_ns, entries = HEADER.at_ns, [HEADER]
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=12)):
        at_ns += draw(st.integers(0, 10**9))
        entries.append(Entry(kind, at_ns, draw(contents[kind])))
    return entries


def written(entries):
    return MAGIC + b"".join(encode(entry) for entry in entries)


def test_an_entry_is_as_written_by_hand():
    head = bytes.fromhex("05" + "efcdab8967452301" + "0300")
    content = bytes.fromhex("02beef")
    checksum = zlib.crc32(head + content).to_bytes(4, "little")
    entry = Entry("data", 0x0123456789ABCDEF, content)
    assert encode(entry) == head + content + checksum
    whole = b"LSEJ\x01" + encode(HEADER) + encode(entry)
    assert list(decode(whole)) == [HEADER, entry]


def test_values_are_compact_json():
    data = encode_values("part", 5, {"recording": 3})
    (entry,) = list(decode(MAGIC + encode(HEADER) + data))[1:]
    assert entry.content == b'{"recording":3}'
    assert entry.values() == {"recording": 3}


@given(journals())
def test_what_was_written_is_read(entries):
    assert list(decode(written(entries))) == entries
    assert list(decode(memoryview(written(entries)))) == entries


@given(journals(), st.data())
def test_any_truncation_leaves_the_entries_before_it(entries, data):
    whole = written(entries)
    cut = data.draw(st.integers(len(written([HEADER])), len(whole)))
    n_whole = sum(len(written(entries[:n])) <= cut for n in range(1, len(entries) + 1))
    rest = cut - len(written(entries[:n_whole]))
    assert list(decode(whole[:cut])) == entries[:n_whole] + [Torn(rest)] * (rest > 0)


@given(journals(), st.data())
def test_any_altered_byte_is_found_and_costs_one_entry(entries, data):
    whole = bytearray(written(entries))
    at = data.draw(st.integers(len(MAGIC), len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    ends = [len(written(entries[:n])) for n in range(1, len(entries) + 1)]
    hit = next(n for n, end in enumerate(ends) if at < end)
    if hit == 0:
        with pytest.raises(BadInputError, match="header"):
            list(decode(bytes(whole)))
        return
    torn = Torn(len(encode(entries[hit])))
    assert list(decode(bytes(whole))) == [*entries[:hit], torn, *entries[hit + 1 :]]


@given(journals(), st.binary(min_size=1, max_size=300), st.data())
def test_foreign_bytes_between_entries_are_told_and_passed_over(entries, foreign, data):
    at = data.draw(st.integers(1, len(entries)))
    found = list(decode(written(entries[:at]) + foreign + b"".join(map(encode, entries[at:]))))
    assert [one for one in found if isinstance(one, Entry)] == entries
    assert sum(one.n_bytes for one in found if isinstance(one, Torn)) == len(foreign)


@given(st.binary(max_size=400))
def test_hostile_bytes_raise_nothing_but_bad_input(data):
    for whole in (data, MAGIC + data, MAGIC + encode(HEADER) + data):
        try:
            found = list(decode(whole))
        except BadInputError:
            continue
        assert all(isinstance(one, Entry | Torn) for one in found)


@pytest.mark.parametrize(
    ("kind", "content"),
    [("up", b"[1]"), ("part", b"{"), ("counting", b"\x09"), ("counting", b""), ("data", b""), ("source", b"")],
)
def test_content_that_its_kind_cannot_have_is_torn(kind, content):
    assert list(decode(MAGIC + encode(HEADER) + encode(Entry(kind, 2000, content)))) == [
        HEADER,
        Torn(len(encode(Entry(kind, 2000, content)))),
    ]


def test_another_version_is_refused_with_what_to_do():
    with pytest.raises(BadInputError) as refused:
        list(decode(b"LSEJ\x02" + encode(HEADER)))
    assert refused.value.next_step == "Update lsemvae-edge."


def test_a_journal_without_a_header_is_refused():
    with pytest.raises(BadInputError, match="no header"):
        list(decode(MAGIC + encode(Entry("lost", 5))))
