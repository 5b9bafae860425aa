# SPDX-License-Identifier: BSD-3-Clause
"""The fio engine on real targets."""
