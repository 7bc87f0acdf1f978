"""Simulated cohorts: known truth, each recording from the seed and its number alone."""

import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.errors import UsageError
from lsemvae_edge.leads import STANDARD_12, consistency_residual
from lsemvae_edge.train.datasets import open_dataset
from lsemvae_edge.train.datasets.synthetic import CONDUCTION, FAULTS, draw_person


def test_a_recording_does_not_depend_on_the_others():
    few = list(open_dataset("synthetic", None, n_patients=2, records_per_patient="2", seed=5, noise="white,muscle"))
    many = open_dataset("synthetic", None, n_patients=800_000, records_per_patient=2, seed=5, noise="white,muscle")
    assert len(many) == 1_600_000
    for one, other in zip(few, itertools.islice(many, 4), strict=True):
        assert (one.record_id, one.targets, one.fold) == (other.record_id, other.targets, other.fold)
        assert one.load().sha256() == pickle.loads(pickle.dumps(other)).load().sha256()
    assert len({entry.load().sha256() for entry in few}) == 4
    other_seed = next(iter(open_dataset("synthetic", None, seed=6)))
    assert other_seed.load().sha256() != few[0].load().sha256()


def test_patients_share_a_fold_and_folds_are_even():
    made = list(open_dataset("synthetic", None, n_patients=50, records_per_patient=3))
    assert len({entry.record_id for entry in made}) == 150
    folds = [{entry.fold for entry in made if entry.patient == patient} for patient in {e.patient for e in made}]
    assert all(len(of_patient) == 1 for of_patient in folds)
    assert np.bincount([entry.fold for entry in made], minlength=11)[1:].tolist() == [15] * 10


def test_the_truth_is_in_the_heart_and_in_the_signal():
    made = list(open_dataset("synthetic", None, n_patients=300, right_share=0.5))
    right = np.array([entry.targets["right_heart_pattern"] for entry in made], dtype=bool)
    assert 120 < right.sum() < 180
    for k, entry in enumerate(made):
        person = draw_person(0, k, 0.5, 0.2)
        assert (person.heart.qrs_axis_deg > 90) == person.right == bool(right[k])
        assert (person.heart.right_ratio > 0) == person.right
        assert ("heart_side" in entry.targets) == (person.right != person.left)
    # Net QRS in lead I is negative under a right axis.
    net = [float(np.mean(entry.load().signal_mv[0] ** 3)) for entry in made[:60]]
    assert np.mean(np.array(net)[right[:60]] < 0) > 0.8
    assert np.mean(np.array(net)[~right[:60]] > 0) > 0.8
    assert {entry.sex for entry in made} == {"female", "male"}
    assert all(18 <= entry.age_years < 90 for entry in made)


def test_conduction_is_disturbed_one_way_a_patient_and_else_nothing_changes():
    share = 0.4
    without = [draw_person(3, k, 0.3, 0.2) for k in range(200)]
    disturbed = [draw_person(3, k, 0.3, 0.2, share) for k in range(200)]
    ways = [[name for name in CONDUCTION if getattr(person.heart, name)] for person in disturbed]
    assert {len(of_one) for of_one in ways} == {0, 1}
    assert {name for of_one in ways for name in of_one} == set(CONDUCTION)
    assert 50 < sum(map(len, ways)) < 110
    for one, other in zip(without, disturbed, strict=True):
        healed = replace(other.heart, **dict.fromkeys(CONDUCTION, 0.0))
        assert replace(other, heart=healed) == one


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_change_electrodes_not_the_rules_between_leads(fault):
    clean, spoilt = (
        next(iter(open_dataset("synthetic", None, faults=faults, fault_share=1))).load() for faults in ("", fault)
    )
    assert spoilt.leads == STANDARD_12
    assert spoilt.gaps.any() == (fault == "contact_loss")
    changed = [
        lead
        for lead, one, other in zip(STANDARD_12, clean.signal_mv, spoilt.signal_mv, strict=True)
        if not np.allclose(one, other, atol=1e-5)
    ]
    assert changed
    if fault == "chest_swap":
        (first, second) = changed
        assert int(second[1]) - int(first[1]) == 1
    elif fault not in ("contact_loss", "lead_off"):
        assert not any(lead.startswith("V") for lead in changed)
    assert consistency_residual(spoilt.limb()) < 1e-4


def test_length_and_rate_are_options():
    record = next(iter(open_dataset("synthetic", None, duration_s="12.5", fs_hz="250"))).load()
    assert (record.n_samples, record.fs_hz, record.origin) == (3125, 250.0, "simulated")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_patients": 0}, "n_patients: .* greater than or equal to 1"),
        ({"noise": "loud"}, "unknown loud; there are white"),
        ({"faults": "arms,legs"}, "unknown legs"),
        ({"right_share": 1.5}, "right_share"),
        ({"snr_low_db": 40}, "snr_low_db is above"),
        ({"patients": 3}, "patients: Unexpected"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_dataset("synthetic", None, **options)
    assert "n_patients, records_per_patient" in caught.value.next_step
