"""A daemon that is short of file descriptors turns new clients away and keeps those it has (systems: F23)."""

from __future__ import annotations

from tests.bench.editor_client import Wire
from tests.bench.process_costs import open_files
from tests.integration.daemon_process import MAIN, DaemonProcess, wait_until

from overpaint_client.loop import SelectorLoop
from overpaint_protocol.messages import AckJob, JobAcked, JobDone, Ping, Pong
from overpaint_protocol.zmtp_events import Refused

LIMIT = 64
_FEW = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))\n{MAIN}"


def test_without_descriptors_new_clients_are_refused_and_old_ones_go_on(tmp_path):
    with DaemonProcess.start(tmp_path, main=_FEW) as daemon:
        old, pid = daemon.client(), daemon.process.pid
        daemon.worker()
        old.submit("first")
        old.until_over("first")
        loop, wires, before = SelectorLoop(), [], open_files(pid)
        for index in range(LIMIT):
            wire = Wire(daemon.info, index % 2, loop)
            assert loop.run_until(lambda wire=wire: wire.is_ready or wire.error is not None, 30)
            wires.append(wire)
        refused = [wire for wire in wires if wire.error is not None]
        assert 0 < len(refused) < len(wires)
        assert {type(wire.error) for wire in refused} == {Refused}
        assert {wire.error.reason for wire in refused} == {"500"}
        assert old.ask(Ping(nonce=1)) == Pong(nonce=1)
        old.submit("job")
        assert isinstance(old.until_over("job")[-1].message, JobDone), "and its results are kept on the disk"
        assert old.ask(AckJob(job_id="job")) == JobAcked(job_id="job")
        assert "turned away" in daemon.log
        assert "without a right token" not in daemon.log
        for wire in wires:
            wire.close()
        wait_until(lambda: open_files(pid) <= before, "the descriptors are free again")
        assert daemon.client().ask(Ping(nonce=2)) == Pong(nonce=2)


def test_the_daemon_takes_as_many_descriptors_as_it_may_have(tmp_path):
    few_for_now = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, 4096))\n{MAIN}"
    with DaemonProcess.start(tmp_path, main=few_for_now) as daemon:
        loop, wires = SelectorLoop(), []
        for _ in range(LIMIT):
            wires.append(Wire(daemon.info, loop=loop))
            wires[-1].greet()
        assert open_files(daemon.process.pid) > LIMIT
        for wire in wires:
            wire.close()
