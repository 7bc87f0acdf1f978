"""The cluster recipes of the docs: as far as they can be checked without a cluster."""

import argparse
import shlex
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training runs in torch; the base install has none")
yaml = pytest.importorskip("yaml", reason="comes with Lightning")

from lsemvae_edge.cli.train import pretrain  # noqa: E402
from lsemvae_edge.train.config import PRESETS  # noqa: E402
from lsemvae_edge.train.config_pretrain import PretrainConfig  # noqa: E402

RECIPES = Path(__file__).parents[3] / "docs" / "recipes"


def parsed(words):
    """Read the words after ``lsemvae-edge`` as the command does; return its options and its configuration."""
    assert words[:2] == ["train", "pretrain"]
    parser = argparse.ArgumentParser(exit_on_error=False)
    pretrain.add(parser.add_subparsers())
    options = parser.parse_args(words[1:])
    assert options.model in PRESETS
    return options, PretrainConfig(**pretrain._pairs(options.set))


def test_the_slurm_script_asks_for_one_task_a_device_and_runs_a_command_that_exists():
    script = RECIPES / "slurm.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text()
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]
    asked = dict(line.split("=") for line in lines if "=" in line)
    words = shlex.split(text.partition("srun ")[2].replace("\\\n", " ").replace("$SLURM_JOB_NUM_NODES", asked["nodes"]))
    _, config = parsed(words[words.index("lsemvae-edge") + 1 :])
    assert int(asked["ntasks-per-node"]) == int(asked["gpus-per-node"]) == config.devices
    assert int(asked["nodes"]) == config.num_nodes
    assert config.num_workers <= int(asked["cpus-per-task"])


def test_the_kubernetes_job_is_whole_and_runs_a_command_that_exists():
    from torch.distributed.run import get_args_parser

    service, job = yaml.safe_load_all((RECIPES / "kubernetes-job.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert service["spec"]["clusterIP"] == "None"
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    assert pod["subdomain"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["command"][0] == "torchrun"
    launch = get_args_parser().parse_args(container["command"][1:])
    assert launch.no_python
    assert launch.training_script == "lsemvae-edge"
    port = service["spec"]["ports"][0]["port"]
    assert launch.rdzv_endpoint == f"{job['metadata']['name']}-0.{pod['subdomain']}:{port}"
    _, config = parsed(launch.training_script_args)
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert config.devices == int(launch.nproc_per_node) == gpus
    assert config.num_nodes == int(launch.nnodes) == spec["parallelism"] == spec["completions"]
