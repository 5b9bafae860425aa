# SPDX-License-Identifier: BSD-3-Clause
"""The answer file of Windows Setup, and what runs at the first logon.

The settings are those that Microsoft documents as the "unattended Windows setup reference". The
subset that is made here is described by vm-images/windows/unattend.xsd, and tests hold it to that.
Milestones are told on the first serial port, where the harness reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as Xml

NAMESPACE = "urn:schemas-microsoft-com:unattend"
_WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
_MICROSOFT = "31bf3856ad364e35"

#: The drives of the three discs are not known while Setup runs; no disk has a letter then.
_DRIVES = "DEFGH"
_DRIVERS = ("viostor", "vioscsi", "vioserial", "NetKVM", "Balloon")

FIRST_LOGON = "first-logon.cmd"

STARTED = "vhostlab: setup has started"
COPIED = "vhostlab: setup has copied Windows"
LOGON = "vhostlab: first logon"
INSTALLED = "vhostlab: installed"
FAILED = "vhostlab: installation failed"

Value = str | int | bool | list["Item"]
Item = tuple[str, Value]


@dataclass(frozen=True)
class Answers:
    """What Setup is to be told."""

    edition: str
    firmware: Literal["bios", "uefi"]
    drivers: str
    """The directory of the version on the virtio-win disc."""
    password: str
    product_key: str = ""
    computer_name: str = "VHOSTLAB-GUEST"
    locale: str = "en-US"


def answer_disc(answers: Answers, tools: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the disc with the answers. ``tools``: fio's .msi, diskspd.exe."""
    return {
        "autounattend.xml": autounattend(answers),
        FIRST_LOGON: _first_logon(tools).encode(),
        **tools,
    }


def autounattend(answers: Answers) -> bytes:
    """The answer file."""
    Xml.register_namespace("", NAMESPACE)
    Xml.register_namespace("wcm", _WCM)
    root = Xml.Element(f"{{{NAMESPACE}}}unattend")
    _pass(root, "windowsPE", {**_languages(answers, "-WinPE"), **_setup(answers)})
    _pass(root, "specialize", _specialize(answers))
    _pass(root, "oobeSystem", {**_languages(answers, ""), **_first_start(answers)})
    Xml.indent(root)
    body = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'.encode()


def _languages(answers: Answers, suffix: str) -> dict[str, list[Item]]:
    names = ("InputLocale", "SystemLocale", "UILanguage", "UserLocale")
    items: list[Item] = [(name, answers.locale) for name in names]
    if suffix:
        items.insert(0, ("SetupUILanguage", [("UILanguage", answers.locale)]))
    return {f"Microsoft-Windows-International-Core{suffix}": items}


def _setup(answers: Answers) -> dict[str, list[Item]]:
    key: list[Item] = [("WillShowUI", "OnError")]
    if answers.product_key:
        key.insert(0, ("Key", answers.product_key))
    partitions = _BIOS if answers.firmware == "bios" else _UEFI
    system = len(partitions)
    image: Item = ("MetaData", [("Key", "/IMAGE/NAME"), ("Value", answers.edition)])
    paths = [
        f"{drive}:\\{driver}\\{answers.drivers}\\amd64" for drive in _DRIVES for driver in _DRIVERS
    ]
    return {
        "Microsoft-Windows-PnpCustomizationsWinPE": [
            (
                "DriverPaths",
                [
                    (f"PathAndCredentials#{number}", [("Path", path)])
                    for number, path in enumerate(paths, start=1)
                ],
            )
        ],
        "Microsoft-Windows-Setup": [
            ("DiskConfiguration", _disk(partitions)),
            (
                "ImageInstall",
                [
                    (
                        "OSImage",
                        [
                            ("InstallFrom", [image]),
                            ("InstallTo", [("DiskID", 0), ("PartitionID", system)]),
                            ("WillShowUI", "OnError"),
                        ],
                    )
                ],
            ),
            (
                "UserData",
                [
                    ("AcceptEula", True),
                    ("FullName", "vhostlab"),
                    ("Organization", "vhostlab"),
                    ("ProductKey", key),
                ],
            ),
            ("RunSynchronous", [_command(1, _say(STARTED))]),
        ],
    }


@dataclass(frozen=True)
class _Partition:
    kind: str
    size_mib: int
    """0: what is left."""
    label: str = ""
    format: str = ""
    letter: str = ""
    active: bool = False


_BIOS = (
    _Partition("Primary", 350, "System", "NTFS", active=True),
    _Partition("Primary", 0, "Windows", "NTFS", "C"),
)
_UEFI = (
    _Partition("EFI", 260, "System", "FAT32"),
    _Partition("MSR", 128),
    _Partition("Primary", 0, "Windows", "NTFS", "C"),
)


def _disk(partitions: Iterable[_Partition]) -> list[Item]:
    create: list[Item] = []
    modify: list[Item] = []
    for number, part in enumerate(partitions, start=1):
        size: Item = ("Size", part.size_mib) if part.size_mib else ("Extend", True)
        create.append(("CreatePartition", [("Order", number), size, ("Type", part.kind)]))
        change: list[Item] = [("Order", number), ("PartitionID", number)]
        if part.active:
            change.append(("Active", True))
        for name, value in (
            ("Format", part.format),
            ("Label", part.label),
            ("Letter", part.letter),
        ):
            if value:
                change.append((name, value))
        modify.append(("ModifyPartition", change))
    disk: list[Item] = [
        ("DiskID", 0),
        ("WillWipeDisk", True),
        ("CreatePartitions", create),
        ("ModifyPartitions", modify),
    ]
    return [("WillShowUI", "OnError"), ("Disk", disk)]


def _specialize(answers: Answers) -> dict[str, list[Item]]:
    return {
        "Microsoft-Windows-Shell-Setup": [
            ("ComputerName", answers.computer_name),
            ("TimeZone", "UTC"),
        ],
        # Nobody logs in from elsewhere.
        "Microsoft-Windows-TerminalServices-LocalSessionManager": [("fDenyTSConnections", True)],
        "Microsoft-Windows-ServerManager-SvrMgrNc": [("DoNotOpenServerManagerAtLogon", True)],
        "Microsoft-Windows-Deployment": [("RunSynchronous", [_command(1, _say(COPIED))])],
    }


def _first_start(answers: Answers) -> dict[str, list[Item]]:
    password: list[Item] = [("Value", answers.password), ("PlainText", True)]
    # The drive of the disc is looked for; what it does is in its file.
    find = f"for %d in ({' '.join(_DRIVES)}) do if exist %d:\\{FIRST_LOGON} call %d:\\{FIRST_LOGON}"
    command: list[Item] = [
        ("Order", 1),
        ("CommandLine", f'cmd.exe /c "{find}"'),
        ("Description", "agent, drivers and tools for tests"),
        ("RequiresUserInput", False),
    ]
    return {
        "Microsoft-Windows-Shell-Setup": [
            (
                "AutoLogon",
                [
                    ("Enabled", True),
                    ("LogonCount", 1),
                    ("Username", "Administrator"),
                    ("Password", password),
                ],
            ),
            (
                "OOBE",
                [
                    ("HideEULAPage", True),
                    ("NetworkLocation", "Work"),
                    ("ProtectYourPC", 3),
                ],
            ),
            ("UserAccounts", [("AdministratorPassword", password)]),
            ("FirstLogonCommands", [("SynchronousCommand", command)]),
        ]
    }


def _say(text: str) -> str:
    return f'cmd.exe /c "echo {text}> COM1"'


def _command(order: int, path: str) -> Item:
    return (
        "RunSynchronousCommand",
        [("Order", order), ("Path", path), ("Description", "tell the harness")],
    )


def _pass(root: Xml.Element, name: str, components: Mapping[str, list[Item]]) -> None:
    settings = Xml.SubElement(root, f"{{{NAMESPACE}}}settings", {"pass": name})
    for component, items in components.items():
        attributes = {
            "name": component,
            "processorArchitecture": "amd64",
            "publicKeyToken": _MICROSOFT,
            "language": "neutral",
            "versionScope": "nonSxS",
        }
        _fill(Xml.SubElement(settings, f"{{{NAMESPACE}}}component", attributes), items)


#: Members of lists: Setup is told to add each of them.
_LISTED = {
    "Disk",
    "CreatePartition",
    "ModifyPartition",
    "PathAndCredentials",
    "MetaData",
    "RunSynchronousCommand",
    "SynchronousCommand",
}


def _fill(parent: Xml.Element, items: Iterable[Item]) -> None:
    for name, value in items:
        name, _, key = name.partition("#")
        element = Xml.SubElement(parent, f"{{{NAMESPACE}}}{name}")
        if name in _LISTED:
            element.set(f"{{{_WCM}}}action", "add")
        if key:
            element.set(f"{{{_WCM}}}keyValue", key)
        if isinstance(value, list):
            _fill(element, value)
        else:
            element.text = str(value).lower() if isinstance(value, bool) else str(value)


def _first_logon(tools: Mapping[str, bytes]) -> str:
    """A batch file: runs once, as Administrator, from the disc that it lies on."""
    drives = " ".join(_DRIVES)
    lines = [
        "@echo off",
        "rem SPDX-License-Identifier: BSD-3-Clause",
        f"echo {LOGON}> COM1",
        "set step=finding the virtio-win disc",
        "set virtio=",
        f"for %%d in ({drives}) do if exist %%d:\\guest-agent\\qemu-ga-x86_64.msi set virtio=%%d:",
        'if "%virtio%"=="" goto failed',
        "set step=installing the guest agent",
        "msiexec /qn /norestart /i %virtio%\\guest-agent\\qemu-ga-x86_64.msi || goto failed",
        "set step=installing tools",
        "mkdir C:\\vhostlab",
    ]
    for name in sorted(tools):
        if name.lower().endswith(".msi"):
            lines.append(f"msiexec /qn /norestart /i %~dp0{name} || goto failed")
        else:
            lines.append(f"copy /y %~dp0{name} C:\\vhostlab\\ || goto failed")
    lines += [
        "set step=settings",
        "rem No sleep and no updates in the middle of a measurement.",
        "powercfg /setactive 8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c || goto failed",
        "sc config wuauserv start= disabled || goto failed",
        # Disks that come later are to be seen at once and as they are.
        "echo san policy=OnlineAll> %TEMP%\\san.txt",
        "diskpart /s %TEMP%\\san.txt || goto failed",
        f"echo {INSTALLED}> COM1",
        "shutdown /s /t 5",
        "exit /b 0",
        ":failed",
        f"echo {FAILED}: %step%> COM1",
        "exit /b 1",
    ]
    return "\r\n".join(lines) + "\r\n"
