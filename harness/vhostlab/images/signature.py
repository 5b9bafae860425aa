# SPDX-License-Identifier: BSD-3-Clause
"""Checksum files of distributions, and whether the distribution has signed them.

The fingerprint of the signer stands in the recipe. So it does not matter where a keyring comes
from: a key with another fingerprint is not accepted.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.process import find_program

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*\n(?:[^\n]+: [^\n]*\n)*\s*\n(.*?)\n=?[^\n]{0,5}\s*"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)

#: Words of gpgv for signatures that are not good.
_REASONS = {
    "BADSIG": "the file is not what was signed",
    "EXPKEYSIG": "the key has expired; get a newer keyring of the distribution",
    "REVKEYSIG": "the key was revoked",
    "EXPSIG": "the signature has expired",
    "ERRSIG": "the keyring has no key for it",
    "NODATA": "there is no signature",
}


def signed_text(
    checksums: bytes, signature: bytes | None, keyring: Path, fingerprint: str, what: str
) -> str:
    """What the owner of the key has signed. ``signature``: in a file of its own; None: the checksum
    file has it around its text. HarnessError says why it is not accepted.
    """
    gpgv = find_program("gpgv", "install gpgv (Debian) or gnupg2 (Fedora)")
    with tempfile.TemporaryDirectory(prefix="vl-signature-") as directory:
        work = Path(directory)
        ring, file, out = work / "keys.gpg", work / "checksums", work / "text"
        ring.write_bytes(binary_keyring(keyring.read_bytes()))
        file.write_bytes(checksums)
        words = [gpgv, "--homedir", directory, "--keyring", str(ring), "--status-fd", "1"]
        if signature is None:
            words += ["--output", str(out), str(file)]
        else:
            (work / "signature").write_bytes(signature)
            words += [str(work / "signature"), str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        problem = _problem(done.stdout, fingerprint)
        if problem:
            raise HarnessError(f"the signature of {what} is not good: {problem}")
        text = checksums if signature is not None else out.read_bytes()
    return text.decode(errors="replace")


def _problem(status: str, fingerprint: str) -> str:
    """Why a file is not accepted; empty: the right key has signed it. Where several keys have
    signed, one good signature of the right one is enough, and one bad one is too much.
    """
    found = [line.split()[1:] for line in status.splitlines() if line.startswith("[GNUPG:] ")]
    words = [line[0] for line in found]
    if "BADSIG" in words:
        return _REASONS["BADSIG"]
    good = False
    for line in found:
        if line[0] in ("NEWSIG", "EXPKEYSIG", "REVKEYSIG", "EXPSIG", "ERRSIG"):
            good = False
        elif line[0] == "GOODSIG":
            good = True
        elif line[0] == "VALIDSIG" and good and line[-1] == fingerprint:
            return ""
    for word, reason in _REASONS.items():
        if word in words:
            return reason
    return f"it was not made by the key {fingerprint}"


def binary_keyring(data: bytes) -> bytes:
    """A keyring as gpgv reads it: without the armour that some are distributed in."""
    blocks = _ARMOUR.findall(data)
    if not blocks:
        return data
    return b"".join(base64.b64decode(b"".join(block.split())) for block in blocks)


def checksum_of(text: str, name: str, what: str) -> str:
    """The SHA-256 of a file in a checksum file, in the forms of coreutils and of BSD."""
    bare = re.compile(rf"^([0-9a-f]{{64}}) [ *](?:\./)?{re.escape(name)}$", re.MULTILINE)
    tagged = re.compile(rf"^SHA256 \({re.escape(name)}\) = ([0-9a-f]{{64}})$", re.MULTILINE)
    found = set(bare.findall(text)) | set(tagged.findall(text))
    if len(found) != 1:
        words = "does not know" if not found else "contradicts itself about"
        raise HarnessError(f"{what} {words} {name}")
    return str(found.pop())
