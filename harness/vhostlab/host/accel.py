# SPDX-License-Identifier: BSD-3-Clause
"""Which accelerator guests run with, decided by booting one.

``/dev/kvm`` may open and yet start no guest (nested virtualisation does that), so the answer is
"kvm" only after the micro guest reached its agent under KVM. The answer is kept for this boot of
the machine and this QEMU; $VHOSTLAB_ACCEL overrules it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from vhostlab import images, paths
from vhostlab.errors import HarnessError
from vhostlab.host.facts import boot_id
from vhostlab.images.image import Image
from vhostlab.process import output_of
from vhostlab.qemu import Vm, VmConfig
from vhostlab.scratch import scratch_dir

KVM = Path("/dev/kvm")
PROBE_DEADLINES_S = {"firmware": 5.0, "kernel": 5.0, "init": 10.0, "agent": 10.0}
"""Far more than a working KVM needs (well under a second each), and short for one that hangs."""


def without_probe() -> str | None:
    """The accelerator, if it is known without booting anything."""
    if forced := os.environ.get("VHOSTLAB_ACCEL"):
        if forced not in ("kvm", "tcg"):
            raise HarnessError(f"VHOSTLAB_ACCEL is '{forced}'", "it must be kvm or tcg")
        return forced
    return None if os.access(KVM, os.R_OK | os.W_OK) else "tcg"


async def accelerator(image: Image, qemu: Path | None = None) -> str:
    """ "kvm" or "tcg"."""
    return (await verdict(image, qemu))[0]


async def verdict(image: Image, qemu: Path | None = None) -> tuple[str, str]:
    """The accelerator, and what the boot probe said if there was one."""
    if known := without_probe():
        return known, ""
    config = VmConfig(image, "kvm", name="kvm-probe", qemu=qemu)
    version = (await output_of([config.program(), "--version"], 20.0)).splitlines()[0]
    key = hashlib.sha256(f"{boot_id()}\n{version}\n{config.program()}".encode()).hexdigest()[:16]
    kept = paths.cache_dir() / "accel" / f"{key}.json"
    try:
        said = json.loads(kept.read_text())
        answer, why = str(said["accel"]), str(said.get("why", ""))
    except (OSError, ValueError, KeyError):
        answer, why = await _probe(config)
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"accel": answer, "qemu": version, "why": why}) + "\n")
        fresh.rename(kept)
    return answer, why


async def _probe(config: VmConfig) -> tuple[str, str]:
    """Boot under KVM; return the accelerator to use and why."""
    with scratch_dir("probe") as directory:
        try:
            async with Vm(config, directory, stage_deadlines_s=PROBE_DEADLINES_S) as vm:
                return "kvm", f"the micro guest booted in {vm.boot_seconds:.1f} s"
        except HarnessError as error:
            return "tcg", error.message


async def installer_accelerator() -> str:
    """The accelerator for a VM that prepares an image: found out with the micro guest."""
    return without_probe() or await accelerator(await images.build())
