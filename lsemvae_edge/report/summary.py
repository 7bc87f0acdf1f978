"""A result in four lines, for a terminal."""

from lsemvae_edge.report.words import ORIGIN_WARNINGS, heart_rate, one_line, quality
from lsemvae_edge.result import ScreeningResult

_BOLD, _WHITE_ON_RED, _RESET = "\x1b[1m", "\x1b[1;97;41m", "\x1b[0m"


def terminal(result: ScreeningResult, *, colour: bool = False) -> str:
    """Say a result in four lines, without the probability.

    Parameters
    ----------
    result : ScreeningResult
    colour : bool
        Use ANSI colours; for a terminal only.

    Returns
    -------
    str
        Headline; advice and notes, which say what the model is not; measurements; model.
    """
    wording, record, model = result.wording, result.record, result.model
    headline = one_line(wording.headline)
    warning = ORIGIN_WARNINGS.get(record.origin)
    if colour:
        headline = f"{_BOLD}{headline}{_RESET}"
        warning = warning and f"{_WHITE_ON_RED} {warning} {_RESET}"
    measured = [
        f"Heart rate {heart_rate(result.heart_rate_bpm)}",
        f"recording {quality(result.quality)}",
        _leads("measured", record.leads_measured),
        _leads("derived", record.leads_derived),
        _leads("lost", record.leads_masked),
    ]
    return "\n".join(
        (
            f"{headline}   [{warning}]" if warning else headline,
            " ".join(one_line(text) for text in (wording.advice, *wording.notes) if text.strip()),
            " · ".join(part for part in measured if part),
            f"Model {one_line(model.id)} ({model.sha256[:12]}) · lsemvae-edge {result.software_version}",
        )
    )


def _leads(what: str, names: tuple[str, ...]) -> str:
    return f"{what} {', '.join(names)}" if names else ""
