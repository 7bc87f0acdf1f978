"""The JSON schema says of a manifest what the loader says."""

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge.errors import BundleError
from lsemvae_edge.manifest import CalibrationSet, Quantization, Step
from lsemvae_edge.quantize import schema

fastjsonschema = pytest.importorskip("fastjsonschema")


@pytest.fixture(scope="module")
def validate():
    return fastjsonschema.compile(json.loads(schema.FILE.read_text()))


@pytest.fixture
def manifest(dummy_bundle):
    """A manifest with everything that may be absent."""
    quantization = Quantization("ptq", CalibrationSet("0" * 64, 3, "folds 1-8", 0), {"conv": Step(0.1, -3)}, ("head",))
    return json.loads(dummy_bundle(quantization=quantization).raw_manifest())


def test_the_packaged_schema_is_the_generated_one():
    assert schema.FILE.read_text() == schema.text(), "run python -m lsemvae_edge.quantize.schema"


def test_every_object_is_closed_but_those_whose_content_is_free():
    made = schema.schema()
    assert made["additionalProperties"] is False
    assert all(of["additionalProperties"] is False for of in made["definitions"].values())
    assert made["properties"]["metrics"] == made["properties"]["provenance"] == {"type": "object"}


def test_every_reference_has_its_definition():
    text = schema.text()
    for name in schema.schema()["definitions"]:
        assert f"#/definitions/{name}" in text
    assert text.count("#/definitions/") >= len(schema.schema()["definitions"])


def test_written_manifests_fit(validate, manifest, dummy_bundle, tmp_path):
    validate(manifest)
    validate(json.loads(dummy_bundle(tmp_path / "without").raw_manifest()))
    validate(json.loads(bundles.default().raw_manifest()))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(schema="lsemvae-edge/bundle/2"),
        lambda m: m.update(version=0),
        lambda m: m.update(name="a b"),
        lambda m: m.update(name="a\n"),
        lambda m: m.update(models=[]),
        lambda m: m["models"][0].update(format="exe"),
        lambda m: m["files"].update({"../evil": m["files"]["card.md"]}),
        lambda m: m["files"].update({"signature.json": m["files"]["card.md"]}),
        lambda m: m["files"]["card.md"].update(bytes=-1),
        lambda m: m["files"]["card.md"].update(sha256="x"),
        lambda m: m["files"]["card.md"].update(mode=7),
        lambda m: m["spec"]["quality"].update(qrs_mv=[0.1]),
        lambda m: m["quantization"]["activations"].update(conv={"scale": 0.1}),
        lambda m: m.pop("licence"),
        lambda m: m.update(metrics=[]),
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(validate, manifest, dummy_bundle, tmp_path, change):
    bundle = dummy_bundle(tmp_path / "changed")
    change(manifest)
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validate(manifest)
    (bundle.path / bundles.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        bundles.load(bundle.path)


VALUES = st.sampled_from([None, True, -1, 0, 1, 0.5, "", "a", [], [1], {}, {"a": 1}, 10**20])


def test_what_the_loader_takes_the_schema_takes(validate, manifest, dummy_bundle, tmp_path):
    bundle = dummy_bundle(tmp_path / "changed")
    places = [place for place in places_of(manifest) if place]
    taken = []

    @given(st.integers(0, 10_000), VALUES)
    def hold(number, value):
        changed = copy.deepcopy(manifest)
        *way, last = places[number % len(places)]
        holder = changed
        for key in way:
            holder = holder[key]
        holder[last] = value
        (bundle.path / bundles.MANIFEST).write_text(json.dumps(changed))
        try:
            bundles.load(bundle.path)
        except BundleError:
            return
        validate(changed)
        taken.append(value)

    hold()
    assert taken


def places_of(value, at=()):
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_of(value[key], (*at, key))


def test_a_kind_of_field_that_the_generator_does_not_know_is_an_error():
    @dataclasses.dataclass(frozen=True)
    class Strange:
        field: complex

    with pytest.raises(KeyError):
        schema._of(Strange, {})
