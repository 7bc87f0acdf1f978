"""The samples for Zephyr and ESP-IDF: read as those would read them, compiled over stubs, and run on the host.

Their SDKs cannot be installed here. So this shows that the files parse, name what exists, and use the library rightly.
"""

import re
import subprocess
from pathlib import Path

import pytest

from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.quantize.firmware.host import WARNINGS, compiler

yaml = pytest.importorskip("yaml")
kconfiglib = pytest.importorskip("kconfiglib")

STUBS = Path(__file__).parent / "stubs"


@pytest.fixture(scope="module")
def folder(firmware) -> Path:  # type: ignore[no-untyped-def]
    return firmware.folder("small")


def zephyr(folder: Path) -> Path:
    return folder / "examples" / "zephyr"


def esp_idf(folder: Path) -> Path:
    return folder / "examples" / "esp-idf"


# ---- YAML ----


def test_the_zephyr_module_names_what_exists(folder) -> None:  # type: ignore[no-untyped-def]
    module = yaml.safe_load((zephyr(folder) / "zephyr" / "module.yml").read_text())
    assert module["name"] == "lsemvae"
    assert (zephyr(folder) / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (zephyr(folder) / module["build"]["kconfig"]).is_file()
    assert [(zephyr(folder) / sample / "sample.yaml").is_file() for sample in module["samples"]] == [True]


def test_the_expected_lines_of_the_zephyr_sample_are_those_that_it_prints(folder, zephyr_said) -> None:  # type: ignore[no-untyped-def]
    told = yaml.safe_load((zephyr(folder) / "sample" / "sample.yaml").read_text())
    assert list(told["tests"]) == ["sample.lsemvae"]
    expected = told["common"]["harness_config"]["regex"]
    assert len(expected) == 2
    for line, regex in zip(zephyr_said.splitlines(), expected, strict=True):
        assert re.search(regex, line)


@pytest.mark.parametrize("name", ["lsemvae/idf_component.yml", "example/main/idf_component.yml"])
def test_the_esp_components_say_which_idf_they_need(folder, name) -> None:  # type: ignore[no-untyped-def]
    told = yaml.safe_load((esp_idf(folder) / name).read_text())
    assert told["dependencies"] == {"idf": ">=5.1"}


# ---- Kconfig ----


def options(path: Path, *lines: str, told: Path | None = None):  # type: ignore[no-untyped-def]
    """Read a Kconfig under symbols that its system would define, and a file of settings."""
    top = path.parent / "Kconfig.top"
    known = [
        "ARMV8_1_M_MVEI",
        "ARMV8_M_DSP",
        "CPU_CORTEX_M4",
        "CPU_CORTEX_M7",
        "CMSIS_NN_CONVOLUTION",
        "CMSIS_NN_NNSUPPORT",
    ]
    outside = "".join(f"config {name}\n\tbool\n\tdefault {'y' if name in lines else 'n'}\n" for name in known)
    top.write_text(f'{outside}source "{path}"\n')
    made = kconfiglib.Kconfig(str(top), warn_to_stderr=False)
    top.unlink()
    if told is not None:
        # Settings of the system itself are unknown here.
        ours = [line for line in told.read_text().splitlines() if line.startswith("CONFIG_LSEMVAE")]
        assert ours
        made.load_config(str(_written(told.parent / "ours.conf", ours)))
        (told.parent / "ours.conf").unlink()
    assert made.warnings == []
    return made


def _written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def value(made, name: str) -> str:  # type: ignore[no-untyped-def]
    return made.syms[name].str_value


@pytest.fixture(scope="module")
def copy(folder, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """A folder to write beside its files."""
    into = tmp_path_factory.mktemp("samples") / "firmware"
    return lay_out({str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}, into)


@pytest.mark.parametrize(
    ("cpu", "kernels"),
    [
        ((), "PLAIN"),
        (("CPU_CORTEX_M4",), "DSP"),
        (("CPU_CORTEX_M7",), "DSP"),
        (("ARMV8_M_DSP",), "DSP"),
        (("ARMV8_M_DSP", "ARMV8_1_M_MVEI"), "MVE"),
    ],
)
def test_the_kernels_follow_the_cpu(copy, cpu, kernels) -> None:  # type: ignore[no-untyped-def]
    made = options(zephyr(copy) / "Kconfig", *cpu, told=zephyr(copy) / "sample" / "prj.conf")
    assert value(made, "LSEMVAE") == value(made, "LSEMVAE_SELFTEST") == "y"
    assert value(made, "LSEMVAE_FLOAT_TAIL") == "n"
    chosen = [name for name in ("PLAIN", "DSP", "MVE", "CMSIS_NN") if value(made, f"LSEMVAE_KERNELS_{name}") == "y"]
    assert chosen == [kernels]


def test_kernels_that_the_cpu_lacks_cannot_be_chosen(copy) -> None:  # type: ignore[no-untyped-def]
    made = options(zephyr(copy) / "Kconfig")
    made.syms["LSEMVAE"].set_value("y")
    made.syms["LSEMVAE_KERNELS_MVE"].set_value("y")
    made.syms["LSEMVAE_KERNELS_CMSIS_NN"].set_value("y")
    assert value(made, "LSEMVAE_KERNELS_PLAIN") == "y"
    made = options(zephyr(copy) / "Kconfig", "CMSIS_NN_CONVOLUTION", "CMSIS_NN_NNSUPPORT")
    made.syms["LSEMVAE"].set_value("y")
    made.syms["LSEMVAE_KERNELS_CMSIS_NN"].set_value("y")
    assert value(made, "LSEMVAE_KERNELS_CMSIS_NN") == "y"


def test_the_esp_component_has_its_options(copy) -> None:  # type: ignore[no-untyped-def]
    made = options(esp_idf(copy) / "lsemvae" / "Kconfig", told=esp_idf(copy) / "example" / "sdkconfig.defaults")
    assert value(made, "LSEMVAE_SELFTEST") == "y"
    assert value(made, "LSEMVAE_FLOAT_TAIL") == "n"


# ---- CMake ----

_SAYING = """
function({name})
    message("{name} ${{ARGV}}")
endfunction()
"""


def asked(
    cmake: str, build_file: Path, settings: dict[str, str], stubs: list[str], tmp_path: Path
) -> dict[str, list[str]]:
    """Run a build file as a script in which the system's functions only say what they are given."""
    script = tmp_path / "script.cmake"
    script.write_text(
        "cmake_minimum_required(VERSION 3.20)\n"
        + "".join(f'set({name} "{value}")\n' for name, value in settings.items())
        + "".join(_SAYING.format(name=name) for name in stubs)
        + f'set(CMAKE_CURRENT_LIST_DIR "{build_file.parent}")\ninclude("{build_file}")\n'
    )
    done = subprocess.run([cmake, "-P", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given: dict[str, list[str]] = {}
    for line in done.stderr.splitlines():
        name, _, rest = line.partition(" ")
        given.setdefault(name, []).extend(rest.split(";"))
    return given


ZEPHYR_FUNCTIONS = [
    "zephyr_include_directories", "zephyr_library_named", "zephyr_library_sources",
    "zephyr_library_compile_definitions", "zephyr_library_compile_options", "zephyr_library_include_directories",
]  # fmt: skip


def test_the_zephyr_module_builds_all_sources_and_nothing_else(cmake, folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    build_file = zephyr(folder) / "CMakeLists.txt"
    assert asked(cmake, build_file, {}, ZEPHYR_FUNCTIONS, tmp_path) == {}
    given = asked(cmake, build_file, {"CONFIG_LSEMVAE": "y"}, ZEPHYR_FUNCTIONS, tmp_path)
    assert given.pop("zephyr_library_named") == ["lsemvae"]
    assert names(given.pop("zephyr_library_sources")) == sorted(one.name for one in (folder / "src").glob("*.c"))
    assert [Path(one).resolve() for one in given.pop("zephyr_include_directories")] == [folder / "include"]
    assert given == {}


@pytest.mark.parametrize(
    ("option", "definition"),
    [
        ("KERNELS_DSP", "LSEMVAE_USE_DSP"),
        ("KERNELS_MVE", "LSEMVAE_USE_MVE"),
        ("KERNELS_CMSIS_NN", "LSEMVAE_USE_CMSIS_NN"),
        ("FLOAT_TAIL", "LSEMVAE_FLOAT_TAIL"),
    ],
)
def test_each_option_of_the_zephyr_module_defines_what_the_sources_ask_for(
    cmake, folder, tmp_path, option, definition
) -> None:  # type: ignore[no-untyped-def]
    settings = {"CONFIG_LSEMVAE": "y", f"CONFIG_LSEMVAE_{option}": "y"}
    given = asked(cmake, zephyr(folder) / "CMakeLists.txt", settings, ZEPHYR_FUNCTIONS, tmp_path)
    assert given["zephyr_library_compile_definitions"] == [definition]
    assert any(definition in source.read_text() for source in (folder / "src").glob("*.c"))
    assert f"config LSEMVAE_{option}\n" in (zephyr(folder) / "Kconfig").read_text()


def test_the_self_test_and_the_lock_come_by_option(cmake, folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings = {"CONFIG_LSEMVAE": "y", "CONFIG_LSEMVAE_SELFTEST": "y", "CONFIG_LSEMVAE_LOCK": "y"}
    given = asked(cmake, zephyr(folder) / "CMakeLists.txt", settings, ZEPHYR_FUNCTIONS, tmp_path)
    assert {"lsemvae_selftest.c", "lsemvae_vectors.c"} < set(names(given["zephyr_library_sources"]))
    flag, header = given["zephyr_library_compile_options"]
    assert flag == "-include"
    assert Path(header).is_file()


ESP_FUNCTIONS = ["idf_component_register", "target_compile_options", "target_compile_definitions"]


@pytest.mark.parametrize("selftest", [False, True])
def test_the_esp_component_registers_what_exists(cmake, folder, tmp_path, selftest) -> None:  # type: ignore[no-untyped-def]
    settings = {"COMPONENT_LIB": "lsemvae", **({"CONFIG_LSEMVAE_SELFTEST": "y"} if selftest else {})}
    given = asked(cmake, esp_idf(folder) / "lsemvae" / "CMakeLists.txt", settings, ESP_FUNCTIONS, tmp_path)
    told = given["idf_component_register"]
    sources = told[told.index("SRCS") + 1 : told.index("INCLUDE_DIRS")]
    extra = ["lsemvae_selftest.c", "lsemvae_vectors.c"] if selftest else []
    assert names(sources) == sorted([*(one.name for one in (folder / "src").glob("*.c")), *extra])
    places = [one for one in told[told.index("INCLUDE_DIRS") + 1 :] if one != "PRIV_INCLUDE_DIRS"]
    assert [Path(one).resolve().name for one in places] == (
        ["include", "test", "src"] if selftest else ["include", "src"]
    )
    assert all(Path(one).is_dir() for one in places)
    assert given["target_compile_options"] == ["lsemvae", "PRIVATE", "-O2"]
    assert "target_compile_definitions" not in given


def test_the_esp_component_takes_the_floating_point_tail(cmake, folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings = {"COMPONENT_LIB": "lsemvae", "CONFIG_LSEMVAE_FLOAT_TAIL": "y"}
    given = asked(cmake, esp_idf(folder) / "lsemvae" / "CMakeLists.txt", settings, ESP_FUNCTIONS, tmp_path)
    assert given["target_compile_definitions"] == ["lsemvae", "PRIVATE", "LSEMVAE_FLOAT_TAIL"]
    assert "-ffp-contract=off" in given["target_compile_options"]


def test_the_build_files_of_the_applications_parse(cmake, folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    stubs = ["find_package", "project", "target_sources"]
    given = asked(cmake, zephyr(folder) / "sample" / "CMakeLists.txt", {}, stubs, tmp_path)
    assert given["find_package"][:2] == ["Zephyr", "REQUIRED"]
    assert given["target_sources"] == ["app", "PRIVATE", "src/main.c"]
    given = asked(cmake, esp_idf(folder) / "example" / "main" / "CMakeLists.txt", {}, ESP_FUNCTIONS, tmp_path)
    assert given["idf_component_register"] == ["SRCS", "main.c", "REQUIRES", "lsemvae", "esp_timer"]
    tools = tmp_path / "idf" / "tools" / "cmake"
    tools.mkdir(parents=True)
    (tools / "project.cmake").write_text('message("components ${EXTRA_COMPONENT_DIRS}")\n')
    script = esp_idf(folder) / "example" / "CMakeLists.txt"
    given = asked(cmake, script, {"ENV{IDF_PATH}": str(tmp_path / "idf")}, ["project"], tmp_path)
    assert Path(given["components"][0]).resolve() == esp_idf(folder) / "lsemvae"
    assert given["project"] == ["lsemvae_example"]


def names(paths: list[str]) -> list[str]:
    assert all(Path(one).is_file() for one in paths)
    return sorted(Path(one).name for one in paths)


# ---- C ----


def built(folder: Path, main: Path, stubs: Path, into: Path, *flags: str, cc: str | None = None) -> Path:
    """Compile a sample's main with the library and the self-test, over stubs of its system."""
    includes = [f"-I{one}" for one in (folder / "include", folder / "src", folder / "test")]
    sources = [
        *(folder / "src").glob("*.c"),
        folder / "test" / "lsemvae_selftest.c",
        folder / "test" / "lsemvae_vectors.c",
    ]
    made = into / "sample"
    # As its own system has it: GNU C, with declarations among statements.
    main_flags = ["-std=gnu11", *WARNINGS[1:]]
    main_object = into / "main.o"
    subprocess.run(
        [compiler(cc), *main_flags, *includes, "-isystem", str(stubs), *flags, "-c", str(main), "-o", str(main_object)],
        check=True,
    )
    subprocess.run(
        [compiler(cc), "-std=c99", "-O1", *includes, *map(str, sources), str(main_object), "-o", str(made)], check=True
    )
    return made


def main_of(folder: Path, system: str) -> Path:
    return zephyr(folder) / "sample/src/main.c" if system == "zephyr" else esp_idf(folder) / "example/main/main.c"


@pytest.fixture(scope="module")
def zephyr_said(folder, tmp_path_factory) -> str:  # type: ignore[no-untyped-def]
    made = built(folder, main_of(folder, "zephyr"), STUBS / "zephyr", tmp_path_factory.mktemp("zephyr"))
    return subprocess.run([str(made)], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def esp_said(folder, tmp_path_factory) -> str:  # type: ignore[no-untyped-def]
    into = tmp_path_factory.mktemp("esp")
    # ESP-IDF calls app_main from a task of its own.
    (into / "start.h").write_text("void app_main(void);\nint main(void) { app_main(); return 0; }\n")
    made = built(folder, main_of(folder, "esp"), STUBS / "esp-idf", into, "-include", str(into / "start.h"))
    return subprocess.run([str(made)], capture_output=True, text=True, check=True).stdout


def test_both_samples_run_and_give_the_result_of_the_recording(zephyr_said, esp_said, firmware) -> None:  # type: ignore[no-untyped-def]
    from lsemvae_edge.quantize.firmware.host import Recorder

    recorder = Recorder(firmware.library("small"), 500)
    for lead_i, lead_ii in firmware.firmware("small").known_uv[0].T:
        recorder.push(lead_i[None], lead_ii[None])
        if recorder.ready:
            break
    result = recorder.run()
    rate = f"{result.heart_rate_tenths // 10}.{result.heart_rate_tenths % 10}"
    expected = f"lsemvae: state 2, outcome {result.outcome}, advice {result.advice}, {rate} beats a minute"
    assert zephyr_said.splitlines()[1] == expected
    assert esp_said == zephyr_said


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("system", ["zephyr", "esp"])
def test_the_samples_are_free_of_warnings(folder, tmp_path, system, cc) -> None:  # type: ignore[no-untyped-def]
    stubs = STUBS / ("zephyr" if system == "zephyr" else "esp-idf")
    includes = [f"-I{folder / name}" for name in ("include", "test")]
    command = [compiler(cc), "-std=gnu11", *WARNINGS[1:], *includes, "-isystem", str(stubs), "-fsyntax-only"]
    subprocess.run([*command, str(main_of(folder, system))], check=True)


def test_the_lock_compiles_into_the_library_and_encloses_the_copy(folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    includes = [f"-I{one}" for one in (folder / "include", folder / "src", STUBS / "zephyr")]
    lock = ["-include", str(zephyr(folder) / "lsemvae_lock.h")]
    source, made = folder / "src" / "lsemvae_api.c", tmp_path / "api.s"
    command = [compiler(), *WARNINGS, *includes, "-O0", "-S", *lock, str(source), "-o", str(made)]
    subprocess.run(command, check=True)
    calls = re.findall(
        r"call[q]?\s+(irq_lock|irq_unlock|lsemvae_take_window|lsemvae_find_beats)", (tmp_path / "api.s").read_text()
    )
    assert " ".join(calls).count("irq_lock lsemvae_take_window irq_unlock lsemvae_find_beats") == 1
    assert calls.count("irq_lock") == calls.count("irq_unlock") == 2
