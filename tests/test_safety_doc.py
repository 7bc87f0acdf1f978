"""Every hazard on the safety page names tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "safety.md"
COLUMNS = ["Hazard", "Cause", "Control", "Test"]
NODE = re.compile(r"(?P<file>tests/[\w/]+\.py)::(?P<name>test_\w+)")


def faults_of(page: str) -> list[str]:
    """Say what is wrong with the table of hazards, a sentence for each fault."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    if len(lines) < 3:
        return ["There is no table of hazards."]
    header, rule, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    found = []
    if header != COLUMNS:
        found.append(f"The columns are {header}, not {COLUMNS}.")
    if rule != ["---"] * len(COLUMNS):
        found.append("The header is not followed by its rule.")
    for row in rows:
        if len(row) != len(COLUMNS) or not all(row):
            found.append(f"Not four filled cells: {row}.")
            continue
        hazard, tests = row[0], row[3]
        nodes = re.findall(r"`([^`]*)`", tests)
        if not nodes:
            found.append(f"No test: {hazard}.")
        if re.sub(r"`[^`]*`", "", tests).strip():
            found.append(f"Something beside test ids: {hazard}.")
        found += [f"{hazard}: there is no test {node}." for node in nodes if not exists(node)]
    hazards = [row[0] for row in rows]
    return found + [f"Twice: {hazard}." for hazard in sorted(set(hazards)) if hazards.count(hazard) > 1]


def exists(node: str) -> bool:
    parts = NODE.fullmatch(node)
    return parts is not None and parts["name"] in functions_of(parts["file"])


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    # Top-level functions alone: a node id without a class names no other.
    return frozenset(
        node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    )


def test_every_hazard_names_tests_that_exist():
    assert faults_of(PAGE.read_text(encoding="utf-8")) == []


HEAD = "| Hazard | Cause | Control | Test |\n|---|---|---|---|\n"
KNOWN = "`tests/test_safety_doc.py::test_every_hazard_names_tests_that_exist`"


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("No table at all.", "no table"),
        ("| Hazard | Cause | Test |\n|---|---|---|\n| a | b | c |", "columns"),
        (f"| Hazard | Cause | Control | Test |\n| a | b | c | {KNOWN} |\n| d | b | c | {KNOWN} |", "rule"),
        (HEAD + f"| a | b | {KNOWN} |", "four filled cells"),
        (HEAD + f"| a |  | c | {KNOWN} |", "four filled cells"),
        (HEAD + "| a | b | c | later |", "No test: a"),
        (HEAD + f"| a | b | c | {KNOWN} by hand |", "beside test ids"),
        (HEAD + "| a | b | c | `tests/test_safety_doc.py::test_that_is_not_there` |", "test_that_is_not_there"),
        (HEAD + "| a | b | c | `tests/test_absent.py::test_every_hazard_names_tests_that_exist` |", "test_absent"),
        (HEAD + "| a | b | c | `tests/test_safety_doc.py::exists` |", "::exists"),
        (HEAD + f"| a | b | c | {KNOWN} |\n| a | b | c | {KNOWN} |", "Twice"),
    ],
)
def test_a_broken_page_is_noticed(page, fault):
    assert any(fault in found for found in faults_of(page))


def test_a_whole_page_has_no_fault():
    assert faults_of(HEAD + f"| a | b | c | {KNOWN} {KNOWN} |") == []
