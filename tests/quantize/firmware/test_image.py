"""The image: one block of bytes, the same as C text and as a blob."""

import ctypes
from zlib import crc32

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import preprocess
from lsemvae_edge.errors import UsageError
from lsemvae_edge.quantize.firmware import generate, image


@pytest.mark.parametrize("size", ["small", "tiny", "base"])
def test_the_linked_image_is_the_blob(firmware, size) -> None:  # type: ignore[no-untyped-def]
    blob = (firmware.folder(size) / "model.blob").read_bytes()
    library = firmware.library(size)
    assert bytes((ctypes.c_uint8 * len(blob)).from_address(library.image)) == blob


def test_the_image_tells_its_length_contract_and_checksum(firmware) -> None:  # type: ignore[no-untyped-def]
    made = firmware.firmware("small")
    blob = image.blob(made.image)
    assert made.image["bytes"] == len(blob)
    assert bytes(made.image["spec_sha256"]) == generate.spec_sha256(made.spec)
    assert bytes(made.image["model_id"]).rstrip(b"\0").decode() == made.spec.id
    start = made.image.dtype.fields["layout"][1]
    assert made.image["crc"] == crc32(blob[start:])


def test_filters_keep_their_sums_exactly(firmware) -> None:  # type: ignore[no-untyped-def]
    made = firmware.firmware("small")
    taps = made.image["band_taps"].astype(np.int64)
    assert 2 * taps[:-1].sum() + taps[-1] == 0
    spec = made.spec.preprocess
    whole = np.concatenate([taps, taps[-2::-1]]) / 2**30
    np.testing.assert_allclose(whole, spec.band.taps, atol=5e-8)
    for rate in made.rates:
        assert (rate.taps.astype(np.int64).sum(axis=1) == 1 << 30).all()
        phases = preprocess.polyphase_taps(float(rate.rate_hz), spec.resampler)[2]
        np.testing.assert_allclose(rate.taps / 2**30, phases, atol=2e-8)


@pytest.mark.parametrize(("rate_hz", "why"), [(99, "below 100 Hz"), (511, "coefficients")])
def test_a_rate_that_cannot_be_had_is_refused(rate_hz, why) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=why):
        image.rates(bundles.default().spec, [rate_hz])


def test_other_rates_change_the_layout(firmware) -> None:  # type: ignore[no-untyped-def]
    one = firmware.firmware("small").image
    other = generate.from_bundle(bundles.default(), [500]).image
    assert one["layout"] != other["layout"]
    assert generate.from_bundle(bundles.default()).image["layout"] == one["layout"]
