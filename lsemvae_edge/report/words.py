"""Words that stand beside every result, on the terminal and on paper; what a result means is `decision`'s to say."""

from lsemvae_edge.result import QualityResult, RecordInfo

RESEARCH_LINE = "Research use, not a diagnosis"

ORIGIN_WARNINGS = {
    "demo": "DEMONSTRATION: simulated signal, not a person's recording",
    "simulated": "SIMULATED SIGNAL: not a person's recording",
}
"""Warnings for origins that are no person's; every other origin has none."""


def one_line(text: str) -> str:
    """Make text from a file or a device safe to show: one line, no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def heart_rate(rate_bpm: float | None) -> str:
    """Return the heart rate as a phrase."""
    return "not measured" if rate_bpm is None else f"{rate_bpm:.0f} beats/min"


def quality(result: QualityResult) -> str:
    """Return the quality as a phrase, with what is wrong."""
    phrase = "usable" if result.usable else "not usable"
    return f"{phrase} ({flags(result.flags)})" if result.flags else phrase


def flags(names: tuple[str, ...]) -> str:
    """Return quality flags as words."""
    return ", ".join(name.replace("_", " ") for name in names)


def lead_origin(lead: str, record: RecordInfo) -> str:
    """Say whether a lead was measured, derived from others, or is missing or too poor to show."""
    if lead in record.leads_masked:
        return "lost"
    if lead in record.leads_derived:
        return "derived"
    return "measured" if lead in record.leads_measured else "not measured"


def stand_in(label: str | None) -> str:
    """Spell out what the model's label stands in for."""
    return "none: trained on the label it is named after" if label is None else one_line(label)
