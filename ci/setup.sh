#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Install the packages that building and testing need, and only those that are missing.
# Debian and Ubuntu (apt), Fedora and its kin (dnf); as root or with sudo.
#
#   ci/setup.sh           install what is missing
#   ci/setup.sh --check   install nothing; list what is missing and exit 1 if anything is
#
# Exit status: 0 all there, 1 something could not be had, 2 it needs a person (no root, no package manager).
set -euo pipefail

# One need per line: how to see that it is there, its apt package, its dnf package.
#   cmd:NAME      a command in PATH              pc:NAME     a pkg-config module
#   header:NAME   a header the compiler finds    py:NAME     modules of the system's Python
#   file:GLOB     a file                         lib:SONAME  a shared library that the linker knows
#   fuzzer:       the run-time library of libFuzzer for the clang in PATH
#   postgres:     PostgreSQL's server programs, which Debian keeps out of PATH
needs() {
	cat <<-'END'
		cmd:git                     git                git
		cmd:make                    make               make
		cmd:gcc                     gcc                gcc
		header:stdio.h              libc6-dev          glibc-devel
		cmd:pkg-config              pkg-config         pkgconf-pkg-config
		cmd:meson                   meson              meson
		cmd:ninja                   ninja-build        ninja-build
		cmd:ccache                  ccache             ccache
		pc:libdpdk                  libdpdk-dev        dpdk-devel
		header:libaio.h             libaio-dev         libaio-devel
		header:numa.h               libnuma-dev        numactl-devel
		header:sys/sdt.h            systemtap-sdt-dev  systemtap-sdt-devel
		pc:libseccomp               libseccomp-dev     libseccomp-devel
		pc:jansson                  libjansson-dev     jansson-devel
		pc:cmocka                   libcmocka-dev      libcmocka-devel
		cmd:clang                   clang              clang
		cmd:clang-tidy              clang-tidy         clang-tools-extra
		fuzzer:                     libclang-rt-dev    compiler-rt
		cmd:shellcheck              shellcheck         ShellCheck
		cmd:mandoc                  mandoc             mandoc
		cmd:python3                 python3            python3
		py:venv,ensurepip           python3-venv       python3
		cmd:qemu-system-x86_64      qemu-system-x86    qemu-system-x86-core
		cmd:qemu-img                qemu-utils         qemu-img
		cmd:qemu-storage-daemon     qemu-system-common qemu-common
		cmd:fio                     fio                fio
		cmd:valgrind                valgrind           valgrind
		cmd:cpio                    cpio               cpio
		cmd:zstd                    zstd               zstd
		cmd:xz                      xz-utils           xz
		cmd:mkfs.ext4               e2fsprogs          e2fsprogs
		cmd:mkfs.xfs                xfsprogs           xfsprogs
		cmd:mkfs.vfat               dosfstools         dosfstools
		cmd:mcopy                   mtools             mtools
		cmd:sfdisk                  fdisk              util-linux
		cmd:mmdebstrap              mmdebstrap         mmdebstrap
		cmd:gpg                     gnupg              gnupg2
		cmd:gpgv                    gpgv               gnupg2
		file:/usr/share/OVMF/OVMF_CODE*.fd ovmf        edk2-ovmf
		file:/usr/bin/grub*-mkstandalone grub-common   grub2-tools-extra
		file:/usr/lib/grub/i386-pc/boot.img grub-pc-bin grub2-pc-modules
		file:/usr/lib/grub/x86_64-efi/linux.mod grub-efi-amd64-bin grub2-efi-x64-modules
		postgres:                   postgresql         postgresql-server
		lib:libpangoft2-1.0.so.0    libpangoft2-1.0-0  pango
		cmd:pdftotext               poppler-utils      poppler-utils
		cmd:chromedriver            chromium-driver    chromedriver
		cmd:dpkg-deb                dpkg               dpkg
		cmd:update-ca-certificates  ca-certificates    -
	END
}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$1" >&2; exit "$2"; }

# System administration commands are outside an ordinary user's PATH on Debian.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

have() {
	local kind=${1%%:*} what=${1#*:}
	case $kind in
	cmd) command -v "$what" >/dev/null ;;
	pc) command -v pkg-config >/dev/null && pkg-config --exists "$what" ;;
	header) command -v gcc >/dev/null && gcc -E -x c - <<<"#include <$what>" >/dev/null 2>&1 ;;
	py) [ -x /usr/bin/python3 ] && /usr/bin/python3 -c "import $what" 2>/dev/null ;;
	file) compgen -G "$what" >/dev/null ;;
	lib) [[ $(ldconfig -p) == *"	$what "* ]] ;;
	postgres) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null ;;
	fuzzer) command -v clang >/dev/null && fuzzer_runtime_present ;;
	*) die "internal error: unknown kind of need '$kind'" 1 ;;
	esac
}

# Clang prints the bare name when it has no such file.
fuzzer_runtime_present() {
	local name
	for name in "libclang_rt.fuzzer-$(uname -m).a" libclang_rt.fuzzer.a; do
		if [ -f "$(clang -print-file-name="$name")" ]; then
			return 0
		fi
	done
	return 1
}

package_manager() {
	local m
	for m in apt-get dnf; do
		if command -v $m >/dev/null; then
			printf '%s\n' $m
			return
		fi
	done
	printf 'none\n'
}

# missing MANAGER: the packages of all needs that are not met, each once.
missing() {
	local probe apt dnf package
	needs | while read -r probe apt dnf; do
		case $1 in dnf) package=$dnf ;; *) package=$apt ;; esac
		if [ "$package" != - ] && ! have "$probe"; then
			printf '%s\n' "$package"
		fi
	done | sort -u
}

# The packages that no source of the package manager offers.
apt_unknown() {
	local p policy
	for p in "$@"; do
		policy=$(apt-cache policy "$p" 2>/dev/null)
		if ! grep -q '^  Candidate: [^(]' <<<"$policy"; then
			printf '%s\n' "$p"
		fi
	done
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

apt_env=(env DEBIAN_FRONTEND=noninteractive)
apt_lock=(-o DPkg::Lock::Timeout=300)

install_with_apt() {
	local unknown
	if [ -n "$(apt_unknown "$@")" ] || [ -n "$(find /var/lib/apt/lists -maxdepth 0 -mtime +7 2>/dev/null)" ]; then
		say "refreshing the package lists (apt-get update)"
		as_root "${apt_env[@]}" apt-get -q -q "${apt_lock[@]}" update </dev/null ||
			say "some package lists could not be refreshed; going on with those at hand"
	fi
	unknown=$(apt_unknown "$@")
	[ -z "$unknown" ] || die "no package source offers: ${unknown//$'\n'/ } (see /etc/apt/sources.list*)" 1
	as_root "${apt_env[@]}" apt-get -q -y "${apt_lock[@]}" -o Dpkg::Use-Pty=0 \
		install --no-install-recommends "$@" </dev/null ||
		die "apt-get could not install: $* (its message is above)" 1
}

install_with_dnf() {
	as_root dnf -q -y --setopt=install_weak_deps=False install "$@" </dev/null ||
		die "dnf could not install: $* (its message is above)" 1
}

install_command() {
	case $1 in
	apt-get) printf 'apt-get update && apt-get install -y --no-install-recommends' ;;
	dnf) printf 'dnf install -y' ;;
	esac
}

main() {
	local manager list check=no
	case ${1-} in
	'') ;;
	--check) check=yes ;;
	*) die "usage: ci/setup.sh [--check]" 2 ;;
	esac

	manager=$(package_manager)
	list=$(missing "$manager")
	if [ -z "$list" ]; then
		say "all packages are present"
		return
	fi
	# From here on one word per package.
	# shellcheck disable=SC2086
	set -- $list
	say "missing: $*"
	[ $check = no ] || exit 1

	[ "$manager" != none ] ||
		die "neither apt-get nor dnf is here: install these packages (Debian names) by hand: $*" 2
	if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
		die "not root and no sudo: run this as root: $(install_command "$manager") $*" 2
	fi

	say "installing with $manager: $*"
	case $manager in
	apt-get) install_with_apt "$@" ;;
	dnf) install_with_dnf "$@" ;;
	esac

	list=$(missing "$manager")
	[ -z "$list" ] || die "installed, and still not usable: ${list//$'\n'/ }" 1
	say "done"
}

main "$@"
