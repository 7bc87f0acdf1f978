"""A real six-lead recording from a peripheral over a link and through the driver, against its file."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from lsemvae_edge import formats
from lsemvae_edge.device import drivers, enrolment
from lsemvae_edge.device.drivers.kardia import START_VARIABLE
from lsemvae_edge.device.live import LiveRecording
from lsemvae_edge.device.virtual import shelf
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.device.virtual.kardia import STAND_IN_COMMAND

DATA = os.environ.get("LSEMVAE_EDGE_DATA")
ADDRESS = "C0:11:22:33:44:55"
LONGER_S = 0.4


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no six-lead sample here")
def test_the_real_sample_arrives_within_a_step_in_i_and_ii(run, radio_on, enrolment_file, watched, monkeypatch):
    monkeypatch.setenv(START_VARIABLE, STAND_IN_COMMAND.hex())
    sample = formats.read(Path(DATA) / "kardia6l" / "kardia6l_svg_leads_mV.csv")
    recorder = shelf.make("kardia-6l", sample)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(recorder, ADDRESS)
            enrolled = await enrolment.enrol(radio, ADDRESS, "kardia-6l")
            async with LiveRecording(radio, enrolled, duration_s=sample.duration_s + LONGER_S) as recording:
                await watched(recording, [])
            return recording.record()

    record = run(main(), 40.0)
    step_mv = shelf.stream("kardia-6l").mv_per_lsb
    assert record.fs_hz == sample.fs_hz == 300.0
    assert record.leads == drivers.get("kardia-6l").description.leads == ("I", "II")
    whole = np.stack([sample.signal_mv[sample.leads.index(name)] for name in record.leads])
    # The recorder had begun to play before it was asked, and plays without end. A busy machine may make it suspect a
    # loss, which ends what can be placed to the sample.
    missing = np.flatnonzero(record.gaps.any(axis=0))
    n = min(record.n_samples, sample.n_samples, *missing[:1].tolist())
    assert n > 600
    errors_mv = [
        np.abs(np.roll(whole, -first, axis=1)[:, :n] - record.signal_mv[:, :n]).max()
        for first in range(sample.n_samples)
    ]
    assert min(errors_mv) <= step_mv
