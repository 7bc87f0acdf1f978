# What `run` needs to begin; sourced, never run.
# shellcheck shell=bash
PACKAGES=(qemu-system-x86 busybox-static bluez dbus kmod)
COMMANDS=(qemu-system-x86_64 busybox bluetoothctl dbus-daemon depmod)
WORK=${LSEMVAE_BLUEZ_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/lsemvae-edge/bluez}
BLUETOOTHD=${BLUETOOTHD:-/usr/libexec/bluetooth/bluetoothd}

fail() {
    echo "$1" >&2
    exit 2
}
