"""Distil: a student of few leads learns from labels and from cross-fitted teachers that may see the chest leads.

A teacher's opinion of a recording comes from a teacher that did not learn from that patient, so that it carries what
other recordings say about this one, and not its label again.

Cross-fitting: Chernozhukov et al., 10.1111/ectj.12097. What else can be taught stands in `lsemvae_edge.train.lessons`.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lsemvae_edge import metrics, preprocess
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12
from lsemvae_edge.model.student import SIZES, Student, StudentConfig, StudentOutput, channels_last
from lsemvae_edge.train import beat_batches, lessons
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.config_distill import DistillConfig, FitConfig
from lsemvae_edge.train.finetune import LEAD_SETS, follow, positions, weighted_loss
from lsemvae_edge.train.recipes import recipe

FIRST_OF_ENSEMBLE = 1000
"""What is added to the student's seed for the first teacher of its ensemble."""
GUARDS = ("electrode_swap", "not_ecg")
"""Outputs after the tasks: reasons not to answer, learned together with them."""

Progress = Callable[[int, float], None]
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Taught:
    """What teachers say, in logits.

    Parameters
    ----------
    soft : Tensor (n, n_tasks + n_auxiliary)
        Of each training recording, by teachers that did not learn from that patient; NaN where none can see it.
    held_out : dict of str to Tensor (n_held_out, n_tasks + n_auxiliary)
        Of recordings that no teacher learned from, the mean over all teachers of a lead set, by its name; NaN for
        recordings that lack one of the leads.
    """

    soft: Tensor
    held_out: dict[str, Tensor]


def teach(cohort: Cohort, config: DistillConfig, held_out: Cohort | None = None, say: Say | None = None) -> Taught:
    """Cross-fit the teachers.

    Parameters
    ----------
    cohort : Cohort
        Training recordings.
    config : DistillConfig
    held_out : Cohort, optional
        Recordings of other patients, which teachers are asked about as well.
    say : callable, optional
        Told which teacher is done.
    """
    n_tasks, n_outputs = cohort.targets.shape[1], cohort.targets.shape[1] + cohort.auxiliary.shape[1]
    total, weight = torch.zeros(len(cohort), n_outputs), torch.zeros(len(cohort), 1)
    asked: dict[str, list[Tensor]] = {}
    folds = metrics.patient_folds(cohort.patient, cohort.strata, config.folds, seed=1)

    def opinion(model: Student, of: Cohort, leads: str) -> Tensor:
        logits = predict(model, of, leads).logits
        return torch.cat([logits[:, :n_tasks], logits[:, n_tasks + len(GUARDS) :]], dim=1)

    for teacher in config.teachers:
        leads = list(positions(LEAD_SETS[teacher.leads]))
        seen = np.asarray(cohort.present[:, leads].all(axis=1))
        for seed in teacher.seeds:
            for fold in range(config.folds):
                learned = fit(
                    cohort.select(seen & (folds != fold)),
                    teacher.fit.model_copy(update={"seed": seed}),
                    leads=teacher.leads,
                    keep_auxiliary=True,
                )
                rows = np.flatnonzero(seen & (folds == fold))
                total[rows] += teacher.weight * opinion(learned, cohort.select(rows), teacher.leads)
                weight[rows] += teacher.weight
                if held_out is not None:
                    whole = np.flatnonzero(held_out.present[:, leads].all(axis=1))
                    said = torch.full((len(held_out), n_outputs), torch.nan)
                    said[whole] = opinion(learned, held_out.select(whole), teacher.leads)
                    asked.setdefault(teacher.leads, []).append(said)
                if say is not None:
                    say(f"{teacher.leads} teacher, seed {seed}, fold {fold + 1} of {config.folds}")
    soft = torch.where(weight > 0, total / weight.clamp(min=1e-9), torch.nan)
    return Taught(soft, {leads: torch.stack(said).mean(dim=0) for leads, said in asked.items()})


def distill(cohort: Cohort, config: DistillConfig, soft: Tensor | None = None, say: Say | None = None) -> Student:
    """Fit a six-lead student that learns from labels and teachers.

    Parameters
    ----------
    cohort : Cohort
        Training recordings.
    config : DistillConfig
    soft : Tensor, optional
        What `teach` found; by default teachers are fitted here.
    say : callable, optional
    """
    if config.teachers and soft is None:
        soft = teach(cohort, config, say=say).soft

    def progress(epoch: int, loss: float) -> None:
        if say is not None:
            say(f"student, epoch {epoch + 1} of {config.student.epochs}: loss {loss:.4f}")

    ensemble = [
        fit(
            cohort,
            config.student.model_copy(update={"seed": config.student.seed + FIRST_OF_ENSEMBLE + number}),
            keep_auxiliary=True,
        )
        for number in range(config.ensemble)
    ]
    return fit(
        cohort,
        config.student,
        soft=soft,
        ensemble=ensemble,
        hint=hints(cohort, config),
        guide=fit_guide(cohort, config) if config.hint == "experts" else None,
        config_of_soft=config,
        progress=progress,
    )


def fit_guide(cohort: Cohort, config: DistillConfig) -> Student:
    """Fit the twelve-lead teacher that a hint is taken from, on all recordings that it can read."""
    how = next(one.fit for one in config.teachers if one.leads == "12L")
    if config.hint == "experts":
        how = how.model_copy(update={"size": config.student.size})
    return fit(cohort.select(cohort.has_chest_leads), how, leads="12L")


def hints(cohort: Cohort, config: DistillConfig) -> Tensor | None:
    """Return what a student is asked to predict of each recording (n, d), with a spread of 1.

    Rows are NaN where the chest leads that a hint needs are absent. ``experts`` are none of these: they are matched on
    what the student sees.
    """
    if config.hint in ("none", "experts"):
        return None
    seen = cohort.has_chest_leads
    if config.hint == "chest":
        beats = torch.from_numpy(cohort.beats[seen][:, len(LIMB_LEADS) :]).flatten(1)
        known = beats / beats.std()
    elif config.hint == "measured":
        seen = np.ones(len(cohort), dtype=np.bool_)
        fs_hz, centre = _sampling(cohort)
        known = lessons.standardised(torch.from_numpy(lessons.measurements(cohort.beats[:, :2], centre, fs_hz)))
    else:
        guide, asked = fit_guide(cohort, config), cohort.select(seen)
        of = predict(guide, asked, "12L").mu if config.hint == "latent" else pooled_features(guide, asked, "12L")
        known = lessons.standardised(of)
    target = torch.full((len(cohort), known.shape[1]), torch.nan)
    target[torch.from_numpy(seen)] = known
    return target


def fit(
    cohort: Cohort,
    config: FitConfig,
    *,
    leads: str = "6L",
    soft: Tensor | None = None,
    ensemble: Sequence[Student] = (),
    hint: Tensor | None = None,
    guide: Student | None = None,
    config_of_soft: DistillConfig | None = None,
    keep_auxiliary: bool = False,
    progress: Progress | None = None,
    shape: StudentConfig | None = None,
) -> Student:
    """Fit lead experts on average beats and return the moving average of their weights, in evaluation mode.

    Parameters
    ----------
    cohort : Cohort
        Training recordings, all with the leads.
    config : FitConfig
    leads : {"6L", "12L"}
        A student of other than the six limb leads has no guards that would recognise swaps.
    soft : Tensor (n, n_tasks + n_auxiliary), optional
        See `Taught`.
    ensemble : sequence of Student, optional
        Teachers with auxiliary outputs, asked about what the student sees.
    hint : Tensor (n, d), optional
        See `hints`.
    guide : Student, optional
        Teacher whose experts of these leads are matched, its first ones.
    config_of_soft : DistillConfig, optional
        Weights of ``soft``, ``ensemble``, ``hint`` and ``guide``.
    keep_auxiliary : bool
        Keep the outputs for further statements, which otherwise exist only while fitting.
    progress : callable, optional
        Told the epoch and its mean loss.
    shape : StudentConfig, optional
        Layers of the student, in place of the size that ``config`` names.
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    beats, present = torch.from_numpy(cohort.beats), torch.from_numpy(cohort.present)
    fs_hz, _ = _sampling(cohort)
    n_tasks, n_auxiliary = cohort.targets.shape[1], cohort.auxiliary.shape[1]
    n_answers = n_tasks + len(GUARDS)
    model = channels_last(Student(sized(shape or config.size, leads, n_answers + n_auxiliary)))
    guarded = leads == "6L" and config.strange_per_batch > 0
    strange = beat_batches.strange_beats(config.strange_bank, config.seed) if guarded else torch.empty(0)
    targets = torch.cat(
        [
            torch.from_numpy(cohort.targets),
            torch.zeros(len(cohort), len(GUARDS)),
            torch.from_numpy(cohort.auxiliary),
        ],
        dim=1,
    )
    weights = torch.tensor(
        [1.0] * min(n_tasks, 1)
        + [config.secondary_weight] * max(n_tasks - 1, 0)
        + [config.guard_weight * guarded] * len(GUARDS)
        + [config.auxiliary_weight / max(n_auxiliary, 1)] * n_auxiliary
    )
    average = copy.deepcopy(model)
    lesson = None
    if soft is not None and config_of_soft is not None:
        lesson = lessons.softened(soft, config_of_soft, [*range(n_tasks), *range(n_answers, len(weights))], n_tasks)
    guess = None
    if hint is not None and config_of_soft is not None:
        guess = lessons.Guess(model, hint.shape[1], from_features=config_of_soft.hint == "features")
    steps = -(-len(cohort) // config.batch_size)
    learned = [*model.parameters(), *(guess.parameters() if guess is not None else ())]
    optimizer = torch.optim.AdamW(learned, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.15
    )
    for epoch in range(config.epochs):
        model.train()
        losses = []
        for chosen in torch.split(torch.randperm(len(cohort), generator=generator), config.batch_size):
            batch = beat_batches.compose(
                beats[chosen],
                present[chosen],
                strange,
                leads=positions(LEAD_SETS[leads]),
                fs_hz=fs_hz,
                swapped=config.swapped_per_batch if guarded else 0,
                n_strange=config.strange_per_batch if guarded else 0,
                alone=config.alone if leads == "6L" else 0.0,
                generator=generator,
            )
            wanted = _wanted(targets[chosen], batch, n_tasks)
            further = (None if lesson is None else lesson.opinion, hint)
            rows = [None if one is None else one[chosen] for one in further]
            x, mask, wanted, (opinion, hinted) = _mixed(batch, wanted, rows, config.mixup, generator)
            output = model(x, mask)
            loss = weighted_loss(output.logits, wanted, weights) + config.kl_weight * _divergence(output)
            if lesson is not None and opinion is not None:
                loss = loss + lesson.loss(output.logits[: batch.n_real], opinion)
            if ensemble and config_of_soft is not None:
                loss = loss + config_of_soft.ensemble_weight * lessons.mismatch(
                    ensemble, x, mask, output.logits, weights, config_of_soft.temperature
                )
            if guess is not None and hinted is not None and config_of_soft is not None:
                loss = loss + config_of_soft.hint_weight * guess.missed(output, hinted)
            if guide is not None and config_of_soft is not None:
                real = slice(batch.n_real)
                loss = loss + config_of_soft.hint_weight * lessons.apart(output, guide, x[real], mask[real])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            follow(average, model, config.ema_decay)
            losses.append(loss.item())
        if progress is not None:
            progress(epoch, float(np.mean(losses)))
    average.eval()
    return average if keep_auxiliary else average.with_outputs(n_answers)


@torch.inference_mode()
def predict(model: Student, cohort: Cohort, leads: str = "6L", shown: tuple[str, ...] = STANDARD_12) -> StudentOutput:
    """Ask a fitted model about average beats; ``shown`` are the leads that are not masked."""
    model.eval()
    outputs = [model(x, mask) for x, mask in inputs(cohort, leads, shown)]
    return StudentOutput(*(torch.cat(values) for values in zip(*outputs, strict=True)))


def inputs(
    cohort: Cohort, leads: str = "6L", shown: tuple[str, ...] = STANDARD_12, batch_size: int = 256
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield model inputs (batch, n_leads, 1, n_beat) and masks (batch, n_leads) of a cohort's average beats."""
    chosen = list(positions(LEAD_SETS[leads]))
    allowed = np.isin(STANDARD_12, shown)
    for first in range(0, len(cohort), batch_size):
        part = slice(first, first + batch_size)
        mask = torch.from_numpy((cohort.present[part] & allowed)[:, chosen].astype(np.float32))
        yield beat_batches.to_input(torch.from_numpy(cohort.beats[part][:, chosen]), mask), mask


@torch.inference_mode()
def pooled_features(model: Student, cohort: Cohort, leads: str = "6L") -> Tensor:
    """Return what the encoders of a fitted model pool from average beats (n, n_leads * n_channels), lead by lead."""
    model.eval()
    model = copy.deepcopy(model)
    pooled, found = lessons.Pooled(model), []
    for x, mask in inputs(cohort, leads):
        model(x, mask)
        found.append(pooled.latest())
    return torch.cat(found)


def sized(size: str | StudentConfig, leads: str, n_outputs: int) -> StudentConfig:
    """Return the configuration of a size, by name or as it is, for a set of leads, grouped in threes as they stand."""
    n_leads = len(LEAD_SETS[leads])
    groups = tuple(tuple(range(i, min(i + 3, n_leads))) for i in range(0, n_leads, 3))
    shape = SIZES[size] if isinstance(size, str) else size
    return replace(shape, n_leads=n_leads, n_outputs=n_outputs, groups=groups)


def _sampling(cohort: Cohort) -> tuple[float, int]:
    """Return the sampling rate of a cohort's average beats and the sample of the QRS complex's centre."""
    beat = preprocess.default_spec().beat
    share = cohort.beats.shape[2] / recipe("beat").n_samples
    return recipe("beat").fs_hz * share, round(beat.before_samples * share)


def _wanted(targets: Tensor, batch: beat_batches.Batch, n_tasks: int) -> Tensor:
    """Return targets of a whole batch: a swapped copy never keeps its label, only the guards learn from it."""
    width = targets.shape[1]
    swapped = torch.full((batch.n_swapped, width), torch.nan)
    swapped[:, n_tasks], swapped[:, n_tasks + 1] = 1.0, 0.0
    strange = torch.full((len(batch.x) - batch.n_real - batch.n_swapped, width), torch.nan)
    strange[:, n_tasks + 1] = 1.0
    real = targets.clone()
    # With one lead nobody can tell which electrodes were swapped.
    real[batch.mask[: batch.n_real, :6].sum(dim=1) < 2, n_tasks] = torch.nan
    return torch.cat([real, swapped, strange])


def _mixed(
    batch: beat_batches.Batch,
    wanted: Tensor,
    more: Sequence[Tensor | None],
    mixup: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
    """Mix pairs of real recordings that show the same leads; what one of them lacks is lost.

    ``more`` are further targets of the real recordings.
    """
    x, mask = batch.x, batch.mask
    if not mixup:
        return x, mask, wanted, list(more)
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    share = torch.tensor(rng.beta(mixup, mixup, (batch.n_real, 1)), dtype=x.dtype)
    other = torch.randperm(batch.n_real, generator=generator)
    alike = (mask[: batch.n_real] == mask[other]).all(dim=1)
    other = torch.where(alike, other, torch.arange(batch.n_real))

    def mix(values: Tensor) -> Tensor:
        weight = share.reshape(-1, *[1] * (values.dim() - 1))
        return weight * values + (1 - weight) * values[other]

    real = slice(0, batch.n_real)
    x = torch.cat([mix(x[real]), x[batch.n_real :]])
    wanted = torch.cat([mix(wanted[real]), wanted[batch.n_real :]])
    return x, mask, wanted, [None if one is None else mix(one) for one in more]


def _divergence(output: StudentOutput) -> Tensor:
    """Divergence of the fused posterior from N(0, I), mean over the batch."""
    each = output.mu.square() + output.logvar.exp() - 1 - output.logvar
    return 0.5 * each.sum(dim=1).mean()
