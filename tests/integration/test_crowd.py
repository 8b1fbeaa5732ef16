"""Many clients on one daemon: nothing is lost or crossed, everybody gets a share, a flood harms nobody."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import defaultdict
from contextlib import ExitStack

import psutil
import pytest
from tests.backend.test_lineup import PATIENCE
from tests.integration.crowd import Wish, edit, flood, process, want
from tests.integration.daemon_process import SMALL, WAIT_S, DaemonProcess, submission, wait_until

from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    FetchJob,
    InspectDaemon,
    JobAccepted,
    JobCancelled,
    JobDone,
    JobVariant,
    Ping,
    Pong,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clock of all processes is Linux's")

EDITORS = ("krita", "gimp", "cli")
JOBS = 50
SIZES = (SMALL, Size(64, 48), Size(33, 57), Size(200, 150))
MIB = 1 << 20
LARGE_PX = 1448


def mixed_wishes(rng):
    """50 jobs of three editors: of many short ones, of few long ones, of some of each."""
    wishes = defaultdict(list)
    for index in range(JOBS):
        name = EDITORS[0] if index % 10 == 0 else EDITORS[1 + index % 2]
        steps = {"krita": 30, "gimp": 4, "cli": rng.choice((2, 8, 16))}[name]
        wishes[name].append(
            Wish(
                f"{name}-{index}",
                color=index,
                prompt=f"steps={steps} delay=0.01",
                size=rng.choice(SIZES),
            )
        )
    return wishes


@pytest.mark.timeout(300)
def test_fifty_mixed_jobs_of_three_editors_are_neither_lost_nor_crossed_and_fairly_shared(own_daemon):
    wishes = mixed_wishes(random.Random(3))
    keeper = own_daemon.client("somebody")
    keeper.submit("first", prompt="steps=4000 delay=0.05")
    with ExitStack() as stack:
        pipes = {
            name: stack.enter_context(process(want, str(own_daemon.connection_path), name, wishes[name]))
            for name in EDITORS
        }
        for pipe in pipes.values():
            assert pipe.poll(4 * WAIT_S), "an editor submits its jobs"
            assert pipe.recv() == "all submitted"
        assert isinstance(keeper.ask(CancelJob(job_id="first")), JobCancelled)
        fulfilled = {}
        for name, pipe in pipes.items():
            assert pipe.poll(6 * WAIT_S), "an editor gets its results"
            fulfilled[name] = pipe.recv()

    for name in EDITORS:
        assert {f.job_id: f.colors for f in fulfilled[name]} == {
            w.job_id: (255 - w.color,) for w in wishes[name]
        }
    check_shares(fulfilled)


def check_shares(fulfilled):
    """Until a job is done, the worker did no more than the share allows: of all clients' work as much as of its own, and
    one job of each other. Counted in the worker's seconds, whatever else the machine did."""
    longest = {name: max(f.took_s for f in each) for name, each in fulfilled.items()}
    ended = sorted((f.ended_at, name, f) for name, each in fulfilled.items() for f in each)
    own_s = dict.fromkeys(fulfilled, 0.0)
    for _, name, done in ended:
        own_s[name] += done.took_s
        others = [other for other in fulfilled if other != name]
        allowed_s = PATIENCE * len(fulfilled) * own_s[name] + sum(longest[other] for other in others)
        assert sum(own_s.values()) <= allowed_s, (name, done.job_id, own_s)


@pytest.mark.timeout(900)
def test_a_flood_of_ten_thousand_submits_harms_nobody_else(tmp_path):
    """One client sends submits, small and large, without waiting; another one asks for one at a time, and waits for it."""
    # Beside what is held lie the few messages that just came, whatever the cap: 20 to 40 MiB.
    small, large, cap = 10_000, 90, 512 * MIB
    with DaemonProcess.start(
        tmp_path, max_jobs=60, max_held_bytes=cap, max_principal_held_bytes=cap, stalled_s=1.0
    ) as daemon:
        memory = psutil.Process(daemon.process.pid).memory_info
        victim = daemon.client("victim")
        ask_and_wait(victim, "before")
        before = memory().rss
        positions, growths, verdict = [], [], None
        with process(flood, str(daemon.connection_path), small, large, LARGE_PX) as flooder:
            while verdict is None:
                positions.append(ask_and_wait(victim, f"victim-{len(positions)}"))
                growths.append(memory().rss - before)
                if flooder.poll():
                    verdict = flooder.recv()
        accepted, codes = verdict
        assert 0 < accepted < small + 2 * large
        assert codes == {"capacity.busy"}
        assert len(positions) > 10
        # What runs, and as many of the flooder's as make up for what the victim has had of the worker, whose jobs are no longer.
        assert sum(positions) <= 2 * len(positions)
        assert max(positions) <= 5
        assert 0.5 * cap <= max(growths) <= 1.1 * cap
        assert victim.ask(Ping(nonce=1)) == Pong(nonce=1)


def ask_and_wait(client, job_id):
    """Have a short job done and forgotten; returns the place it was given in the queue."""
    accepted = client.submit(job_id, prompt="steps=2 delay=0.01")
    assert isinstance(accepted, JobAccepted), accepted
    assert isinstance(client.until_over(job_id)[-1].message, JobDone)
    client.ask(AckJob(job_id=job_id))
    return accepted.position


def is_done(client, session_editor, count):
    """Whether that editor has so many finished jobs, and no others."""
    (report,) = [s for s in client.ask(InspectDaemon()).sessions if s.editor == session_editor]
    return (report.queued, report.running, report.kept) == (0, 0, count)


@pytest.mark.timeout(200)
def test_a_client_that_stops_reading_costs_a_bounded_memory_and_gets_everything_once(tmp_path):
    """What waits for it exceeds the limit several times: it is on the disk instead."""
    limit, size, result_bytes = 8 * MIB, Size(1732, 1155), 4 * 578 * 385  # of a third of its sides
    ids = [f"job-{index}" for index in range(6)]
    with DaemonProcess.start(tmp_path, max_outbox_bytes=limit, stalled_s=0.2) as daemon:
        other = daemon.client("other")
        slow = daemon.client("slow", receive_hwm=1, editor="slow")
        memory = psutil.Process(daemon.process.pid).memory_info
        before = memory().rss
        for number, job_id in enumerate(ids):
            slow.send(*submission(job_id, size=size, color=number, variants=8))
        # It reads nothing of this. The other one goes on all the while.
        positions = []
        while not is_done(other, "slow", len(ids)):
            positions.append(ask_and_wait(other, f"other-{len(positions)}"))
        assert max(positions) <= 2
        # Beside its own limit for bytes there is libzmq's one for messages. What pictures have left is kept for the next ones for a
        # while, whoever they were for.
        allowed = 1.1 * (limit + 16 * result_bytes)
        wait_until(lambda: memory().rss - before <= allowed, "memory is given back")
        again = daemon.client("slow")
        fetched, byte_length = {}, 0
        for job_id in ids:
            again.send(FetchJob(job_id=job_id))
            told = [e for e in again.until_over(job_id) if isinstance(e.message, JobVariant)]
            fetched[job_id] = [e.message.variant for e in told]
            byte_length += sum(len(frame) for e in told for frame in e.payload)
        assert fetched == {job_id: list(range(8)) for job_id in ids}
        assert byte_length == 8 * len(ids) * result_bytes > allowed


@pytest.mark.timeout(300)
def test_an_editor_that_is_stopped_costs_a_bounded_memory_and_gets_everything_once_when_it_goes_on(tmp_path):
    """The plug-in's own controller in a process that the system stops, with 8 results each of 4 jobs still to come."""
    limit, jobs, variants, selected = 8 * MIB, 4, 8, Size(500, 400)
    ahead, result_bytes = 4, 4 * selected.area
    with DaemonProcess.start(
        tmp_path, max_outbox_bytes=limit, stalled_s=0.2, max_waiting_messages=ahead
    ) as daemon:
        keeper, other = daemon.client("keeper"), daemon.client("other")
        memory = psutil.Process(daemon.process.pid).memory_info
        keeper.submit("first", prompt="steps=4000 delay=0.05")
        arguments = (str(daemon.connection_path), str(tmp_path / "clients"), jobs, selected, variants)
        before = memory().rss
        with process(edit, *arguments) as editor:
            assert editor.poll(6 * WAIT_S), "the editor's jobs are accepted"
            pid = editor.recv()
            os.kill(pid, signal.SIGSTOP)
            assert isinstance(keeper.ask(CancelJob(job_id="first")), JobCancelled)
            positions = []
            while not is_done(other, "editor", jobs):
                positions.append(ask_and_wait(other, f"other-{len(positions)}"))
            assert max(positions) <= 2
            growth = memory().rss - before
            os.kill(pid, signal.SIGCONT)
            assert editor.poll(6 * WAIT_S), "the editor gets its results"
            assert editor.recv() == [("done", variants)] * jobs
        assert growth <= 1.1 * (limit + ahead * result_bytes) < 0.6 * jobs * variants * result_bytes
