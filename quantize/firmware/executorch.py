"""The C++ runner for Linux-class devices, and the program that it runs."""

from lsemvae_edge.errors import BundleError

PROGRAM = "executorch/model.pte"
_IDENTIFIER = slice(4, 6)


def files(pte: bytes | None) -> dict[str, bytes]:
    """Return what goes beside the runner's sources, by path in the firmware folder.

    Parameters
    ----------
    pte : bytes or None
        The bundle's ExecuTorch program, where it has one. Without it the folder holds the runner alone, which takes any
        program of six leads.

    Raises
    ------
    BundleError
        If it is no ExecuTorch program.
    """
    if pte is None:
        return {}
    if pte[_IDENTIFIER] != b"ET":
        raise BundleError("This is no ExecuTorch program.", "Make one with `lsemvae-edge export --format pte`.")
    return {PROGRAM: pte}
