# SPDX-License-Identifier: BSD-3-Clause
"""The sub-commands of ``vhostlab``, one module each, in the order of ``vhostlab --help``.

A module has ``HELP`` (one line), ``add(parser)``, which declares its options, and
``run(options, console)``, which returns the exit status. A name with an underscore in Python has a
dash on the command line. Modules without ``HELP`` are called by the harness itself, not by people.
"""

COMMANDS = ("vmtest", "bench", "gate", "coverage", "console", "doctor", "stage")
