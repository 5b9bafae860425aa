# SPDX-License-Identifier: BSD-3-Clause
# Turn the `## ` comments of a Makefile into its help.
BEGIN { FS = ":.*## " }
/^##@ / { printf "\n%s\n", substr($0, 5) }
/^[a-z][a-z0-9-]*:.*## / { printf "  %-16s %s\n", $1, $2 }
