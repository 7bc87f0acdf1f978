"""A result written as JSON is the same result when it is read."""

import json
from dataclasses import replace

import pytest

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.result import (
    LeadResult,
    ModelInfo,
    QualityResult,
    RecordInfo,
    ScreeningResult,
    TaskResult,
    Wording,
    result_from_dict,
)


def made() -> ScreeningResult:
    return ScreeningResult(
        outcome="present",
        tasks={"a": TaskResult("present", 0.75, None, {"I": 0.5}), "b": TaskResult("inconclusive", None, "reason")},
        quality=QualityResult(False, "Record again.", None, 8.0, ("mains",), 0.01, {"I": LeadResult(False, ("off",))}),
        heart_rate_bpm=None,
        record=RecordInfo(None, "ab" * 32, "live", None, None, None, 12.0, 500.0, ("I", "II"), (), ("V1",), "relative"),
        model=ModelInfo("small", "cd" * 32, None, None, "pinned"),
        wording=Wording("Pattern seen", "Refer.", ("One.", "Two.")),
        timing_ms={"total": 3},
        software_version="1.2",
    )


@pytest.mark.parametrize("through", [lambda value: value, lambda value: json.loads(json.dumps(value))])
def test_every_field_comes_back(through):
    assert result_from_dict(through(made().to_dict())) == made()
    other = replace(made(), heart_rate_bpm=60.5, tasks={})
    assert result_from_dict(through(other.to_dict())) == other


def test_fields_of_other_versions_do_no_harm():
    value = made().to_dict()
    del value["tasks"]["a"]["lead_contributions"], value["model"]["trust"]
    value["tasks"]["b"]["invented_later"] = 1
    found = result_from_dict(value)
    assert found.tasks["a"].lead_contributions is None
    assert found.model.trust is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("outcome"),
        lambda value: value.update(outcome=3),
        lambda value: value.update(tasks=[]),
        lambda value: value["tasks"].update(a=None),
        lambda value: value["tasks"]["a"].update(probability="high"),
        lambda value: value["quality"].update(usable=1),
        lambda value: value["quality"].update(flags="mains"),
        lambda value: value["wording"].update(notes=[3]),
        lambda value: value.update(schema="lsemvae-edge/screening-result/2"),
        lambda value: value.clear(),
    ],
)
def test_what_is_no_result_is_refused(change):
    value = json.loads(json.dumps(made().to_dict()))
    change(value)
    with pytest.raises(BadInputError):
        result_from_dict(value)
    with pytest.raises(BadInputError):
        result_from_dict([])
