"""The search for ids and waveforms: it finds each form, and nothing in what a kiosk leaves."""

import base64
import gzip
import json
import zlib

import numpy as np
import pytest

from lsemvae_edge.benchmarks import kiosk_browser, leaks, leaks_browser, own_cups, specimens
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode
from lsemvae_edge.formats import csv, edf, native, wfdb

ID = "CLINIC4711"


@pytest.fixture(scope="module")
def record():
    return specimens.heart(5, 1)


@pytest.fixture(scope="module")
def wanted(record):
    return leaks.Wanted(leaks.forms_of_id(ID), {"one": leaks.stretch_of(record)})


def found_in(tmp_path, content, wanted):
    path = tmp_path / "file"
    path.write_bytes(content)
    return leaks.search([tmp_path], wanted)[0].get(str(path), [])


def test_every_planted_form_is_found(wanted):
    assert len(wanted.texts) >= 8
    assert leaks.missed(wanted) == []


@pytest.mark.parametrize("shift", range(4))
def test_an_id_inside_base64_is_found_wherever_it_begins(tmp_path, wanted, shift):
    content = base64.b64encode(b"x" * shift + ID.encode() + b"after it")
    assert any("base64" in form for form in found_in(tmp_path, content, wanted))


def test_an_id_in_a_name_of_a_file_is_found(tmp_path, wanted):
    (tmp_path / f"record-{ID}.pdf").write_bytes(b"")
    assert leaks.search([tmp_path], wanted)[0]


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, lambda data: zlib.compress(gzip.compress(data))])
def test_what_is_compressed_is_searched_too(tmp_path, wanted, compress):
    content = b"before" + compress(json.dumps({"study_id": ID, "more": "x" * 99}).encode()) + b"after"
    assert any(form.startswith("id, text, compressed") for form in found_in(tmp_path, content, wanted))


@pytest.mark.parametrize("format", ["csv", "edf", "native", "wfdb"])
def test_files_that_this_software_writes_would_be_found(tmp_path, wanted, record, format):
    writers = {
        "csv": lambda: csv.encode(record, tmp_path / "a.csv"),
        "edf": lambda: edf.encode(record, tmp_path / "a.edf"),
        "native": lambda: {"a": native.encode(record)},
        "wfdb": lambda: wfdb.encode(record, tmp_path / "a.hea"),
    }
    contents = writers[format]().values()
    assert any(found_in(tmp_path, content, wanted) for content in contents)


def test_noise_is_not_taken_for_a_record(tmp_path, wanted):
    assert found_in(tmp_path, np.random.default_rng(0).bytes(1 << 20), wanted) == []


@pytest.mark.slow
def test_a_kiosk_that_was_killed_leaves_nothing_in_clear():
    figures = leaks.measure(lambda _: None, browser=False)
    assert figures["findings"] == []
    assert figures["control_missed"] == []
    left = " ".join(figures["left_by_the_kiosk"])
    assert "clinic/records.sqlite-wal" in left
    assert "clinic/journals/" in left
    assert "demo/records.sqlite" in left


@pytest.mark.slow
def test_a_session_before_a_browser_leaves_nothing_in_clear():
    if kiosk_browser.chromium() is None:
        pytest.skip("Chromium is not installed")
    figures = leaks_browser.measure(lambda _: None, shared=())
    assert figures["findings"] == []
    assert figures["control_missed"] == []
    assert figures["recorded"] == 2
    assert figures["printed"] == (2 if own_cups.is_possible() else None)
    assert all(profile["files"] > 50 for profile in figures["profiles"].values())


@pytest.mark.parametrize(
    ("file", "forms", "is_finding"),
    [
        ("ordinary/Default/History", ["LEAKOPEN82: id, text"], True),
        ("ordinary/Default/History", ["planted in history: id, text"], False),
        ("shipped/Default/History", ["planted in history: id, text"], True),
        ("shipped/planted", ["planted in profile as shipped: id, UTF-16, compressed"], False),
        ("shipped/cache/x", ["planted waveform, float32"], True),
        ("kiosk/kiosk.log", ["recording 0, decimals"], True),
        ("ordinary/cache/x", ["an answer kept in br, which cannot be searched"], True),
    ],
)
def test_what_was_not_planted_there_is_a_finding(tmp_path, file, forms, is_finding):
    planted = {"history": "PLANTED04X"}
    findings = leaks_browser._findings({str(tmp_path / file): forms}, tmp_path, planted)
    assert bool(findings) == is_finding


def test_a_control_that_lies_elsewhere_than_it_must_is_missed(tmp_path):
    found = {
        str(tmp_path / "ordinary" / "Default" / "Cookies"): ["planted in cookie: id, text", "planted waveform, float32"]
    }
    seen = leaks_browser._seen(found, tmp_path, {"data": tmp_path / "kiosk" / "data"})
    assert seen["planted in cookie"] == ["Default/Cookies"]
    assert seen["planted in history"] == seen["planted in data"] == seen["planted waveform, in IndexedDB"] == []


@pytest.mark.parametrize(
    ("area", "file", "text", "is_safe"),
    [
        ("/dev/zram0", "backing_dev", "none\n", True),
        ("/dev/zram0", "backing_dev", "/dev/mmcblk0p3\n", False),
        ("/dev/dm-1", "dm/uuid", "CRYPT-PLAIN-swap\n", True),
        ("/dev/dm-1", "dm/uuid", "LVM-x\n", False),
        ("/dev/mmcblk0p2", "size", "1\n", False),
        ("/var/swap", "size", "1\n", False),
    ],
)
def test_swap_is_safe_in_memory_or_over_encryption_alone(tmp_path, monkeypatch, area, file, text, is_safe):
    path = tmp_path / area.rpartition("/")[2] / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (tmp_path / "swaps").write_text(f"Filename Type Size Used Priority\n{area} partition 1024 0 -2\n")
    monkeypatch.setattr(leaks, "_BLOCKS", tmp_path)
    monkeypatch.setattr(leaks, "SWAPS", tmp_path / "swaps")
    assert leaks.swaps() == ([] if is_safe else [area])


def test_a_folder_can_be_searched_for_an_id(tmp_path, capsys):
    (tmp_path / "profile").write_bytes(ID.encode("utf-16-le"))
    assert main(["bench", "leaks", str(tmp_path), "--study-id", ID]) == ExitCode.STORE
    assert main(["bench", "leaks", str(tmp_path), "--study-id", "ANOTHER99"]) == ExitCode.DONE
    assert main(["bench", "leaks", "--study-id", ID]) == ExitCode.USAGE
    assert "UTF-16" in capsys.readouterr().err
