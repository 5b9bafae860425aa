# SPDX-License-Identifier: BSD-3-Clause
"""setup.sh asks before it installs, installs only what is missing, and says what a person must do.

The machine is a folder of small scripts that is all of PATH, so nothing is ever installed.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parent.parent / "setup.sh"
CORE = ("cat", "env", "find", "grep", "sort", "uname", "touch", "chmod", "cp", "dirname")

# What a package manager would bring: programs that always succeed. Asked for a file of its own,
# as clang is for its fuzzer library, a program names one that exists.
PROGRAMS = (
    "ccache chromedriver clang clang-tidy cpio dpdk dpkg-deb fio gcc git gpg gpgv make mandoc "
    "mcopy meson mkfs.ext4 mkfs.vfat mkfs.xfs mmdebstrap ninja pdftotext pkg-config python3 "
    "qemu-img qemu-storage-daemon qemu-system-x86_64 sfdisk shellcheck update-ca-certificates "
    "valgrind xz zstd"
)
PROVIDE = """#!/bin/bash
echo "$(basename "$0") $*" >>"{home}/calls"
for program in {programs}; do
	printf '#!/bin/bash\ncase $1 in -print*) echo {home}/calls ;; esac\n' >"{bin}/$program"
	chmod +x "{bin}/$program"
done
"""


@dataclass(frozen=True)
class Machine:
    """PATH is `bin` and the system's sbin folders."""

    home: Path

    @property
    def bin(self) -> Path:
        return self.home / "bin"

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text.format(home=self.home, bin=self.bin, programs=PROGRAMS))
        path.chmod(0o755)

    def user(self, uid: int) -> None:
        self.program("id", f"#!/bin/bash\necho {uid}\n")

    def setup(self, *arguments: str) -> tuple[int, list[str]]:
        """Run setup.sh; return its exit status and what it said."""
        done = subprocess.run(
            ["/bin/bash", str(SETUP), *arguments],
            env={"PATH": str(self.bin)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    def calls(self) -> list[str]:
        log = self.home / "calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if Path("/usr/sbin").resolve() == Path("/usr/bin").resolve():
        pytest.skip("this system has one folder for all programs, so none can be hidden")
    (tmp_path / "bin").mkdir()
    made = Machine(tmp_path)
    for name in (*CORE, "basename"):
        (made.bin / name).symlink_to(f"/usr/bin/{name}")
    made.user(0)
    return made


def test_without_a_package_manager(machine: Machine) -> None:
    status, said = machine.setup()
    assert status == 2
    assert "neither apt-get nor dnf is here" in said[-1]
    assert "libdpdk-dev" in said[-1]


def test_neither_root_nor_sudo_names_the_command(machine: Machine) -> None:
    machine.program("apt-get", PROVIDE)
    machine.user(1000)
    status, said = machine.setup()
    assert status == 2
    assert "run this as root: apt-get update && apt-get install -y" in said[-1]
    assert "meson" in said[-1]
    assert not machine.calls()


def test_check_installs_nothing(machine: Machine) -> None:
    machine.program("apt-get", PROVIDE)
    status, said = machine.setup("--check")
    assert status == 1
    assert said[-1].startswith("setup: missing: ")
    assert not machine.calls()


def test_a_package_that_no_source_has(machine: Machine) -> None:
    machine.program("apt-get", PROVIDE)
    machine.program("apt-cache", '#!/bin/bash\n[ "$2" = fio ] || echo "  Candidate: 1.0"\n')
    status, said = machine.setup()
    assert status == 1
    assert said[-1].startswith("setup: no package source offers: fio (")
    assert [call.split()[-1] for call in machine.calls()] == ["update"]


@pytest.mark.parametrize(
    ("manager", "package"), [("apt-get", "libaio-dev"), ("dnf", "libaio-devel")]
)
def test_installs_what_is_missing_once(machine: Machine, manager: str, package: str) -> None:
    machine.program(manager, PROVIDE)
    machine.program("apt-cache", "#!/bin/bash\necho '  Candidate: 1.0'\n")
    machine.program("zstd", "#!/bin/bash\n")
    status, said = machine.setup()
    assert status == 0, said
    assert said[-1] == "setup: done"
    installed = machine.calls()[-1].split()
    assert manager == installed[0]
    assert package in installed
    assert "zstd" not in installed, "it was there already"

    before = machine.calls()
    assert machine.setup() == (0, ["setup: all packages are present"])
    assert machine.calls() == before


def test_installed_and_still_not_usable(machine: Machine) -> None:
    machine.program("dnf", "#!/bin/bash\n")
    status, said = machine.setup()
    assert status == 1
    assert said[-1].startswith("setup: installed, and still not usable: ")
