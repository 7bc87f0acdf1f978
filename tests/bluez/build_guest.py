"""Makes the guest's initial file system: busybox, and the kernel modules for a 9p root and a virtual controller.

Run as ``python build_guest.py INITRD``; prints the path of the kernel.
"""

import sys
from pathlib import Path

from lsemvae_edge.benchmarks import guest

# The generators of random numbers come before ecdh: without one, ecdh fails its own test and nothing can pair.
MODULES = (
    *("virtio_pci", "9pnet_virtio", "9p", "overlay", "sha3_generic", "jitterentropy_rng", "hmac", "sha512_generic"),
    *("sha256_generic", "ctr", "aes_generic", "drbg", "ecb", "cmac", "ecdh_generic", "bluetooth", "hci_vhci", "af_alg"),
    *("algif_hash", "algif_skcipher"),
)


def main(initrd: Path) -> None:
    """Write it."""
    image, modules = guest.kernel()
    init = (Path(__file__).parent / "guest-init").read_text()
    guest.pack_bare(initrd, guest.module_files(modules, MODULES), init)
    print(image)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
