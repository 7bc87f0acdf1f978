"""Turns what the guests wrote into one result file and a table; exit 1 if anything failed or is missing."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def summarise(lines: list[str], scenarios: list[str]) -> dict[str, Any]:
    """Return the result of a run.

    Parameters
    ----------
    lines : list of str
        JSON lines, those of a guest before the one that says how its scenario ended.
    scenarios : list of str
        Those that were asked for; one that never ended has failed.
    """
    result: dict[str, Any] = {
        "schema": "lsemvae-edge/bluez/1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenarios": {name: _scenario(None, {}, [], {}) for name in scenarios},
    }
    guest: dict[str, Any] = {}
    checks: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for row in filter(None, map(_parsed, lines)):
        if "guest" in row:
            guest, checks, facts = row["guest"], [], {}
            result.update({name: guest[name] for name in ("kernel", "version", "bluez")})
        elif "check" in row:
            checks.append(row)
        elif "fact" in row:
            facts.update(row["fact"])
        elif "scenario" in row:
            result["scenarios"][row["scenario"]] = _scenario(row, guest, checks, facts)
        elif "kernel_bug" in row:
            broken = result["scenarios"][row["kernel_bug"]]
            broken.update(passed=False, kernel_bug=True)
    result["passed"] = all(scenario["passed"] for scenario in result["scenarios"].values())
    return result


def table(result: dict[str, Any]) -> str:
    """Return a line for each scenario, and one for each check that failed."""
    lines = [f"Linux {result.get('kernel')} ({result.get('version')}), BlueZ {result.get('bluez')}"]
    for name, scenario in result["scenarios"].items():
        kept = sum(check["ok"] for check in scenario["checks"])
        state = "passed" if scenario["passed"] else "FAILED"
        times = f"{scenario['took_s']} s after {scenario['boot_s']} s of booting" if "took_s" in scenario else "no end"
        bug = ", the guest's kernel broke" if scenario["kernel_bug"] else ""
        lines.append(f"{state} {name}: {kept} of {len(scenario['checks'])} checks, {times}{bug}")
        lines.extend(f"       {json.dumps(check)}" for check in scenario["checks"] if not check["ok"])
    return "\n".join(lines)


def _scenario(
    end: dict[str, Any] | None, guest: dict[str, Any], checks: list[dict[str, Any]], facts: dict[str, Any]
) -> dict[str, Any]:
    times = {"boot_s": guest["boot_s"], "took_s": round(end["at_s"] - guest["boot_s"], 1)} if end else {}
    passed = end is not None and end["ended"] == 0 and bool(checks) and all(check["ok"] for check in checks)
    ended = end["ended"] if end else None
    return {"passed": passed, "ended": ended, "kernel_bug": False, **times, "checks": checks, "facts": facts}


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        # The last line of a guest that died.
        return None
    return row if isinstance(row, dict) else None


if __name__ == "__main__":
    written, path, *asked = sys.argv[1:]
    found = summarise(Path(written).read_text(errors="replace").splitlines(), asked)
    Path(path).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(table(found))
    print(f"Written to {path}")
    sys.exit(0 if found["passed"] else 1)
