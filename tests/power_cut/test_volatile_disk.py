"""The disk that loses its cache: what it keeps, what it may lose, and that a guest is answered as NBD wants it."""

import random
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.benchmarks.volatile_disk import SECTOR, Disk, Server

N_SECTORS = 16
A, B, C = (bytes([value]) * SECTOR for value in (1, 2, 3))


def new_disk() -> Disk:
    return Disk(bytearray(N_SECTORS * SECTOR))


def test_the_guest_reads_what_it_wrote_wherever_it_lies():
    disk = new_disk()
    disk.write(SECTOR, A + B)
    disk.flush()
    disk.write(2 * SECTOR, C)
    assert disk.read(SECTOR, 2 * SECTOR) == A + C
    assert disk.read(2 * SECTOR - 12, 20) == A[:12] + C[:8]
    assert bytes(disk.data[2 * SECTOR : 3 * SECTOR]) == B


def test_what_was_flushed_survives_whatever_becomes_of_the_cache():
    for fate in ("lost", "mixed", "kept"):
        disk = new_disk()
        disk.write(0, A)
        disk.flush()
        disk.cut(random.Random(0), fate)
        assert disk.read(0, SECTOR) == A


def test_what_was_not_flushed_is_lost_or_kept_as_the_fate_says():
    for fate, expected, lost in (("lost", A, 1), ("kept", C, 0)):
        disk = new_disk()
        disk.write(0, A)
        disk.flush()
        disk.write(0, B)
        disk.write(0, C)
        assert disk.cut(random.Random(0), fate) == lost
        assert disk.read(0, SECTOR) == expected
        assert not disk.cache


def test_a_durable_write_goes_past_the_cache():
    disk = new_disk()
    disk.write(0, A)
    disk.write(0, B, durable=True)
    disk.cut(random.Random(0), "lost")
    assert disk.read(0, SECTOR) == B


def test_mixed_losses_leave_every_combination_of_two_sectors():
    seen = set()
    for seed in range(60):
        disk = new_disk()
        disk.write(0, A + B)
        disk.cut(random.Random(seed), "mixed")
        seen.add((disk.read(0, SECTOR) == A, disk.read(SECTOR, SECTOR) == B))
    assert len(seen) == 4


writes = st.lists(st.tuples(st.integers(0, N_SECTORS - 1), st.integers(1, 255), st.booleans()), max_size=40)


@given(writes, st.integers(0, 2**32), st.sampled_from(["lost", "mixed", "kept"]))
def test_each_sector_holds_its_durable_content_or_something_written_since(done, seed, fate):
    disk = new_disk()
    allowed = {sector: {bytes(SECTOR)} for sector in range(N_SECTORS)}
    for sector, value, flushes in done:
        content = bytes([value]) * SECTOR
        disk.write(sector * SECTOR, content)
        allowed[sector].add(content)
        if flushes:
            disk.flush()
            allowed = {at: {disk.read(at * SECTOR, SECTOR)} for at in range(N_SECTORS)}
    disk.cut(random.Random(seed), fate)
    for sector, contents in allowed.items():
        assert disk.read(sector * SECTOR, SECTOR) in contents


class Guest:
    """The client's side of the protocol, as far as QEMU uses it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        assert self.got(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.socket.sendall(struct.pack(">I", 3))

    def got(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            assert part, "the server hung up"
            data += part
        return data

    def option(self, number, data=b""):
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        replies = []
        while not replies or replies[-1][0] == 3:
            magic, option, kind, length = struct.unpack(">QIII", self.got(20))
            assert (magic, option) == (0x0003E889045565A9, number)
            replies.append((kind, self.got(length)))
        return replies

    def ask(self, kind, offset=0, length=0, data=b"", flags=0, expect=0):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, kind, 77, offset, length or len(data)) + data)
        magic, error, handle = struct.unpack(">IIQ", self.got(16))
        assert (magic, error, handle) == (0x67446698, expect, 77)
        return self.got(length) if kind == 0 else b""


@pytest.fixture
def served(tmp_path):
    server = Server(new_disk(), tmp_path / "disk")
    yield server
    server.close()


def test_a_guest_writes_flushes_and_reads_over_the_socket(served, tmp_path):
    served.expect()
    guest = Guest(tmp_path / "disk")
    assert guest.option(8)[0][0] == 0x80000001
    replies = guest.option(7, struct.pack(">IH", 0, 0))
    assert [kind for kind, _ in replies] == [3, 3, 1]
    assert struct.unpack(">HQH", replies[0][1])[1] == N_SECTORS * SECTOR
    guest.ask(1, 0, data=A + B)
    assert guest.ask(0, SECTOR, SECTOR) == B
    assert not any(served.disk.data)
    guest.ask(3)
    assert bytes(served.disk.data[: 2 * SECTOR]) == A + B
    guest.ask(1, 0, data=C, flags=1)
    assert bytes(served.disk.data[:SECTOR]) == C
    guest.ask(6, 0, SECTOR)
    assert guest.ask(0, 0, SECTOR) == bytes(SECTOR)
    guest.ask(9, expect=22)
    assert (served.counts.writes, served.counts.flushes, served.counts.written_bytes) == (3, 1, 4 * SECTOR)
    guest.socket.close()
    served.wait()


def test_who_is_cut_off_before_a_flush_has_not_flushed(served, tmp_path):
    guests = []
    served.expect(lambda counts: guests[0].socket.shutdown(socket.SHUT_RDWR) if counts.changing == 1 else None)
    guests.append(Guest(tmp_path / "disk"))
    guests[0].option(7, struct.pack(">IH", 0, 0))
    guests[0].ask(1, 0, data=A)
    with pytest.raises((AssertionError, ConnectionError)):
        guests[0].ask(3)
    served.wait()


def test_a_second_guest_finds_what_the_first_left(served, tmp_path):
    for content in (A, B):
        served.expect()
        guest = Guest(tmp_path / "disk")
        guest.option(7, struct.pack(">IH", 0, 0))
        assert guest.ask(0, 0, SECTOR) == (bytes(SECTOR) if content is A else A)
        guest.ask(1, 0, data=content)
        guest.ask(3)
        guest.socket.close()
        served.wait()
