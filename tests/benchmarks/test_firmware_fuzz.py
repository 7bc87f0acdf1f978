"""The fuzzing of the C library: it runs clean, and finds a defect that was put in."""

import shutil

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks import firmware_fuzz
from lsemvae_edge.errors import UsageError
from lsemvae_edge.quantize.firmware import generate

needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")


@needs_clang
@pytest.mark.slow
@pytest.mark.parametrize("tail", ["fixed", "float"])
def test_a_few_seconds_find_nothing(tmp_path, tail):
    found = firmware_fuzz.fuzz(bundles.default(), tmp_path / "work", seconds=4, seed=1, tail=tail, say=print)
    assert found["failure"] is None
    assert found["executions"] > 4
    assert found["edges"] > 300


@needs_clang
@pytest.mark.slow
def test_a_result_that_contradicts_itself_is_found(tmp_path, monkeypatch):
    whole = generate.contents

    def broken(made):
        contents = whole(made)
        source = contents["src/lsemvae_api.c"].decode()
        assert "reason = LSEMVAE_REASON_QUALITY" in source
        contents["src/lsemvae_api.c"] = source.replace("LSEMVAE_REASON_QUALITY", "LSEMVAE_REASON_NONE").encode()
        return contents

    monkeypatch.setattr(generate, "contents", broken)
    found = firmware_fuzz.fuzz(bundles.default(), tmp_path / "work", seconds=30, seed=1, say=print)
    assert found["failure"] is not None
    assert "deadly signal" in found["failure"]


def test_without_clang_the_command_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="clang"):
        firmware_fuzz.fuzz(bundles.default(), tmp_path / "work", seconds=1, seed=1, say=print)
