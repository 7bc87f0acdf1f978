"""The search for ids and waveforms: it finds each form, and nothing in what a kiosk leaves."""

import base64
import gzip
import json
import zlib

import numpy as np
import pytest

from lsemvae_edge.benchmarks import leaks, specimens
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
    figures = leaks.measure(lambda _: None)
    assert figures["findings"] == []
    assert figures["control_missed"] == []
    left = " ".join(figures["left_by_the_kiosk"])
    assert "clinic/records.sqlite-wal" in left
    assert "clinic/journals/" in left
    assert "demo/records.sqlite" in left


def test_a_folder_can_be_searched_for_an_id(tmp_path, capsys):
    (tmp_path / "profile").write_bytes(ID.encode("utf-16-le"))
    assert main(["bench", "leaks", str(tmp_path), "--study-id", ID]) == ExitCode.STORE
    assert main(["bench", "leaks", str(tmp_path), "--study-id", "ANOTHER99"]) == ExitCode.DONE
    assert main(["bench", "leaks", "--study-id", ID]) == ExitCode.USAGE
    assert "UTF-16" in capsys.readouterr().err
