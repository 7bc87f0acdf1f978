"""A session of figures that nobody measured, for tests of what is made of a session."""

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target.session import Session

CURVE = [
    {"minute": minute, "p50_ms": 0.11 + 0.002 * minute, "p99_ms": 0.2 + 0.004 * minute, "cpu_mhz": 1500 - 20 * minute,
     "temperature_c": 52 + 1.5 * minute, "throttled": minute > 8}
    for minute in range(10)
]  # fmt: skip
RUNTIMES = (("litert", 0.12), ("onnxruntime", 0.16), ("executorch", 0.1))
HOST = {
    "board": "Raspberry <invented>", "architecture": "aarch64", "cpu": "Cortex-A76", "features": ["asimd", "asimddp"],
    "smt": False, "cores": {"logical": 4, "physical": 4, "usable": 4}, "memory": {"total_mb": 8000.0},
    "limits": {"cpus": None, "memory_mb": None}, "container": None, "virtual_machine": None, "emulator": None,
    "frequency": {"governor": "performance", "current_mhz": 2400.0, "max_mhz": 2400.0}, "os": "Invented OS 13",
    "kernel": "6.12", "libc": "glibc 2.41", "python": "CPython 3.13.5", "versions": {"numpy": "2.4.6"},
    "load_average": [0.1, 0.1, 0.1], "temperature_c": 48.0, "throttled": None, "under_voltage": None,
}  # fmt: skip
REFERENCE = "reference LS-EMVAE 6L"


def write_synthetic(folder, host=HOST, parts=None):
    """Write a session of invented figures, of all parts or of those named."""
    rng = np.random.default_rng(5)
    session = Session(folder, host, [bundles.default()], seed=5)

    def wanted(part):
        return parts is None or part in parts

    def values(middle, n=200):
        return np.round(middle * (1 + 0.05 * rng.gamma(1.5, 1, n)) * rng.uniform(0.99, 1.03), 4)

    with session:
        if wanted("latency"):
            for runtime, middle in RUNTIMES:
                for precision, factor in (("int8", 1.0), ("fp32", 1.7)):
                    facts = {"runtime": runtime, "size": "small", "precision": precision, "threads": 1}
                    name = session.case("latency", f"small {runtime} {precision}", **facts, file=f"model-{precision}")
                    for repeat in range(4):
                        session.sample("latency", name, "inference_ms", repeat, values(middle * factor))
                        for metric, one in (("import_ms", 9.0), ("load_ms", 2.0), ("first_run_ms", 0.4)):
                            session.sample("latency", name, metric, repeat, values(one, 1))
        if wanted("path"):
            for runtime, middle in RUNTIMES:
                facts = {"runtime": runtime, "size": "small", "precision": "int8", "threads": 1, "recording": "r1"}
                name = session.case("path", runtime, **facts)
                stages = {"decode_ms": 0.9, "quality_ms": 2.6, "preprocess_ms": 1.3, "inference_ms": middle,
                          "decision_ms": 0.2, "json_ms": 0.1, "whole_ms": 5.3 + middle}  # fmt: skip
                for metric, one in stages.items():
                    session.sample("path", name, metric, 0, values(one, 50))
                cold = {"import_ms": 60.0, "load_ms": 4.0, "first_run_ms": 1.0, "start_to_result_ms": 130.0}
                for repeat in range(5):
                    for metric, one in cold.items():
                        session.sample("path", name, metric, repeat, values(one, 1))
                session.sample("path", name, "records_per_s", 0, values(170.0, 3))
        if wanted("memory"):
            for runtime, middle in RUNTIMES:
                facts = {"runtime": runtime, "size": "small", "precision": "int8", "threads": 1}
                name = session.case("memory", runtime, **facts, file_bytes=178_000, arena_bytes=None)
                for metric, one in (("peak_rss_mb", 40.0), ("steady_rss_mb", 36.0), ("pss_mb", 31.0)):
                    session.sample("memory", name, metric, 0, values(one + 60 * middle, 1))
        if wanted("sustained"):
            name = session.case("sustained", "litert", runtime="litert", size="small", precision="int8", threads=1)
            for one in CURVE:
                session.sample("sustained", name, "inference_ms", one["minute"], values(one["p50_ms"], 50))
            session.fact("sustained", "curve", CURVE)
        if wanted("accuracy"):
            rows = [
                {"bundle": "small", "runtime": runtime, "precision": "int8", "cohort": "invented", "n": 432,
                 "positive": 33, "auroc": {"value": 0.834, "low": 0.755, "high": 0.907}, "answered": 0.91}
                for runtime, _ in RUNTIMES
            ]  # fmt: skip
            session.case(
                "accuracy", "small litert int8", bundle="small", runtime="litert", precision="int8", cohort="invented"
            )
            session.fact("accuracy", "rows", rows)
        if wanted("ceilings"):
            for kind, peak in (("conv2d int8", 40.0), ("conv2d fp32", 14.0)):
                name = session.case("ceilings", kind, kind=kind, runtime="litert", threads=1)
                session.sample("ceilings", name, "gmac_per_s", 0, values(peak, 5))
            name = session.case("ceilings", "memory copy", kind="memory copy", threads=1)
            session.sample("ceilings", name, "gb_per_s", 0, values(9.0, 5))
            models = [
                {
                    "size": "small",
                    "precision": "int8",
                    "macs": 2_100_000,
                    "weight_bytes": 178_000,
                    "activation_bytes": 66_000,
                }
            ]
            session.fact("work", "models", models)
            rows = [
                {"size": size, "precision": "int8", "runtime": "litert", "threads": 1, "gmac_per_s": rate,
                 "ceiling_gmac_per_s": 40.0, "fraction": rate / 40, "intensity_mac_per_byte": intensity}
                for size, rate, intensity in (("small", 16.0, 8.6), ("base", 21.0, 14.0))
            ]  # fmt: skip
            session.fact("work", "roofline", rows)
        if wanted("peers"):
            peers = (
                ("ours: LiteRT int8", "litert", "int8", "ours", 0.12, 178_000, 0.834),
                ("plain CNN int8", "litert", "int8", "peer", 0.14, 181_000, 0.856),
                (REFERENCE, "torch", "fp32", "peer", 31.0, 492_000_000, 0.81),
            )
            rows = []
            for name, runtime, precision, role, middle, n_bytes, auroc in peers:
                facts = {"runtime": runtime, "precision": precision, "role": role, "threads": 1}
                session.case("peers", name, **facts, file_bytes=n_bytes)
                for repeat in range(3):
                    session.sample("peers", name, "inference_ms", repeat, values(middle, 60))
                    for metric, one in (
                        ("whole_ms", 6 + middle),
                        ("peak_rss_mb", 45 + 20 * middle),
                        ("load_ms", 3 + middle),
                    ):
                        session.sample("peers", name, metric, repeat, values(one, 1))
                rows.append(
                    {"name": name, "auroc": auroc, "low": auroc - 0.08, "high": auroc + 0.07, "source": "invented"}
                )
            session.fact("peers", "auroc", rows)
            ratio = {"what": "inference_ms", "ours": "ours: LiteRT int8", "peer": REFERENCE, "ratio": 258.0,
                     "low": 250.0, "high": 264.0, "wanted": 100}  # fmt: skip
            session.fact("peers", "ratios", [ratio])
        if wanted("energy"):
            session.skip("energy", "energy of an inference", "no meter: name one with --meter | <none>")
    return folder


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Folder of a session with invented figures."""
    return write_synthetic(tmp_path_factory.mktemp("session") / "whole")


@pytest.fixture
def synthetic_of():
    """Function that writes a session of invented figures: folder, host, parts."""
    return write_synthetic
