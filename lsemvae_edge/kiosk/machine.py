"""What of the machine around the kiosk endangers records or hands: swap, core files, clock, power, screen."""

from pathlib import Path

from lsemvae_edge.errors import StoreError
from lsemvae_edge.kiosk import display

SWAPS = Path("/proc/swaps")
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
WATCHDOG = Path("/dev/watchdog")
IN_MEMORY = ("/dev/zram",)


def findings() -> list[str]:
    """Return what should be put right; each is a sentence with what to do."""
    return [*_swap(), *_cores(), *_watchdog(), *_clock(), *_store()]


def screen_findings() -> list[str]:
    """Return what the page lacks to be shown."""
    found = []
    if display.find_browser() is None:
        found.append(f"{display.NO_BROWSER} {display.NO_BROWSER_STEP}")
    if display.memory_folder() is None:
        found.append("There is no folder in memory for the browser's profile. Set XDG_RUNTIME_DIR to a tmpfs.")
    return found


def _swap() -> list[str]:
    """Swap that is on a disk and not over an encrypted one keeps parts of records in clear."""
    try:
        lines = SWAPS.read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return []
    names = [line.split()[0] for line in lines if line.split()]
    on_disk = [name for name in names if not name.startswith(IN_MEMORY) and not _is_encrypted(Path(name))]
    advice = "Switch it off (`systemctl disable --now dphys-swapfile`), or use zram or an encrypted partition."
    return [f"The machine swaps to {name}, which may hold parts of records in clear. {advice}" for name in on_disk]


def _is_encrypted(device: Path) -> bool:
    """Return whether a block device is one of dm-crypt."""
    try:
        kind = Path(f"/sys/class/block/{device.resolve().name}/dm/uuid").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
    return kind.startswith("CRYPT-")


def _cores() -> list[str]:
    try:
        pattern = CORE_PATTERN.read_text(encoding="utf-8").strip()
    except OSError:
        return []
    if pattern.startswith("|") or not pattern:
        return []
    return ["Programs that crash may leave their memory in files. Write `kernel.core_pattern=|/bin/false` for sysctl."]


def _watchdog() -> list[str]:
    if WATCHDOG.exists():
        return []
    return ["There is no hardware watchdog. Set `dtparam=watchdog=on` in the boot configuration."]


def _clock() -> list[str]:
    from lsemvae_edge.store import clock

    told = clock.state()
    if told.is_set:
        return []
    return [
        f"The clock counts as not set: {told.reason}. Set it, then run `lsemvae-edge kiosk clock --right`, "
        "or give the machine a hardware clock with a battery."
    ]


def _store() -> list[str]:
    from lsemvae_edge.store import places
    from lsemvae_edge.store.key import is_protected

    try:
        key, folder = places.key_path(), places.store_folder("clinic")
        if not folder.exists():
            return ["There is no store yet. Run `lsemvae-edge kiosk setup`."]
        if not is_protected(key):
            return [
                f"The store's key {key} has no passphrase: whoever takes the card can read the records. "
                "Run `lsemvae-edge records rotate-key --passphrase`, or keep the key on a stick."
            ]
    except (OSError, StoreError) as error:
        return [f"The store cannot be looked at: {error}."]
    return []
