"""The judge of the proofs by killing: what must not be is found."""

import pytest

from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.store_work import Judge, Work, journal_of, opened
from lsemvae_edge.store import database


@pytest.fixture(scope="module")
def result():
    return specimens.result()


@pytest.fixture
def work(result):
    return Work(3, specimens.walk, lambda _: result)


@pytest.fixture
def told(tmp_path, work):
    """Lines of a store in which three screenings were stored, and those said while they were."""
    live: list[str] = []
    with opened(tmp_path) as store:
        work.tell(store, 0, live.append)
        for number in (3, 4, 5):
            work.screen(store, number, live.append)
    after: list[str] = []
    with opened(tmp_path) as store:
        work.tell(store, 0, after.append)
    return live[live.index("OPEN") + 1 :], after[: after.index("OPEN")]


def judged(live, after):
    judge = Judge()
    for line in live:
        judge.hear(line)
    judge.compare(after)
    return judge


def test_what_was_shown_and_is_there_passes(told):
    live, after = told
    judge = judged(live, after)
    assert judge.findings == []
    assert judge.saved == sum(line.startswith("SAVED") for line in live) >= 5
    assert judge.unshown == sum(line.startswith("ENTRY") for line in after) - judge.saved


def test_an_entry_that_is_gone_is_found(told):
    live, after = told
    last = [line for line in after if line.startswith("ENTRY")][-1]
    assert "is gone" in judged(live, [line for line in after if line != last]).findings[0]


def test_an_entry_that_is_another_is_found(told):
    live, after = told
    last = [line for line in after if line.startswith("ENTRY")][-1]
    other = last.replace(last.split()[2], "0" * 64)
    assert "is another" in judged(live, [other if line == last else line for line in after]).findings[0]


def test_half_an_entry_a_broken_chain_and_a_wrong_journal_are_found(told):
    live, after = told
    attempt = next(line for line in after if " attempt " in line)
    worse = [f"{line[:-1]}0" if line == attempt else line for line in after]
    worse = ["VERDICT 0 5" if line.startswith("VERDICT") else line for line in worse]
    found = judged(live, [*worse, "JOURNAL 9 10 0", "FINDING something"]).findings
    assert len(found) == 4


def test_a_journal_that_was_safe_must_be_read_back():
    judge = Judge()
    judge.hear("SYNCED 7 5000")
    judge.compare(["VERDICT 1 0", "JOURNAL 7 6000 1"])
    assert judge.findings == []
    judge.hear("SYNCED 8 5000")
    judge.compare(["VERDICT 1 0", "JOURNAL 8 4000 1"])
    assert "5000 bytes were safe" in judge.findings[0]


def test_a_journal_whose_attempt_was_stored_unseen_is_not_missed():
    judge = Judge()
    judge.hear("SYNCED 7 5000")
    judge.compare(["VERDICT 1 1", f"ENTRY 1 {'0' * 64} attempt 1"])
    assert judge.findings == []
    assert judge.unshown == 1


def test_a_changed_record_is_told_as_not_whole(tmp_path, work, result):
    other = Work(4, specimens.walk, lambda _: result)
    with opened(tmp_path) as store:
        other.screen(store, 1, lambda _: None)
        lines: list[str] = []
        work.tell(store, 0, lines.append)
    assert next(line for line in lines if " attempt " in line).endswith(" 0")


def test_an_unfinished_journal_is_told_and_settled(tmp_path, work):
    content = journal_of(specimens.walk(3, 9))
    with opened(tmp_path) as store:
        store.journal(specimens.visit(3, 9), 1).write(content[:3000])
    for expected in (["JOURNAL 9 3000 1"], []):
        lines: list[str] = []
        with opened(tmp_path) as store:
            work.tell(store, 0, lines.append)
        assert [line for line in lines if line.startswith("JOURNAL")] == expected


@pytest.mark.parametrize("make", [specimens.walk, specimens.heart])
def test_specimens_can_be_made_again_and_differ(make):
    assert make(1, 2).sha256() == make(1, 2).sha256()
    assert len({make(seed, number).sha256() for seed in (1, 2) for number in (1, 2)}) == 4
    assert make(1, 2).origin == "live"


def test_a_commit_waits_for_the_disk():
    assert database.SYNCHRONOUS == "FULL"
