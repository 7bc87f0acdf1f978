"""A short form of ``bench store-kills``, and that it finds a store that forgets."""

from lsemvae_edge.benchmarks import store_kills
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode


def test_what_was_shown_as_saved_is_there_after_twelve_kills():
    figures = store_kills.measure(12, 1, lambda _: None)
    assert figures["kills"] == 12 == sum(figures["moments"].values())
    assert figures["saved"] > 0
    assert figures["findings"] == []


def test_a_worker_that_shows_what_it_has_not_stored_is_found(monkeypatch):
    screened = store_kills.Work.screen

    def boasting(self, store, number, say):
        say(f"SAVED 999999 {'0' * 64}")
        screened(self, store, number, say)

    monkeypatch.setattr(store_kills.Work, "screen", boasting)
    monkeypatch.setattr(store_kills, "OPENING", 10**9)
    figures = store_kills.measure(2, 1, lambda _: None)
    assert any("was shown as saved and is gone" in text for text in figures["findings"])


def test_wrong_usage_is_said(capsys):
    assert main(["bench", "store-kills", "--kills", "0"]) == ExitCode.USAGE
    assert main(["bench", "power-cuts", "--kills", "0"]) == ExitCode.USAGE
    assert capsys.readouterr().err
