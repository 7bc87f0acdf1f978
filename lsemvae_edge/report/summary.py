"""A result in four lines, for a terminal."""

from lsemvae_edge.language import Language, get
from lsemvae_edge.report.words import ORIGIN_WARNINGS, heart_rate, one_line, quality
from lsemvae_edge.result import ScreeningResult

_BOLD, _WHITE_ON_RED, _RESET = "\x1b[1m", "\x1b[1;97;41m", "\x1b[0m"


def terminal(result: ScreeningResult, *, colour: bool = False, language: Language | None = None) -> str:
    """Say a result in four lines, without the probability.

    Parameters
    ----------
    result : ScreeningResult
    colour : bool
        Use ANSI colours; for a terminal only.
    language : Language, optional
        English by default. Beside a translation that no speaker has reviewed stands the English.

    Returns
    -------
    str
        Headline; advice and notes, which say what the model is not; measurements; model.
    """
    language = language or get("en")
    wording, record, model = result.wording, result.record, result.model
    headline = _both(one_line(wording.headline), language)
    warning = ORIGIN_WARNINGS.get(record.origin)
    if warning:
        warning = language(warning)
    if colour:
        headline = f"{_BOLD}{headline}{_RESET}"
        warning = warning and f"{_WHITE_ON_RED} {warning} {_RESET}"
    advice = _both(one_line(wording.advice), language)
    notes = [language.sentence(one_line(note)) for note in wording.notes]
    measured = [
        language("Heart rate {rate}", rate=heart_rate(result.heart_rate_bpm, language)),
        language("recording {quality}", quality=quality(result.quality, language)),
        language("measured {leads}", leads=", ".join(record.leads_measured)) if record.leads_measured else "",
        language("derived {leads}", leads=", ".join(record.leads_derived)) if record.leads_derived else "",
        language("lost {leads}", leads=", ".join(record.leads_masked)) if record.leads_masked else "",
    ]
    return "\n".join(
        (
            f"{headline}   [{warning}]" if warning else headline,
            " ".join(text for text in (advice, *notes) if text),
            " · ".join(part for part in measured if part),
            language(
                "Model {model} ({sha256}) · lsemvae-edge {version}",
                model=one_line(model.id),
                sha256=model.sha256[:12],
                version=result.software_version,
            ),
        )
    )


def _both(text: str, language: Language) -> str:
    """Translate a sentence; say the English after it where no speaker has reviewed the translation."""
    translated = language.sentence(text)
    return translated if language.is_reviewed or not text else f"{translated} / {text}"
