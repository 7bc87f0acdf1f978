"""Files that browsers keep: what is packed, cut in two or closed with a known key in them is taken out whole."""

import sqlite3
import struct
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.benchmarks import containers

ID = b"CLINIC4711"


def number(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def literal(text):
    size = len(text) - 1
    if size < 60:
        return bytes([size << 2]) + text
    return bytes([61 << 2]) + size.to_bytes(2, "little") + text


def packed(begin, back, size, end):
    """Some text, a copy of ``size`` bytes from ``back`` bytes before, and some text, in Snappy's raw form."""
    copy = bytes([size - 1 << 2 | 2]) + back.to_bytes(2, "little")
    return number(len(begin) + size + len(end)) + literal(begin) + copy + literal(end)


def whole_of(path, content):
    path.write_bytes(content)
    return b"".join(inner for _, inner in containers.inside(path, content))


def test_a_text_of_which_a_part_is_a_copy_is_unpacked():
    # The second CLINIC is a copy, so that the id stands nowhere as it is.
    data = packed(b"CLINIC0815 ", 11, 6, b"4711")
    assert ID not in data
    assert containers.unpack_snappy(data) == b"CLINIC0815 " + ID


def test_a_copy_of_one_byte_of_offset_and_one_over_itself_are_unpacked():
    assert containers.unpack_snappy(number(9) + literal(b"ab") + bytes([(7 - 4) << 2 | 1, 2])) == b"ababababa"


@given(st.binary(max_size=200))
def test_what_is_not_packed_is_refused_or_unpacked_and_nothing_else(data):
    with suppress(containers.ContainerError):
        containers.unpack_snappy(data)


def block(entries):
    """Entries of (shared, own key, value); one restart."""
    body = b"".join(
        number(shared) + number(len(own)) + number(len(value)) + own + value for shared, own, value in entries
    )
    return body + struct.pack("<II", 0, 1)


def table(data, kind):
    index = block([(0, b"z", number(0) + number(len(data)))])
    at = len(data) + 5
    handles = number(0) + number(0) + number(at) + number(len(index))
    return data + bytes([kind]) + bytes(4) + index + bytes(5) + handles.ljust(40, b"\0") + containers._TABLE_MAGIC


def test_keys_of_a_table_are_made_whole(tmp_path):
    content = table(block([(0, b"CLINIC0815", b"one"), (6, b"4711", b"two")]), 0)
    assert ID not in content
    assert ID + b"\ntwo" in whole_of(tmp_path / "000005.ldb", content)


def test_packed_blocks_of_a_table_are_unpacked(tmp_path):
    plain = block([(0, b"key", b"CLINIC0815 " + ID)])
    at = plain.index(ID)
    data = packed(plain[:at], 11, 6, plain[at + 6 :])
    content = table(data, 1)
    assert ID not in content
    assert ID in whole_of(tmp_path / "000005.ldb", content)


def test_a_record_cut_by_the_end_of_a_block_is_joined(tmp_path):
    first, second = b"x" * (32768 - 7 - 5) + ID[:5], ID[5:]
    content = struct.pack("<IHB", 0, len(first), 2) + first + struct.pack("<IHB", 0, len(second), 4) + second
    assert ID not in content
    assert ID in whole_of(tmp_path / "000003.log", content)


def test_a_packed_value_in_a_journal_is_unpacked(tmp_path):
    value = b"before\xff\x11\x02" + packed(b"CLINIC0815 ", 11, 6, b"4711") + b"after"
    content = struct.pack("<IHB", 0, len(value), 1) + value
    assert ID in whole_of(tmp_path / "000003.log", content)


def test_a_value_that_lies_over_several_pages_and_in_the_log_beside_is_read(tmp_path):
    path = tmp_path / "History"
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA page_size=1024")
    database.execute("CREATE TABLE urls (url TEXT)")
    database.execute("INSERT INTO urls VALUES (?)", ["y" * 4000 + (ID * 500).decode()])
    database.commit()
    rows = b"".join(inner for _, inner in containers.inside(path, path.read_bytes()))
    database.close()
    assert ID * 500 in rows


def test_cookies_that_are_closed_with_the_key_that_everybody_knows_are_opened(tmp_path):
    encryptor = Cipher(algorithms.AES(containers._KNOWN_KEY), modes.CBC(b" " * 16)).encryptor()
    closed = b"v10" + encryptor.update(b"0" * 32 + ID + b"\6" * 6) + encryptor.finalize()
    path = tmp_path / "Cookies"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE cookies (encrypted_value BLOB)")
    database.execute("INSERT INTO cookies VALUES (?)", [closed])
    database.commit()
    database.close()
    assert ID not in path.read_bytes()
    assert any(ID in inner for _, inner in containers.inside(path, path.read_bytes()))


@pytest.mark.parametrize(
    "content", [containers.SQLITE_MAGIC + b"no more", containers._TABLE_MAGIC * 9, b"\xff\x11\x02"]
)
def test_what_only_begins_like_a_container_is_passed_over(tmp_path, content):
    assert ID not in whole_of(tmp_path / "000001.log", content)


def test_answers_in_an_encoding_that_is_not_read_are_named():
    kept = b"HTTP/1.1 200\0Content-Encoding: br\0content-encoding:gzip\0content-encoding: zstd\0"
    assert containers.unreadable(kept) == ["br", "zstd"]
    assert containers.unreadable(b"content-encoding: gzip\0") == []
