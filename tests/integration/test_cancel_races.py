"""A cancel at any instant of a job, that of its end included: one outcome, and everybody is told the same.

The long run is ``OVERPAINT_CANCEL_RACES=1000 pytest --timeout 0 tests/integration/test_cancel_races.py``.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter

from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    FetchJob,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
    JobState,
    JobVariant,
)

RACES = int(os.environ.get("OVERPAINT_CANCEL_RACES", "100"))
_ENDS = (JobDone, JobFailed, JobCancelled)
_STATES = {JobDone: JobState.DONE, JobFailed: JobState.FAILED, JobCancelled: JobState.CANCELLED}


def test_a_cancel_at_any_instant_has_one_outcome(tmp_path):
    chance = random.Random(20261126)
    outcomes = Counter()
    with DaemonProcess.start(tmp_path) as daemon:
        client = daemon.client()
        usual_s = statistics.median(_time_a_job(client, f"before-{index}") for index in range(7))
        for index in range(RACES):
            job_id = f"race-{index}"
            client.submit(job_id, prompt="steps=2")
            # Half of them around the end, where the race is: the rest anywhere in the job's life.
            late = chance.random() < 0.5
            time.sleep(usual_s * (chance.uniform(0.6, 1.1) if late else chance.uniform(0, 1)))
            answer = client.ask(CancelJob(job_id=job_id))
            assert isinstance(answer, JobCancelled)
            outcomes[answer.state] += 1
            told, replay = _fetch(client, job_id)
            ends = [message for message in told if isinstance(message, _ENDS)]
            assert answer.state.is_final
            assert _STATES[type(replay[-1])] is answer.state, "what is fetched is what was answered"
            if answer.state is JobState.DONE:
                assert [type(end) for end in ends] == [JobDone]
                assert sum(isinstance(message, JobVariant) for message in replay) == 1
            else:
                assert answer.state is JobState.CANCELLED
                assert ends == [], "a cancelled job is not done as well"
            assert client.ask(AckJob(job_id=job_id)) == JobAcked(job_id=job_id)
        assert client.is_silent(0.5), "nothing is said of a job that was acknowledged"
        spool = daemon.state / "jobs" / "pixels"
        wait_until(lambda: list(spool.iterdir()) == [], "their files are removed")
    assert set(outcomes) == {JobState.CANCELLED, JobState.DONE}, "the races were close"


def _time_a_job(client, job_id):
    begun_at = time.monotonic()
    client.submit(job_id, prompt="steps=2")
    client.until_over(job_id)
    took_s = time.monotonic() - begun_at
    client.ask(AckJob(job_id=job_id))
    return took_s


def _fetch(client, job_id):
    """What was said of the job unasked, and all that a fetch is answered with, its last word the end."""
    message_id = client.send(FetchJob(job_id=job_id))
    told, answers = [], []
    while not (answers and isinstance(answers[-1], _ENDS)):
        envelope = client.receive()
        (answers if envelope.header.re == message_id else told).append(envelope.message)
    return told, answers
