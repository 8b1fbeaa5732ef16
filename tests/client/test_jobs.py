"""What a status line says about a job."""

import pytest

from overpaint_client.jobs import Job, JobPhase
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import Edit, Fill


def make_job(operation=None, **changes):
    fields = {
        "job_id": "j",
        "document_id": "d",
        "title": "photo",
        "canvas": Size(4, 4),
        "variants": 1,
        **changes,
    }
    return Job(operation=operation or Fill(), **fields)


@pytest.mark.parametrize(
    ("time_left_s", "words"),
    [
        (None, ""),
        (0.2, ", about 1 s left"),
        (12.4, ", about 12 s left"),
        (20.4, ", about 20 s left"),
        (21, ", about 20 s left"),
        (38, ", about 40 s left"),
        (90, ", about 90 s left"),
        (91, ", about 2 min left"),
        (3599, ", about 60 min left"),
    ],
)
def test_the_time_left_is_said_no_more_exactly_than_it_is_known(time_left_s, words):
    job = make_job(phase=JobPhase.RUNNING, stage="painting", fraction=0.4, time_left_s=time_left_s)
    assert job.sentence == f"Fill: painting 40 %{words}."


@pytest.mark.parametrize(
    ("position", "time_left_s", "words"),
    [
        (0, None, ""),
        (3, None, ", 3 ahead"),
        (2, 130.0, ", 2 ahead, about 2 min left"),
        (0, 8.0, ", about 8 s left"),
    ],
)
def test_a_job_that_waits_says_its_place_and_how_long_it_will_take(position, time_left_s, words):
    job = make_job(phase=JobPhase.QUEUED, position=position, time_left_s=time_left_s)
    assert job.sentence == f"Fill: waiting for its turn{words}."


def test_a_time_left_counts_only_while_the_job_runs():
    job = make_job(Edit(prompt="make it night"), phase=JobPhase.INSERTING, time_left_s=3)
    assert job.sentence == "Edit: make it night: adding the layers."


def test_what_the_artist_should_know_is_said_at_the_end():
    notes = ("A part of the selection was left out.", "It is very faint.")
    assert make_job(phase=JobPhase.DONE, notes=notes).sentence == f"Fill: done. {' '.join(notes)}"
    assert make_job(phase=JobPhase.DONE).sentence == "Fill: done."
    assert make_job(phase=JobPhase.CANCELLED, is_replaced=True).sentence == "Fill: replaced by a newer one."
    assert make_job(phase=JobPhase.CANCELLED, notes=notes).sentence == "Fill: cancelled."
