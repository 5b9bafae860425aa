# SPDX-License-Identifier: BSD-3-Clause
"""images: what Windows Setup is told, held to a schema; and which discs are taken for Windows."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import xmlschema
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import Media, build, iso, recipe_path
from vhostlab.images.autounattend import FIRST_LOGON, Answers, answer_disc, autounattend
from vhostlab.images.progress import Silent
from vhostlab.images.recipe import WindowsRecipe, directory, load
from vhostlab.images.windows import MILESTONES, WindowsBuilder, recognise

NAMES = ("windows-2012r2", "windows-2022")
FIRMWARE: tuple[Literal["bios", "uefi"], ...] = ("bios", "uefi")
ANSWERS = Answers("Windows Server 2022 SERVERSTANDARD", "bios", "2k22", "Secret-1")


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema11:
    return xmlschema.XMLSchema11(str(directory() / "windows" / "unattend.xsd"))


def windows(name: str) -> WindowsRecipe:
    recipe = load(recipe_path(name))
    assert isinstance(recipe, WindowsRecipe)
    return recipe


def text(answers: Answers) -> str:
    return autounattend(answers).decode()


def problem(schema: xmlschema.XMLSchema11, answer_file: str) -> str:
    found = next(schema.iter_errors(answer_file), None)
    return "" if found is None else str(found.reason)


@pytest.mark.parametrize("firmware", FIRMWARE)
@pytest.mark.parametrize("key", ["", "ABCDE-FGHIJ-KLMNO-PQRST-UVWXY"])
@pytest.mark.parametrize("name", NAMES)
def test_the_answers_follow_the_schema(
    schema: xmlschema.XMLSchema11,
    name: str,
    key: str,
    firmware: Literal["bios", "uefi"],
) -> None:
    recipe = windows(name)
    answers = Answers(recipe.edition, firmware, recipe.drivers, "Secret-1", key)
    assert problem(schema, text(answers)) == ""


@pytest.mark.parametrize(
    ("firmware", "old", "new"),
    [
        ("bios", "<Extend>true</Extend>", "<Extend>maybe</Extend>"),
        ("bios", "<Extend>true</Extend>", ""),
        ("bios", "<Active>true</Active>", ""),
        ("bios", "<PartitionID>2</PartitionID>\n          </InstallTo>", "</InstallTo>"),
        ("bios", "<Type>Primary</Type>", "<Type>Secondary</Type>"),
        ("uefi", "<Format>FAT32</Format>", "<Format>NTFS</Format>"),
        ("uefi", "<Type>MSR</Type>", "<Type>EFI</Type>"),
        ("uefi", "<Order>3</Order>", "<Order>2</Order>"),
        ("uefi", "<PartitionID>3</PartitionID>", "<PartitionID>2</PartitionID>"),
        ("bios", 'pass="specialize"', 'pass="special"'),
        ("bios", 'pass="specialize"', 'pass="oobeSystem"'),
        ("bios", 'pass="specialize"', 'pass="windowsPE"'),
        ("bios", '"Microsoft-Windows-Setup"', '"Microsoft-Windows-Set-up"'),
        ("bios", "<ComputerName>VHOSTLAB-GUEST", "<ComputerName>VHOSTLAB-GUEST-NUMBER-1"),
        ("bios", "<LogonCount>1<", "<LogonCount>0<"),
        ("bios", "<ProtectYourPC>3<", "<ProtectYourPC>4<"),
        ("bios", "<fDenyTSConnections>true<", "<fDenyTSConnections>on<"),
        ("bios", "<AcceptEula>true</AcceptEula>", ""),
        ("bios", ' wcm:action="add" wcm:keyValue="2"', ' wcm:action="add" wcm:keyValue="1"'),
        ("bios", "<Path>D:\\viostor", "<Path>viostor"),
        ("bios", "<Value>Secret-1</Value>", "<Value>Other-1</Value>"),
        ("bios", "<InputLocale>en-US", "<InputLocale>English"),
        ("bios", "<WillShowUI>OnError", "<WillShowUI>Sometimes"),
    ],
)
def test_the_schema_refuses_mistakes(
    schema: xmlschema.XMLSchema11, firmware: Literal["bios", "uefi"], old: str, new: str
) -> None:
    good = text(replace(ANSWERS, firmware=firmware))
    assert old in good
    assert problem(schema, good.replace(old, new, 1)) != ""


def test_what_setup_is_told_to_do() -> None:
    told = text(replace(ANSWERS, firmware="uefi"))
    for driver in ("viostor", "vioscsi", "vioserial", "NetKVM"):
        assert f"<Path>E:\\{driver}\\2k22\\amd64</Path>" in told
    assert "<fDenyTSConnections>true</fDenyTSConnections>" in told
    assert "<LogonCount>1</LogonCount>" in told
    assert "ProductKey" in told and "<Key>AB" not in told


def test_every_milestone_is_said_once() -> None:
    """What the harness waits for is what the answers and the batch file write."""
    files = answer_disc(ANSWERS, {})
    said = files["autounattend.xml"].decode() + files[FIRST_LOGON].decode()
    for milestone in MILESTONES:
        assert (
            said.count(f"{milestone.pattern}> COM1") + said.count(f"{milestone.pattern}&gt; COM1")
            == 1
        ), milestone.name


def test_tools_are_installed_or_copied(tmp_path: Path) -> None:
    tools = {"fio-3.39-x64.msi": b"fio", "diskspd.exe": b"diskspd"}
    files = answer_disc(ANSWERS, tools)
    script = files[FIRST_LOGON].decode()
    assert "\r\n" in script and "\n" not in script.replace("\r\n", "")
    assert "msiexec /qn /norestart /i %~dp0fio-3.39-x64.msi || goto failed" in script
    assert "copy /y %~dp0diskspd.exe C:\\vhostlab\\ || goto failed" in script
    iso.write(tmp_path / "answers.iso", "VHOSTLAB", files)
    assert iso.read(tmp_path / "answers.iso") == files
    assert iso.label(tmp_path / "answers.iso") == "VHOSTLAB"


def disc(path: Path, label: str, mib: int) -> Path:
    """A disc with that label that looks as large as that."""
    iso.write(path, "", {"setup.exe": b"no"})
    with path.open("r+b") as file:
        # longer than what the Joliet descriptor, which nobody asks, has room for
        file.seek(16 * 2048 + 40)
        file.write(label.encode().ljust(32))
        file.truncate(mib << 20)
    return path


def test_discs_are_recognised(tmp_path: Path) -> None:
    new, old = windows("windows-2022"), windows("windows-2012r2")
    path = disc(tmp_path / "a.iso", "SSS_X64FREE_EN-US_DV9", 4810)
    recognise(new, Media(iso=path), "")
    with pytest.raises(HarnessError, match="does not look like Windows Server 2012 R2"):
        recognise(old, Media(iso=path), "")
    path = disc(tmp_path / "b.iso", "IR3_SSS_X64FREE_EN-US_DV9", 4332)
    recognise(old, Media(iso=path), "")
    with pytest.raises(HarnessError, match="--iso-sha256"):
        recognise(new, Media(iso=path), "")
    path = disc(tmp_path / "c.iso", "CCCOMA_X64FRE_EN-US_DV9", 4810)
    with pytest.raises(HarnessError, match="label 'CCCOMA"):
        recognise(new, Media(iso=path), "")


def test_a_checksum_says_more_than_a_label(tmp_path: Path) -> None:
    path = disc(tmp_path / "mine.iso", "MINE", 1)
    sum_ = hashlib.sha256(path.read_bytes()).hexdigest()
    recognise(windows("windows-2022"), Media(iso=path, iso_sha256=sum_.upper()), sum_)
    with pytest.raises(HarnessError, match="damaged, or not the disc"):
        recognise(windows("windows-2022"), Media(iso=path, iso_sha256="0" * 64), sum_)


def test_what_the_user_has_to_give(tmp_path: Path) -> None:
    for media, wanted in (
        (Media(), "--iso"),
        (Media(iso=disc(tmp_path / "a.iso", "X", 1)), "--virtio-win"),
        (Media(iso=tmp_path / "none.iso"), r"none\.iso"),
    ):
        with pytest.raises(Unavailable, match=wanted) as caught:
            asyncio.run(build(recipe_path("windows-2022"), tmp_path / "cache", media=media))
        assert caught.value.exit_status == 2


def test_the_id_covers_what_was_given(tmp_path: Path) -> None:
    drivers = disc(tmp_path / "virtio-win.iso", "virtio-win", 1)
    tool = tmp_path / "fio.msi"
    tool.write_bytes(b"fio")

    def identity(media: Media) -> str:
        builder = WindowsBuilder(windows("windows-2022"), media, tmp_path, Silent())
        return asyncio.run(builder.identity())

    small = disc(tmp_path / "small.iso", "SMALL", 1)
    sum_ = hashlib.sha256(small.read_bytes()).hexdigest()
    media = Media(iso=small, iso_sha256=sum_, virtio_win=drivers)
    ids = {
        identity(media),
        identity(replace(media, tools=(tool,))),
        identity(replace(media, firmware="bios")),
        identity(replace(media, product_key="A")),
    }
    assert len(ids) == 4
