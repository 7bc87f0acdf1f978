"""Programs of ExecuTorch, and the shim that runs them."""

import pytest

from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime import build

POSITIONS = ModelFile("model.pte", "pte", "fp32", "0", "1", "0", "1", "2", "3", "4", "5")
SPEC_TEXT = '{"id": "für die Lücke"}'


@pytest.fixture(scope="session")
def shim():
    """Path of the shim of the installed ExecuTorch, built now if it was not."""
    if build.wheel() is None:
        pytest.skip("ExecuTorch is not installed")
    return build.library() or build.build()


@pytest.fixture(scope="session")
def lower():
    """Function that makes a program of a module and example inputs."""
    pytest.importorskip("torchao", reason="export to ExecuTorch needs the extra `export`")
    torch = pytest.importorskip("torch", reason="export needs torch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    def make(module, inputs, text=None) -> bytes:
        exported = torch.export.export(module.eval(), inputs)
        constants = None if text is None else {"lsemvae_edge_spec": text}
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()], constant_methods=constants)
        return edge.to_executorch().buffer

    return make


@pytest.fixture(scope="session")
def float_program(lower, student) -> bytes:
    """The student as a float program that carries `SPEC_TEXT`."""
    import torch

    from lsemvae_edge.model import fold_batch_norm

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.student = fold_batch_norm(student)

        def forward(self, x, mask):
            return tuple(self.student(x, mask))

    return lower(Plain(), (torch.zeros(1, 6, 1, 100), torch.ones(1, 6)), SPEC_TEXT)


@pytest.fixture(scope="session")
def program_folder(float_program, tmp_path_factory):
    """Folder that holds the float program, for child processes."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "model.pte").write_bytes(float_program)
    return folder
