#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Bring C sources into the form of .clang-format, or say which are not in it.
#   tests/tools/format.sh [--check] FILE...
# Versions differ in what they make of one description; that of Debian 12 judges. CLANG_FORMAT names
# another program of that version. Without one nothing is judged, and nothing is changed.
set -eu

JUDGE=14

how=-i
if [ "${1:-}" = --check ]; then
	how='--dry-run --Werror'
	shift
fi

version() {
	"$1" --version 2>/dev/null | sed -n 's/.*clang-format version \([0-9]*\).*/\1/p'
}

for program in ${CLANG_FORMAT:-clang-format-$JUDGE clang-format}; do
	if [ "$(version "$program")" = $JUDGE ]; then
		exec "$program" $how "$@"
	fi
done
found=$(version "$program")
echo "format: clang-format $JUDGE judges, and $program is ${found:+version }${found:-no clang-format}:" \
	"nothing is looked at; CLANG_FORMAT= names one of version $JUDGE" >&2
[ "$how" != -i ]
