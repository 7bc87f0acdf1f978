"""The bounds travel as JSON, and each one judges something that is measured."""

import json
from dataclasses import asdict, fields, replace

from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.preprocess import condition, default_spec
from lsemvae_edge.quality import assess
from lsemvae_edge.quality.shape import Shape
from lsemvae_edge.spec import from_dict
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.heart import Heart, simulate

DESCRIPTIVE = {"interval_spread"}


def test_limits_survive_json() -> None:
    limits = QualityLimits(max_jump=0.5)
    assert from_dict(QualityLimits, json.loads(json.dumps(asdict(limits)))) == limits


def test_every_measure_of_shape_has_a_bound_or_is_only_descriptive() -> None:
    bounded = {field.name for field in fields(QualityLimits)}
    assert {field.name for field in fields(Shape)} - bounded == DESCRIPTIVE


def test_each_bound_on_shape_refuses_by_its_own_name() -> None:
    spec = default_spec()
    record = add_noise(simulate(Heart(), leads=("I", "II")), "white", 25)
    conditioned = condition(record, spec)
    for name in {field.name for field in fields(Shape)} - DESCRIPTIVE:
        impossible = replace(QualityLimits(), **{name: (1e9, 1e9)})
        quality = assess(record, conditioned, spec, impossible)
        assert not quality.usable
        assert quality.failed_checks == (name,)
