# SPDX-License-Identifier: BSD-3-Clause
"""layers.py finds each kind of include or import that looks up, and nothing else."""

from pathlib import Path

import layers
import pytest


def tree(root: Path, files: dict[str, str]) -> list[str]:
    """Lay down a source tree and return what layers.py says about it, paths relative to it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [str(problem).removeprefix(f"{root}/") for problem in layers.check(root)]


def test_a_clean_tree_has_no_problem(tmp_path: Path) -> None:
    assert not tree(
        tmp_path,
        {
            "target/lib/base/log.h": "#include <stdio.h>\n",
            "target/lib/bdev/bdev.h": '#include "base/log.h"\n',
            "target/lib/device/blk.c": '#include "bdev/bdev.h"\n#include "base/log.h"\n',
            "target/lib/env/dpdk_mem.c": "#include <rte_malloc.h>\n",
            "target/lib/mgmt/server.h": "#include <jansson.h>\n",
            "target/app/vhost/options.h": "",
            "target/app/vhost/main.c": (
                '#include <vhost_target/target.h>\n#include "options.h"\n#include "base/log.h"\n'
            ),
            "target/include/vhost_target/target.h": "#include <stdint.h>\n",
            "harness/vhostlab/vm.py": "import asyncio\nfrom qemu.qmp import QMPClient\n",
            "harness/vhostlab_avocado/plugin.py": "import vhostlab\nfrom avocado.core import x\n",
            "perf/vhostlab_perf/judge.py": "from vhostlab_perf import stats\n",
        },
    )


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("lib/base/log.c", '#include "env/env.h"', "base includes env/env.h of env"),
        ("lib/virtio/split.c", '#include "bdev/bdev.h"', "virtio includes bdev/bdev.h of bdev"),
        ("lib/device/blk.c", '#include "vhost_user/codec.h"', "device includes vhost_user/codec.h"),
        ("lib/vhost_user/session.c", '#include "device/blk.h"', "vhost_user includes device/blk.h"),
        (
            "lib/config/file.c",
            '#include "vhost_user/codec.h"',
            "config includes vhost_user/codec.h",
        ),
        ("lib/bdev/aio.c", "#  include <vhost_target/target.h>", "bdev includes vhost_target/"),
        ("lib/virtio/split.c", "#include <rte_ring.h>", "only lib/env/dpdk*.c may include DPDK"),
        ("lib/env/posix.c", "#include <rte_ring.h>", "only lib/env/dpdk*.c may include DPDK"),
        ("lib/bdev/dpdk.c", "#include <rte_ring.h>", "only lib/env/dpdk*.c may include DPDK"),
        ("lib/base/log.c", '#include "log.h"', 'write it with its layer, as "base/log.h"'),
        ("lib/base/log.c", '#include "base/absent.h"', "there is no such header"),
        ("lib/base/log.c", '#include "util/log.h"', "there is no layer util"),
        ("app/vhost/main.c", '#include "controller/c.h"', "app includes controller/c.h"),
        ("include/vhost_target/bdev.h", "#include <base/log.h>", "may not need base/log.h"),
    ],
)
def test_an_include_that_looks_up(tmp_path: Path, name: str, line: str, message: str) -> None:
    headers = dict.fromkeys(
        (
            "target/lib/env/env.h",
            "target/lib/bdev/bdev.h",
            "target/lib/vhost_user/codec.h",
            "target/lib/device/blk.h",
            "target/lib/controller/c.h",
        ),
        "",
    )
    found = tree(tmp_path, headers | {f"target/{name}": f"/* first line */\n{line}\n"})
    assert len(found) == 1
    assert found[0].startswith(f"target/{name}:2: ")
    assert message in found[0]


def test_a_unit_test_may_use_what_its_layer_stands_on(tmp_path: Path) -> None:
    headers = {"target/lib/reactor/reactor.h": "", "target/lib/mgmt/mgmt.h": ""}
    low = '#include "reactor/reactor.h"\n'
    assert not tree(tmp_path, headers | {"target/lib/config/a_test.c": low})
    up = tree(tmp_path, {"target/lib/config/a_test.c": '#include "mgmt/mgmt.h"\n'})
    assert len(up) == 1
    assert "config includes mgmt/mgmt.h" in up[0]


def test_a_folder_that_is_no_layer(tmp_path: Path) -> None:
    found = tree(tmp_path, {"target/lib/util/x.c": ""})
    assert "lib/util is no layer" in found[0]


@pytest.mark.parametrize(
    ("name", "line", "package"),
    [
        ("harness/vhostlab/vm.py", "from avocado.utils import process", "avocado"),
        ("harness/vhostlab/deep/er.py", "import vhostlab_perf.stats as s", "vhostlab_perf"),
        ("harness/scenarios/boot.py", "import avocado", "avocado"),
        ("harness/vhostlab_avocado/p.py", "import vhostlab_perf", "vhostlab_perf"),
        ("perf/vhostlab_perf/gate.py", "from vhostlab.results import Result", "vhostlab"),
    ],
)
def test_an_import_that_looks_up(tmp_path: Path, name: str, line: str, package: str) -> None:
    found = tree(tmp_path, {name: f"def f() -> None:\n    pass\n    {line}\n"})
    assert len(found) == 1
    assert found[0].endswith(f"may not import {package}")


def test_the_table_itself_has_no_way_up() -> None:
    """Whatever a layer may use comes before it in the table, so there is no circle."""
    seen: set[str] = set()
    for layer, uses in layers.LAYERS.items():
        assert uses <= seen, layer
        seen.add(layer)
