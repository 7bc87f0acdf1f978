"""The browser is started for one address alone, with a profile in memory that goes with it."""

import os
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk import display

URL = "http://127.0.0.1:41234/k/abcDEF_-09/"


def until(holds, within_s=20.0):
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to be")


@pytest.fixture
def browser(tmp_path, monkeypatch):
    """A browser that writes down how it was called, fills its profile, starts a helper, and stays."""
    script = tmp_path / "browser"
    script.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, subprocess, sys, time\n"
        f"place = pathlib.Path({str(tmp_path)!r})\n"
        "profile = next(w.split('=', 1)[1] for w in sys.argv if w.startswith('--user-data-dir='))\n"
        "(pathlib.Path(profile) / 'Cookies').write_text('token')\n"
        "door = pathlib.Path(sys.argv[-1].removeprefix('--app=file://'))\n"
        "seen = f'{door.stat().st_mode & 0o777:o} {door.read_text()}'\n"
        "with (place / 'doors').open('a') as file: file.write(f'{seen}\\n')\n"
        "helper = subprocess.Popen(['sleep', '600'])\n"
        "(place / 'helper').write_text(str(helper.pid))\n"
        "(place / 'home').write_text(os.environ['HOME'])\n"
        "with (place / 'calls').open('a') as file: file.write('\\t'.join(sys.argv[1:]) + '\\n')\n"
        "time.sleep(600)\n"
    )
    script.chmod(0o700)
    monkeypatch.setenv(display.VARIABLE, str(script))
    return tmp_path


def calls(place):
    path = place / "calls"
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_profile_lies_in_memory_and_goes_with_the_browser(browser):
    with display.launched(URL) as process:
        (call,) = until(lambda: calls(browser))
        profile = Path(next(word for word in call if word.startswith("--user-data-dir=")).split("=", 1)[1])
        assert (profile / "Cookies").exists()
        assert profile.stat().st_mode & 0o077 == 0
        assert display.in_memory(profile) or display.memory_folder() is None
        assert (browser / "home").read_text() == str(profile)
        helper = int((browser / "helper").read_text())
        assert is_alive(helper)
    assert process.poll() is not None
    until(lambda: not is_alive(helper))
    assert not profile.exists()


def test_the_command_shows_one_page_and_asks_nobody_else(browser):
    command = display.arguments("chromium", Path("/run/profile/open.html"), Path("/run/profile"))
    assert command[-1] == "--app=file:///run/profile/open.html"
    for switch in ("--kiosk", "--incognito", "--no-first-run", "--disable-sync", "--disable-background-networking"):
        assert switch in command
    assert any(word.startswith("--host-resolver-rules=") and "~NOTFOUND" in word for word in command)
    assert not any("remote-debugging" in word or "no-sandbox" in word for word in command)


def test_an_error_meanwhile_ends_the_browser_too(browser):
    with pytest.raises(KeyError), display.launched(URL) as process:
        raise KeyError
    assert process.poll() is not None


def test_without_a_browser_the_choices_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(display.VARIABLE, raising=False)
    assert display.find_browser() is None
    with pytest.raises(UsageError, match="No Chromium") as caught, display.launched(URL):
        pass
    assert "--ui terminal" in caught.value.next_step


def test_a_display_is_one_that_answers(monkeypatch, tmp_path):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not display.has_display()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-9")
    assert not display.has_display()
    with socket.socket(socket.AF_UNIX) as compositor:
        compositor.bind(str(tmp_path / "wayland-9"))
        assert display.has_display()
    monkeypatch.delenv("WAYLAND_DISPLAY")
    monkeypatch.setenv("DISPLAY", ":0")
    assert display.has_display()


def test_an_address_counts_when_it_is_whole_and_of_this_machine(tmp_path):
    file = tmp_path / "address"
    assert display.address(file) is None
    for text in (
        "",
        URL,
        f"{URL[:20]}",
        "http://10.0.0.1:80/k/a/\n",
        "http://127.0.0.1.evil.example:80/\n",
        "--flag\n",
    ):
        file.write_text(text)
        assert display.address(file) is None, text
    file.write_text(f"{URL}\n")
    assert display.address(file) == URL


def test_a_server_that_starts_again_is_followed_to_its_new_address(browser, tmp_path):
    import threading

    file = tmp_path / "address"
    file.write_text(f"{URL}\n")
    following = threading.Thread(target=display.follow, args=(file, 0.02), daemon=True)
    following.start()
    until(lambda: len(calls(browser)) == 1)
    other = URL.replace("abcDEF", "other")
    file.write_text("")
    file.write_text(f"{other}\n")
    until(lambda: len(calls(browser)) == 2)
    first, second = (browser / "doors").read_text().splitlines()
    assert first.startswith("600 ")
    assert f"url={URL}" in first
    assert f"url={other}" in second
    # Every user of a machine sees what programs were called with.
    assert "/k/" not in (browser / "calls").read_text()
    # Somebody closes it: that ends the program, and the unit starts it again.
    helper = int((browser / "helper").read_text())
    parent = int(Path(f"/proc/{helper}/stat").read_text().split(")")[1].split()[1])
    os.kill(parent, 9)
    following.join(20)
    assert not following.is_alive()
    until(lambda: not is_alive(helper))


def test_the_file_system_of_a_path_is_that_of_its_last_mount():
    assert display.file_system(Path("/proc/self")) == "proc"
    assert display.file_system(Path("/nowhere/at/all")) == display.file_system(Path("/"))
    if Path("/dev/shm").is_dir():
        assert display.in_memory(Path("/dev/shm/not-there-yet"))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_every_switch_is_one_that_the_real_browser_starts_with(tmp_path):
    import subprocess

    page = tmp_path / "page.html"
    page.write_text("<title>kiosk</title><p>served</p>")
    switches = [word for word in display.arguments("chromium", tmp_path / "x", tmp_path)[1:-1] if word != "--kiosk"]
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", *switches, "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "served" in done.stdout, done.stderr[-2000:]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_the_real_browser_goes_through_the_door(tmp_path):
    import subprocess

    page = tmp_path / "page.html"
    page.write_text("<title>kiosk</title><p>served</p>")
    door = tmp_path / "open.html"
    door.write_text(display.door_to(page.as_uri()))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", door.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "served" in done.stdout, done.stderr[-2000:]
