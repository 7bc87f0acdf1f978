"""A session folder: what is written is what is read, and a killed one loses nothing but half a line."""

import json
import signal
import subprocess
import sys
from functools import reduce

import fastjsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import session
from lsemvae_edge.benchmarks.target.session import Case, Sample, Session, Skipped
from lsemvae_edge.errors import BadInputError, UsageError

HOST = {"cpu": "a processor", "cores": {"logical": 2}, "emulator": None}
NAMES = st.text(min_size=1, max_size=6)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
# Six digits are kept, so six are given.
VALUES = st.lists(st.floats(-1e9, 1e9).map(lambda value: float(f"{value:.6g}")), min_size=1, max_size=8)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("sample"), NAMES, NAMES, st.integers(0, 3), VALUES),
        st.tuples(st.just("fact"), NAMES, NAMES, PLAIN),
        st.tuples(st.just("skip"), NAMES, NAMES, NAMES),
    ),
    max_size=12,
)


def written(folder, acts):
    """Do the acts in a session; return what it must then hold, put together without the session's code."""
    cases, samples, facts, skipped = {}, [], {}, []
    with Session(folder, HOST, [bundles.default()], seed=3) as one:
        for kind, part, name, *rest in acts:
            if kind == "sample":
                cases.setdefault((part, name), Case(part, name, {"threads": 1}))
                one.case(part, name, threads=1)
                one.sample(part, name, "inference_ms", *rest)
                samples.append(Sample(part, name, "inference_ms", rest[0], tuple(rest[1])))
            elif kind == "fact":
                one.fact(part, name, *rest)
                facts.setdefault(part, {})[name] = rest[0]
            else:
                one.skip(part, name, *rest)
                skipped.append(Skipped(part, name, *rest))
    return list(cases.values()), samples, facts, skipped


@given(ACTS)
def test_what_is_read_is_what_was_written(tmp_path_factory, acts):
    folder = tmp_path_factory.mktemp("session")
    cases, samples, facts, skipped = written(folder, acts)
    recorded = session.read(folder)
    assert recorded.host == HOST
    assert (recorded.cases, recorded.samples, recorded.facts, recorded.skipped) == (cases, samples, facts, skipped)
    assert (recorded.ended, recorded.cut) == ("done", False)
    assert recorded.about["bundles"][0]["sha256"] == bundles.default().sha256
    assert session.read_summary(folder) == session.summarize(recorded)


@given(st.lists(st.tuples(st.integers(0, 4), VALUES), min_size=1, max_size=6))
def test_statistics_are_those_of_numpy_over_all_values_and_over_repeats(given_samples):
    samples = [Sample("p", "c", "x_ms", repeat, tuple(values)) for repeat, values in given_samples]
    found = session.statistics(samples)
    everything = np.concatenate([values for _, values in given_samples])
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("min", 0.0), ("max", 1.0)):
        assert found[name] == pytest.approx(np.quantile(everything, q))
    assert found["n"] == len(everything)
    repeats = sorted({repeat for repeat, _ in given_samples})
    medians = [np.median(np.concatenate([v for r, v in given_samples if r == repeat])) for repeat in repeats]
    assert found["repeats"] == len(repeats)
    if len(repeats) == 1 or np.median(medians) == 0:
        assert found["spread"] is None
    else:
        assert found["spread"] == pytest.approx(np.ptp(medians) / np.median(medians))


def test_a_value_is_kept_to_six_digits(tmp_path):
    with Session(tmp_path / "s", HOST, [], seed=0) as one:
        one.case("latency", "x")
        one.sample("latency", "x", "inference_ms", 0, [1.23456789, 123456.789, 0.000123456789])
    assert session.read(tmp_path / "s").samples[0].values == (1.23457, 123457.0, 0.000123457)


def test_order_statistics_stand_in_order(tmp_path):
    with Session(tmp_path / "s", HOST, [], seed=0) as one:
        one.case("latency", "x")
        for repeat, values in enumerate(np.random.default_rng(1).gamma(2, 3, (5, 40))):
            one.sample("latency", "x", "inference_ms", repeat, values)
    found = session.read_summary(tmp_path / "s")["parts"]["latency"]["cases"][0]["metrics"]["inference_ms"]
    ordered = [found[name] for name in ("min", "p50", "p90", "p99", "max")]
    assert ordered == sorted(ordered)
    assert len(set(ordered)) == 5


def test_a_folder_cut_at_any_byte_is_read_up_to_its_last_whole_line(tmp_path):
    written(tmp_path / "whole", [("sample", "p", "c", 0, [1.5, 2.5]), ("skip", "p", "q", "r"), ("fact", "p", "f", "µ")])
    content = (tmp_path / "whole" / session.SAMPLES).read_bytes()
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / session.HOST).write_bytes((tmp_path / "whole" / session.HOST).read_bytes())
    lines = content.splitlines(keepends=True)
    ends = list(np.cumsum([len(line) for line in lines]))
    for length in range(len(content) + 1):
        (cut / session.SAMPLES).write_bytes(content[:length])
        n_whole = sum(end <= length for end in ends)
        if n_whole == 0:
            with pytest.raises(BadInputError, match="ended before anything was kept"):
                session.read(cut)
            continue
        recorded = session.read(cut)
        kept = [json.loads(line)["kind"] for line in lines[:n_whole]]
        counts = {"case": len(recorded.cases), "sample": len(recorded.samples), "skipped": len(recorded.skipped)}
        assert counts == {kind: kept.count(kind) for kind in counts}
        assert recorded.cut == (length not in ends)
        assert recorded.ended == ("done" if n_whole == len(lines) else None)
        assert session.write_summary(cut)["cut"] == recorded.cut
        session.read_summary(cut)


KILLED = """
import sys, time
from pathlib import Path
from lsemvae_edge.benchmarks.target.session import Session
one = Session(Path(sys.argv[1]), {}, [], seed=0)
one.case("latency", "x")
for number in range(1000000):
    one.sample("latency", "x", "inference_ms", number, [float(number)] * 50)
    if number == 200:
        print("far enough", flush=True)
"""


def test_a_killed_session_keeps_every_sample_that_was_said_to_be_kept(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "far enough\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    recorded = session.read(tmp_path / "s")
    numbers = [sample.repeat for sample in recorded.samples]
    assert len(numbers) > 200
    assert numbers == list(range(len(numbers)))
    assert recorded.ended is None


def test_an_error_ends_a_session_and_its_summary_says_which(tmp_path):
    one = Session(tmp_path / "s", HOST, [], seed=0)
    one.case("latency", "x")
    one.sample("latency", "x", "inference_ms", 0, 1.0)

    def interrupted():
        with one:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    summary = session.read_summary(tmp_path / "s")
    assert summary["ended"] == "KeyboardInterrupt"
    assert summary["parts"]["latency"]["cases"][0]["metrics"]["inference_ms"]["n"] == 1
    assert "ended by KeyboardInterrupt" in (tmp_path / "s" / session.LOG).read_text()


def test_what_is_said_is_logged_with_its_time_and_told(tmp_path):
    told = []
    with Session(tmp_path / "s", HOST, [], 0, told.append) as one:
        one.say("warming up")
        one.skip("energy", "INA219", "none is connected")
    assert told == ["warming up", "energy: INA219 skipped: none is connected"]
    for line, text in zip((tmp_path / "s" / session.LOG).read_text().splitlines(), told, strict=True):
        assert line.split(" ", 1)[1] == text


DAMAGE = {
    "no beginning": lambda lines: lines[1:],
    "two beginnings": lambda lines: [lines[0], lines[0], *lines[1:]],
    "unknown kind": lambda lines: [*lines, b'{"kind": "rumour"}\n'],
    "a list": lambda lines: [*lines, b"[1, 2]\n"],
    "NaN": lambda lines: [*lines[:2], lines[2].replace(b"1.5", b"NaN"), *lines[3:]],
    "no values": lambda lines: [*lines[:2], lines[2].replace(b"[1.5]", b"[]"), *lines[3:]],
    "text": lambda lines: [*lines[:2], lines[2].replace(b"1.5", b'"1.5"'), *lines[3:]],
    "no repeat": lambda lines: [*lines[:2], lines[2].replace(b'"repeat"', b'"time"'), *lines[3:]],
    "undescribed": lambda lines: [lines[0], *lines[2:]],
    "another schema": lambda lines: [lines[0].replace(b"session/1", b"session/9"), *lines[1:]],
    "bytes": lambda lines: [lines[0], b"\xff\xfe\n", *lines[1:]],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused(tmp_path, damage):
    written(tmp_path / "s", [("sample", "p", "c", 0, [1.5])])
    samples = tmp_path / "s" / session.SAMPLES
    session.read(tmp_path / "s")
    samples.write_bytes(b"".join(damage(samples.read_bytes().splitlines(keepends=True))))
    with pytest.raises(BadInputError, match="no session"):
        session.read(tmp_path / "s")


@pytest.mark.parametrize("name", [session.HOST, session.SAMPLES])
def test_a_folder_without_one_of_its_files_is_no_session(tmp_path, name):
    written(tmp_path / "s", [])
    (tmp_path / "s" / name).unlink()
    with pytest.raises(BadInputError, match="no session"):
        session.read(tmp_path / "s")


def test_facts_of_the_host_are_an_object(tmp_path):
    written(tmp_path / "s", [])
    (tmp_path / "s" / session.HOST).write_text("[1, 2]\n")
    with pytest.raises(BadInputError, match="no session"):
        session.read(tmp_path / "s")


@pytest.mark.parametrize("place", ["parts", "ended", "host", "bundles"])
def test_a_summary_that_does_not_fit_its_schema_is_refused(tmp_path, place):
    written(tmp_path / "s", [("sample", "p", "c", 0, [1.5])])
    path = tmp_path / "s" / session.SUMMARY
    summary = json.loads(path.read_text())
    del summary[place]
    path.write_text(json.dumps(summary))
    with pytest.raises(BadInputError, match="no summary"):
        session.read_summary(tmp_path / "s")


def test_every_object_of_the_schema_is_closed_or_free_on_purpose():
    schema = json.loads(session.SCHEMA_FILE.read_text())
    fastjsonschema.compile(schema)
    free = []

    def walk(node, path):
        if isinstance(node, dict):
            if node.get("type") == "object" and "additionalProperties" not in node:
                free.append(path)
            reduce(lambda _, key: walk(node[key], f"{path}/{key}"), node, None)

    walk(schema, "")
    assert {path.split("/")[-1] for path in free} == {"host", "facts", "machine"}


def test_a_session_is_never_added_to(tmp_path):
    written(tmp_path / "s", [])
    with pytest.raises(UsageError, match="not an empty folder"):
        Session(tmp_path / "s", HOST, [], seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not an empty folder"):
        Session(tmp_path / "file", HOST, [], seed=0)


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_a_sample_has_values_that_are_numbers(tmp_path, values):
    with Session(tmp_path / "s", HOST, [], seed=0) as one:
        one.case("latency", "x")
        with pytest.raises(ValueError, match="no values, or one that is no number"):
            one.sample("latency", "x", "inference_ms", 0, values)


def test_a_case_is_described_before_its_samples_and_once_in_one_way(tmp_path):
    with Session(tmp_path / "s", HOST, [], seed=0) as one:
        with pytest.raises(ValueError, match="describe it first"):
            one.sample("latency", "x", "inference_ms", 0, 1.0)
        one.case("latency", "x", threads=1)
        one.case("latency", "x", threads=1)
        one.case("memory", "x", threads=2)
        with pytest.raises(ValueError, match="two cases"):
            one.case("latency", "x", threads=2)
    assert [(case.part, case.facts) for case in session.read(tmp_path / "s").cases] == [
        ("latency", {"threads": 1}),
        ("memory", {"threads": 2}),
    ]
