"""The daemon's settings: every path, limit and waiting time in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from overpaint_protocol.connection import CONNECTION_FILE, STOPPED_FILE, mark_stopped, state_dir
from overpaint_protocol.messages import Limits

__all__ = ["RUNTIME_DIR_VARIABLE", "DaemonSettings"]

RUNTIME_DIR_VARIABLE = "OVERPAINT_RUNTIME_DIR"
"""Environment variable with the folder for the daemon's sockets, instead of the platform's."""

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """What a daemon is told at its start. Sizes are in bytes, times in seconds.

    state_dir: connection file, lock and log. runtime_dir: Unix sockets; made and verified to be ours alone.
    use_ipc: listen on a Unix socket too; TCP on the loopback always listens.
    idle_exit_s: end after this long without clients, unfinished jobs and results that are not on the disk; None for never.
    max_principal_jobs, max_total_jobs: unfinished jobs of all sessions of a principal, and of everybody.
    max_principal_bytes, max_total_bytes: the same for pictures and results, in memory or on the disk.
    max_principal_held_bytes, max_held_bytes: the same for what of them is in memory.
    max_messages_per_s, max_messages_at_once: of a principal in the long run and in a burst; of the own user, of each connection.
    max_principal_sessions, max_sessions: sessions at a time that are connected or have unfinished jobs.
    max_outbox, max_outbox_bytes: what waits for a client that does not read, in messages and bytes; beyond it the session is cut
        off from the connection until the next ``hello``. stalled_s: how long it must not have read for its bytes to count.
    upload_pause_s: how long a message that has begun to come over TCP may stand still before its connection is ended.
    max_waiting_messages: high-water mark of the socket for what goes to a client, in messages.
    engines_wait_s: how long ``welcome`` waits for a worker that is still loading its engines.
    recipes_look_s: how often the folder of recipes is looked at, and so how late a new one is announced.
    keep_s: how long a job that has ended waits for its client to take or refuse the results.
    keep_away_bytes: results that wait for clients who are not connected; beyond it the oldest go.
    away_after_s: how long a client must be gone for that.
    cancel_grace_s: how long a cancelled job may take to stop before the worker is replaced.
    idle_unload_s: how long the worker keeps a model loaded that is not used.
    workers: processes that engines run in; None for one on each CUDA device of this machine.
    ray: None to have them all here; else they are actors of Ray: of one of our own if empty, or of that at ``ADDRESS:PORT``.
    worker_start_s: how long a worker may take to load its engines before it is replaced.
    tick_s: longest sleep of the loop, and so how late a dead worker is noticed.
    stop_s: how long telling clients and stopping the worker may take at the end.
    disk_s: how long writing down what is not yet on the disk may take at the end.
    log_bytes: largest log file. old_logs: how many of them are kept beside the newest.
    heartbeat_s: interval of ZMTP's PING to clients; three without an answer end the connection.
    metrics: where metrics for Prometheus are served, an address of the loopback and a port; None for nowhere.
    listen: the address other machines reach the daemon at, ``tcp://ADDRESS:PORT``; empty for none.
    remote_heartbeat_s: interval of ZMTP's PING to other machines. They tell from it whether the link is alive.
    remote_silence_s: how long after a PING another machine may be silent. Long enough for a frame over a slow link.
    The other limits are those of ``messages.Limits``.
    """

    state_dir: Path
    runtime_dir: Path
    use_ipc: bool = sys.platform != "win32"
    idle_exit_s: float | None = None
    max_image_pixels: int = 64 * _MIB
    max_message_bytes: int = 1024 * _MIB
    max_frame_bytes: int = 8 * _MIB
    max_jobs: int = 32
    max_kept_bytes: int = 2048 * _MIB
    max_principal_jobs: int = 64
    max_total_jobs: int = 256
    max_principal_bytes: int = 4096 * _MIB
    max_total_bytes: int = 6144 * _MIB
    max_principal_held_bytes: int = 2048 * _MIB
    max_held_bytes: int = 4096 * _MIB
    max_messages_per_s: float = 1000.0
    max_messages_at_once: float = 4000.0
    max_principal_sessions: int = 128
    max_sessions: int = 256
    max_outbox: int = 4096
    max_outbox_bytes: int = 256 * _MIB
    stalled_s: float = 5.0
    upload_pause_s: float = 60.0
    max_waiting_messages: int = 16
    engines_wait_s: float = 10.0
    recipes_look_s: float = 1.0
    keep_s: float = 7 * 86_400.0
    keep_away_bytes: int = 2048 * _MIB
    away_after_s: float = 60.0
    cancel_grace_s: float = 2.0
    idle_unload_s: float = 600.0
    workers: int | None = None
    ray: str | None = None
    worker_start_s: float = 120.0
    tick_s: float = 0.1
    stop_s: float = 2.0
    disk_s: float = 10.0
    log_bytes: int = 2_000_000
    old_logs: int = 3
    metrics: tuple[str, int] | None = None
    heartbeat_s: float = 5.0
    listen: str = ""
    remote_heartbeat_s: float = 1.0
    remote_silence_s: float = 30.0

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, idle_exit_s: float | None = None, listen: str = ""
    ) -> DaemonSettings:
        """The settings for this user.

        Sockets go to ``$OVERPAINT_RUNTIME_DIR``, else below ``$XDG_RUNTIME_DIR``, else below the state folder.
        """
        state = state_dir(environ)
        runtime = state / "run"
        if environ.get("XDG_RUNTIME_DIR"):
            runtime = Path(environ["XDG_RUNTIME_DIR"]) / "overpaint"
        if environ.get(RUNTIME_DIR_VARIABLE):
            runtime = Path(environ[RUNTIME_DIR_VARIABLE])
        return cls(state_dir=state, runtime_dir=runtime, idle_exit_s=idle_exit_s, listen=listen)

    @property
    def limits(self) -> Limits:
        """What ``welcome`` announces."""
        return Limits(
            max_image_pixels=self.max_image_pixels,
            max_message_bytes=self.max_message_bytes,
            max_frame_bytes=self.max_frame_bytes,
            max_jobs=self.max_jobs,
            max_kept_bytes=self.max_kept_bytes,
        )

    @property
    def connection_path(self) -> Path:
        """The connection file."""
        return self.state_dir / CONNECTION_FILE

    @property
    def stopped_path(self) -> Path:
        """There while the user wants no daemon."""
        return self.state_dir / STOPPED_FILE

    def mark_stopped(self) -> None:
        """Have no editor start a daemon before its user asks for something new; without effect where that cannot be noted."""
        with suppress(OSError):
            mark_stopped(self.state_dir)

    @property
    def lock_path(self) -> Path:
        """Held by the one daemon that uses ``state_dir``."""
        return self.state_dir / "daemon.lock"

    @property
    def pid_path(self) -> Path:
        """Names the holder of the lock, so that a second daemon can say who runs."""
        return self.state_dir / "daemon.pid"

    def pace_path(self, worker: int) -> Path:
        """What that worker, counted from 0, learnt about the time jobs take on its device."""
        return self.state_dir / ("pace.msgpack" if worker == 0 else f"pace-{worker + 1}.msgpack")

    @property
    def ray_address_path(self) -> Path:
        """Where the Ray that workers run in is, for their processes."""
        return self.state_dir / "ray.address"

    @property
    def jobs_dir(self) -> Path:
        """The jobs and results that outlive the daemon."""
        return self.state_dir / "jobs"

    @property
    def keys_dir(self) -> Path:
        """Keys of this machine and lists of others'."""
        return self.state_dir / "keys"

    @property
    def key_path(self) -> Path:
        """The secret half of the key that other machines know the daemon by."""
        return self.keys_dir / "daemon.key"

    @property
    def allowed_path(self) -> Path:
        """The list of machines that may connect."""
        return self.keys_dir / "allowed.json"

    @property
    def stories_path(self) -> Path:
        """What happened to the jobs."""
        return self.state_dir / "stories.sqlite"

    @property
    def log_path(self) -> Path:
        """The newest log."""
        return self.state_dir / "daemon.log"
