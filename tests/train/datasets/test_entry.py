"""What all data sets share: the report, folds, tables, opening, the check of a cohort."""

import csv
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.train.datasets import KINDS, Kind, Problems, RecordError, check_cohort, fold_of, kind_of, open_dataset
from lsemvae_edge.train.datasets.entry import MAX_EXAMPLES
from lsemvae_edge.train.datasets.reading import age_years, files, parse_comments, sex
from lsemvae_edge.train.datasets.tables import Lookup, header, ready_columns, rows, targets

cells = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"), max_size=8)


def test_a_report_counts_all_and_keeps_the_first_names():
    problems = Problems()
    assert not problems
    for k in range(1000):
        problems.add(Kind.UNREADABLE, f"r{k}", "cut short" if k == 0 else "")
    problems.add(Kind.DUPLICATE, "r1")
    assert problems.counts == {Kind.UNREADABLE: 1000, Kind.DUPLICATE: 1}
    assert len(problems.examples[Kind.UNREADABLE]) == MAX_EXAMPLES
    assert problems.lines()[0].startswith("unreadable record: 1000 (r0: cut short; r1; ")
    assert problems.lines()[0].endswith("; …)")
    assert problems.lines()[1] == "duplicate id: 1 (r1)"
    assert problems.to_dict()["duplicate id"] == {"count": 1, "examples": ["r1"]}
    problems.clear()
    assert not problems


def test_an_error_keeps_its_kind_on_the_way_from_another_process():
    error = pickle.loads(pickle.dumps(RecordError(Kind.LEAD_COUNT, "Two leads.", "Record again.")))
    assert (kind_of(error), error.message, error.next_step) == (Kind.LEAD_COUNT, "Two leads.", "Record again.")
    assert kind_of(BadInputError("Damaged.")) is Kind.UNREADABLE


def test_folds_of_patients_never_change_and_are_even():
    assert [fold_of(str(k)) for k in range(8)] == [1, 4, 7, 4, 5, 4, 10, 1]
    counts = np.bincount([fold_of(f"p{k}") for k in range(20_000)], minlength=11)
    assert counts[0] == 0
    assert abs(counts[1:] - 2000).max() < 200


def test_only_known_kinds_and_existing_folders_open(tmp_path):
    assert set(KINDS) == {"packed", "ptbxl", "mimic-iv-ecg", "code-15", "cinc", "folder", "synthetic"}
    with pytest.raises(UsageError, match="no data set of kind 'mimic'"):
        open_dataset("mimic", tmp_path)
    with pytest.raises(BadInputError, match="There is no folder"):
        open_dataset("cinc", tmp_path / "absent")
    with pytest.raises(UsageError, match="needs a folder"):
        open_dataset("cinc", None)
    with pytest.raises(UsageError, match="colour") as caught:
        open_dataset("cinc", tmp_path, colour="red")
    assert caught.value.next_step == "Its options are: ptb_xl."


@given(st.lists(st.tuples(cells, cells), max_size=8), st.sampled_from(",;\t"))
def test_a_written_table_comes_back_without_blanks_about_values(tmp_path_factory, pairs, delimiter):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(("one", " two "))
    writer.writerows(pairs)
    path.write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
    assert header(path) == ("one", "two")
    assert list(rows(path, ("one",))) == [{"one": a.strip(), "two": b.strip()} for a, b in pairs]


@pytest.mark.parametrize("content", [b"a,b\n\xff\xfe,1\n", b'a,b\n"' + b"x" * 200_000 + b'",1\n'])
def test_what_is_no_table_is_an_error_of_the_input(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadInputError, match=r"t\.csv is no table"):
        list(rows(tmp_path / "t.csv"))


def test_short_and_long_rows_do_no_harm(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1\n1,2,3\n")
    assert list(rows(tmp_path / "t.csv")) == [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]
    (tmp_path / "t.csv").write_text("")
    assert header(tmp_path / "t.csv") == ()
    assert list(rows(tmp_path / "t.csv")) == []


def test_a_lookup_keeps_the_first_row_and_knows_what_was_never_asked_for():
    with Lookup() as table:
        assert [table.put(key, {"v": key * 2}) for key in "bab"] == [True, True, False]
        assert table.take("b") == {"v": "bb"}
        assert table.take("c") is None
        assert list(table.unused()) == ["a"]
        assert "a" in table
        assert "c" not in table


def test_ready_columns_are_mostly_noughts_and_ones(tmp_path, write_csv):
    table = [
        {"id": "1", "x": "1", "y": "A", "z": "", "w": "1"},
        {"id": "0", "x": "", "y": "0", "z": "n/a", "w": "?"},
        {"id": "1", "x": "True", "y": "B", "z": "", "w": "0.0"},
    ]
    assert ready_columns(write_csv(tmp_path / "t.csv", table), ("id",)) == (("x", "w"), ("y", "z"))
    problems = Problems()
    assert [targets(row, ("x", "w"), row["id"], problems) for row in table] == [{"x": 1, "w": 1}, {}, {"x": 1, "w": 0}]
    assert problems.counts == {Kind.BAD_VALUE: 1}


@given(st.text(max_size=200))
def test_comments_are_read_from_any_text(text):
    for key, value in parse_comments(text).items():
        assert key == key.strip().lower()
        assert value == value.strip()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z ()/]{0,20}[a-z)]", fullmatch=True), st.from_regex(r"[!-~]{0,9}", fullmatch=True)
    )
)
def test_written_comments_come_back(pairs):
    text = "r 1 500 10\nr.dat 16 200 16 0 0 0 0 I: not a comment\n"
    assert parse_comments(text + "".join(f"# {key.upper()}: {value}\n" for key, value in pairs.items())) == pairs


@pytest.mark.parametrize(
    ("text", "years"),
    [("61", 61.0), ("61,5", 61.5), ("300", 90.0), ("NaN", None), ("", None), ("-1", None), ("x", None)],
)
def test_ages(text, years):
    assert age_years(text) == years


@pytest.mark.parametrize(("text", "value"), [("F", "female"), ("Male", "male"), ("Unknown", None), ("NaN", None)])
def test_sexes(text, value):
    assert sex(text) == value


def test_files_come_in_the_same_order_everywhere(tmp_path):
    for name in ("b/2", "b/10", "a", "c/x/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in files(tmp_path)] == ["a", "b/10", "b/2", "c/x/y"]


def test_a_cohort_says_which_tasks_it_can_answer():
    patient = [str(k // 2) for k in range(20)]
    both = np.arange(20) // 2 % 2
    few = np.where(np.arange(20) < 6, 1, 0)
    check = check_cohort(patient, {"both": both, "one": np.ones(20, int), "few": few, "none": np.full(20, -1)}, 5)
    assert check.usable == ("both",)
    assert check.problems.counts == {Kind.ONE_CLASS: 2, Kind.FEW_PATIENTS: 1}
    assert check.problems.examples[Kind.FEW_PATIENTS] == ["few: 3 positive, 7 negative patients for 5 folds"]
    assert check_cohort(patient, {"few": few}, 3).usable == ("few",)
    for nothing in ({"one": np.ones(20, int)}, {"few": few}, {}):
        with pytest.raises(BadInputError, match="No task can be learned or judged"):
            check_cohort(patient, nothing, 5)
