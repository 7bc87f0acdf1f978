"""The kiosk's server, driven without a browser; times are measured, not judged."""

import os
import subprocess
import sys
import time

import pytest

from lsemvae_edge import study_id
from lsemvae_edge.benchmarks import kiosk_speed
from lsemvae_edge.benchmarks.kiosk_drive import environment


@pytest.mark.slow
def test_starts_and_screenings_are_measured():
    figures = kiosk_speed.measure(1, lambda _: None)
    assert len(figures["result_ms"]["each"]) == len(figures["outcomes"]) == 1
    assert figures["result_ms"]["median"] > kiosk_speed.SLACK_MS
    assert 0 < figures["first_page_s"]["median"] <= figures["first_state_s"]["median"]
    assert figures["server_pss_mb"]["highest"] > 10


def test_too_slow_is_said(monkeypatch):
    monkeypatch.setattr(kiosk_speed, "RESULT_MS", 0.0)
    monkeypatch.setattr(kiosk_speed, "START_S", 0.0)
    assert len(kiosk_speed.broken(10.0, 10.0)) == 2


def test_memory_counts_what_a_process_started():
    child = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'b = b\"x\" * 30_000_000; input()']); input()"
    )
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) as process:
        alone_mb = kiosk_speed.memory_mb(process.pid)
        end_s = time.monotonic() + 30
        while (found_mb := kiosk_speed.memory_mb(process.pid)) < 20 and time.monotonic() < end_s:
            time.sleep(0.05)
        process.stdin.close()
    assert found_mb > 20 > 0 <= alone_mb


def test_every_file_of_a_driven_kiosk_lies_in_its_folder(tmp_path):
    given = environment(tmp_path)
    for name, value in given.items():
        if value != os.environ.get(name):
            assert value.startswith(str(tmp_path))


def test_ids_that_are_typed_pass_the_check():
    for id, _ in zip(kiosk_speed.study_ids(), range(30), strict=False):
        assert study_id.checked(id, "[A-Z0-9]{4,20}", True) == id
