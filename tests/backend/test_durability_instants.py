"""What clients were told stays true, whichever instant of a job's life the daemon is killed or the power cut (systems: F1-F3, I0)."""

from __future__ import annotations

import json

import pytest
from tests.backend.keepers import SteppedDisk
from tests.backend.kept_daemon import RESULTS, KeptDaemon, a_life, files, listen, only
from tests.backend.scripted_daemon import pixels, submit, variant

from overpaint_backend.durability.journal import Journal
from overpaint_backend.durability.spool import Spool
from overpaint_backend.executors.base import RunOver
from overpaint_protocol.messages import AckJob, CancelJob, JobAccepted, JobAcked, JobCancelled, JobState


class Killed(BaseException):
    """The daemon was killed at this instant."""


class Instants:
    """Counts the instants between which something changes on the disk, and kills the daemon at one of them."""

    def __init__(self, monkeypatch, deadly=None):
        self.count = 0
        self.deadly = deadly
        for place, name in [
            (Spool, "write"),
            (Spool, "write_through"),
            (Spool, "flush"),
            (Spool, "flush_names"),
            (Spool, "remove"),
            (Journal, "put"),
            (Journal, "forget"),
            (Journal, "commit"),
            (Journal, "flush"),
            (Journal, "note_time"),
        ]:
            self._watch(monkeypatch, place, name)

    def _watch(self, monkeypatch, place, name):
        real = getattr(place, name)

        def watched(*arguments):
            self.pass_by()
            outcome = real(*arguments)
            self.pass_by()
            return outcome

        monkeypatch.setattr(place, name, watched)

    def pass_by(self):
        if self.count == self.deadly:
            raise Killed
        self.count += 1


class FlushedOnly:
    """What a power cut leaves of a folder of jobs: what was flushed for certain, and of all else as little or as much as it likes."""

    def __init__(self, monkeypatch, folder):
        self._spool = folder / "jobs" / "pixels"
        self._journal = folder / "jobs" / "journal.sqlite"
        self._flushed_log = None
        self._names = set()
        self._contents = {}
        self._watch(monkeypatch, Spool, "flush", self._flushed)
        self._watch(monkeypatch, Spool, "write_through", lambda name, _: self._flushed(name))
        self._watch(monkeypatch, Spool, "flush_names", self._flushed_names)
        self._watch(monkeypatch, Journal, "flush", self._flushed_journal)

    @staticmethod
    def _watch(monkeypatch, place, name, note):
        real = getattr(place, name)

        def watched(it, *arguments):
            outcome = real(it, *arguments)
            note(*arguments)
            return outcome

        monkeypatch.setattr(place, name, watched)

    def _flushed(self, name):
        self._contents[name] = (self._spool / name).read_bytes()

    def _flushed_names(self):
        self._names = {path.name for path in self._spool.iterdir()}

    def _flushed_journal(self):
        self._flushed_log = self._log

    @property
    def _log(self):
        wal = self._journal.with_name("journal.sqlite-wal")
        return {path.name: path.read_bytes() for path in (self._journal, wal)}

    def cut(self, folder, also):
        """Lay down what is left. also: what got to the disk without a flush, ``journal`` and ``names``; the contents of files never."""
        (folder / "jobs" / "pixels").mkdir(parents=True)
        for name, data in (self._log if "journal" in also else self._flushed_log or {}).items():
            (folder / "jobs" / name).write_bytes(data)
        sizes = {path.name: path.stat().st_size for path in self._spool.iterdir()}
        for name in sizes if "names" in also else self._names:
            data = self._contents.get(name, bytes(sizes.get(name, 0)))
            (folder / "jobs" / "pixels" / name).write_bytes(data)


@pytest.mark.parametrize("is_huge", [False, True])
@pytest.mark.parametrize("is_slow", [False, True])
def test_killed_at_every_instant_nothing_that_was_said_is_taken_back(tmp_path, monkeypatch, is_slow, is_huge):
    """One job from submit to ack, killed at each of its instants at the disk, then finished by the next daemon.

    is_slow: it is over before the disk has its order. is_huge: which is written apart from others.
    """
    if is_huge:
        monkeypatch.setattr("overpaint_backend.durability.keeper._HUGE_BYTES", 0)
    (tmp_path / "whole").mkdir()
    daemon = KeptDaemon(tmp_path / "whole", disk=SteppedDisk(is_slow=is_slow))
    with monkeypatch.context() as patch:
        instants = Instants(patch)
        a_life(daemon, {}, ack=True)
    daemon.die()
    assert instants.count > 15
    for deadly in range(instants.count):
        folder = tmp_path / str(deadly)
        folder.mkdir()
        told = {}
        daemon = KeptDaemon(folder, disk=SteppedDisk(is_slow=is_slow))
        with monkeypatch.context() as patch:
            Instants(patch, deadly)
            with pytest.raises(Killed):
                a_life(daemon, told, ack=True)
        daemon.die()
        before = json.loads(json.dumps(told, default=lambda value: sorted(map(str, value))))
        daemon = KeptDaemon(folder)
        told["runs_seen"] = 0
        runs = told.get("runs", 0)
        a_life(daemon, told, ack=False)
        if before.get("acked"):
            assert not told["kept"], (deadly, before)
            assert daemon.executor.runs == []
            daemon.die()
            continue
        if before.get("accepted") and told["kept"]:
            assert told["ends"] == {"JobDone"}, (deadly, before)
        assert before.get("accepted") is None or told["kept"] or "ends" in before, (deadly, before)
        if "ends" in before:
            assert told.get("runs", 0) == runs, "nothing is painted again that was told to be done"
        for index, versions in told.get("painted", {}).items():
            assert set(versions) == {RESULTS[index]}
        daemon.post(b"A", AckJob(job_id="job-1"))
        listen(daemon, told)
        assert told["acked"]
        assert files(folder) == []
        assert list(daemon.keeper._journal.parts()) == []
        daemon.die()


@pytest.mark.parametrize("also", [(), ("journal",), ("names",), ("journal", "names")], ids=" and ".join)
@pytest.mark.parametrize(
    ("wait_s", "is_slow", "is_huge"),
    [(0, False, False), (2, False, False), (0, True, False), (2, True, True)],
    ids=["taken at once", "taken late", "over before the disk has its order", "huge"],
)
def test_after_a_power_cut_at_every_instant_what_was_accepted_is_done(
    tmp_path, monkeypatch, also, wait_s, is_slow, is_huge
):
    """One job from submit to ack. A power cut may take its results, but never the job; what it leaves is never taken for whole."""

    if is_huge:
        monkeypatch.setattr("overpaint_backend.durability.keeper._HUGE_BYTES", 0)

    def live(daemon, told):
        a_life(daemon, told, ack=False)
        daemon.wait(wait_s)
        daemon.post(b"A", AckJob(job_id="job-1"))
        listen(daemon, told)
        daemon.disk.settle()

    (tmp_path / "whole").mkdir()
    daemon = KeptDaemon(tmp_path / "whole", disk=SteppedDisk(is_slow=is_slow))
    with monkeypatch.context() as patch:
        instants = Instants(patch)
        live(daemon, {})
    daemon.die()
    seen = set()
    for deadly in range(instants.count):
        folder, after, told = tmp_path / str(deadly), tmp_path / f"after-{deadly}", {}
        folder.mkdir()
        daemon = KeptDaemon(folder, disk=SteppedDisk(is_slow=is_slow))
        with monkeypatch.context() as patch:
            disk = FlushedOnly(patch, folder)
            Instants(patch, deadly)
            with pytest.raises(Killed):
                live(daemon, told)
        disk.cut(after, also)
        daemon.die()
        was_accepted, was_acked = told.get("accepted"), told.get("acked")
        daemon = KeptDaemon(after)
        again = {}
        a_life(daemon, again, ack=False)
        if was_accepted and not was_acked:
            assert again["kept"] or daemon.keeper.was_taken("local", "anna", "job-1"), (deadly, told)
        if again["kept"] or not was_acked:
            seen.add("done again" if again.get("runs") else "kept")
            if again["kept"] or again.get("runs"):
                assert again["ends"] == {"JobDone"}, (deadly, told, again)
                assert {index: set(made) for index, made in again["painted"].items()} == {
                    index: {data} for index, data in RESULTS.items()
                }
        daemon.die()
    assert "done again" in seen
    assert wait_s == 0 or "kept" in seen


@pytest.mark.parametrize("when", ["queued", "running", "done"])
def test_killed_at_every_instant_of_a_cancel_what_was_told_of_it_stays_true(tmp_path, monkeypatch, when):
    def live(daemon, told):
        daemon.hello(b"A")
        if when == "queued":
            daemon.post(b"A", submit("before"), pixels())
        daemon.post(b"A", submit(), pixels())
        if when == "done":
            daemon.worker(variant(1), (RESULTS[0],))
            daemon.worker(RunOver(run=1))
        told["accepted"] = JobAccepted in {type(m) for m in daemon.take(b"A")}
        answers = daemon.send(b"A", CancelJob(job_id="job-1"))
        told["state"] = only(answers, JobCancelled).state
        told["acked"] = daemon.send(b"A", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]

    (tmp_path / "whole").mkdir()
    daemon = KeptDaemon(tmp_path / "whole")
    with monkeypatch.context() as patch:
        instants = Instants(patch)
        live(daemon, {})
    daemon.die()
    final = JobState.DONE if when == "done" else JobState.CANCELLED
    for deadly in range(instants.count):
        folder, told = tmp_path / str(deadly), {}
        folder.mkdir()
        daemon = KeptDaemon(folder)
        with monkeypatch.context() as patch:
            Instants(patch, deadly)
            with pytest.raises(Killed):
                live(daemon, told)
        daemon.die()
        daemon = KeptDaemon(folder)
        states = {job.job_id: job.state for job in daemon.hello(b"A")[0].jobs}
        if told.get("acked"):
            assert "job-1" not in states
        elif "state" in told:
            assert states.get("job-1", final) is final, (deadly, told, states)
        elif told.get("accepted"):
            assert "job-1" in states
        daemon.die()


# ---------------------------------------------------------------- time
