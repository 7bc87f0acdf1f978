"""What a wheelhouse says of itself, and which machines it is for; its wheels here are no wheels."""

import hashlib
import json
import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsemvae_edge import signing
from lsemvae_edge.errors import BundleError, LsemvaeError, UsageError
from lsemvae_edge.kiosk.updates import machine, wheelhouse

NAMES = (
    "lsemvae_edge-0.2.0-py3-none-any.whl",
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "cffi-2.1.1-cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
)


@pytest.fixture
def sealed(tmp_path):
    """Function that makes a wheelhouse of the named files."""

    def make(names=NAMES, python="3.11", processor="aarch64", path=tmp_path / "house"):
        path.mkdir(exist_ok=True)
        for name in names:
            (path / name).write_bytes(name.encode() * 10)
        return wheelhouse.seal(path, {python: tuple(names)}, processor)

    return make


@pytest.fixture
def key(tmp_path):
    private, _, public = signing.generate(tmp_path / "hospital", None)
    return signing.read_private(private, None), public


def test_a_wheelhouse_says_what_it_holds_and_for_whom(sealed):
    house = sealed()
    assert (house.facts.version, house.facts.machine, house.facts.glibc) == ("0.2.0", "aarch64", "2.27")
    assert house.name == f"0.2.0-{hashlib.sha256((house.path / 'wheelhouse.json').read_bytes()).hexdigest()[:12]}"
    house.check_files("3.11")
    lines = house.requirements("3.11").splitlines()
    digest = hashlib.sha256(NAMES[1].encode() * 10).hexdigest()
    assert f"numpy==2.4.6 --hash=sha256:{digest}" in lines
    assert len(lines) == 3


def test_its_sums_are_those_of_sha256sum(sealed):
    house = sealed()
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=house.path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count(": OK") == len(NAMES) + 1


def test_a_signature_holds_for_this_wheelhouse_alone(sealed, key, tmp_path):
    private, public = key
    house = wheelhouse.sign(sealed(), private)
    assert wheelhouse.read(house.path).key == public
    other = sealed((*NAMES[:1], "idna-3.20-py3-none-any.whl"), path=tmp_path / "other")
    (other.path / wheelhouse.SIGNATURE).write_bytes((house.path / wheelhouse.SIGNATURE).read_bytes())
    with pytest.raises(BundleError, match="signature does not hold"):
        wheelhouse.read(other.path)


def test_a_bundles_signature_is_none_of_a_wheelhouse(sealed, key):
    private, _ = key
    house = wheelhouse.sign(sealed(), private)
    file = house.path / wheelhouse.SIGNATURE
    file.write_text(file.read_text().replace("wheelhouse-signature", "signature"))
    with pytest.raises(BundleError, match="no signature of a wheelhouse"):
        wheelhouse.read(house.path)


def test_sealing_anew_takes_the_signature_away(sealed, key):
    wheelhouse.sign(sealed(), key[0])
    assert sealed().key is None


@pytest.mark.parametrize("what", ["changed", "longer", "missing", "link", "pipe", "folder", "huge"])
def test_a_wheel_that_is_not_the_listed_file_is_refused(sealed, what):
    house = sealed()
    file = house.path / NAMES[1]
    content = file.read_bytes()
    file.unlink()
    if what == "changed":
        file.write_bytes(content[:-1] + b"?")
    elif what == "longer":
        file.write_bytes(content + b"?")
    elif what == "link":
        (house.path.parent / "elsewhere").write_bytes(content)
        file.symlink_to(house.path.parent / "elsewhere")
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    elif what == "huge":
        with file.open("wb") as stream:
            stream.truncate(500 * 1024**3)
    with pytest.raises(BundleError, match="numpy"):
        house.check_files("3.11")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "x"},
        {"version": "../../etc"},
        {"version": "0.3.0"},
        {"machine": "../x"},
        {"glibc": "new"},
        {"python": {}},
        {"python": {"3.11": [NAMES[0], NAMES[0]]}},
        {"python": {"3.11": [NAMES[0], "absent-1-py3-none-any.whl"]}},
        {"python": {"../3": [NAMES[0]]}},
        {"files": {"../x-1-py3-none-any.whl": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {NAMES[0]: {"bytes": 10**13, "sha256": "0" * 64}}},
        {"files": {NAMES[0]: {"bytes": 1, "sha256": "no"}}},
        {"files": {f"p{n}-1-py3-none-any.whl": {"bytes": 1, "sha256": "0" * 64} for n in range(500)}},
        {"more": 1},
    ],
)
def test_facts_that_make_no_sense_are_refused(sealed, change):
    house = sealed()
    file = house.path / wheelhouse.FACTS
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(BundleError) as caught:
        wheelhouse.read(house.path)
    assert caught.value.next_step


@given(content=st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["schema", "version", "python", "files", "x"]), inner, max_size=5),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_facts_of_any_content_are_refused_in_a_sentence(sealed, content):
    house = sealed()
    (house.path / wheelhouse.FACTS).write_bytes(content)
    with pytest.raises(LsemvaeError):
        wheelhouse.read(house.path)


def test_a_folder_without_facts_is_no_wheelhouse(tmp_path):
    with pytest.raises(UsageError, match="no wheelhouse in"):
        wheelhouse.read(tmp_path)


def test_another_release_of_python_is_told(sealed):
    with pytest.raises(UsageError, match=r"for Python 3\.11; this machine has 3\.13"):
        sealed().wheels("3.13")


def test_wheels_of_two_processors_are_not_sealed_together(sealed):
    with pytest.raises(UsageError, match="is not for x86_64"):
        sealed(processor="x86_64")


def test_a_wheelhouse_without_this_software_is_not_sealed(sealed):
    with pytest.raises(UsageError, match="0 releases of lsemvae-edge"):
        sealed(NAMES[1:])


@pytest.mark.parametrize(
    ("name", "pointer_bytes", "called"),
    [
        ("armv7l", 4, "armv7l"),
        ("armv6l", 4, "armv6l"),
        ("i686", 4, "i686"),
        ("aarch64", 4, "armv7l"),  # 32-bit programs on a 64-bit kernel, as Raspberry Pi OS once had it
        ("x86_64", 4, "i686"),
    ],
)
def test_a_32_bit_system_is_refused_by_its_name(name, pointer_bytes, called):
    with pytest.raises(UsageError, match=rf"This is a 32-bit system \({called}\)") as caught:
        machine.refuse_32_bit(name, pointer_bytes)
    assert "64-bit Raspberry Pi OS" in caught.value.next_step


def test_a_64_bit_system_is_taken():
    machine.refuse_32_bit("aarch64", 8)
    machine.refuse_32_bit("x86_64", 8)
    assert machine.processor() in ("x86_64", "aarch64")
