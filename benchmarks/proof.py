"""Result files of long proofs: what was measured, when, where and of which commit."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write(path: Path, what: str, figures: Mapping[str, Any]) -> None:
    """Write a result file.

    Parameters
    ----------
    path : Path
        Its folder is made if need be.
    what : str
        Name of the proof.
    figures : mapping
        Plain JSON values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"proof": what, **provenance(), **figures}, indent=1) + "\n")


def provenance() -> dict[str, Any]:
    """Return date, commit and machine; the commit is None outside a checkout, and says so when files were changed."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
