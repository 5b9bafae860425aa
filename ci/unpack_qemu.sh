#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Unpack the qemu-storage-daemon of another Debian suite into a folder, with all that it needs, and leave the system
# as it is. Tests run against it, in addition to the installed one, when QSD_BINARY names it:
#
#   ci/unpack_qemu.sh DIRECTORY [SUITE]      (default: sid)
#   QSD_BINARY=DIRECTORY/qemu-storage-daemon make check-frontend check-engine
#
# It uses the mirror and the keys that this system's apt is configured with.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	echo "usage: ci/unpack_qemu.sh DIRECTORY [SUITE]" >&2
	exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
suite=${2-sid}

# The first source that is a Debian archive.
# shellcheck disable=SC2016 # apt's variable
site=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Created-By: Packages' | head -n 1)
if [ -z "$site" ]; then
	echo "unpack_qemu: apt knows no Debian archive (apt-get update?)" >&2
	exit 1
fi

apt=$dir/apt
mkdir -p "$apt"/{lists,archives}/partial "$dir/root"
touch "$apt/status"
printf 'deb %s %s main\n' "$site" "$suite" >"$apt/sources"
cat >"$apt/conf" <<END
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache::archives "$apt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "$apt/sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Get::List-Cleanup "false";
END
export APT_CONFIG=$apt/conf
apt-get -q -q update
# With an empty status file: everything that it needs, and nothing is installed.
# The program is in the first of these from Debian 13 on, in the second one before.
apt-get -q -q -y --download-only --no-install-recommends install qemu-utils qemu-system-common
for package in "$apt"/archives/*.deb; do
	dpkg-deb -x "$package" "$dir/root"
done

# Its own loader and libraries, wherever it is called from.
lib=$dir/root/usr/lib/$(uname -m)-linux-gnu
loader=$(find "$lib" -maxdepth 1 -name 'ld-linux*.so.*' -print -quit)
cat >"$dir/qemu-storage-daemon" <<END
#!/bin/sh
export QEMU_MODULE_DIR=$lib/qemu
exec $loader --library-path $lib $dir/root/usr/bin/qemu-storage-daemon "\$@"
END
chmod +x "$dir/qemu-storage-daemon"
"$dir/qemu-storage-daemon" --version | head -n 1
