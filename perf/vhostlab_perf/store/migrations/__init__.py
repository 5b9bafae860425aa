# SPDX-License-Identifier: BSD-3-Clause
"""How the schema came to be, for Alembic."""
