"""What the conformance kit finds, and the list it goes into."""

from dataclasses import dataclass

MAX_EACH = 20
"""Findings of one rule after which no more are listed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a driver does and must not, or does not and must.

    Parameters
    ----------
    rule : str
        Which part of the contract.
    what : str
        What was seen.
    """

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


class Findings:
    """Findings, each once."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []

    def add(self, rule: str, what: str) -> None:
        """List a finding."""
        finding = Finding(rule, what)
        if finding not in self.listed and sum(other.rule == rule for other in self.listed) < MAX_EACH:
            self.listed.append(finding)

    def expect(self, holds: bool, rule: str, what: str) -> None:
        """List a finding unless something holds."""
        if not holds:
            self.add(rule, what)
