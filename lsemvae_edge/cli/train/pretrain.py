"""``train pretrain``: from shards to the weights of a full-precision model."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    pretrain = parts.add_parser("pretrain", help="pre-train a model on prepared shards; again to resume")
    pretrain.add_argument(
        "--shards", type=Path, required=True, action="append", metavar="DIR", help="prepared data; may be repeated"
    )
    pretrain.add_argument("--model", default="reference", help="a preset, or a JSON file (default %(default)s)")
    pretrain.add_argument("--config", type=Path, help="JSON file with pre-training options (default: the published)")
    pretrain.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one option over the file's; may be repeated"
    )
    pretrain.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder, new or to be continued")
    add_json(pretrain)
    pretrain.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Begin or continue a run."""
    try:
        from pydantic import ValidationError

        from lsemvae_edge.train.config import PRESETS, ModelConfig
        from lsemvae_edge.train.config_pretrain import PretrainConfig
        from lsemvae_edge.train.pretrain import is_main_process, pretrain
        from lsemvae_edge.train.shards import open_shards
    except ImportError as error:
        raise MissingExtraError("train pretrain", "train") from error
    try:
        model = PRESETS.get(options.model) or ModelConfig(**_read(Path(options.model)))
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise UsageError(
            f"{options.model} is neither a preset nor a model configuration: {error}",
            f"Presets are {', '.join(PRESETS)}.",
        ) from error
    try:
        config = PretrainConfig(**{**(_read(options.config) if options.config else {}), **_pairs(options.set)})
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise UsageError(
            f"This is not a pre-training configuration: {error}", "See docs/distributed.md for the options."
        ) from error
    result = pretrain(open_shards(options.shards), model, config, options.out, say=say)
    if not is_main_process():
        return int(ExitCode.DONE)
    if options.json:
        print_json({"run": str(options.out), **asdict(result)})
    else:
        minutes, rate = result.seconds / 60, result.records_per_s
        print(f"{options.out}: {result.epochs} epochs in {minutes:.1f} min, {rate:.0f} records/s,")
        print(f"best epoch {result.best_epoch}, stopped by {result.stopped}")
    return int(ExitCode.DONE)


def _read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    if not isinstance(value, dict):
        raise TypeError(f"{path} holds no JSON object")
    return value


def _pairs(texts: list[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE``; a value is JSON, or else plain text."""
    pairs: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--set {text} is not KEY=VALUE.", "Write --set epochs=20, for example.")
        try:
            pairs[key] = json.loads(value)
        except ValueError:
            pairs[key] = value
    return pairs
