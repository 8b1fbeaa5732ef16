"""What a status line says about a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("a red\n\tdoor\r\n", "a red door"),
        ("line\u2028line\u2029line\x85line", "line line line line"),
        ("door\0window", "door window"),
        ("\x1b]0;owned\x07\x1b[2Jred", "]0;owned [2Jred"),
        ("photo\u202egnp.exe\u2066x\u2069", "photo gnp.exe x"),
        ("half \udc80 a letter", "half a letter"),
        ("<b>%s {0} &amp; ../../x", "<b>%s {0} &amp; ../../x"),
        ("👩\u200d🎨 در\u200cخت \u200fא", "👩\u200d🎨 در\u200cخت \u200fא"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
    ],
)
def test_a_prompt_names_layers_in_one_line_of_letters(words, shown):
    assert make_job(_unchecked_fill(words)).label == f"Fill: {shown}"


def _unchecked_fill(prompt):
    """A fill as no message may hold it."""
    operation = Fill()
    object.__setattr__(operation, "prompt", prompt)
    return operation


def test_a_documents_title_is_one_line_in_sentences_and_not_longer_than_they():
    job = make_job(title="photo\n\x1b[31mINFO \u202e" + "x" * 500, phase=JobPhase.OFFERED)
    assert job.sentence.startswith("A finished result for “photo [31mINFO xxx")
    assert job.sentence.isprintable()
    assert len(job.title) == 80


@given(st.text())
def test_any_words_give_a_label_and_a_sentence_of_one_line(words):
    job = make_job(Fill(prompt=words), title=words, phase=JobPhase.OFFERED)
    for text in (job.label, job.sentence):
        assert len(text.splitlines()) == 1
        assert not any(ord(letter) < 32 or letter in "\x7f\u202e" for letter in text)
