"""The scheduler: every job ends once, a lost or stubborn worker is replaced."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from overpaint_backend.jobs.scheduler import (
    CancelRun,
    EndJob,
    JobCancelRequested,
    JobSubmitted,
    KillWorker,
    LeaveJob,
    MoveJob,
    RunEnded,
    Scheduler,
    StartRun,
    Stopping,
    Tick,
    WorkerLost,
    WorkerReady,
    WorkerState,
)
from overpaint_backend.jobs.shares import Client, Waiting
from overpaint_protocol.errors import EngineError, EngineLost, ShuttingDown
from overpaint_protocol.messages import JobState, SessionId

GRACE_S = 2.0
ANNA, BO, CAI = (Client("local", SessionId(name)) for name in ("anna", "bo", "cai"))


def submitted(key, client, attempts=0, **changes):
    return JobSubmitted(Waiting(key=key, client=client, attempts=attempts, **changes))


def make_scheduler(*, ready=True):
    scheduler = Scheduler(GRACE_S)
    if ready:
        scheduler.handle(WorkerReady(), 0)
    return scheduler


def orders(instructions, *kinds):
    return [
        item for item in instructions if isinstance(item, kinds or (StartRun, CancelRun, KillWorker, EndJob))
    ]


def run_everything(scheduler):
    """Let a good worker work until nothing is left, a second for each; returns the keys in the order they ran."""
    ran = []
    while scheduler.running is not None:
        ran.append(scheduler.running)
        scheduler.handle(RunEnded(len(ran)), len(ran))
    return ran


def test_a_job_starts_at_once_on_an_idle_worker_and_ends():
    scheduler = make_scheduler()
    assert scheduler.worker_state is WorkerState.IDLE
    assert orders(scheduler.handle(submitted(1, ANNA), 0)) == [StartRun(1, 1, 1)]
    assert scheduler.worker_state is WorkerState.BUSY
    assert orders(scheduler.handle(RunEnded(1), 1)) == [EndJob(1, JobState.DONE)]
    assert scheduler.worker_state is WorkerState.IDLE


def test_jobs_wait_for_the_worker_to_start():
    scheduler = make_scheduler(ready=False)
    assert orders(scheduler.handle(submitted(1, ANNA), 0)) == []
    assert orders(scheduler.handle(WorkerReady(), 0)) == [StartRun(1, 1, 1)]


def test_clients_with_equally_long_jobs_take_turns():
    scheduler = make_scheduler()
    for key, client in enumerate([ANNA, ANNA, ANNA, BO, BO, CAI], start=1):
        scheduler.handle(submitted(key, client), 0)
    assert run_everything(scheduler) == [1, 4, 6, 2, 5, 3]


def test_the_announced_position_is_the_one_in_the_queue():
    scheduler = make_scheduler()
    for key, client in enumerate([ANNA, ANNA, ANNA, BO, BO, CAI, ANNA, CAI], start=1):
        event = submitted(key, client)
        expected = scheduler.position_for(event.job)
        moves = [m for m in scheduler.handle(event, 0) if m == MoveJob(key, expected)]
        assert len(moves) == (0 if key == 1 else 1)


def test_positions_are_the_order_in_which_jobs_run():
    scheduler = make_scheduler()
    told = {}
    for key, client in enumerate([ANNA, ANNA, BO, BO, ANNA, CAI], start=1):
        for move in orders(scheduler.handle(submitted(key, client, expected_s=1.0), 0), MoveJob):
            told[move.key] = move.position
    assert run_everything(scheduler)[1:] == sorted(told, key=lambda key: told[key])


def test_positions_move_up_when_a_job_ends():
    scheduler = make_scheduler()
    for key in (1, 2, 3):
        scheduler.handle(submitted(key, ANNA), 0)
    assert orders(scheduler.handle(RunEnded(1), 0), MoveJob) == [MoveJob(3, 1)]


def test_a_waiting_job_is_cancelled_without_the_worker():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(submitted(2, ANNA), 0)
    assert orders(scheduler.handle(JobCancelRequested(2), 0)) == [EndJob(2, JobState.CANCELLED)]
    assert run_everything(scheduler) == [1]


def test_a_running_job_ends_at_once_when_cancelled_and_the_next_waits_for_the_worker():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(submitted(2, ANNA), 0)
    assert orders(scheduler.handle(JobCancelRequested(1), 0)) == [CancelRun(1), EndJob(1, JobState.CANCELLED)]
    assert scheduler.current(1) is None
    assert orders(scheduler.handle(RunEnded(1), 1)) == [StartRun(2, 2, 1)]


def test_a_worker_that_does_not_stop_is_killed_once_when_its_grace_is_over():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 10)
    scheduler.handle(submitted(2, ANNA), 10)
    scheduler.handle(JobCancelRequested(1), 10)
    assert orders(scheduler.handle(Tick(), 10 + GRACE_S - 0.01)) == []
    assert orders(scheduler.handle(Tick(), 10 + GRACE_S)) == [KillWorker()]
    assert orders(scheduler.handle(Tick(), 20)) == []
    assert orders(scheduler.handle(WorkerLost(), 20)) == []
    assert orders(scheduler.handle(WorkerReady(), 21)) == [StartRun(2, 2, 1)]


def test_cancelling_an_ended_or_unknown_job_does_nothing():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(RunEnded(1), 0)
    assert scheduler.handle(JobCancelRequested(1), 0) == []
    assert scheduler.handle(JobCancelRequested(99), 0) == []


def test_a_job_whose_worker_dies_runs_again_first():
    scheduler = make_scheduler()
    for key, client in enumerate([ANNA, BO, ANNA], start=1):
        scheduler.handle(submitted(key, client), 0)
    assert orders(scheduler.handle(WorkerLost(), 0)) == []
    assert orders(scheduler.handle(WorkerReady(), 1)) == [StartRun(2, 1, 2)]


def test_a_job_whose_worker_dies_twice_fails_and_the_next_runs():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(submitted(2, ANNA), 0)
    scheduler.handle(WorkerLost(), 0)
    scheduler.handle(WorkerReady(), 1)
    (end,) = orders(scheduler.handle(WorkerLost(), 2))
    assert (end.key, end.state) == (1, JobState.FAILED)
    assert isinstance(end.error, EngineLost)
    assert orders(scheduler.handle(WorkerReady(), 3)) == [StartRun(3, 2, 1)]


def test_words_about_an_earlier_run_are_ignored():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(WorkerLost(), 0)
    scheduler.handle(WorkerReady(), 1)
    assert orders(scheduler.handle(RunEnded(1), 1)) == []
    assert scheduler.current(1) is None
    assert scheduler.current(2) == 1


def test_an_engine_error_fails_the_job_and_not_the_worker():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    error = EngineError("It did not work.")
    assert orders(scheduler.handle(RunEnded(1, error), 0)) == [EndJob(1, JobState.FAILED, error)]
    assert scheduler.worker_state is WorkerState.IDLE


def test_when_no_worker_starts_jobs_are_told_and_new_ones_refused_until_one_does():
    scheduler = make_scheduler(ready=False)
    scheduler.handle(submitted(1, ANNA), 0)
    assert orders(scheduler.handle(WorkerLost(), 1) + scheduler.handle(WorkerLost(), 2)) == []
    (end,) = orders(scheduler.handle(WorkerLost(), 3))
    assert (end.key, end.error.code) == (1, "engine.lost")
    assert scheduler.worker_state is WorkerState.DOWN
    (end,) = orders(scheduler.handle(submitted(2, ANNA), 4))
    assert (end.key, end.error.code) == (2, "engine.lost")
    scheduler.handle(WorkerReady(), 5)
    assert orders(scheduler.handle(submitted(3, ANNA), 5)) == [StartRun(1, 3, 1)]


def test_stopping_leaves_everything_to_the_next_daemon_and_takes_nothing_new():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(submitted(2, BO), 0)
    assert scheduler.handle(Stopping(), 1) == [LeaveJob(1, attempts=0)]
    assert scheduler.current(1) is None
    assert orders(scheduler.handle(RunEnded(1), 1)) == [], "the other does not begin"
    (end,) = orders(scheduler.handle(submitted(3, ANNA), 1))
    assert isinstance(end.error, ShuttingDown)
    assert orders(scheduler.handle(WorkerLost(), 1)) == []


def test_what_an_earlier_daemon_began_is_begun_once_more_and_no_third_time():
    scheduler = make_scheduler()
    assert orders(scheduler.handle(submitted(1, ANNA, attempts=1), 0)) == [StartRun(1, 1, 2)]
    (end,) = orders(scheduler.handle(WorkerLost(), 1))
    assert isinstance(end.error, EngineLost)
    (end,) = orders(scheduler.handle(submitted(2, ANNA, attempts=2), 2))
    assert (end.key, end.state) == (2, JobState.FAILED)
    assert isinstance(end.error, EngineLost)


def test_a_job_that_is_stopped_counts_as_not_begun_again():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA, attempts=1), 0)
    assert scheduler.handle(Stopping(), 1) == [LeaveJob(1, attempts=1)]


class SchedulerMachine(RuleBasedStateMachine):
    """Clients, a worker and time do what they like; the promises hold."""

    def __init__(self):
        super().__init__()
        self.scheduler = Scheduler(GRACE_S)
        self.now = 0.0
        self.clients: dict[int, Client] = {}
        self.ended: dict[int, JobState] = {}
        self.started: list[int] = []
        self.run = None
        self.worker = "starting"
        self.failed_starts = 0

    def handle(self, event):
        for item in self.scheduler.handle(event, self.now):
            match item:
                case StartRun(run, key, attempt):
                    assert self.worker == "ready" and self.run is None
                    assert key not in self.ended and attempt <= 2
                    self.run = run
                    self.started.append(key)
                case CancelRun(run):
                    assert run == self.run
                case EndJob(key, state, error):
                    assert key not in self.ended, "a job ended twice"
                    assert state.is_final and (error is not None) == (state is JobState.FAILED)
                    self.ended[key] = state
                case MoveJob(key, position):
                    assert key not in self.ended and position >= 0
                case KillWorker():
                    assert self.run is not None

    @initialize()
    def start(self):
        self.handle(Tick())

    @rule(
        client=st.sampled_from([ANNA, BO, CAI, Client("remote", ANNA.session_id)]),
        is_batch=st.booleans(),
        engine=st.sampled_from(["", "one", "two"]),
    )
    def submit(self, client, is_batch, engine):
        key = len(self.clients) + 1
        self.clients[key] = client
        self.handle(submitted(key, client, is_batch=is_batch, engine=engine))

    @rule(data=st.data())
    @precondition(lambda self: self.clients)
    def cancel(self, data):
        key = data.draw(st.sampled_from(sorted(self.clients)))
        self.handle(JobCancelRequested(key))
        assert key in self.ended

    @rule()
    @precondition(lambda self: self.worker == "starting")
    def worker_gets_ready(self):
        self.worker, self.failed_starts = "ready", 0
        self.handle(WorkerReady())

    @rule()
    def worker_dies(self):
        self.worker, self.run = "starting", None
        self.handle(WorkerLost())

    @rule(is_good=st.booleans())
    @precondition(lambda self: self.run is not None)
    def run_ends(self, is_good):
        run, self.run = self.run, None
        self.handle(RunEnded(run, None if is_good else EngineError("No.")))

    @rule(run=st.integers(1, 20))
    def late_words(self, run):
        if run != self.run:
            self.handle(RunEnded(run))

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds):
        self.now += seconds
        self.handle(Tick())

    @invariant()
    def a_ready_worker_is_not_idle_while_jobs_wait(self):
        unfinished = set(self.clients) - set(self.ended)
        if self.worker == "ready" and self.run is None:
            assert not unfinished

    def teardown(self):
        """With a good worker everything comes to its end."""
        if self.worker == "starting":
            self.worker_gets_ready()
        for _ in range(2 * len(self.clients) + 2):
            if self.run is not None:
                self.run_ends(True)
        assert set(self.ended) == set(self.clients)


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
