"""Every driver's packets are decoded and assembled in processes of their own."""

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks import bluetooth
from lsemvae_edge.benchmarks.target import ingest
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session, read
from lsemvae_edge.device.virtual import shelf


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "QUICK_SECONDS", 3.0)
    monkeypatch.setattr(shelf, "MADE", {name: shelf.MADE[name] for name in ("open-6l", "polar-h10")})
    bundle = bundles.default()
    with Session(tmp_path / "s", {}, [bundle], 0) as session:
        ingest.measure(session, Plan([bundle], quick=True, repeats=2, runs=3))
    return read(tmp_path / "s")


def test_each_driver_has_frames_a_second_and_times_real_time(recorded):
    assert [case.facts["driver"] for case in recorded.cases] == ["open-6l", "polar-h10"]
    for case in recorded.cases:
        frames, times = (recorded.of("ingest", case.name, metric) for metric in ("frames_per_s", "x_real_time"))
        assert [len(one.values) for one in frames] == [len(one.values) for one in times] == [3, 3]
        script = bluetooth.script(case.facts["driver"], 3.0)
        played = bluetooth.played(script)
        # Both are the same time, once over messages and once over signal.
        for one, other in zip(frames[0].values, times[0].values, strict=True):
            assert one / other == pytest.approx(played.messages / played.signal_s, rel=1e-3)


def test_what_was_sent_is_decoded_again_and_again_to_the_same_signal():
    script = bluetooth.script("open-6l", 2.0)
    first, second = bluetooth.played(script), bluetooth.played(script)
    assert first.messages == second.messages > 10
    assert first.signal_s == second.signal_s == pytest.approx(2.0, abs=0.1)
