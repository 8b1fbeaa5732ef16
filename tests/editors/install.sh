#!/bin/sh
# Set up real GIMP 3.0 and Krita 5.2 (Debian 13 "trixie") in a folder of their own,
# for tests that drive the editors. Nothing of the host system is changed except
# that the packages "mmdebstrap" and "mount" are installed if they are missing.
#
#   install.sh [DIR]          DIR: default trixie in $OVERPAINT_EDITORS, else in
#                             $XDG_CACHE_HOME/overpaint/editors
#
# Needs: root, a Debian-like host with apt, about 1.4 GB of disk, a Debian mirror.
# Takes: about a minute and a half on two cores. A second run on a finished DIR
# prints the versions and ends at once; a run that was cut off leaves DIR untouched.
#
# Environment:
#   EDITORS_MIRROR    Debian mirror      (default: the one this host's own apt uses)
#   EDITORS_SUITE     Debian suite       (default trixie)
#   EDITORS_EXTRA     more packages to put in, separated by blanks
#   EDITORS_OVERLAY   "SUITE PACKAGE..." taken from a second suite on top, e.g. for Krita 6 (Qt 6),
#                     GIMP 3.2 and Python 3.14:
#                     EDITORS_SUITE=sid EDITORS_OVERLAY="experimental krita python3-pyqt6"
#   EDITORS_FORCE=1   build anew even if DIR is complete
#
# roots.sh beside this script sets up the two roots that the tests use; run-in.sh runs commands in one.
set -eu

die() { echo "install.sh: $*" >&2; exit 1; }
now() { date +%s; }
PATH=$PATH:/usr/sbin:/sbin
T0=$(now); TL=$T0
step() { # step TEXT: prints TEXT with the seconds since the last step and in all
	n=$(now); printf '[%3ds, total %3ds] %s\n' $((n - TL)) $((n - T0)) "$*"; TL=$n
}

case "${1:-}" in -h|--help) sed -n '2,/^set -eu/{/^set -eu/!s/^# \{0,1\}//p;}' "$0"; exit 0;; esac
[ "$#" -le 1 ] || die "usage: install.sh [DIR]"

SUITE=${EDITORS_SUITE:-trixie}
DIR=${1:-${OVERPAINT_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/overpaint/editors}/trixie}
mkdir -p "$(dirname "$DIR")"
DIR=$(cd "$(dirname "$DIR")" && pwd)/$(basename "$DIR")
[ "$DIR" != / ] || die "will not install into /"

# The editors; what their Python plug-ins use; what a test needs to drive and see them.
PKGS="gimp gir1.2-gimp-3.0 gir1.2-gtk-3.0 python3-gi python3-gi-cairo
 krita python3-pyqt5
 python3-zmq python3-msgpack python3-numpy
 xvfb openbox xdotool x11-utils imagemagick fonts-dejavu-core procps
 ${EDITORS_EXTRA:-}"
PKGS=$(echo $PKGS)
# What the stamp says: change the leading number to force a rebuild everywhere.
WANT="1 $SUITE $PKGS ${EDITORS_OVERLAY:-}"
STAMP=$DIR/.editors-ready

versions() {
	chroot "$DIR" dpkg-query -W -f '${Package} ${Version}\n' \
		gimp krita python3 python3-zmq libzmq5 python3-msgpack python3-pyqt5 |
		sed 's/^/  /'
}

[ "$(id -u)" = 0 ] || die "must be run as root (a file system for chroot is built)"

# The mirror the host itself installs from (its main archive, not security or third parties).
host_mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		grep -E '/debian/?$' | head -n 1
}

# One run at a time for one DIR.
exec 9>"$DIR.lock"
flock 9

if [ -z "${EDITORS_FORCE:-}" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$WANT" ]; then
	echo "editors are ready in $DIR"
	versions
	exit 0
fi

# Host tools: mmdebstrap builds; mount and util-linux (unshare, setpriv) are for run-in.sh.
NEED=
command -v mmdebstrap >/dev/null 2>&1 || NEED="mmdebstrap debian-archive-keyring"
command -v mount >/dev/null 2>&1 || NEED="$NEED mount"
if [ -n "$NEED" ]; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq >/dev/null || echo "install.sh: apt-get update complained; going on" >&2
	apt-get install -y -qq --no-install-recommends $NEED >/dev/null
	step "installed on the host: $NEED"
fi

MIRROR=${EDITORS_MIRROR:-$(host_mirror)}
[ -n "$MIRROR" ] || { apt-get update -qq >/dev/null 2>&1 || :; MIRROR=$(host_mirror); }
[ -n "$MIRROR" ] || die "no Debian mirror found in apt's sources: set EDITORS_MIRROR"

# Build beside DIR and rename at the end, so that DIR is either whole or absent.
TMP=$DIR.part
rm -rf --one-file-system "$TMP"
LOG=$DIR.install.log

# - minbase without recommended packages, without documentation and translations
# - force-unsafe-io: no fsync per file
# - py3compile left out: it is slow, package by package; all is compiled in one go below
# The overlay: its suite is in the sources, but only what it names is taken from it.
OVER=${EDITORS_OVERLAY:-}; OVER=${OVER%% *}
set --
if [ -n "$OVER" ]; then
	set -- --customize-hook='chroot "$1" apt-get update -q' \
		--customize-hook="chroot \"\$1\" apt-get install -y -q --no-install-recommends -t $OVER ${EDITORS_OVERLAY#* }"
fi
EATMYDATA=
[ -d /usr/share/mmdebstrap/hooks/eatmydata ] && command -v eatmydata >/dev/null 2>&1 &&
	EATMYDATA=--hook-dir=/usr/share/mmdebstrap/hooks/eatmydata
if ! mmdebstrap --mode=root --variant=minbase $EATMYDATA \
	--include="$(echo $PKGS | tr ' ' ',')" \
	--aptopt='APT::Install-Recommends "false"' \
	--aptopt='Acquire::Languages "none"' \
	--aptopt='Acquire::Retries "3"' \
	--aptopt='Acquire::Check-Valid-Until "false"' \
	--dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/bin/py3compile' \
	"$@" --verbose "$SUITE" "$TMP" "deb $MIRROR $SUITE main" ${OVER:+"deb $MIRROR $OVER main"} >"$LOG" 2>&1
then
	tail -n 30 "$LOG" >&2
	die "mmdebstrap failed, see $LOG"
fi
step "$SUITE with the editors installed ($(du -sm "$TMP" | cut -f1) MB)"

# The system folders are shown read-only later, so compile Python's files now.
chroot "$TMP" sh -c 'python3 -m compileall -q -j 0 /usr/lib/python3/dist-packages /usr/share/krita/pykrita \
	/usr/lib/*/krita-python-libs /usr/lib/*/gimp/3.0/plug-ins' >>"$LOG" 2>&1 || :
step "Python files compiled"

# A profile that has been started once: GIMP has asked its plug-ins (4 s) and Krita
# has filled its resource database (8 s). run-in.sh gives each run a fresh copy of it.
SKEL=$TMP/var/lib/editors/home
GIMPVER=$(chroot "$TMP" dpkg-query -W -f '${Version}' gimp | sed 's/^[0-9]*://; s/[-+~].*//')
GIMPRC=$SKEL/.config/GIMP/${GIMPVER%.*}
mkdir -p "$SKEL" "$TMP/home/editor" "$GIMPRC/plug-ins" "$SKEL/.local/share/krita/pykrita"
# config-version keeps the welcome window away
cat >"$GIMPRC/gimprc" <<-RC
	(config-version "$GIMPVER")
	(show-welcome-dialog no)
	(check-updates no)
	(restore-session no)
	(save-session-info no)
RC
# docks hidden, one window (these belong here, not in gimprc)
cat >"$GIMPRC/sessionrc" <<-RC
	(hide-docks yes)
	(single-window-mode yes)
RC
# no OpenGL canvas; autosave and recovery prompts out of the way
cat >"$SKEL/.config/kritadisplayrc" <<-RC
	[General]
	OpenGLRenderer=none
	canvasState=OPENGL_SUCCESS
RC
RUNIN=$(dirname "$0")/run-in.sh
if [ -f "$RUNIN" ]; then
	if sh "$RUNIN" --root "$TMP" --home "$SKEL" --no-project --no-x -- \
		gimp-console --no-interface --batch-interpreter=python-fu-eval -b 'pass' --quit >>"$LOG" 2>&1
	then step "GIMP started once"; else echo "install.sh: GIMP did not start, see $LOG" >&2; exit 1; fi
	if sh "$RUNIN" --root "$TMP" --home "$SKEL" --no-project -- sh -c '
		krita --nosplash & k=$!
		# by class: xdotool does not see the title of the main window of Krita
		i=0; while ! xdotool search --onlyvisible --class krita >/dev/null 2>&1; do
			i=$((i + 1)); [ $i -lt 400 ] || exit 1; sleep 0.3; done
		sleep 1; kill $k; wait $k; [ -s "$HOME/.local/share/krita/resourcecache.sqlite" ]' >>"$LOG" 2>&1
	then step "Krita started once"; else echo "install.sh: Krita did not start, see $LOG" >&2; exit 1; fi
	# kritarunner looks for its resources in a folder of its own name: share them
	ln -s krita "$SKEL/.local/share/kritarunner"
	rm -rf "$SKEL/.cache/gegl-0.4/swap" "$SKEL/.cache/openbox"
	chmod -R a+rX "$SKEL"
fi

printf '%s\n' "$WANT" >"$TMP/.editors-ready"
if [ -e "$DIR" ]; then rm -rf --one-file-system "$DIR"; fi
mv "$TMP" "$DIR"
step "done: $DIR ($(du -sm "$DIR" | cut -f1) MB)"
versions
