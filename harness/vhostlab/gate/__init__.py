# SPDX-License-Identifier: BSD-3-Clause
"""Is a change fit to be merged? Two revisions, several tiers, one verdict, one page.

``revisions``  what is compared, and what of it differs
``builds``     a daemon of a revision, built once
``work``       T0: work per request, counted
``coverage``   which lines the tests run
``child``      programs that end with us
``steps``      where a long command is, and how long it will still take
``run``        all of it, in order; what was measured is judged by ``perf/``, run as a program
"""
