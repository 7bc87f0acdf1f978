import pytest

from lsemvae_edge.cli import main


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Run a command in this process, which trusts nothing yet: exit code, standard output, standard error."""
    monkeypatch.delenv("LSEMVAE_EDGE_TRUST", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call
