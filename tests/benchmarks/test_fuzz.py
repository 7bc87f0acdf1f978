"""Fuzzing runs, keeps what it finds, and says so when a target raises what it must not."""

import pytest

pytest.importorskip("atheris", reason="fuzzing needs atheris, which has wheels for Linux on x86-64 alone")
pytest.importorskip("bumble", reason="virtual recorders need the extra `simulator`")

from lsemvae_edge.benchmarks import fuzz
from lsemvae_edge.codecs import journal, lepu
from lsemvae_edge.device import drivers
from lsemvae_edge.errors import BadInputError


def test_every_driver_and_every_file_of_ours_is_a_target():
    names = set(fuzz.targets())
    assert {f"driver:{name}" for name in drivers.BUILT_IN} < names
    assert {"file:er3", "file:journal", "file:native", "file:atc"} < names


@pytest.mark.parametrize("name", list(fuzz.targets()))
def test_a_target_takes_its_seeds_and_nonsense(name):
    target = fuzz.targets()[name]()
    seeds = list(fuzz.seeds(name))
    assert seeds
    for data in (*seeds, b"", b"\xff" * 300):
        target(data)


def test_hostile_bytes_raise_nothing_but_typed_errors():
    said = []
    *_, figures = fuzz.prove(["driver:open-6l", "file:journal"], 3000, 5, said.append)
    assert [row["failure"] for row in figures["rows"]] == [None, None]
    assert figures["inputs"] >= 6000
    assert [row["target"] for row in figures["rows"]] == ["driver:open-6l", "file:journal"]
    assert len(said) == 2


def test_a_child_that_ends_badly_is_a_failure_with_what_it_said(monkeypatch, tmp_path):
    child = tmp_path / "child"
    child.write_text("#!/bin/sh\necho ValueError >&2\nexit 77\n")
    child.chmod(0o755)
    monkeypatch.setattr(fuzz.sys, "executable", str(child))
    (figures,) = fuzz.prove(["file:atc"], 10, 5, lambda _: None)
    assert figures["failures"] == 1
    assert "ValueError" in figures["rows"][0]["failure"]["said"]


def test_seals_make_what_is_behind_a_checksum_reachable():
    entries = list(journal.decode(fuzz._sealed_journal(b"\x00\x02{}" + b"\x06\x00")))
    assert entries[0].kind == "header"
    with pytest.raises(BadInputError) as caught:
        lepu.decode_file(fuzz._sealed_er3(b"\x01\x00\x09" + bytes(60)))
    assert "lead type" in caught.value.message
