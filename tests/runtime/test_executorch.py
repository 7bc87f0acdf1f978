"""ExecuTorch through the C shim: the same numbers as its Python binding, and no file that ends the process."""

import ctypes
import random
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge.errors import BundleError, RuntimeUnavailableError, UsageError
from lsemvae_edge.runtime import build, executorch

from .conftest import POSITIONS, SPEC_TEXT

pytestmark = pytest.mark.usefixtures("shim")


@pytest.fixture
def session(float_program):
    return executorch.open_model(float_program, POSITIONS, "executorch")


def run_child(code, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_outputs_are_bit_equal_to_the_python_binding(session, program_folder, simulated_inputs, tmp_path):
    masks = np.ones((len(simulated_inputs), 6), dtype=np.float32)
    masks[::3, 2] = 0
    np.savez(tmp_path / "in.npz", signals=simulated_inputs, masks=masks)
    done = run_child(
        """
        import sys, numpy as np, torch
        from executorch.runtime import Runtime
        program, given, out = sys.argv[1:]
        method = Runtime.get().load_program(program).load_method("forward")
        data = np.load(given)
        outputs = []
        for signal, mask in zip(data["signals"], data["masks"]):
            taken = [torch.from_numpy(signal[None, :, None].copy()), torch.from_numpy(mask[None].copy())]
            outputs.append([tensor.numpy().copy() for tensor in method.execute(taken)])
        np.savez(out, **{str(i): np.concatenate(column) for i, column in enumerate(zip(*outputs))})
        """,
        program_folder / "model.pte", tmp_path / "in.npz", tmp_path / "out.npz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = np.load(tmp_path / "out.npz")
    for i, (signal, mask) in enumerate(zip(simulated_inputs, masks, strict=True)):
        output = session.run(signal, mask)
        assert output.logits.tobytes() == expected["0"][i].tobytes()
        assert output.mu.tobytes() == expected["1"][i].tobytes()
        assert output.logvar.tobytes() == expected["2"][i].tobytes()
        assert output.contributions.tobytes() == expected["5"][i].tobytes()


def test_it_agrees_with_torch(session, student, simulated_inputs):
    import torch

    with torch.no_grad():
        expected = student(torch.from_numpy(simulated_inputs)[:, :, None], torch.ones(len(simulated_inputs), 6))
    logits = np.stack([session.run(signal).logits for signal in simulated_inputs])
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-4)


def test_neither_torch_nor_executorch_is_imported_and_no_thread_is_started(program_folder):
    done = run_child(
        """
        import os, sys, numpy as np
        from lsemvae_edge.manifest import ModelFile
        from lsemvae_edge.runtime import executorch
        before = len(os.listdir("/proc/self/task"))
        model = ModelFile("m", "pte", "fp32", "0", "1", "0", "1", "2", "3", "4", "5")
        session = executorch.open_model(open(sys.argv[1], "rb").read(), model, "executorch")
        session.run(np.zeros((6, 100), dtype=np.float32))
        assert not {"torch", "executorch"} & set(sys.modules)
        assert len(os.listdir("/proc/self/task")) <= before  # OpenBLAS ends its own when a child is forked
        """,
        program_folder / "model.pte",
    )
    assert done.returncode == 0, done.stderr


def test_a_run_gives_one_row_of_each_output_and_takes_floats(session, simulated_inputs):
    output = session.run(simulated_inputs[0])
    assert output.logits.shape == (4,)
    assert output.mu.shape == output.logvar.shape == (32,)
    assert output.contributions.shape == (6, 4)
    assert output.fed.shape == (6, 100)
    assert output.fed.dtype == output.logits.dtype == np.float32


def test_outputs_are_not_overwritten_by_the_next_run(session, simulated_inputs):
    first = session.run(simulated_inputs[0])
    kept = first.logits.copy()
    assert not np.array_equal(session.run(simulated_inputs[1]).logits, kept)
    np.testing.assert_array_equal(first.logits, kept)
    np.testing.assert_array_equal(session.run(simulated_inputs[0]).logits, kept)


def test_an_input_that_is_not_contiguous_is_read_in_its_own_order(session, simulated_inputs):
    turned = np.asfortranarray(simulated_inputs[0])
    np.testing.assert_array_equal(session.run(turned).logits, session.run(simulated_inputs[0]).logits)


def test_many_sessions_are_freed(float_program, simulated_inputs):
    def resident_mb():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096 / 2**20

    def use():
        executorch.open_model(float_program, POSITIONS, "executorch").run(simulated_inputs[0])

    for _ in range(20):
        use()
    before = resident_mb()
    for _ in range(60):
        use()
    # Sixty programs that were kept would be over 50 MB.
    assert resident_mb() - before < 10


@pytest.mark.parametrize("shape", [(6, 99), (5, 100), (100,), (1, 6, 100)], ids=str)
def test_an_input_of_the_wrong_shape_is_refused(session, shape):
    with pytest.raises(BundleError, match="takes 6 leads of 100 samples"):
        session.run(np.zeros(shape, dtype=np.float32))


def test_a_mask_of_the_wrong_shape_is_refused(session, simulated_inputs):
    with pytest.raises(BundleError, match="mask of 6 leads"):
        session.run(simulated_inputs[0], np.ones(5, dtype=np.float32))


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, bytes(4096)], ids=["empty", "garbage", "zeros"])
def test_what_is_no_program_is_refused_with_the_runtimes_reason(content):
    with pytest.raises(BundleError, match=r"model\.pte does not load in executorch: no program: "):
        executorch.open_model(content, POSITIONS, "executorch")


@pytest.mark.parametrize(
    "field", ["input", "mask", "logits", "mu", "logvar", "lead_mu", "lead_logvar", "contributions"]
)
@pytest.mark.parametrize("name", ["6", "signal", "-1", ""])
def test_a_position_that_the_program_does_not_have_is_refused(float_program, field, name):
    with pytest.raises(BundleError, match=f"has no tensor {name}"):
        executorch.open_model(float_program, replace(POSITIONS, **{field: name}), "executorch")


@pytest.mark.parametrize("changes", [{"input": "1", "mask": "0"}, {"mask": "0"}, {"input": "1"}], ids=str)
def test_inputs_in_the_wrong_places_are_refused(float_program, changes):
    with pytest.raises(BundleError, match="not one signal and one mask"):
        executorch.open_model(float_program, replace(POSITIONS, **changes), "executorch")


def test_another_program_is_refused(lower):
    import torch

    class Other(torch.nn.Module):
        def __init__(self, n_outputs, dtype=torch.float32):
            super().__init__()
            self.n_outputs, self.dtype = n_outputs, dtype

        def forward(self, x, mask):
            row = x.mean(dim=(2, 3)) * mask
            return tuple(row.to(self.dtype) for _ in range(self.n_outputs))

    inputs = (torch.zeros(1, 6, 1, 100), torch.ones(1, 6))
    with pytest.raises(BundleError, match="has no tensor 2"):
        executorch.open_model(lower(Other(2), inputs), POSITIONS, "executorch")
    with pytest.raises(BundleError, match="output 0 is no tensor of float32"):
        executorch.open_model(lower(Other(6, torch.int32), inputs), POSITIONS, "executorch")
    flat = (torch.zeros(1, 6, 1, 100), torch.ones(1, 1))
    with pytest.raises(BundleError, match="not one signal and one mask"):
        executorch.open_model(lower(Other(6), flat), POSITIONS, "executorch")


def test_damaged_programs_never_end_the_process(program_folder):
    done = run_child(
        """
        import random, sys
        from lsemvae_edge.errors import BundleError
        from lsemvae_edge.manifest import ModelFile
        from lsemvae_edge.runtime import executorch
        whole = open(sys.argv[1], "rb").read()
        model = ModelFile("m", "pte", "fp32", "0", "1", "0", "1", "2", "3", "4", "5")
        rng, refused = random.Random(11), 0
        for number in range(240):
            damaged = bytearray(whole)
            place = rng.randrange(len(whole) if number % 2 else 60_000)
            if number % 3:
                damaged[place] ^= 1 << rng.randrange(8)
            else:
                del damaged[place:]
            for use in (lambda content: executorch.open_model(content, model, "executorch"), executorch.embedded_spec):
                try:
                    use(bytes(damaged))
                except BundleError:
                    refused += 1
        print(refused)
        """,
        program_folder / "model.pte",
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


def test_a_program_that_crashes_the_runtime_is_refused(float_program):
    """Damage that the runtime's own checks let through ends a child process, not this one."""
    seen, rng = "", random.Random(5)
    for _ in range(3000):
        damaged = bytearray(float_program)
        # The delegate's own tables, just ahead of its weights.
        damaged[rng.randrange(2_000, 50_000)] ^= 1 << rng.randrange(8)
        try:
            executorch.open_model(bytes(damaged), POSITIONS, "executorch")
        except BundleError as error:
            seen = error.message
            if "crashes on it with signal" in seen:
                return
    pytest.fail("no damage crashed the runtime; is the trial in a child process still needed?")


def test_the_text_in_a_program_is_read_without_running_its_model(float_program):
    assert executorch.embedded_spec(float_program) == SPEC_TEXT


def test_text_as_bytes_is_read_too_and_other_constants_are_refused(lower):
    import torch

    class Double(torch.nn.Module):
        def forward(self, x):
            return x * 2

    def program(constant):
        return lower(Double(), (torch.zeros(1, 3),), constant)

    text = torch.frombuffer(bytearray(SPEC_TEXT.encode()), dtype=torch.uint8)
    assert executorch.embedded_spec(program(text)) == SPEC_TEXT
    assert executorch.embedded_spec(program("x" * 300_000)) == "x" * 300_000
    for other in (3.5, torch.zeros(4), torch.tensor([255, 254], dtype=torch.uint8)):
        with pytest.raises(BundleError, match="not readable"):
            executorch.embedded_spec(program(other))
    with pytest.raises(BundleError, match="No method named"):
        executorch.embedded_spec(lower(Double(), (torch.zeros(1, 3),)))


def test_without_the_shim_the_error_says_how_to_build_it(monkeypatch):
    monkeypatch.setattr(build, "library", lambda: None)
    with pytest.raises(RuntimeUnavailableError, match="shim of the installed ExecuTorch is not built") as caught:
        executorch.embedded_spec(b"")
    assert "lsemvae-edge runtime build executorch" in caught.value.next_step
    monkeypatch.setattr(build, "wheel", lambda: None)
    with pytest.raises(RuntimeUnavailableError, match="not installed") as caught:
        executorch.embedded_spec(b"")
    assert "pip install --no-deps executorch==" in caught.value.next_step


@pytest.mark.parametrize("content", [b"", b"no library", None], ids=["empty", "text", "another-library"])
def test_a_shim_that_does_not_load_says_to_build_it_again(monkeypatch, tmp_path, content):
    path = tmp_path / "executorch.so"
    if content is None:
        path = next(p for p in build.wheel().libraries.glob("libexecutorch.so"))
    else:
        path.write_bytes(content)
    monkeypatch.setattr(build, "library", lambda: path)
    with pytest.raises(RuntimeUnavailableError, match="does not load") as caught:
        executorch.embedded_spec(b"")
    assert "Build it again" in caught.value.next_step


def test_the_shim_of_another_release_is_refused(monkeypatch, shim):
    ours = executorch._ABI
    monkeypatch.setattr(executorch, "_ABI", ours + 1)
    executorch._loaded.cache_clear()
    with pytest.raises(RuntimeUnavailableError, match="of another release"):
        executorch.embedded_spec(b"")
    executorch._loaded.cache_clear()
    assert ctypes.CDLL(str(shim)).lsemvae_abi() == ours


def test_the_planned_buffers_are_told_and_damage_is_refused(float_program):
    signal_bytes = 6 * 100 * 4
    assert signal_bytes < executorch.planned_bytes(float_program) < 1_000_000
    with pytest.raises(BundleError, match="does not load"):
        executorch.planned_bytes(float_program[:100])


def test_more_threads_than_the_calling_one_are_refused(float_program):
    with pytest.raises(UsageError, match="calling thread"):
        executorch.open_model(float_program, POSITIONS, "executorch", 2)
