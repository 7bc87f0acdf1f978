"""The C++ runner, built from ExecuTorch's wheel alone, against ExecuTorch in Python."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("executorch", reason="the runner is built from its wheel")

from lsemvae_edge.errors import BundleError
from lsemvae_edge.quantize.firmware import executorch
from lsemvae_edge.quantize.targets import targets
from lsemvae_edge.runtime import build


def configure(cmake: str, firmware, into: Path, *options: str) -> subprocess.CompletedProcess[str]:  # type: ignore[no-untyped-def]
    source = firmware.folder("small") / "executorch"
    command = [cmake, "-S", str(source), "-B", str(into), "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runner(cmake, firmware, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    into = tmp_path_factory.mktemp("runner")
    found = build.wheel()
    assert found is not None
    done = configure(cmake, firmware, into, f"-DEXECUTORCH_WHEEL={found.folder}")
    assert done.returncode == 0, done.stderr
    subprocess.run([cmake, "--build", str(into)], check=True, capture_output=True)
    return into / "lsemvae_runner"


@pytest.fixture(scope="module", params=["pte-fp32", pytest.param("pte-int8", marks=pytest.mark.slow)])
def form(request, convert):  # type: ignore[no-untyped-def]
    """A target and its file."""
    return next(target for target in targets() if target.name == request.param), convert(request.param)


@pytest.fixture
def program(form, tmp_path) -> Path:  # type: ignore[no-untyped-def]
    (path,) = executorch.files(form[1])
    assert path == "executorch/model.pte"
    place = tmp_path / "model.pte"
    place.write_bytes(executorch.files(form[1])[path])
    return place


def run(runner: Path, *arguments: object, told: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(runner), *map(str, arguments)], input=told, capture_output=True, check=False)


def rows(done: subprocess.CompletedProcess[bytes]) -> np.ndarray:
    assert done.returncode == 0, done.stderr
    return np.array([line.split() for line in done.stdout.decode().splitlines()], dtype=np.float32)


def test_the_runner_gives_the_logits_of_executorch_in_python(runner, program, form, simulated_inputs, tmp_path) -> None:  # type: ignore[no-untyped-def]
    target, content = form
    session = target.open(content, target.model)
    signals = np.ascontiguousarray(simulated_inputs[:5], dtype=np.float32)
    expected = np.stack([session.run(signal).logits for signal in signals])
    assert np.ptp(expected, axis=0).min() > 0, "inputs that all look alike would hide their order"
    (tmp_path / "input.f32").write_bytes(signals.tobytes())
    from_file, from_stdin = run(runner, program, tmp_path / "input.f32"), run(runner, program, told=signals.tobytes())
    np.testing.assert_allclose(rows(from_file), expected, rtol=1e-6, atol=1e-6)
    assert from_file.stdout == from_stdin.stdout
    assert rows(run(runner, program, told=signals[2].tobytes())).shape == (1, expected.shape[1])


def test_leads_are_read_one_after_the_other(runner, program, form, simulated_inputs) -> None:  # type: ignore[no-untyped-def]
    signal = simulated_inputs[0].astype(np.float32)
    right, wrong = (rows(run(runner, program, told=one.tobytes())) for one in (signal, np.ascontiguousarray(signal.T)))
    assert np.abs(right - wrong).max() > 1e-3


@pytest.fixture(scope="module")
def float_program(convert, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    place = tmp_path_factory.mktemp("program") / "model.pte"
    place.write_bytes(convert("pte-fp32"))
    return place


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"", "the input is empty"),
        (b"\x00" * 2399, "the input ends after 2399 of 2400 bytes: it takes 6 x 100 float32"),
        (b"\x00" * 2404, "the input ends after 4 of 2400 bytes"),
    ],
)
def test_an_input_of_another_length_is_refused(runner, float_program, told, why) -> None:  # type: ignore[no-untyped-def]
    done = run(runner, float_program, told=told)
    assert done.returncode == 1
    assert why in done.stderr.decode()


def test_what_cannot_be_read_is_named(runner, float_program, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = run(runner, float_program, tmp_path / "absent.f32")
    assert (done.returncode, done.stderr.decode()) == (1, f"{tmp_path / 'absent.f32'} cannot be read\n")
    done = run(runner, tmp_path / "absent.pte", told=b"\x00" * 2400)
    assert done.returncode == 1
    assert b"the program does not load" in done.stderr
    assert run(runner).returncode == 2


def test_a_damaged_program_and_another_model_are_refused(runner, float_program, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "short.pte").write_bytes(float_program.read_bytes()[:1000])
    done = run(runner, tmp_path / "short.pte", told=b"\x00" * 2400)
    assert (done.returncode, done.stdout) == (1, b"")
    (tmp_path / "other.pte").write_bytes(other_model())
    done = run(runner, tmp_path / "other.pte", told=b"\x00" * 2400)
    assert done.returncode == 1
    assert b"no LS-EMVAE student" in done.stderr


def other_model() -> bytes:
    """One input where ours has two."""
    import torch
    from executorch.exir import to_edge

    class Doubled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    exported = torch.export.export(Doubled(), (torch.zeros(1, 6, 1, 100),))
    return bytes(to_edge(exported).to_executorch().buffer)


def test_a_wheel_that_is_not_there_is_said_when_it_is_configured(cmake, firmware, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = configure(cmake, firmware, tmp_path, "-DEXECUTORCH_WHEEL=/nowhere")
    assert done.returncode != 0
    assert "EXECUTORCH_WHEEL=/nowhere holds no ExecuTorch" in " ".join(done.stderr.split())


def test_the_release_in_the_build_file_is_the_pinned_one(firmware) -> None:  # type: ignore[no-untyped-def]
    text = (firmware.folder("small") / "executorch" / "CMakeLists.txt").read_text()
    assert set(re.findall(r"executorch==([\d.]+)", text)) == {build.VERSION}
    assert re.findall(r"find_package\(executorch ([\d.]+)", text) == [build.VERSION.rpartition(".")[0]]


def test_a_folder_without_a_program_holds_the_runner_alone() -> None:
    assert executorch.files(None) == {}
    with pytest.raises(BundleError, match="no ExecuTorch program"):
        executorch.files(b"\x1c\x00\x00\x00TFL3" + b"\x00" * 32)
