# SPDX-License-Identifier: BSD-3-Clause
"""What the first boot of a cloud image is told: cloud-init's NoCloud data source.

Only what the cloud-init of Ubuntu 16.04 knew, too. User data are YAML; they are written as JSON,
which is YAML as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

SEEDED = "vhostlab: seeded"
SEED_FAILED = "vhostlab: seeding failed"

_SCRIPT = "/var/lib/vhostlab-seed"

#: Run by cloud-init at the end, when the packages have been installed.
_SEED = f"""#!/bin/sh
trap 'status=$?; [ $status = 0 ] || echo "{SEED_FAILED} ($status)" > /dev/console' EXIT
set -e
# The harness asks the agent to run programs: Fedora's agent refuses that, and so does SELinux.
if [ -f /etc/selinux/config ]; then
	sed -i 's/^SELINUX=.*/SELINUX=permissive/' /etc/selinux/config
fi
if [ -f /etc/sysconfig/qemu-ga ]; then
	printf 'FILTER_RPC_ARGS=\\nBLACKLIST_RPC=\\n' > /etc/sysconfig/qemu-ga
fi
command -v fio
command -v qemu-ga
mkdir -p /etc/systemd/system/qemu-guest-agent.service.d
cat > /etc/systemd/system/qemu-guest-agent.service.d/vhostlab.conf <<'END'
[Service]
ExecStartPre=/bin/sh -c 'echo "vhostlab: agent" > /dev/console'
END
systemctl enable qemu-guest-agent || true
# The next boots have no network and are not to wait for one, nor for a data source.
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init.cfg
systemctl mask systemd-networkd-wait-online.service NetworkManager-wait-online.service
touch /etc/cloud/cloud-init.disabled
sync
echo "{SEEDED}" > /dev/console
"""


def nocloud(name: str, packages: Sequence[str]) -> dict[str, bytes]:
    """The files of the seed: to be put on a volume called cidata."""
    user_data = {
        "package_update": True,
        "packages": list(packages),
        "write_files": [{"path": _SCRIPT, "permissions": "0755", "content": _SEED}],
        "runcmd": [[_SCRIPT]],
        "power_state": {"mode": "poweroff", "delay": "now", "timeout": 120},
    }
    meta_data = {"instance-id": f"vhostlab-{name}", "local-hostname": "vhostlab-guest"}
    return {
        "user-data": b"#cloud-config\n" + json.dumps(user_data, indent=1).encode() + b"\n",
        "meta-data": json.dumps(meta_data).encode() + b"\n",
    }
