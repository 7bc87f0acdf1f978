"""The model card that travels in a bundle."""

from typing import Any

from lsemvae_edge.spec import ModelSpec


def card(spec: ModelSpec, measured: dict[str, Any], provenance: dict[str, Any]) -> str:
    """Write the card of a bundle in Markdown from what was measured while it was built."""
    lines = [
        f"# {spec.id}",
        "",
        f"Research software, not a medical device. Trained on a public stand-in label: {spec.intended_use.stand_in}.",
        "",
        "## Use",
        "",
        f"Six limb leads ({', '.join(spec.leads)}), adults from {spec.intended_use.min_age_years:g} years, "
        "no pacemaker. "
        f"A heart rate outside {spec.intended_use.min_heart_rate_bpm:g}-{spec.intended_use.max_heart_rate_bpm:g}/min "
        "is never answered with the negative class. The model may always give no answer.",
        "",
        "## Data",
        "",
        f"{provenance['attribution']}.",
        "",
    ]
    lines += [
        f"- {part['what']}: {part['records']} recordings of {part['patients']} patients, positives {part['positives']}"
        for part in (provenance["data"]["training"], provenance["data"]["validation"])
    ]
    lines += ["", "## Fold 9 (thresholds were chosen on it, so these figures flatter)", ""]
    lines += ["| model | task | n | positive | AUROC | average precision |", "|---|---|---|---|---|---|"]
    for model, tasks in measured.items():
        for task, values in tasks.items():
            cells = [_interval(values[name]) for name in ("auroc", "average_precision")]
            lines.append(f"| {model} | {task} | {values['n']} | {values['positive']} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Limits",
        "",
        "Most positives are incomplete right bundle branch block, which is written mostly in V1, a lead this model "
        "does not see. No figure here is about pulmonary hypertension.",
        "",
    ]
    return "\n".join(lines)


def _interval(value: dict[str, float] | None) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})" if value else "too few"
