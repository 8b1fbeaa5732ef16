#!/bin/sh
# Set up both roots that the tests in this folder use (see install.sh):
#
#   trixie   GIMP 3.0, Krita 5.2    must work: the script fails if it does not
#   sid      GIMP 3.2, Krita 6      moving suites, which now and then cannot be installed. A failure is
#                                   announced on stderr and recorded in sid.unavailable, which the
#                                   tests need to see before they skip what needs this root.
#
#   roots.sh [FOLDER]    default $OVERPAINT_EDITORS, else $XDG_CACHE_HOME/overpaint/editors
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${OVERPAINT_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/overpaint/editors}}
mkdir -p "$folder"

sh "$here/install.sh" "$folder/trixie"

marker=$folder/sid.unavailable
if EDITORS_SUITE=sid EDITORS_OVERLAY="experimental krita python3-pyqt6" sh "$here/install.sh" "$folder/sid"; then
	rm -f "$marker"
else
	echo "install.sh failed on $(date -u +%Y-%m-%dT%H:%MZ), see $folder/sid.install.log" >"$marker"
	cat >&2 <<-WARNING
		*************************************************************************
		roots.sh: Debian sid could not be installed: Krita 6 and GIMP 3.2 are NOT
		tested in this run. See $folder/sid.install.log
		*************************************************************************
	WARNING
fi
