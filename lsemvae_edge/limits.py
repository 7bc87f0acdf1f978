"""Bounds of the quality checks, as data that travels with the model.

Pairs are (lowest, highest) value that passes. The defaults were chosen on folds 1-8 of PTB-XL; what they
cost and catch is in ``docs/signal.md``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class QualityLimits:
    """Bounds of `lsemvae_edge.quality`; sizes of leads are relative to the recording's typical QRS."""

    window_step_s: float = 0.25
    """Distance of the windows that are compared in a longer recording."""
    max_windows_judged: int = 4
    """How many windows are judged in full before the recording is given up."""
    retry_distance_s: float = 1.0
    """A window this close to a refused one is not judged."""

    max_einthoven_residual: float = 0.05
    """Highest contradiction between measured limb leads, as a share of their motion."""
    max_lead_contradiction: float = 0.5
    """Highest contradiction of one measured limb lead, as a share of its own motion (or of a tenth of all leads')."""
    qrs_mv: tuple[float, float] = (0.05, 15.0)
    """Typical QRS size of a calibrated recording in millivolts; outside it the scale is wrong."""
    rate_bpm: tuple[float, float] = (20.0, 250.0)
    """Heart rates that a heart can have."""

    max_held_s: float = 0.5
    """Longest stretch on one raw value; longer is a flat lead."""
    min_lead_size: float = 0.05
    """Smallest raw size of a lead; smaller is a flat lead."""
    max_rail_s: float = 0.08
    """Longest total time at the highest or lowest raw value; longer is saturation."""
    max_unexplained: float = 0.42
    """Highest motion of a lead between beats; higher means it has no contact."""
    max_jump: float = 0.8
    """Highest slow excursion of a lead; higher is motion."""
    max_hiss: float = 0.07
    """Highest fast noise of a lead between beats; higher is muscle activity."""
    max_wander: float = 4.0
    """Highest baseline wander that the band filter may be asked to remove."""
    notable_wander: float = 1.5
    """Baseline wander that is reported."""
    max_mains: float = 2.0
    """Highest mains amplitude that the band filter may be asked to remove."""
    notable_mains: float = 0.05
    """Mains amplitude that is reported."""

    min_beat_correlation: float = 0.85
    """Correlation from which two QRS complexes are alike."""
    max_rhythm_doubt: float = 0.4
    """Highest envelope peak between beats, over a beat's, at which the rhythm still counts as reliable."""

    n_beats: tuple[int, int] = (3, 28)
    """Whole QRS complexes in the window."""
    alike: tuple[float, float] = (0.4, 1.0)
    """Share of beats that resemble the most typical one."""
    doubt: tuple[float, float] = (0.0, 0.6)
    """Highest envelope peak between beats, over a beat's."""
    quiet: tuple[float, float] = (0.22, 0.96)
    """Share of time at less than a fifth of a QRS's speed."""
    contrast: tuple[float, float] = (0.0, 0.36)
    """Median speed over a QRS's speed."""
    qrs_s: tuple[float, float] = (0.03, 0.16)
    """Time of the average QRS above 30 % of its peak speed, in seconds."""
    residual: tuple[float, float] = (0.0, 0.8)
    """Deviation of QRS complexes from their average, over its size."""
    after: tuple[float, float] = (0.034, 1.2)
    """Size of what follows the average QRS (the T wave), over its size."""
    after_snr: tuple[float, float] = (0.4, 1e6)
    """The same over what chance leaves after averaging."""
    coherence: tuple[float, float] = (2.0, 1e6)
    """Average QRS in lead I or II, whichever is less, over what chance leaves after averaging."""
    roundness: tuple[float, float] = (0.03, 1.0)
    """Second over first axis of the average QRS loop in the frontal plane."""
    rank_one: tuple[float, float] = (0.055, 1.0)
    """Second over first axis of the whole window; lower means leads I and II are copies."""
    alignment: tuple[float, float] = (1.0, 1e6)
    """Common motion of leads I and II at no delay, over that at any other."""
    line: tuple[float, float] = (0.0, 0.52)
    """Share of the power in the strongest spectral line."""
    fast: tuple[float, float] = (0.0015, 0.46)
    """Share of the power above 15 Hz."""
    slow: tuple[float, float] = (0.0, 0.55)
    """Share of the power below 1.5 Hz."""
    peakedness: tuple[float, float] = (3.3, 60.0)
    """99.5th over 50th percentile of the frontal vector's length."""
    asymmetry: tuple[float, float] = (0.08, 3.0)
    """Difference of the average QRS from its mirror images in time."""
