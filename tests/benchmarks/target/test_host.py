"""Facts of a machine: boards rebuilt from the kernel's documented files, and what must never be among the facts."""

import getpass
import json
import os
import platform
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.benchmarks.target import host, kernel_files, sensors, surroundings

QEMU_ARM, COMPILER = "qemu-aarch64-static", "aarch64-linux-gnu-g++"
SERIAL = "10000000deadbeef"
PI_FEATURES = "fp asimd evtstrm crc32 cpuid"
PI_5_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def board(root, *, model, part, features, n_cores, memory_kib, khz, release, more=()):
    """Write the files of a Raspberry Pi, as its kernel forms them (Documentation/ABI, proc(5))."""
    core = (
        "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    )
    files = {
        "proc/device-tree/model": model.encode() + b"\0",
        "proc/device-tree/serial-number": SERIAL.encode() + b"\0",
        "proc/cpuinfo": "".join(core.format(n=n, features=features, part=part) for n in range(n_cores))
        + f"Revision\t: d04170\nSerial\t\t: {SERIAL}\nModel\t\t: {model}\n",
        "proc/meminfo": f"MemTotal: {memory_kib} kB\nMemFree: 1000 kB\nMemAvailable: 200000 kB\nHugePages_Total: 0\n"
        "SwapTotal: 524272 kB\nSwapFree: 500000 kB\n",
        "proc/self/status": f"Name:\tpython3\nCpus_allowed:\tf\nCpus_allowed_list:\t0-{n_cores - 1}\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-1.scope\n",
        "proc/loadavg": "0.08 0.03 0.01 1/152 1234\n",
        "proc/uptime": "350735.47 1392530.12\n",
        "proc/sys/kernel/osrelease": f"{release}\n",
        "proc/1/environ": b"HOME=/\0TERM=linux\0",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n',
        "etc/hostname": "ward-7-kiosk\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "arch_sys_counter\n",
        **dict(more),
    }
    for n in range(n_cores):
        cpu = f"sys/devices/system/cpu/cpu{n}"
        files |= {
            f"{cpu}/topology/core_id": f"{n}\n",
            f"{cpu}/topology/physical_package_id": "0\n",
            f"{cpu}/cpufreq/scaling_governor": "ondemand\n",
            f"{cpu}/cpufreq/scaling_driver": "cpufreq-dt\n",
            f"{cpu}/cpufreq/scaling_cur_freq": f"{khz[1]}\n",
            f"{cpu}/cpufreq/scaling_min_freq": f"{khz[0]}\n",
            f"{cpu}/cpufreq/scaling_max_freq": f"{khz[1]}\n",
        }
    return tree(root, files)


@pytest.fixture
def pi_5(tmp_path):
    firmware = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
    return board(
        tmp_path, model="Raspberry Pi 5 Model B Rev 1.0", part="0xd0b", features=PI_5_FEATURES, n_cores=4,
        memory_kib=8256000, khz=(1500000, 2400000), release="6.12.25+rpt-rpi-2712", more={firmware: "50005\n"}.items(),
    )  # fmt: skip


@pytest.fixture
def pi_4(tmp_path):
    voltage = {"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}
    return board(
        tmp_path, model="Raspberry Pi 4 Model B Rev 1.4", part="0xd08", features=PI_FEATURES, n_cores=4,
        memory_kib=3885400, khz=(600000, 1800000), release="6.12.25+rpt-rpi-v8", more=voltage.items(),
    )  # fmt: skip


@pytest.fixture
def zero_2(tmp_path):
    limits = {
        "sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/user-1000.slice/memory.max": "268435456\n",
        "sys/fs/cgroup/user.slice/user-1000.slice/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
    }
    return board(
        tmp_path, model="Raspberry Pi Zero 2 W Rev 1.0", part="0xd03", features=PI_FEATURES, n_cores=4,
        memory_kib=426904, khz=(600000, 1000000), release="6.12.25+rpt-rpi-v8", more=limits.items(),
    )  # fmt: skip


def silent(_):
    return None


def test_a_pi_5_is_known_by_its_files(pi_5):
    facts = host.facts(pi_5, silent)
    assert facts["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts["cpu"] == "Cortex-A76"
    assert facts["features"] == ["asimd", "asimdhp", "asimdrdm", "asimddp"]
    assert facts["cores"] == {"logical": 4, "physical": 4, "usable": 4, "affinity": [0, 1, 2, 3]}
    assert facts["frequency"] == {
        "governor": "ondemand", "driver": "cpufreq-dt", "current_mhz": 2400.0, "min_mhz": 1500.0, "max_mhz": 2400.0,
        "turbo": None,
    }  # fmt: skip
    assert facts["memory"] == {"total_mb": 8454.1, "available_mb": 204.8, "swap_mb": 536.9, "swap_used_mb": 24.9}
    assert (facts["os"], facts["kernel"]) == ("Debian GNU/Linux 13 (trixie)", "6.12.25+rpt-rpi-2712")
    assert (facts["temperature_c"], facts["load_average"], facts["uptime_s"]) == (48.312, [0.08, 0.03, 0.01], 350735.47)
    assert facts["throttled"] == {
        "bits": "0x50005", "now": ["under-voltage", "throttled"], "since_start": ["under-voltage", "throttled"],
    }  # fmt: skip
    assert (facts["container"], facts["virtual_machine"], facts["emulator"]) == (None, None, None)
    assert facts["clock"]["source"] == "arch_sys_counter"


def test_a_pi_4_is_asked_by_its_own_program(pi_4):
    asked = []

    def vcgencmd(arguments):
        asked.append(list(arguments))
        return "throttled=0xe0008"

    facts = host.facts(pi_4, vcgencmd)
    assert asked == [["vcgencmd", "get_throttled"]]
    assert (facts["cpu"], facts["features"], facts["under_voltage"]) == ("Cortex-A72", ["asimd"], True)
    assert facts["throttled"]["now"] == ["soft temperature limit"]
    assert facts["throttled"]["since_start"] == ["frequency capped", "throttled", "soft temperature limit"]


def test_the_limits_of_a_zero_2_are_the_tightest_of_its_groups(zero_2):
    facts = host.facts(zero_2, silent)
    assert (facts["board"], facts["cpu"]) == ("Raspberry Pi Zero 2 W Rev 1.0", "Cortex-A53")
    assert facts["limits"] == {"cpus": 1.5, "memory_mb": 268.435456}
    assert facts["memory"]["total_mb"] == 437.1


def test_limits_of_the_first_version_of_control_groups(tmp_path):
    root = tree(tmp_path, {
        "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "536870912\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert host.facts(root, silent)["limits"] == {"cpus": 0.5, "memory_mb": 536.870912}


def test_no_limit_is_none(tmp_path):
    root = tree(tmp_path, {
        "proc/self/cgroup": "5:memory:/\n3:cpu:/\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert host.facts(root, silent)["limits"] == {"cpus": None, "memory_mb": None}


X86 = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R)  Xeon(R) CPU\n"
    "flags\t\t: fpu avx2 avx512_vnni amx_int8 {}\n\n"
)
QEMU = {"sys/class/dmi/id/sys_vendor": "QEMU\n", "sys/class/dmi/id/product_name": "Standard PC\n"}
LAPTOP = {"sys/class/dmi/id/sys_vendor": "LENOVO\n", "sys/class/dmi/id/product_name": "20XW\n"}


@pytest.mark.parametrize(
    ("files", "fact", "wanted"),
    [
        ({".dockerenv": ""}, "container", "docker"),
        ({"run/.containerenv": 'engine="podman"\n'}, "container", "podman"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "container", "systemd-nspawn"),
        ({"proc/1/environ": b"HOME=/\0container=lxc\0"}, "container", "lxc"),
        ({"proc/1/cgroup": "4:memory:/kubepods/besteffort/pod1\n"}, "container", "kubernetes"),
        ({"proc/cpuinfo": X86.format("hypervisor")}, "virtual_machine", "of a kind that it does not tell"),
        ({"proc/cpuinfo": X86.format("")}, "virtual_machine", None),
        ({"sys/class/dmi/id/sys_vendor": "VMware, Inc.\n"}, "virtual_machine", "vmware"),
        (QEMU, "virtual_machine", "qemu"),
        ({"proc/device-tree/compatible": b"linux,dummy-virt\0"}, "virtual_machine", "qemu"),
        ({"sys/hypervisor/type": "xen\n"}, "virtual_machine", "xen"),
        ({"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n"}, "virtual_machine", "wsl"),
        (LAPTOP, "board", "LENOVO 20XW"),
        ({"proc/cpuinfo": X86.format("")}, "cpu", "Intel(R) Xeon(R) CPU"),
        ({"proc/cpuinfo": X86.format("")}, "features", ["avx2", "avx512_vnni", "amx_int8"]),
        ({"proc/cpuinfo": "processor: 0\nmodel name: QEMU TCG CPU version 2.5+\nflags: fpu\n"}, "emulator", "qemu"),
        ({"sys/devices/system/cpu/smt/active": "1\n"}, "smt", True),
    ],
)  # fmt: skip
def test_what_stands_between_the_program_and_the_machine(tmp_path, files, fact, wanted):
    # Without its processor's flags a machine cannot tell that it is none.
    root = tree(tmp_path, {"proc/cpuinfo": X86.format(""), **files})
    assert host.facts(root, silent)[fact] == wanted


def test_qemu_is_seen_where_it_does_not_forge(tmp_path):
    (tmp_path / "proc/thread-self").mkdir(parents=True)
    (tmp_path / "proc/thread-self/exe").symlink_to("/usr/bin/qemu-aarch64-static")
    assert host.facts(tmp_path, silent)["emulator"] == "qemu-aarch64-static"


LINK = """
#include <unistd.h>
#include <cstdio>
int main() {
    char name[512] = {};
    return readlink("/proc/thread-self/exe", name, 511) > 0 ? puts(name) < 0 : 1;
}
"""


@pytest.mark.skipif(not (shutil.which(QEMU_ARM) and shutil.which(COMPILER)), reason="needs qemu and its compiler")
def test_a_program_that_qemu_runs_sees_qemu_in_the_link_that_is_read(tmp_path):
    (tmp_path / "link.cpp").write_text(LINK)
    subprocess.run([COMPILER, "-static", "link.cpp", "-o", "link"], cwd=tmp_path, check=True)
    seen = subprocess.run([QEMU_ARM, "./link"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert Path(seen.strip()).name.startswith(surroundings.EMULATORS)


def test_an_arm_program_on_a_processor_of_intel_is_emulated(tmp_path, monkeypatch):
    root = tree(tmp_path, {"proc/cpuinfo": X86.format("")})
    assert host.facts(root, silent)["emulator"] is None
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert host.facts(root, silent)["emulator"] == "of a kind that it does not tell"


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({"sys/devices/system/cpu/intel_pstate/no_turbo": "1\n"}, False),
        ({"sys/devices/system/cpu/intel_pstate/no_turbo": "0\n"}, True),
        ({"sys/devices/system/cpu/cpufreq/boost": "1\n"}, True),
        ({}, None),
    ],
)
def test_turbo_is_read_in_both_ways_that_kernels_tell_it(tmp_path, files, turbo):
    assert host.facts(tree(tmp_path, files), silent)["frequency"]["turbo"] is turbo


def test_cores_with_two_threads_are_counted_once(tmp_path):
    files = {"proc/self/status": "Cpus_allowed_list:\t0,2-3\n"}
    for n in range(12):
        files[f"sys/devices/system/cpu/cpu{n}/topology/core_id"] = f"{n % 3}\n"
        files[f"sys/devices/system/cpu/cpu{n}/topology/physical_package_id"] = f"{n // 6}\n"
    cores = host.facts(tree(tmp_path, files), silent)["cores"]
    assert cores == {"logical": 12, "physical": 6, "usable": 3, "affinity": [0, 2, 3]}


def test_the_processors_zone_is_the_temperature_and_a_driver_without_a_reading_is_not(tmp_path):
    zones = {"acpitz": "-274000", "x86_pkg_temp": "61000", "nvme": "70000"}
    files = {}
    for n, (name, temp) in enumerate(zones.items()):
        files |= {f"sys/class/thermal/thermal_zone{n}/type": name, f"sys/class/thermal/thermal_zone{n}/temp": temp}
    assert sensors.temperature_c(tree(tmp_path, files)) == 61.0


@pytest.mark.parametrize("bit", range(32))
def test_each_bit_of_throttling_has_its_word_or_none(bit):
    found = sensors.decoded(f"{1 << bit:x}")
    now, since = sensors.THROTTLED.get(bit), sensors.THROTTLED.get(bit - 16)
    assert (found["now"], found["since_start"]) == ([now] if now else [], [since] if since else [])


def test_nothing_is_known_of_an_empty_tree_and_nothing_fails(tmp_path):
    facts = host.facts(tmp_path, silent)
    read_here = {"architecture", "libc", "python", "versions", "thread_variables", "os", "kernel", "clock"}
    for name, fact in facts.items():
        if name not in read_here:
            parts = list(fact.values()) if isinstance(fact, dict) else [fact]
            assert all(part is None for part in parts), name
    assert len(host.lines(facts)) == len(facts)


READ = [
    "proc/cpuinfo", "proc/meminfo", "proc/self/status", "proc/self/cgroup", "proc/loadavg", "proc/uptime",
    "etc/os-release", "proc/1/environ", "proc/1/cgroup", "proc/device-tree/model",
    "sys/class/thermal/thermal_zone0/temp", "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
    "sys/devices/system/cpu/cpu0/topology/core_id", "sys/devices/system/cpu/smt/active", "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max", "sys/devices/platform/soc/soc:firmware/get_throttled", "sys/class/hwmon/hwmon0/name",
]  # fmt: skip
ALMOST = [
    b"processor : 0\nCPU part: zz\n", b"processor : 0\ncpu MHz : nan\n", b"MemTotal: kB\n", b"Cpus_allowed_list: 3-x\n",
    b"0::/../..\n", b"max 0\n", b"1 0", b"0::", b"nan inf 1e999 1/2 3\n",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(READ), st.binary(max_size=40) | st.sampled_from(ALMOST)))
def test_files_of_any_content_never_raise_and_facts_are_json(tmp_path_factory, files):
    root = tree(tmp_path_factory.mktemp("root"), files)
    facts = host.facts(root, silent)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert host.likeness(facts, facts) == []
    host.lines(facts)


def test_this_machine_is_told_and_nothing_that_names_it_or_its_owner(pi_5):
    names = {socket.gethostname(), getpass.getuser(), str(Path.home()), f"{uuid.getnode():012x}", os.uname().nodename}
    mac = f"{uuid.getnode():012x}"
    names |= {":".join(mac[n : n + 2] for n in range(0, 12, 2))}
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/sys/class/dmi/id/product_uuid"):
        names |= {kernel_files.read(Path(path)) or ""}
    here = host.facts()
    assert here["memory"]["total_mb"] > 0
    assert here["cores"]["usable"] == len(os.sched_getaffinity(0))
    words = json.dumps(here).lower()
    for name in names - {""}:
        # "root" is a user everywhere; as a word of its own, it is in no fact either.
        assert f'"{name.lower()}"' not in words
        assert len(name) < 8 or name.lower() not in words
    elsewhere = json.dumps(host.facts(pi_5, silent))
    assert SERIAL not in elsewhere
    assert "ward-7-kiosk" not in elsewhere


def test_a_host_is_like_itself_later(pi_5, tmp_path):
    before = host.facts(pi_5, silent)
    tree(pi_5, {
        "proc/loadavg": "3.1 2.0 1.0 1/2 3\n", "proc/uptime": "999999.0 1.0\n",
        "sys/class/thermal/thermal_zone0/temp": "80000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
        "proc/meminfo": "MemTotal: 8255000 kB\nMemAvailable: 100 kB\nSwapTotal: 524272 kB\nSwapFree: 0 kB\n",
    })  # fmt: skip
    after = host.facts(pi_5, silent)
    assert before != after
    assert host.likeness(before, after) == []


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        (
            "proc/device-tree/model",
            b"Raspberry Pi 5 Model B Rev 1.1\0",
            "board: Raspberry Pi 5 Model B Rev 1.0 against",
        ),
        (
            "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
            "performance\n",
            "governor: ondemand against ondemand and",
        ),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "2800000\n", "frequency max_mhz: 2400 against 2800"),
        ("proc/self/status", "Cpus_allowed_list:\t0\n", "usable cores: 4 against 1"),
        ("proc/meminfo", "MemTotal: 4000000 kB\n", "memory in MB: 8454.1 against 4096"),
        ("sys/fs/cgroup/memory.max", "536870912\n", "limit of memory in MB: none known against 536.871"),
        (".dockerenv", "", "container: none known against docker"),
        ("proc/sys/kernel/osrelease", "6.13\n", "kernel: 6.12.25+rpt-rpi-2712 against 6.13"),
    ],
)
def test_each_difference_between_hosts_is_told(pi_5, path, content, told):
    before = host.facts(pi_5, silent)
    after = host.facts(tree(pi_5, {path: content}), silent)
    assert any(told in line for line in host.likeness(before, after))
    assert any(
        line.startswith(told.partition(":")[0]) or told.partition(":")[0] in line
        for line in host.likeness(after, before)
    )


def test_another_release_of_a_runtime_makes_a_host_unlike():
    a = {"versions": {"numpy": "2.4.6", "ai-edge-litert": "2.1.0"}}
    b = {"versions": {"numpy": "2.4.6", "ai-edge-litert": "2.3.0", "torch": "2.13.0"}}
    assert host.likeness(a, b) == [
        "ai-edge-litert release: 2.1.0 against 2.3.0",
        "torch release: none known against 2.13.0",
    ]
