"""A store in a folder of its own, and attempts to put into it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from lsemvae_edge.store import Store, StoreKey


@pytest.fixture(scope="session")
def making():
    """Module `making`, which makes attempts by hand."""
    name = "exchange_making"
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, Path(__file__).with_name("making.py"))
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def store(tmp_path):
    key = StoreKey.create(tmp_path / "store.key")
    with Store.create(tmp_path / "clinic", key, kind="clinic") as made:
        yield made


@pytest.fixture
def demo_store(tmp_path):
    key = StoreKey.create(tmp_path / "demo.key")
    with Store.create(tmp_path / "demo", key, kind="demo") as made:
        yield made


@pytest.fixture
def kept(store):
    """Function that stores an attempt and reads it back."""
    return lambda attempt: store.read(store.append(attempt).seq)
