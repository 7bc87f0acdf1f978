"""Boards are described with a source for each figure, and a host is recognised by what it calls itself."""

import argparse
import json
import tomllib

import pytest

from lsemvae_edge.benchmarks.target import boards
from lsemvae_edge.cli.bench import boards as command


def test_every_board_and_figure_has_a_source_and_every_source_is_used():
    told = tomllib.loads(boards.FILE.read_text())
    used = {name for board in told["board"] for name in board["from"]}
    used |= {figure["source"] for board in told["board"] for figure in board["published"]}
    assert used == set(told["sources"])
    for board in boards.boards():
        assert board.sources
        assert board.published
        for source in (*board.sources, *(figure.source for figure in board.published)):
            assert source.url.startswith("https://")
            assert source.title


def test_the_three_boards_are_there_and_the_small_one_tells_what_linux_has():
    names = [board.name for board in boards.boards()]
    assert names == ["Raspberry Pi 5", "Raspberry Pi 4", "Raspberry Pi Zero 2 W"]
    assert [board.linux_memory_mb and round(board.linux_memory_mb, 1) for board in boards.boards()] == [
        None,
        None,
        436.3,
    ]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5"),
        ("Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi 4"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "Raspberry Pi Zero 2 W"),
        ("Raspberry Pi Zero W Rev 1.1", None),
        ("Raspberry Pi 500 Rev 1.0", None),
        ("Raspberry Pi 400 Rev 1.0", None),
        ("Raspberry Pi Compute Module 4 Rev 1.0", None),
        ("QEMU Standard PC", None),
        (None, None),
    ],
)
def test_a_host_is_recognised_by_its_own_name(model, name):
    found = boards.of_host({"board": model})
    assert (found and found.name) == name


def test_each_published_figure_stands_beside_its_source():
    for board in boards.boards():
        text = boards.markdown(board)
        for figure in board.published:
            assert (
                f"| {figure.what} | {figure.ms:g} | {figure.with_} | [{figure.source.title}]({figure.source.url}) |"
                in text
            )


def test_the_command_prints_them_and_says_that_nothing_was_measured(capsys):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["boards"])
    assert options.run(options) == 0
    said = capsys.readouterr().out
    assert all(f"### {board.name}" in said for board in boards.boards())
    assert "Nothing above was measured here." in said
    options = parser.parse_args(["boards", "--json"])
    assert options.run(options) == 0
    assert [board["name"] for board in json.loads(capsys.readouterr().out)["boards"]] == [
        board.name for board in boards.boards()
    ]
