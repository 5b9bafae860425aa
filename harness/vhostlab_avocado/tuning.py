# SPDX-License-Identifier: BSD-3-Clause
"""``avocado run --vhostlab-tune``: the host is tuned for the time of a job.

For jobs that are started by hand; the commands of vhostlab have ``--tune`` and do it themselves.
"""

from __future__ import annotations

import sys
from typing import Any

from avocado.core import exit_codes
from avocado.core.output import LOG_UI
from avocado.core.plugin_interfaces import CLI, Init, JobPost, JobPre
from avocado.core.settings import settings
from vhostlab.errors import HarnessError
from vhostlab.host.tuning import Tuning

SETTING = "vhostlab.tune"


class TuneInit(Init):  # type: ignore[misc]
    """Avocado plugin: the setting behind the option."""

    name = "vhostlab-tune"
    description = "The setting vhostlab.tune"

    def initialize(self) -> None:
        settings.register_option(
            section="vhostlab",
            key="tune",
            default=False,
            key_type=bool,
            help_msg="Tune this host for steady figures while the job runs, and undo it",
        )


class TuneCLI(CLI):  # type: ignore[misc]
    """Avocado plugin: --vhostlab-tune."""

    name = "vhostlab-tune"
    description = "Option --vhostlab-tune of the subcommand 'run'"

    def configure(self, parser: Any) -> None:
        run = parser.subcommands.choices.get("run")
        if run is not None:
            settings.add_argparser_to_option(
                namespace=SETTING, parser=run, long_arg="--vhostlab-tune", action="store_true"
            )

    def run(self, config: dict[str, Any]) -> None:
        """There is nothing to do."""


class TuneJob(JobPre, JobPost):  # type: ignore[misc]
    """Avocado plugin: tunes before a job that asks for it, and undoes it behind."""

    name = "vhostlab-tune"
    description = "Tunes the host for a job, and undoes it"

    def __init__(self) -> None:
        self._tuning: Tuning | None = None

    def pre(self, job: Any) -> None:
        """Tune; a job that cannot have what it asks for does not run."""
        if not job.config.get(SETTING):
            return
        tuning = Tuning()
        try:
            tuning.apply()
        except HarnessError as error:
            LOG_UI.error("vhostlab: %s", error)
            sys.exit(exit_codes.AVOCADO_JOB_FAIL)
        self._tuning = tuning
        for words in tuning.told():
            LOG_UI.info("vhostlab: %s", words)

    def post(self, job: Any) -> None:
        """Undo."""
        if self._tuning is None:
            return
        for words in self._tuning.undo().left:
            LOG_UI.error("vhostlab: not undone: %s", words)
        self._tuning = None
