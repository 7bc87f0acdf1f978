"""``bundle``: keys, signatures, what this machine trusts, and which bundle a kiosk uses."""

import argparse
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BundleError, ExitCode, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.trust import Store

UNRESTRICTED = "Nothing is trusted here: every whole bundle is taken, and called unsigned in its results."


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("bundle", help="make keys, sign bundles, say what this machine trusts and uses")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    _add_show(parts)
    _add_keygen(parts)
    _add_sign(parts)
    _add_trust(parts)
    _add_install(parts)
    _add_current(parts)


# show ---------------------------------------------------------------------------------------------


def _add_show(parts: Commands) -> None:
    parser = parts.add_parser("show", help="say what a bundle is, and what this machine thinks of it")
    parser.add_argument("bundle", type=Path, nargs="?", help="bundle (default: the one that ships with the package)")
    add_json(parser)
    parser.set_defaults(run=show)


def show(options: argparse.Namespace) -> int:
    """Describe a bundle without running it; one that this machine would refuse is described too."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import trust

    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    try:
        standing = bundle.standing or trust.judge(bundle, trust.read_store())
    except BundleError as error:
        said = {"kind": "refused", "name": None, "key": None, "reason": error.message}
        words = f"refused here: {error.message}"
    else:
        said, words = {**asdict(standing), "reason": None}, trust.words(standing)
    manifest = bundle.manifest
    if options.json:
        print_json({"schema": "lsemvae-edge/bundle-facts/1", **_facts(bundle), "standing": said})
        return int(ExitCode.DONE)
    print(f"{manifest.name} version {manifest.version}: {bundle.spec.id}")
    print(f"SHA-256 of the manifest {bundle.sha256}")
    print(words)
    for model in manifest.models:
        print(f"{model.path}: {model.format}, {model.precision}, {manifest.files[model.path].bytes} bytes")
    if manifest.quantization is not None:
        of = manifest.quantization
        print(
            f"Quantized by {of.method}, calibrated on {of.calibration.records} records of {of.calibration.drawn_from}"
        )
    print(f"Licence {manifest.licence}; {manifest.attribution}")
    return int(ExitCode.DONE)


def _facts(bundle: "Bundle") -> dict[str, Any]:
    manifest = bundle.manifest
    quantization = manifest.quantization
    return {
        "bundle": bundle.spec.id,
        "name": manifest.name,
        "version": manifest.version,
        "sha256": bundle.sha256,
        "models": [
            {"path": model.path, "format": model.format, "precision": model.precision}
            | asdict(manifest.files[model.path])
            for model in manifest.models
        ],
        "quantization": quantization
        and {"method": quantization.method, "calibration": asdict(quantization.calibration)},
        "stand_in": bundle.spec.intended_use.stand_in,
        "licence": manifest.licence,
        "attribution": manifest.attribution,
    }


# keygen -------------------------------------------------------------------------------------------


def _add_keygen(parts: Commands) -> None:
    parser = parts.add_parser("keygen", help="make a key pair: NAME.pem, to be kept, and NAME.pub, to be given away")
    parser.add_argument("--out", type=Path, required=True, metavar="NAME", help="path of both files, without ending")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--passphrase", action="store_true", help="ask for a passphrase that encrypts NAME.pem")
    secret.add_argument("--passphrase-file", type=Path, metavar="FILE", help="take it from a file's first line")
    add_json(parser)
    parser.set_defaults(run=keygen)


def keygen(options: argparse.Namespace) -> int:
    """Make a key pair; nothing is written over."""
    from lsemvae_edge import signing

    passphrase = None
    if options.passphrase_file:
        passphrase = _first_line(options.passphrase_file)
    elif options.passphrase:
        passphrase = _asked(twice=True)
    private_file, public_file, key = signing.generate(options.out, passphrase)
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/key/1",
                "key": key.id,
                "private": str(private_file),
                "public": str(public_file),
                "encrypted": passphrase is not None,
            }
        )
    else:
        print(f"Key {key.id}")
        print(f"{private_file}: private{', encrypted' if passphrase else ''}; it never leaves who signs")
        print(f"{public_file}: public; for `lsemvae-edge bundle trust` on every kiosk")
    if passphrase is None:
        say(f"{private_file} is not encrypted: whoever can read it can sign. --passphrase encrypts it.")
    return int(ExitCode.DONE)


# sign ---------------------------------------------------------------------------------------------


def _add_sign(parts: Commands) -> None:
    parser = parts.add_parser("sign", help="sign a bundle in its place")
    parser.add_argument("bundle", type=Path, help="folder or .zip file")
    parser.add_argument("--key", type=Path, required=True, metavar="NAME.pem", help="private key")
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="passphrase, on a file's first line")
    add_json(parser)
    parser.set_defaults(run=sign)


def sign(options: argparse.Namespace) -> int:
    """Check a bundle's files and sign it; an earlier signature is replaced."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import signing

    bundle = bundles.load(options.bundle)
    passphrase = None
    if options.passphrase_file:
        passphrase = _first_line(options.passphrase_file)
    elif signing.is_encrypted(options.key) and sys.stdin.isatty():
        passphrase = _asked(twice=False)
    signed = signing.sign(bundle, signing.read_private(options.key, passphrase))
    key = signing.check(signed)
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/bundle-signed/1",
                "bundle": str(signed.path),
                "name": signed.manifest.name,
                "version": signed.manifest.version,
                "sha256": signed.sha256,
                "key": key.id,
            }
        )
    else:
        print(f"{signed.manifest.name} version {signed.manifest.version} ({signed.sha256[:12]}) signed by key {key.id}")
    return int(ExitCode.DONE)


# trust --------------------------------------------------------------------------------------------


def _add_trust(parts: Commands) -> None:
    parser = parts.add_parser("trust", help="say whose bundles, or which, this machine takes")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("what", nargs="?", metavar="KEY.pub|DIGEST|BUNDLE", help="key to trust, or bundle to pin")
    what.add_argument("--list", action="store_true", help="list what is trusted")
    what.add_argument("--remove", metavar="ID", help="stop trusting a key or digest; its first characters are enough")
    what.add_argument("--roll-back", type=Path, metavar="BUNDLE", help="take this older version from now on")
    parser.add_argument("--name", help="what to call it (default: the file's or the bundle's name)")
    add_json(parser)
    parser.set_defaults(run=trust_command)


def trust_command(options: argparse.Namespace) -> int:
    """Change or list what this machine trusts."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import trust

    if options.name is not None and options.what is None:
        raise UsageError("--name goes with a key or a bundle.", "Run `lsemvae-edge bundle trust --help`.")
    if options.list:
        done, store = None, trust.read_store()
    elif options.remove:
        removed, store = trust.remove(options.remove)
        done = f"{removed} is no longer trusted"
    elif options.roll_back:
        bundle = bundles.load(options.roll_back)
        store = trust.roll_back(bundle)
        done = f"Version {bundle.manifest.version} of {bundle.manifest.name} is taken from now on, and newer ones"
    else:
        done, store = _trust(options.what, options.name)
    if options.json:
        print_json(_trusted(store))
        return int(ExitCode.DONE)
    if done:
        print(done)
    for row in (*_trusted(store)["keys"], *_trusted(store)["pins"]):
        print(f"{'key' if 'key' in row else 'digest'} {row.get('key') or row['sha256']}  {row['name']}")
    for name, version in store.accepted.items():
        print(f"newest version of {name} taken: {version}")
    if not store.restricts:
        print(UNRESTRICTED)
    return int(ExitCode.DONE)


def _trust(what: str, name: str | None) -> "tuple[str, Store]":
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import signing, trust

    if re.fullmatch(bundles.DIGEST, what.lower()):
        return f"Pinned {what.lower()}", trust.pin(what.lower(), _name(name or what[:12].lower()))
    path = Path(what)
    if not path.exists():
        raise UsageError(f"{what} is no key, no digest of a bundle and no bundle.", "Name a .pub file or a bundle.")
    if path.is_dir() or path.suffix == ".zip":
        bundle = bundles.load(path)
        bundle.verify_files()
        if bundle.signature:
            signing.check(bundle)
        called = _name(name or f"{bundle.manifest.name} version {bundle.manifest.version}")
        return f"Pinned {bundle.sha256}", trust.pin(bundle.sha256, called)
    key = signing.read_public(path)
    return f"Trusted key {key.id}", trust.trust_key(key, _name(name or path.stem))


def _name(given: str) -> str:
    if not re.fullmatch(r"[^\W_][\w .,@()+-]{0,119}", given):
        raise UsageError(
            f"{given!r:.130} is no name of a key or bundle.", "Give one of letters and digits: --name NAME."
        )
    return given


def _trusted(store: "Store") -> dict[str, Any]:
    from lsemvae_edge.trust import store_path

    return {
        "schema": "lsemvae-edge/trusted/1",
        "store": str(store_path()),
        "restricts": store.restricts,
        "keys": [{"key": key.id, "name": key.name} for key in store.keys],
        "pins": [asdict(pinned) for pinned in store.pins],
        "accepted": store.accepted,
    }


# install and current ------------------------------------------------------------------------------


def _add_install(parts: Commands) -> None:
    parser = parts.add_parser("install", help="give the kiosk another bundle, from a stick or folder")
    parser.add_argument("path", type=Path, nargs="?", help="bundle, or a folder in which exactly one is taken here")
    parser.add_argument(
        "--roll-back",
        action="store_true",
        help="with a path: take it also if it is older than one used before; without: use the previous bundle again",
    )
    parser.add_argument("--shipped", action="store_true", help="use the bundle that ships with the software again")
    add_json(parser)
    parser.set_defaults(run=install)


def install(options: argparse.Namespace) -> int:
    """Install a bundle whole or not at all, or go back to an earlier one."""
    from lsemvae_edge.cli.records import _records
    from lsemvae_edge.kiosk.updates import bundles

    who = _records.who()
    if options.shipped and (options.path or options.roll_back):
        raise UsageError("--shipped stands alone.", "Run `lsemvae-edge bundle install --help`.")
    if options.shipped:
        done = bundles.use_shipped(operator=who)
    elif options.path:
        done = bundles.install(_chosen(options.path, options.roll_back), roll_back=options.roll_back, operator=who)
    elif options.roll_back:
        done = bundles.roll_back(operator=who)
    else:
        raise UsageError("Name a bundle to install.", "Run `lsemvae-edge bundle install --help`.")
    if options.json:
        print_json(
            _in_use(done.bundle, done.previous)
            | {"schema": "lsemvae-edge/bundle-installed/1", "changed": done.changed, "runtime": done.runtime}
        )
        return int(ExitCode.DONE)
    _print_in_use(done.bundle, done.previous)
    if done.runtime:
        print(f"Known answers came out as they should, on {done.runtime}")
    print("The kiosk uses it from its next start" if done.changed else "It was in use already")
    return int(ExitCode.DONE)


def _chosen(path: Path, older: bool) -> Path:
    """Return the bundle at a path, or the one on a stick; several that are as new as each other are a question."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.cli.verify import check_schema
    from lsemvae_edge.kiosk.updates.bundles import find

    if path.is_dir() and not (path / bundles.MANIFEST).exists():
        found = find(path)
        taken = [one for one in found if one.standing or (older and one.bundle)]
        if not found:
            raise UsageError(f"There is no bundle in {path}.", "Look on the stick for a folder or .zip file of one.")
        if not taken:
            raise BundleError(f"No bundle in {path} is taken here: {found[0].refusal}")
        if len({one.bundle.sha256 for one in taken if one.bundle}) > 1:
            names = ", ".join(str(one.path) for one in taken)
            raise UsageError(f"There are several bundles in {path}: {names}.", "Name the one to install.")
        path = taken[0].path
    check_schema(bundles.load(path))
    return path


def _add_current(parts: Commands) -> None:
    parser = parts.add_parser("current", help="say which bundle the kiosk uses")
    add_json(parser)
    parser.set_defaults(run=current)


def current(options: argparse.Namespace) -> int:
    """Say which bundle is in use, after checking its files, and which one was before."""
    from lsemvae_edge.kiosk.updates import bundles

    bundle, previous = bundles.current(), bundles.previous()
    if options.json:
        print_json({"schema": "lsemvae-edge/bundle-current/1", **_in_use(bundle, previous)})
    else:
        _print_in_use(bundle, previous)
    return int(ExitCode.DONE)


def _in_use(bundle: "Bundle", previous: str | None) -> dict[str, Any]:
    return {
        "bundle": bundle.spec.id,
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
        "sha256": bundle.sha256,
        "path": str(bundle.path),
        "standing": bundle.standing and asdict(bundle.standing),
        "previous": previous,
    }


def _print_in_use(bundle: "Bundle", previous: str | None) -> None:
    from lsemvae_edge import trust

    manifest = bundle.manifest
    print(f"In use: {manifest.name} version {manifest.version}: {bundle.spec.id}, {bundle.sha256[:12]}")
    if bundle.standing:
        print(trust.words(bundle.standing))
    if previous:
        print(f"Before: {previous[:12]}")


# passphrases --------------------------------------------------------------------------------------


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            line = file.readline(4096).rstrip(b"\r\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Name a file with a passphrase.") from error
    if not line:
        raise UsageError(f"{path} holds no passphrase.", "Write one on its first line.")
    return line


def _asked(*, twice: bool) -> bytes:
    from getpass import getpass

    if not sys.stdin.isatty():
        raise UsageError("A passphrase is asked for on a terminal.", "Use --passphrase-file FILE.")
    given = getpass("Passphrase: ")
    if not given or (twice and getpass("Again: ") != given):
        raise UsageError("The passphrases are empty, or differ.", "Begin again.")
    return given.encode()
