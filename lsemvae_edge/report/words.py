"""Words that stand beside every result, on the terminal and on paper; what a result means is `decision`'s to say."""

from lsemvae_edge.language import Language, mark
from lsemvae_edge.result import QualityResult, RecordInfo

TITLE = mark("Six-lead ECG screening")
RESEARCH_LINE = mark("Research use, not a diagnosis")
REPRINT = mark("REPRINT")
TRANSLATION_LINE = mark("Translated by machine, not yet reviewed by a speaker: the English text counts.")

ORIGIN_WARNINGS = {
    "demo": mark("DEMONSTRATION: simulated signal, not a person's recording"),
    "simulated": mark("SIMULATED SIGNAL: not a person's recording"),
}
"""Warnings for origins that are no person's; every other origin has none."""

_FLAGS = {
    "no_window": mark("no window"),
    "leads_inconsistent": mark("leads inconsistent"),
    "identical_leads": mark("identical leads"),
    "wrong_scale": mark("wrong scale"),
    "not_an_ecg": mark("not an ecg"),
    "rate_implausible": mark("rate implausible"),
    "few_alike_beats": mark("few alike beats"),
    "rhythm_unreliable": mark("rhythm unreliable"),
    "flat": mark("flat"),
    "saturated": mark("saturated"),
    "lead_off": mark("lead off"),
    "motion": mark("motion"),
    "muscle_noise": mark("muscle noise"),
    "wander": mark("wander"),
    "mains": mark("mains"),
    "wander_present": mark("wander present"),
    "mains_present": mark("mains present"),
    "electrode_RA": mark("electrode RA"),
    "electrode_LA": mark("electrode LA"),
    "electrode_LL": mark("electrode LL"),
}


def one_line(text: str) -> str:
    """Make text from a file or a device safe to show: one line, no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def heart_rate(rate_bpm: float | None, language: Language) -> str:
    """Return the heart rate as a phrase."""
    if rate_bpm is None:
        return language("not measured")
    return language("{rate} beats/min", rate=f"{rate_bpm:.0f}")


def quality(result: QualityResult, language: Language) -> str:
    """Return the quality as a phrase, with what is wrong."""
    phrase = language("usable") if result.usable else language("not usable")
    return f"{phrase} ({flags(result.flags, language)})" if result.flags else phrase


def flags(names: tuple[str, ...], language: Language) -> str:
    """Return quality flags as words."""
    return ", ".join(language(_FLAGS[name]) if name in _FLAGS else name.replace("_", " ") for name in names)


def lead_origin(lead: str, record: RecordInfo) -> str:
    """Say, in English, whether a lead was measured, derived from others, or is missing or too poor to show."""
    if lead in record.leads_masked:
        return mark("lost")
    if lead in record.leads_derived:
        return mark("derived")
    return mark("measured") if lead in record.leads_measured else mark("not measured")


def stand_in(label: str | None, language: Language) -> str:
    """Spell out what the model's label stands in for."""
    if label is None:
        return language("none: trained on the label it is named after")
    return language.sentence(one_line(label))
