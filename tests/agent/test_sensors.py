"""What a device has left, from trees of /proc and /sys files, whole, broken and missing."""

import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur_agent.adapters.kernel import cpu, memory, network, power
from secateur_agent.adapters.kernel.cgroup import ControlGroup
from secateur_agent.adapters.kernel.files import KernelFiles
from secateur_agent.adapters.sensors import KernelSensors
from secateur_protocols.codec import decode, encode
from secateur_protocols.info import Hardware
from secateur_protocols.telemetry import Resources
from support.kernel_tree import KernelTree

GROUP = "/sys/fs/cgroup/system.slice/secateur.service"
MEMINFO = (
    "MemTotal:        4000000 kB\nMemFree:          100000 kB\nMemAvailable:    3000000 kB"
)
GIB = 1 << 30


@pytest.fixture
def tree(tmp_path: Path) -> KernelTree:
    return KernelTree(tmp_path)


@pytest.fixture
def grouped(tree: KernelTree) -> KernelTree:
    tree.put("/proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/secateur.service")
    tree.put("/sys/fs/cgroup/cgroup.controllers", "cpu memory")
    tree.put("/proc/meminfo", MEMINFO)
    return tree


def test_with_no_file_at_all_every_sensor_is_missing_and_nothing_fails(tmp_path: Path) -> None:
    sensors = KernelSensors(tmp_path / "nowhere", KernelFiles(tmp_path))
    assert sensors.read() == Resources()
    hardware = sensors.hardware()
    assert hardware.cores >= 1
    assert hardware.hardware_class


def test_on_this_machine_memory_and_processor_are_known(tmp_path: Path) -> None:
    sensors = KernelSensors(tmp_path)
    resources = sensors.read()
    assert resources.memory_total_bytes is not None
    assert resources.memory_available_bytes is not None
    assert 0 < resources.memory_available_bytes <= resources.memory_total_bytes
    assert resources.disk_free_bytes is not None
    assert sensors.hardware().memory_bytes == resources.memory_total_bytes


def test_the_cpu_share_is_of_the_time_since_the_last_reading(tree: KernelTree) -> None:
    tree.put("/proc/stat", "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1")
    share = cpu.CpuShare(tree.files, ControlGroup(tree.files))
    assert share.read() is None  # no time has passed
    tree.put("/proc/stat", "cpu  160 0 80 850 60 0 0 0 40 0")
    assert share.read() == pytest.approx(90 / 150)
    tree.put("/proc/stat", "cpu garbage")
    assert share.read() is None


def test_the_cpu_share_of_a_control_groups_quota_counts_if_it_is_larger(
    grouped: KernelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    grouped.put(f"{GROUP}/cpu.max", "50000 100000")
    grouped.put(f"{GROUP}/cpu.stat", "usage_usec 1000000\nuser_usec 5")
    share = cpu.CpuShare(grouped.files, ControlGroup(grouped.files))
    now_s = 110.0
    grouped.put(f"{GROUP}/cpu.stat", "usage_usec 5000000\nuser_usec 5")
    assert share.read() == pytest.approx(0.8)  # 4 s of the 5 that half a core gives in 10


def test_pressure_is_the_last_ten_seconds(tree: KernelTree) -> None:
    tree.put("/proc/pressure/io", "some avg10=12.50 avg60=1.00 avg300=0.10 total=9\nfull ...")
    assert cpu.pressure(tree.files, "io") == pytest.approx(0.125)
    assert cpu.pressure(tree.files, "memory") is None


def test_memory_is_the_machines_or_the_tightest_control_groups(grouped: KernelTree) -> None:
    files = grouped.files
    assert memory.memory_total_bytes(files, ControlGroup(files)) == 4_096_000_000
    assert memory.memory_available_bytes(files, ControlGroup(files)) == 3_072_000_000
    grouped.put(f"{GROUP}/memory.max", "max")
    grouped.put("/sys/fs/cgroup/system.slice/memory.max", GIB)
    grouped.put("/sys/fs/cgroup/system.slice/memory.current", GIB - 1000)
    grouped.put("/sys/fs/cgroup/system.slice/memory.stat", "anon 5\ninactive_file 600\nx y")
    assert memory.memory_total_bytes(files, ControlGroup(files)) == GIB
    assert memory.memory_available_bytes(files, ControlGroup(files)) == 1600


def test_in_a_container_the_mount_itself_is_the_group(tree: KernelTree) -> None:
    tree.put("/proc/self/cgroup", "0::/")
    tree.put("/sys/fs/cgroup/cgroup.controllers", "cpu memory")
    tree.put("/sys/fs/cgroup/memory.max", 1000)
    tree.put("/sys/fs/cgroup/cpu.max", "150000 100000")
    group = ControlGroup(tree.files)
    assert group.memory_limit_bytes() == 1000
    assert group.memory_available_bytes() is None  # nothing says what is used
    assert group.cpu_limit_cores() == 1.5
    cores = KernelSensors(Path("/"), tree.files).hardware().cores
    assert cores == min(2, len(os.sched_getaffinity(0)))


def test_the_hottest_plausible_zone_counts(tree: KernelTree) -> None:
    for zone, text in enumerate(["45000", "61500", "-274000", "9999999", "hot"]):
        tree.put(f"/sys/class/thermal/thermal_zone{zone}/temp", text)
    assert power.hottest_c(tree.files) == 61.5


@pytest.mark.parametrize(
    ("bits", "throttled", "low_voltage"),
    [
        ("0x0", False, False),
        ("50005", True, True),
        ("1", False, True),
        ("0xe0000", False, False),
    ],
)
def test_a_raspberry_pi_says_itself_whether_it_is_slowed_now(
    tree: KernelTree, bits: str, *, throttled: bool, low_voltage: bool
) -> None:
    tree.put(cpu.PI_THROTTLED, bits)
    assert cpu.is_throttled(tree.files) is throttled
    assert cpu.has_low_voltage(tree.files) is low_voltage


def test_a_fan_that_turns_is_no_throttling_a_slowed_processor_is(tree: KernelTree) -> None:
    assert cpu.is_throttled(tree.files) is None
    tree.put("/sys/class/thermal/cooling_device0/type", "pwm-fan")
    tree.put("/sys/class/thermal/cooling_device0/cur_state", 3)
    assert cpu.is_throttled(tree.files) is None
    tree.put("/sys/class/thermal/cooling_device1/type", "cpufreq-cpu0")
    tree.put("/sys/class/thermal/cooling_device1/cur_state", 0)
    assert cpu.is_throttled(tree.files) is False
    tree.put("/sys/class/thermal/cooling_device1/cur_state", 2)
    assert cpu.is_throttled(tree.files) is True


def test_a_frequency_limit_below_the_hardwares_is_throttling(tree: KernelTree) -> None:
    policy = "/sys/devices/system/cpu/cpufreq/policy0"
    tree.put(f"{policy}/cpuinfo_max_freq", 1_500_000)
    tree.put(f"{policy}/scaling_max_freq", 1_500_000)
    assert cpu.is_throttled(tree.files) is False
    tree.put(f"{policy}/scaling_max_freq", 600_000)
    assert cpu.is_throttled(tree.files) is True


def test_the_battery_of_a_mouse_is_not_the_devices(tree: KernelTree) -> None:
    supplies = "/sys/class/power_supply"
    tree.put(f"{supplies}/mouse/type", "Battery")
    tree.put(f"{supplies}/mouse/scope", "Device")
    tree.put(f"{supplies}/mouse/capacity", 5)
    assert power.battery_ratio(tree.files) is None
    assert power.is_on_mains(tree.files) is None
    tree.put(f"{supplies}/BAT0/type", "Battery")
    tree.put(f"{supplies}/BAT0/capacity", 80)
    tree.put(f"{supplies}/BAT0/status", "Discharging")
    assert power.battery_ratio(tree.files) == pytest.approx(0.8)
    assert power.is_on_mains(tree.files) is False
    tree.put(f"{supplies}/AC/type", "Mains")
    tree.put(f"{supplies}/AC/online", 1)
    assert power.is_on_mains(tree.files) is True


ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0"""


def test_the_link_is_that_of_the_cheapest_default_route(tree: KernelTree) -> None:
    assert network.read_link(tree.files) is None
    tree.put("/proc/net/route", ROUTES)
    tree.put("/sys/class/net/eth0/speed", 1000)
    tree.put("/sys/class/net/eth0/statistics/rx_bytes", 5000)
    tree.put("/sys/class/net/eth0/statistics/tx_bytes", 700)
    assert network.read_link(tree.files) == network.Link(1000, 5000, 700)
    tree.put("/sys/class/net/eth0/speed", -1)
    assert network.read_link(tree.files) == network.Link(None, 5000, 700)


@pytest.mark.parametrize(
    ("cpuinfo", "model", "features"),
    [
        ("model name\t: Intel(R) N100\nflags\t\t: fpu avx2 sse", "Intel(R) N100", ("avx2",)),
        (
            "Features\t: fp asimd asimddp\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0",
            "Raspberry Pi 5 Model B Rev 1.0",
            ("asimd", "asimddp"),
        ),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd03", "cpu 0x41 0xd03", ()),
        ("model name\t: evil\x1b[31m\u2028x", "evil?[31m?x", ()),
    ],
)
def test_the_processor_is_named_from_what_each_architecture_says(
    tree: KernelTree, cpuinfo: str, model: str, features: tuple[str, ...]
) -> None:
    tree.put("/proc/cpuinfo", cpuinfo)
    hardware = KernelSensors(Path("/"), tree.files).hardware()
    assert hardware.cpu_model == model
    assert hardware.cpu_features == features


PATHS = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/net/route",
    "/proc/pressure/cpu",
    "/proc/self/cgroup",
    "/proc/device-tree/model",
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.current",
    "/sys/fs/cgroup/cpu.max",
    "/sys/class/thermal/thermal_zone0/temp",
    "/sys/class/power_supply/BAT0/capacity",
    "/sys/class/net/eth0/speed",
    "/sys/class/net/eth0/statistics/rx_bytes",
    cpu.PI_THROTTLED,
)

texts = st.one_of(
    st.binary(max_size=200),
    st.integers().map(lambda number: str(number).encode()),
    st.sampled_from(
        [
            b"0::/\n",
            b"model name: x\n",
            b"MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\n",
            b"MemTotal: 999999999999 kB\n",
            b"cpu 1 2 3 4 5 6 7 8\n",
            b"-9 100000\n",
            b"1 99999999999\n",
            b"some avg10=999.99 avg60",
            ROUTES.encode(),
            b"Battery\n",
        ]
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.sampled_from(PATHS), texts))
def test_whatever_the_files_hold_what_is_told_is_a_valid_message(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("kernel")
    for path, text in content.items():
        target = root / path.lstrip("/")
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
    (root / "sys/class/power_supply/BAT0").mkdir(parents=True, exist_ok=True)
    (root / "sys/class/power_supply/BAT0/type").write_text("Battery")
    sensors = KernelSensors(root, KernelFiles(root))
    for message in (sensors.read(), sensors.read(), sensors.hardware()):
        kind = Hardware if isinstance(message, Hardware) else Resources
        assert decode(kind, encode(message)) == message
