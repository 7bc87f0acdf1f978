"""Every reading of fold 10, kept with the bundle or the study it was read for."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsemvae_edge.bundle import Bundle

LEDGER = Path(__file__).parent / "ledger.jsonl"


def append(bundle: Bundle, what: str, figures: list[dict[str, Any]]) -> None:
    """Append one reading: when, of which bundle, and what came out.

    Parameters
    ----------
    bundle : Bundle
    what : str
        ``accuracy`` or ``safety``.
    figures : list of dict
        Plain JSON values.
    """
    _append(
        {
            "what": what,
            "commit": bundle.manifest.provenance.get("commit"),
            "bundle": bundle.spec.id,
            "sha256": bundle.sha256,
            "figures": figures,
        }
    )


def append_study(commit: str | None, figures: list[dict[str, Any]]) -> None:
    """Append one reading by a study of full-precision models, which belong to no bundle.

    A study keeps what its models said; tables written again from that are the same reading, and are not appended.
    """
    entries = LEDGER.read_text().splitlines() if LEDGER.is_file() else []
    if any(entry["what"] == "study" and entry["figures"] == figures for entry in map(json.loads, entries)):
        return
    _append({"what": "study", "commit": commit, "figures": figures})


def _append(entry: dict[str, Any]) -> None:
    dated = {"read_at": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
    with LEDGER.open("a") as stream:
        stream.write(json.dumps(dated) + "\n")
