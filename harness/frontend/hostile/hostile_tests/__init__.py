# SPDX-License-Identifier: BSD-3-Clause
"""vhost-hostile against real targets."""
