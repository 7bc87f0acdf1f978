import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lsemvae_edge import formats
from lsemvae_edge.statistics import median, quantile
from lsemvae_edge.synthetic.heart import Heart, simulate


@given(
    arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.floats(-1e6, 1e6)),
    st.floats(0, 1),
    st.data(),
)
def test_order_statistics_are_numpys(values, q, data):
    axis = data.draw(st.integers(0, values.ndim - 1))
    np.testing.assert_allclose(quantile(values, q, axis), np.quantile(values, q, axis=axis), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(median(values, axis), np.median(values, axis=axis), rtol=1e-9, atol=1e-6)


def test_a_screening_does_not_import_masked_arrays(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is the runtime measured")
    path = formats.write(simulate(Heart(), 10.0), tmp_path / "heart.lser")
    code = (
        "import sys; from lsemvae_edge.cli import main; code = main(['screen', sys.argv[1]]); "
        "sys.exit(code or 'numpy.ma' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    assert child.returncode == 0
