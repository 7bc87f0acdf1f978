"""The model card that travels in a bundle."""

from typing import Any

from lsemvae_edge.spec import ModelSpec


def card(
    spec: ModelSpec,
    measured: dict[str, Any],
    provenance: dict[str, Any],
    sizes: dict[str, int],
    *,
    licence: str,
    attribution: str,
) -> str:
    """Write the card of a bundle in Markdown from what was measured while it was built.

    Parameters
    ----------
    spec : ModelSpec
    measured : dict
        Of `lsemvae_edge.quantize.build.validation_metrics`, by form of the model.
    provenance : dict
    sizes : dict of str to int
        Bytes of each model file, by name.
    licence, attribution : str
    """
    use = spec.intended_use
    lines = [
        f"# {spec.id}",
        "",
        f"Research software, not a medical device. Trained on a public stand-in label: {use.stand_in}.",
        "",
        "## Use",
        "",
        f"Screening of adults from {use.min_age_years:g} years without a pacemaker, from the average beat of "
        f"{spec.preprocess.window_s:.1f} s of six limb leads ({', '.join(spec.leads)}), by people who refer whoever is "
        f"found. A heart rate outside {use.min_heart_rate_bpm:g}-{use.max_heart_rate_bpm:g}/min is never answered with "
        "the negative class. The model may always give no answer. It is not for diagnosis, not for monitoring, not for "
        "children, and *not seen* never rules out disease.",
        "",
        "## Data",
        "",
        f"{attribution}.",
        "",
    ]
    lines += [
        f"- {part['what']}: {part['records']} recordings of {part['patients']} patients, positives {part['positives']}"
        for part in (provenance["data"]["training"], provenance["data"]["validation"])
    ]
    lines += ["", "## Fold 9 (thresholds were chosen on it, so these figures flatter)", ""]
    lines += [
        "AUROC and average precision with 95 % intervals over patients; below ten of either class, counts alone.",
        "",
        "| model | task | recordings | n | positive | AUROC | average precision |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, tasks in measured.items():
        for task, groups in tasks.items():
            for group, values in groups.items():
                cells = [_interval(values[name]) for name in ("auroc", "average_precision")]
                counts = f"{values['n']} | {values['positive']}"
                lines.append(f"| {model} | {task} | {group} | {counts} | {' | '.join(cells)} |")
    primary = spec.primary
    lines += [
        "",
        "## Thresholds",
        "",
        f"No answer between probabilities {primary.lower:.4f} and {primary.upper:.4f} of the primary task. Chosen on "
        "fold 9 by risk control (Learn then Test): the manifest states the two risks and the confidence, which hold "
        "for exchangeable recordings only. Another hospital is not exchangeable with PTB-XL: fit the thresholds "
        "there with `lsemvae-edge train recalibrate`.",
        "",
        "## Limits",
        "",
        "Most positives are incomplete right bundle branch block, which is written mostly in V1, a lead this model "
        "does not see: among the statements that make the label it is the one found worst. Readers of other hospitals "
        "label otherwise, and there the figures fall. No figure here is about pulmonary hypertension.",
        "",
        "## Cost of making it",
        "",
        f"{provenance['processor_seconds'] / 3600:.2f} processor hours on two cores of x86-64, no accelerator, "
        "teachers included; power was not measured. At 15 W a core that is "
        f"{15 * provenance['processor_seconds'] / 3.6e6:.3f} kWh, about "
        f"{0.475 * 15 * provenance['processor_seconds'] / 3.6e6:.3f} kg of CO2 at 475 g/kWh (world average of 2018, "
        "IEA). Model files: " + ", ".join(f"{name} {n_bytes / 1000:.0f} KB" for name, n_bytes in sizes.items()) + ".",
        "",
        "## Licence",
        "",
        f"{licence}.",
        "",
    ]
    return "\n".join(lines)


def _interval(value: dict[str, float] | None) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})" if value else "too few"
