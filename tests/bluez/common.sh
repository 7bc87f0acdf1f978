# What `run` and `build-guest` share; sourced, never run.
# shellcheck shell=bash
PACKAGES=(qemu-system-x86 busybox-static bluez dbus cpio kmod)
COMMANDS=(qemu-system-x86_64 busybox bluetoothctl dbus-daemon cpio depmod)
WORK=${LSEMVAE_BLUEZ_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/lsemvae-edge/bluez}
BLUETOOTHD=${BLUETOOTHD:-/usr/libexec/bluetooth/bluetoothd}

fail() {
    echo "$1" >&2
    exit 2
}

# The newest kernel below $WORK/kernel.
kernel_release() {
    local found
    found=$(find "$WORK/kernel/boot" -maxdepth 1 -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -1)
    [ -n "$found" ] && basename "${found#*vmlinuz-}"
}
