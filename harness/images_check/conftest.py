# SPDX-License-Identifier: BSD-3-Clause
"""Big images, built for real and booted: minutes each, and downloads. `make images-check`."""
