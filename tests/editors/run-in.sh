#!/bin/sh
# Run a command inside the editors' root (see install.sh), with an X display.
#
#   run-in.sh [OPTIONS] [--] COMMAND [ARG...]
#
#   --root DIR      the editors' root (default: that of install.sh)
#   --bind DIR      show DIR inside, under the same path; may be repeated
#   --no-project    do not show the project: by default the git work tree that holds
#                   the current folder (else the current folder) is shown inside
#   --home DIR      keep the home folder in DIR. Default: a fresh copy, in memory, of a
#                   profile in which both editors have been started once
#   --no-x          no X server: for gimp-console, and kritarunner with
#                   QT_QPA_PLATFORM=offscreen
#   --screen WxHxD  size of the X screen (default 1600x1000x24)
#
# Inside: HOME is always /home/editor; /tmp, /run and /dev/shm are private; the network is
# the host's (tcp://127.0.0.1 works both ways); ipc:// sockets work in any folder that
# is shown inside. The environment is passed on, less what belongs to the host's
# Python, desktop and loader; PYTHONPATH can be set with EDITORS_PYTHONPATH.
# The current folder is kept if it is shown inside, else it is HOME.
#
# Each run has its own mount, process and IPC namespaces: when the command ends, all
# that it started ends too and the mounts are gone. The exit status is the command's.
# To stop a run from outside, end the process of this script (SIGTERM or SIGKILL): its
# whole tree goes with it.
set -eu
die() { echo "run-in.sh: $*" >&2; exit 125; }

ROOT=${OVERPAINT_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/overpaint/editors}/trixie
BINDS=; PROJECT=1; HOMEDIR=; X=1; SCREEN=1600x1000x24
NL='
'
abs() { (cd "$1" 2>/dev/null && pwd -P) || die "no such folder: $1"; }
while [ $# -gt 0 ]; do
	case $1 in
	--root) ROOT=$2; shift 2;;
	--bind) BINDS="$BINDS$(abs "$2")$NL"; shift 2;;
	--no-project) PROJECT=; shift;;
	--home) mkdir -p "$2"; HOMEDIR=$(abs "$2"); shift 2;;
	--no-x) X=; shift;;
	--screen) SCREEN=$2; shift 2;;
	-h|--help) sed -n '2,/^set -eu/{/^set -eu/!s/^# \{0,1\}//p;}' "$0"; exit 0;;
	--) shift; break;;
	-*) die "unknown option $1";;
	*) break;;
	esac
done
[ $# -gt 0 ] || die "no command given (see --help)"
ROOT=$(abs "$ROOT")
[ -x "$ROOT/usr/bin/krita" ] || die "no editors in $ROOT: run install.sh first"
if [ -n "$PROJECT" ]; then
	top=$(git rev-parse --show-toplevel 2>/dev/null || pwd -P)
	[ "$top" = / ] || BINDS="$BINDS$top$NL"
fi
# An ordinary user can do it too, where user namespaces are allowed.
USERNS=
[ "$(id -u)" = 0 ] || USERNS="--user --map-root-user"

# Environment: drop what belongs to the host.
for v in $(env | sed -n 's/^\(PYENV[A-Z_]*\|PYTHON[A-Z_]*\|VIRTUAL_ENV\|CONDA[A-Z_]*\|XDG_[A-Z_]*\|LD_[A-Z_]*\|DBUS_[A-Z_]*\|WAYLAND_DISPLAY\|DISPLAY\|XAUTHORITY\|GTK_[A-Z_]*\|QT_PLUGIN_PATH\|TMPDIR\|LC_[A-Z]*\|LANGUAGE\)=.*/\1/p'); do unset "$v"; done
[ -z "${EDITORS_PYTHONPATH:-}" ] || export PYTHONPATH="$EDITORS_PYTHONPATH"
export R_ROOT="$ROOT" R_BINDS="$BINDS" R_HOME="$HOMEDIR" R_X="$X" R_SCREEN="$SCREEN" R_PWD="$(pwd -P)"

# If this script is killed, so is unshare (pdeathsig), and with it process 1 of the new
# namespace (kill-child) and so all the rest. unshare itself takes no SIGTERM, hence the trap.
exec 7<&0
setpriv --pdeathsig KILL unshare $USERNS --mount --pid --ipc --fork --kill-child --propagation private -- sh -c '
set -eu
R=$R_ROOT
# The new root is a small folder in memory; the system folders are shown in it read-only,
# so a run leaves no trace in the root and runs can go on side by side.
N=$R/mnt
mount -t tmpfs -o mode=755 tmpfs "$N"
for e in "$R"/*; do
	b=${e##*/}
	if [ -L "$e" ]; then cp -P "$e" "$N/$b"; continue; fi
	case $b in
	usr|etc|var|opt|bin|sbin|lib*)
		mkdir "$N/$b"; mount --bind "$e" "$N/$b"; mount -o remount,bind,ro "$N/$b";;
	*) mkdir -p "$N/$b";;
	esac
done
mkdir -p "$N/home/editor" "$N/run/user" "$N/dev" "$N/proc" "$N/sys" "$N/tmp"
chmod 1777 "$N/tmp"; chmod 700 "$N/run/user"
mkdir -m 1777 "$N/tmp/.X11-unix"
mount -t proc proc "$N/proc"
mount --rbind /dev "$N/dev"
mount -t tmpfs -o mode=1777 tmpfs "$N/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$N/var/tmp"
if [ -n "$R_HOME" ]; then
	mount --bind "$R_HOME" "$N/home/editor"
elif [ -d "$R/var/lib/editors/home" ]; then
	cp -r --preserve=mode,timestamps,links "$R/var/lib/editors/home/." "$N/home/editor/"
fi
oldifs=$IFS; IFS="
"
for d in $R_BINDS; do
	mkdir -p "$N$d" || { echo "run-in.sh: cannot show $d inside" >&2; exit 125; }
	mount --rbind "$d" "$N$d"
done
IFS=$oldifs
[ -d "$N$R_PWD" ] || R_PWD=/home/editor
export HOME=/home/editor USER=root LOGNAME=root SHELL=/bin/sh LANG=C.UTF-8 \
	PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin XDG_RUNTIME_DIR=/run/user \
	NO_AT_BRIDGE=1 GTK_USE_PORTAL=0 DBUS_SESSION_BUS_ADDRESS=disabled: \
	LIBGL_ALWAYS_SOFTWARE=1
# Process 1 of the new namespace: starts the X server and the window manager, waits for
# the command and hands on its exit status.
exec chroot "$N" /bin/sh -c '\''
cd "$R_PWD"
if [ -n "$R_X" ]; then
	# the server picks a free display number itself: no clash between runs; -r: no key repeats
	# itself while a busy machine is late to let it go
	Xvfb -displayfd 3 -screen 0 "$R_SCREEN" -nolisten tcp -r 3>/tmp/.display >/tmp/.xvfb.log 2>&1 &
	i=0
	while [ ! -s /tmp/.display ]; do
		i=$((i + 1)); [ $i -lt 200 ] || { cat /tmp/.xvfb.log >&2; echo "run-in.sh: no X server" >&2; exit 125; }
		sleep 0.05
	done
	export DISPLAY=:$(cat /tmp/.display)
	openbox >/tmp/.openbox.log 2>&1 &
fi
unset R_ROOT R_BINDS R_HOME R_X R_SCREEN R_PWD
"$@"
exit $?
'\'' sh "$@"' sh "$@" <&7 7<&- &
U=$!
exec 7<&-
trap 'kill -KILL $U 2>/dev/null; exit 143' TERM INT HUP
wait $U
