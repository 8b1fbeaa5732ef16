"""Stories of jobs: from a real daemon, through its death and its end, to ``overpaint doctor --story``."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys

from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_backend.cli.story import find_story
from overpaint_backend.durability.stories import (
    MAX_ENTRIES,
    MAX_STORIES,
    Entry,
    StoryBook,
    What,
    read_stories,
)
from overpaint_protocol.errors import UnknownJob
from overpaint_protocol.messages import AckJob, CancelJob, JobCancelled, JobProgress

SECRET = "a house by the zanzibarian sea"


def overpaint(daemon, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "overpaint_backend", *arguments],
        env=daemon.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def story_of(daemon, job):
    told = overpaint(daemon, "doctor", "--story", job, "--json")
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def whats(daemon, job):
    """What is written so far: nothing waits for stories, so a daemon writes them a moment later."""
    stories = read_stories(daemon.folder / "state" / "stories.sqlite")
    try:
        return [entry.what for entry in find_story(stories, job).entries]
    except UnknownJob:
        return []


def wait_running(client, job_id):
    while True:
        message = client.receive().message
        if isinstance(message, JobProgress) and message.job_id == job_id and message.fraction is not None:
            return


def test_the_story_of_a_fill_from_submit_to_ack(own_daemon):
    client = own_daemon.client(editor="Krita")
    client.submit("0a1b2c3d4e5f", prompt=SECRET)
    client.until_over("0a1b2c3d4e5f")
    client.ask(AckJob(job_id="0a1b2c3d4e5f"))
    wait_until(lambda: "acknowledged" in whats(own_daemon, "0a1b"), "the story has its end")
    told = overpaint(own_daemon, "doctor", "--story", "0a1b").stdout
    steps = [
        "Krita asked for it: fill, 1 variant, 16 × 12 px, by engine test-invert.",
        "Accepted",
        "Attempt 1 was begun with worker 1, by engine test-invert",
    ]
    steps += [
        "opened on the processor",
        "Variant 1 was painted",
        "Variant 1 was sent",
        "Done",
        "took the results",
    ]
    found = [told.find(step) for step in steps]
    assert -1 not in found, told
    first, last = told.find("asked for it"), told.find("took the results")
    assert first < min(found[1:]) and max(found[:-1]) < last
    assert "zanzibarian" not in told


def test_without_a_job_the_latest_are_listed_also_when_no_daemon_runs(own_daemon):
    client = own_daemon.client(editor="Krita")
    for job_id in ("first-of-all", "second"):
        client.submit(job_id)
        client.until_over(job_id)
    own_daemon.terminate()
    told = overpaint(own_daemon, "doctor", "--story")
    assert told.returncode == 0
    assert told.stdout.index("second") < told.stdout.index("first-of")
    assert "fill from Krita: done" in told.stdout


def test_an_unknown_id_and_an_ambiguous_one_get_a_sentence(own_daemon):
    client = own_daemon.client()
    for job_id in ("twin-1", "twin-2"):
        client.submit(job_id)
        client.until_over(job_id)
    own_daemon.terminate()
    unknown = overpaint(own_daemon, "doctor", "--story", "nothing")
    assert unknown.returncode == 1 and "no story of a job “nothing”" in unknown.stderr
    ambiguous = overpaint(own_daemon, "doctor", "--story", "twin")
    assert ambiguous.returncode == 1 and "2 jobs have an id that begins with “twin”" in ambiguous.stderr
    assert whats(own_daemon, "twin-1")[0] == "submitted"


def test_who_waits_hears_of_how_many_and_never_of_whom(own_daemon):
    busy, other = own_daemon.client(editor="GIMP"), own_daemon.client(editor="Krita")
    busy.submit("secret-id-of-gimp", prompt="hang")
    wait_running(busy, "secret-id-of-gimp")
    other.submit("mine-1")
    other.submit("mine-2")
    busy.send(CancelJob(job_id="secret-id-of-gimp"))
    other.until_over("mine-2")
    story = story_of(own_daemon, "mine-2")
    (waits,) = [entry["sentence"] for entry in story["entries"] if entry["what"] == "waits"]
    assert waits == "It waits behind 2 jobs (1 of the same editor and 1 of others)."
    assert "gimp" not in json.dumps(story).lower()
    wait_until(lambda: "cancelled" in whats(own_daemon, "secret-id"), "the cancel is told")


def test_a_worker_that_dies_and_a_daemon_that_is_killed_are_told_by_the_next(own_daemon):
    client = own_daemon.client("the-session")
    client.submit("chased", prompt="hang")
    wait_running(client, "chased")
    own_daemon.worker().send_signal(signal.SIGKILL)
    wait_until(lambda: whats(own_daemon, "chased").count("started") == 2, "it is begun again")
    told = story_of(own_daemon, "chased")["entries"]
    (waits,) = [
        entry["sentence"] for entry in told if entry["what"] == "waits" and "ended" in entry["sentence"]
    ]
    assert waits.startswith(
        "The engine's process ended while it worked on this job. It waits as the next in line."
    )
    own_daemon.process.send_signal(signal.SIGKILL)
    own_daemon.process.wait()
    with DaemonProcess.start(own_daemon.folder) as following:
        following.client("the-session")
        wait_until(lambda: "failed" in whats(following, "chased"), "it was given up")
        sentences = [entry["sentence"] for entry in story_of(following, "chased")["entries"]]
        assert "Another daemon took over and goes on with it; it was begun 2 times before." in sentences
        assert sentences[-1].startswith("It failed (engine.lost). ")


def test_a_stopped_daemon_says_that_it_left_the_job(own_daemon):
    client = own_daemon.client()
    client.submit("left-behind", prompt="hang")
    wait_running(client, "left-behind")
    own_daemon.terminate()
    assert whats(own_daemon, "left-behind")[-1] == "left"


def test_the_file_is_the_owners_alone_and_holds_no_words_of_the_artist(own_daemon):
    client = own_daemon.client()
    for job_id, prompt in (("fails", f"fail {SECRET}"), ("cancelled", f"hang {SECRET}")):
        client.submit(job_id, prompt=prompt, document_id="zanzibarian-doc")
    client.until_over("fails")
    assert isinstance(client.ask(CancelJob(job_id="cancelled")), JobCancelled)
    wait_until(lambda: "cancelled" in whats(own_daemon, "cancelled"), "the end is told")
    own_daemon.terminate()
    state = own_daemon.folder / "state"
    files = list(state.glob("stories.sqlite*"))
    assert files
    for file in files:
        assert file.stat().st_mode & 0o077 == 0
        assert b"zanzibarian" not in file.read_bytes()


# ---------------------------------------------------------------- the book alone


def entry(at_s, what=What.SUBMITTED, **facts):
    return Entry(at_s, what, facts)


def test_a_book_is_bounded_in_stories_in_entries_and_in_time(tmp_path):
    path = tmp_path / "stories.sqlite"
    book = StoryBook(path, keep_s=100.0)
    for number in range(MAX_STORIES + 1):
        book.note([("s", f"j{number}", entry(1000.0))])
    stories = read_stories(path)
    assert len(stories) == MAX_STORIES and stories[-1].job_id == "j1"
    for number in range(MAX_ENTRIES + 5):
        book.note([("s", "j5", entry(1001.0, What.SENT, variant=number))])
    (long,) = [story for story in read_stories(path) if story.job_id == "j5"]
    assert len(long.entries) == MAX_ENTRIES
    assert long.entries[0].what == What.SUBMITTED and long.entries[-1].facts == {"variant": MAX_ENTRIES + 4}
    book.note([("s", "late", entry(1100.5))])
    assert [story.job_id for story in read_stories(path)] == ["late", "j5"]
    book.close()
    with sqlite3.connect(path) as database:  # nothing is left of what went
        (left,) = database.execute("SELECT count(*) FROM entry").fetchone()
    database.close()
    assert left == MAX_ENTRIES + 1


def test_a_damaged_book_begins_anew(tmp_path):
    path = tmp_path / "stories.sqlite"
    path.write_bytes(b"no database" * 1000)
    book = StoryBook(path, keep_s=100.0)
    book.note([("s", "j", entry(1.0))])
    book.close()
    assert [story.job_id for story in read_stories(path)] == ["j"]


def test_a_book_that_cannot_be_written_stops_nobody(tmp_path, caplog):
    path = tmp_path / "missing" / "stories.sqlite"
    book = StoryBook(path, keep_s=100.0)
    book.note([("s", "j", entry(1.0))])
    book.close()
    assert "have gaps" in caplog.text
    assert not path.exists()


def test_the_story_of_a_job_that_was_replaced_says_so(own_daemon):
    client = own_daemon.client()
    client.submit("slow", prompt="steps=400 delay=0.05")
    client.submit("older", slot="live")
    client.submit("newer", slot="live")
    wait_until(lambda: "cancelled" in whats(own_daemon, "older"), "the story has its end")
    assert (
        "its client asked for a newer job in its place"
        in overpaint(own_daemon, "doctor", "--story", "older").stdout
    )
    client.ask(CancelJob(job_id="slow"))
