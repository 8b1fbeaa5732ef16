"""The scheduler: every job ends once, a lost or stubborn worker is replaced."""

from __future__ import annotations

import itertools

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


def make_scheduler(workers=1, *, ready=True):
    scheduler = Scheduler(GRACE_S, workers)
    if ready:
        for worker in range(workers):
            scheduler.handle(WorkerReady(worker), 0)
    return scheduler


def orders(instructions, *kinds):
    return [
        item for item in instructions if isinstance(item, kinds or (StartRun, CancelRun, KillWorker, EndJob))
    ]


def run_everything(scheduler):
    """Let a good worker work until nothing is left, a second for each; returns the keys in the order they ran."""
    ran = []
    while scheduler.running:
        ran += scheduler.running.values()
        scheduler.handle(RunEnded(len(ran)), len(ran))
    return ran


def test_a_job_starts_at_once_on_an_idle_worker_and_ends():
    scheduler = make_scheduler()
    assert scheduler.worker_state is WorkerState.IDLE
    assert orders(scheduler.handle(submitted(1, ANNA), 0)) == [StartRun(0, 1, 1, 1)]
    assert scheduler.worker_state is WorkerState.BUSY
    assert orders(scheduler.handle(RunEnded(1), 1)) == [EndJob(1, JobState.DONE)]
    assert scheduler.worker_state is WorkerState.IDLE


def test_jobs_wait_for_the_worker_to_start():
    scheduler = make_scheduler(ready=False)
    assert orders(scheduler.handle(submitted(1, ANNA), 0)) == []
    assert orders(scheduler.handle(WorkerReady(0), 0)) == [StartRun(0, 1, 1, 1)]


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
    assert orders(scheduler.handle(JobCancelRequested(1), 0)) == [
        CancelRun(0, 1),
        EndJob(1, JobState.CANCELLED),
    ]
    assert scheduler.current(1) is None
    assert orders(scheduler.handle(RunEnded(1), 1)) == [StartRun(0, 2, 2, 1)]


def test_a_worker_that_does_not_stop_is_killed_once_when_its_grace_is_over():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 10)
    scheduler.handle(submitted(2, ANNA), 10)
    scheduler.handle(JobCancelRequested(1), 10)
    assert orders(scheduler.handle(Tick(), 10 + GRACE_S - 0.01)) == []
    assert orders(scheduler.handle(Tick(), 10 + GRACE_S)) == [KillWorker(0)]
    assert orders(scheduler.handle(Tick(), 20)) == []
    assert orders(scheduler.handle(WorkerLost(0), 20)) == []
    assert orders(scheduler.handle(WorkerReady(0), 21)) == [StartRun(0, 2, 2, 1)]


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
    assert orders(scheduler.handle(WorkerLost(0), 0)) == []
    assert orders(scheduler.handle(WorkerReady(0), 1)) == [StartRun(0, 2, 1, 2)]


def test_a_job_whose_worker_dies_twice_fails_and_the_next_runs():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(submitted(2, ANNA), 0)
    scheduler.handle(WorkerLost(0), 0)
    scheduler.handle(WorkerReady(0), 1)
    (end,) = orders(scheduler.handle(WorkerLost(0), 2))
    assert (end.key, end.state) == (1, JobState.FAILED)
    assert isinstance(end.error, EngineLost)
    assert orders(scheduler.handle(WorkerReady(0), 3)) == [StartRun(0, 3, 2, 1)]


def test_words_about_an_earlier_run_are_ignored():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(WorkerLost(0), 0)
    scheduler.handle(WorkerReady(0), 1)
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
    assert orders(scheduler.handle(WorkerLost(0), 1) + scheduler.handle(WorkerLost(0), 2)) == []
    (end,) = orders(scheduler.handle(WorkerLost(0), 3))
    assert (end.key, end.error.code) == (1, "engine.lost")
    assert scheduler.worker_state is WorkerState.DOWN
    (end,) = orders(scheduler.handle(submitted(2, ANNA), 4))
    assert (end.key, end.error.code) == (2, "engine.lost")
    scheduler.handle(WorkerReady(0), 5)
    assert orders(scheduler.handle(submitted(3, ANNA), 5)) == [StartRun(0, 1, 3, 1)]


def test_stopping_leaves_everything_to_the_next_daemon_and_takes_nothing_new():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA), 0)
    scheduler.handle(submitted(2, BO), 0)
    assert scheduler.handle(Stopping(), 1) == [LeaveJob(1, attempts=0)]
    assert scheduler.current(1) is None
    assert orders(scheduler.handle(RunEnded(1), 1)) == [], "the other does not begin"
    (end,) = orders(scheduler.handle(submitted(3, ANNA), 1))
    assert isinstance(end.error, ShuttingDown)
    assert orders(scheduler.handle(WorkerLost(0), 1)) == []


def test_what_an_earlier_daemon_began_is_begun_once_more_and_no_third_time():
    scheduler = make_scheduler()
    assert orders(scheduler.handle(submitted(1, ANNA, attempts=1), 0)) == [StartRun(0, 1, 1, 2)]
    (end,) = orders(scheduler.handle(WorkerLost(0), 1))
    assert isinstance(end.error, EngineLost)
    (end,) = orders(scheduler.handle(submitted(2, ANNA, attempts=2), 2))
    assert (end.key, end.state) == (2, JobState.FAILED)
    assert isinstance(end.error, EngineLost)


def test_a_job_that_is_stopped_counts_as_not_begun_again():
    scheduler = make_scheduler()
    scheduler.handle(submitted(1, ANNA, attempts=1), 0)
    assert scheduler.handle(Stopping(), 1) == [LeaveJob(1, attempts=1)]


# ---------------------------------------------------------------- several workers


def test_jobs_start_on_all_free_workers_and_wait_for_the_first_that_gets_free():
    scheduler = make_scheduler(2)
    starts = [orders(scheduler.handle(submitted(key, ANNA), 0)) for key in (1, 2, 3)]
    assert starts == [[StartRun(0, 1, 1, 1)], [StartRun(1, 2, 2, 1)], []]
    assert scheduler.worker_state is WorkerState.BUSY
    assert orders(scheduler.handle(RunEnded(2), 1)) == [EndJob(2, JobState.DONE), StartRun(1, 3, 3, 1)]
    assert scheduler.running == {0: 1, 1: 3}


def test_all_workers_that_get_ready_take_what_waits():
    scheduler = make_scheduler(2, ready=False)
    for key in (1, 2, 3):
        scheduler.handle(submitted(key, ANNA), 0)
    assert orders(scheduler.handle(WorkerReady(1), 0)) == [StartRun(1, 1, 1, 1)]
    assert scheduler.worker_states == (WorkerState.STARTING, WorkerState.BUSY)
    assert orders(scheduler.handle(WorkerReady(0), 0)) == [StartRun(0, 2, 2, 1)]


def test_a_job_goes_to_the_free_worker_that_has_its_engine_loaded_else_to_one_that_has_none():
    scheduler = make_scheduler(3)
    for key, engine in enumerate(["one", "two", "one"], start=1):
        scheduler.handle(submitted(key, ANNA, engine=engine), 0)
    assert scheduler.running == {0: 1, 1: 2, 2: 3}
    for run in (1, 2, 3):
        scheduler.handle(RunEnded(run), 1)
    assert orders(scheduler.handle(submitted(4, BO, engine="two"), 2)) == [StartRun(1, 4, 4, 1)]
    scheduler.handle(WorkerLost(2), 2)
    scheduler.handle(WorkerReady(2), 2)
    assert orders(scheduler.handle(submitted(5, BO, engine="three"), 2)) == [StartRun(2, 5, 5, 1)]


def test_two_engines_settle_on_a_worker_each():
    scheduler = make_scheduler(2)
    began = {}
    for key, engine in enumerate(["one", "one", "two", "two", "one", "two", "two", "one"] * 4, start=1):
        began[key] = engine
        scheduler.handle(submitted(key, Client("local", SessionId(engine)), engine=engine), 0)
    ran = {0: [], 1: []}
    for second in range(len(began)):
        for worker, key in scheduler.running.items():
            ran[worker].append(began[key])
        for run in (2 * second + 1, 2 * second + 2):
            scheduler.handle(RunEnded(run), second)
    switches = [sum(a != b for a, b in itertools.pairwise(engines)) for engines in ran.values()]
    assert sum(switches) <= 2, ran


def test_clients_share_the_devices_by_the_seconds_of_all_of_them():
    scheduler = make_scheduler(2)
    for key in range(1, 9):
        scheduler.handle(submitted(key, ANNA), 0)
    scheduler.handle(submitted(9, BO), 1)
    scheduler.handle(submitted(10, BO), 1)
    scheduler.handle(RunEnded(1), 4)
    scheduler.handle(RunEnded(2), 4)
    assert sorted(scheduler.running.values()) == [9, 10], "Anna has had eight seconds, Bo none"


def test_of_two_that_have_had_the_same_the_one_that_has_a_device_waits():
    scheduler = make_scheduler(2, ready=False)
    for key, client in enumerate([ANNA, ANNA, BO], start=1):
        scheduler.handle(submitted(key, client), 0)
    scheduler.handle(WorkerReady(0), 1)
    scheduler.handle(WorkerReady(1), 1)
    assert scheduler.running == {0: 1, 1: 3}


def test_positions_count_all_that_run():
    scheduler = make_scheduler(2)
    for key in (1, 2):
        scheduler.handle(submitted(key, ANNA), 0)
    event = submitted(3, ANNA)
    assert scheduler.position_for(event.job) == 2
    assert orders(scheduler.handle(event, 0), MoveJob) == [MoveJob(3, 2)]


def test_a_job_whose_worker_dies_goes_on_at_once_where_another_is_free():
    scheduler = make_scheduler(2)
    scheduler.handle(submitted(1, ANNA), 0)
    assert orders(scheduler.handle(WorkerLost(0), 1)) == [StartRun(1, 2, 1, 2)]
    assert orders(scheduler.handle(RunEnded(1), 1)) == [], "the words of a dead worker"
    assert scheduler.running == {1: 1}


def test_a_pool_with_a_dead_worker_goes_on_and_only_with_none_left_are_jobs_told():
    scheduler = make_scheduler(2)
    for second in range(4):  # it was ready before the first
        assert orders(scheduler.handle(WorkerLost(1), second)) == []
    assert scheduler.worker_states == (WorkerState.IDLE, WorkerState.DOWN)
    assert scheduler.worker_state is WorkerState.IDLE
    assert orders(scheduler.handle(submitted(1, ANNA), 5)) == [StartRun(0, 1, 1, 1)]
    scheduler.handle(submitted(2, ANNA), 5)
    for second in range(3):
        assert orders(scheduler.handle(WorkerLost(0), 6 + second)) == []
    ends = orders(scheduler.handle(WorkerLost(0), 9))
    assert [(end.key, end.error.code) for end in ends] == [(1, "engine.lost"), (2, "engine.lost")]


def test_the_worker_of_a_cancelled_run_is_killed_and_no_other():
    scheduler = make_scheduler(2)
    for key in (1, 2):
        scheduler.handle(submitted(key, ANNA), 0)
    assert orders(scheduler.handle(JobCancelRequested(2), 0)) == [
        CancelRun(1, 2),
        EndJob(2, JobState.CANCELLED),
    ]
    assert orders(scheduler.handle(Tick(), GRACE_S)) == [KillWorker(1)]
    assert scheduler.current(1) == 1


def test_stopping_leaves_what_all_workers_do_to_the_next_daemon():
    scheduler = make_scheduler(2)
    for key in (1, 2):
        scheduler.handle(submitted(key, ANNA), 0)
    assert scheduler.handle(Stopping(), 1) == [LeaveJob(1, attempts=0), LeaveJob(2, attempts=0)]


class SchedulerMachine(RuleBasedStateMachine):
    """Clients, some workers and time do what they like; the promises hold."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.clients: dict[int, Client] = {}
        self.ended: dict[int, JobState] = {}
        self.positions: dict[int, int] = {}
        self.keys: dict[int, int] = {}
        """The jobs of the runs under way."""
        self.is_ready: list[bool] = []
        self.runs: list[int | None] = []

    def handle(self, event):
        for item in self.scheduler.handle(event, self.now):
            match item:
                case StartRun(worker, run, key, attempt):
                    assert self.is_ready[worker] and self.runs[worker] is None
                    assert key not in self.ended and attempt <= 2
                    under_way = [self.keys[run] for run in self.runs if run is not None]
                    assert key not in under_way, "a job runs twice at once"
                    self.runs[worker], self.keys[run] = run, key
                    self.positions.pop(key, None)
                case CancelRun(worker, run):
                    assert run == self.runs[worker]
                case EndJob(key, state, error):
                    assert key not in self.ended, "a job ended twice"
                    assert state.is_final and (error is not None) == (state is JobState.FAILED)
                    self.ended[key] = state
                    self.positions.pop(key, None)
                case MoveJob(key, position):
                    assert key not in self.ended and position >= 0
                    self.positions[key] = position
                case KillWorker(worker):
                    assert self.runs[worker] is not None

    @initialize(workers=st.integers(1, 4))
    def start(self, workers):
        self.scheduler = Scheduler(GRACE_S, workers)
        self.is_ready, self.runs = [False] * workers, [None] * workers
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

    @rule(data=st.data())
    @precondition(lambda self: not all(self.is_ready))
    def worker_gets_ready(self, data):
        worker = data.draw(st.sampled_from([w for w, is_ready in enumerate(self.is_ready) if not is_ready]))
        self.is_ready[worker] = True
        self.handle(WorkerReady(worker))

    @rule(data=st.data())
    @precondition(lambda self: self.is_ready)
    def worker_dies(self, data):
        worker = data.draw(st.integers(0, len(self.is_ready) - 1))
        self.is_ready[worker], self.runs[worker] = False, None
        self.handle(WorkerLost(worker))

    @rule(data=st.data(), is_good=st.booleans())
    @precondition(lambda self: any(run is not None for run in self.runs))
    def run_ends(self, data, is_good):
        worker = data.draw(st.sampled_from([w for w, run in enumerate(self.runs) if run is not None]))
        self.end(worker, None if is_good else EngineError("No."))

    def end(self, worker, error=None):
        run, self.runs[worker] = self.runs[worker], None
        self.handle(RunEnded(run, error))

    @rule(run=st.integers(1, 20))
    def late_words(self, run):
        if run not in self.runs:
            self.handle(RunEnded(run))

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds):
        self.now += seconds
        self.handle(Tick())

    @invariant()
    def no_ready_worker_is_idle_while_jobs_wait(self):
        under_way = {self.keys[run] for run in self.runs if run is not None}
        waiting = set(self.clients) - set(self.ended) - under_way
        if any(ready and run is None for ready, run in zip(self.is_ready, self.runs, strict=True)):
            assert not waiting

    @invariant()
    def those_that_wait_know_how_many_are_ahead(self):
        running = sum(run is not None for run in self.runs)
        assert sorted(self.positions.values()) == list(range(running, running + len(self.positions)))
        if self.runs:
            assert self.positions.keys() == set(self.scheduler.waiting)

    def teardown(self):
        """With a good worker everything comes to its end."""
        if not self.is_ready:
            return
        if not self.is_ready[0]:
            self.is_ready[0] = True
            self.handle(WorkerReady(0))
        for _ in range(2 * len(self.clients) + 2):
            for worker in [w for w, run in enumerate(self.runs) if run is not None]:
                self.end(worker)
        assert set(self.ended) == set(self.clients)


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
