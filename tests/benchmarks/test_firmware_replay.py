"""``bench firmware-replay``: what it feeds and when it fails; boards and bits are in tests/quantize/firmware."""

import json
import os

import pytest

from lsemvae_edge.benchmarks import firmware_replay
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode

N = 3


@pytest.mark.skipif("LSEMVAE_EDGE_DATA" not in os.environ, reason="LSEMVAE_EDGE_DATA is not set")
@pytest.mark.parametrize("differs", [False, True])
def test_a_board_that_differs_once_fails_the_command(monkeypatch, tmp_path, capsys, differs):
    asked = []

    def replayed(folder, one, file, kernels="plain"):  # type: ignore[no-untyped-def]
        asked.append((one and one.name, kernels))
        assert file == folder / firmware_replay.FILE
        # An input, then a recording, of each.
        heads = [int.from_bytes(file.read_bytes()[:4], "little"), file.read_bytes()[1204 * N]]
        assert heads == [firmware_replay.INPUT, firmware_replay.RECORDING]
        numbers = [f"{k:08x}" for k in range(2 * N)]
        if differs and kernels == "dsp":
            numbers[-1] = "ffffffff"
        return numbers

    monkeypatch.setattr(firmware_replay.boards, "replayed", replayed)
    monkeypatch.setattr(firmware_replay.boards, "missing", lambda one: [])
    out = tmp_path / "replay.json"
    base = ["bench", "firmware-replay", "--board", "mps2-an386", "--first", str(N), "--work", str(tmp_path)]
    assert main([*base, "--out", str(out)]) == (ExitCode.BUNDLE_REFUSED if differs else ExitCode.DONE)
    assert asked == [(None, "plain"), ("mps2-an386", "plain"), ("mps2-an386", "dsp")]
    rows = json.loads(out.read_text())["rows"]
    assert [row["recordings_same"] for row in rows] == [N, N - differs]
    assert {row["inputs_same"] for row in rows} == {N}
    assert f"| dsp | {N} | {N} | {N} | {N - differs} |" in capsys.readouterr().out
