#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Install the Debian packages that a purpose needs and this machine lacks, by name and saying so.
#   tests/tools/deps.sh [--quiet] PURPOSE... [COMPILER]
# PURPOSE is build, iso, run, test, list, python, format or coverage; COMPILER is make's CC, one word here
# whatever stands before gcc or clang, or behind it ("ccache gcc"). Without root or a sudo that works, it says in
# one line what is missing and leaves with 1.
set -eu

quiet=0
if [ "${1:-}" = --quiet ]; then
	quiet=1
	shift
fi

want=
for purpose; do
	case $purpose in
	build) want="$want gcc libc6-dev liblz4-dev binutils python3 acpica-tools grub-common" ;;
	iso) want="$want python3 grub-common grub-pc-bin grub-efi-amd64-bin xorriso mtools" ;;
	run) want="$want python3 bochs bochsbios vgabios qemu-system-x86 seabios ovmf"
	     want="$want busybox-static lz4 zstd ca-certificates" ;; # zstd: kernels of Debian 13 are
	test) want="$want gcc libc6-dev liblz4-dev python3 python3-pytest python3-pytest-xdist libcmocka-dev libzydis-dev spin"
	      want="$want clang clang-format" ;;
	python) want="$want python3" ;; # what looks at arguments
	list) want="$want python3 python3-pytest python3-pytest-xdist" ;; # the boot cases, to choose from
	format) want="$want clang-format" ;;
	coverage) want="$want gcovr" ;;
	*clang*) want="$want clang libclang-rt-dev" ;; # the second holds the sanitizers
	*gcc* | cc | cc\ * | *[-/\ ]cc | *[-/\ ]cc\ *) want="$want gcc" ;;
	*)
		echo "tests/tools/deps.sh: '$purpose' is no purpose, and neither gcc nor clang" >&2
		exit 2
		;;
	esac
done
want=$(printf '%s\n' $want | sort -u)

if ! command -v dpkg-query >/dev/null; then
	[ $quiet = 1 ] || echo "deps: no dpkg here; on Debian these would be checked:" $want
	exit 0
fi

missing=$(
	{
		dpkg-query -W -f '${db:Status-Status} ${Package}\n' $want 2>/dev/null |
			sed -n 's/^installed //p'
		printf '%s\n' $want
	} | sort | uniq -u
)
if [ -z "$missing" ]; then
	[ $quiet = 1 ] || echo "deps: nothing is missing"
	exit 0
fi
missing=$(echo $missing)

# Two makes, or two targets of one, may get here together.
root=
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		root=sudo
	elif command -v sudo >/dev/null && [ -t 0 ]; then
		root=sudo
	else
		echo "deps: not root and no sudo: run as root: apt-get install $missing" >&2
		exit 1
	fi
fi

echo "deps: installing Debian packages: $missing"
export DEBIAN_FRONTEND=noninteractive
install() {
	# The policy of a bare machine's apt may ask or recommend; a build does neither.
	$root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
		-o Dpkg::Use-Pty=0 install -y -qq --no-install-recommends $missing
}
# Lists that are old name files that are gone; a mirror that is half changed is whole a little later. A
# list that cannot be fetched need not be the one that is wanted.
for pause in 0 20; do
	if install; then
		exit 0
	fi
	sleep $pause
	echo "deps: apt-get update, then once more"
	$root apt-get -o DPkg::Lock::Timeout=300 update -qq || true
done
install
