"""``overpaint doctor --story``: what happened to a job and why, in sentences with times."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from overpaint_backend.config import DaemonSettings
from overpaint_backend.durability.stories import Cause, Entry, Fact, Story, What, read_stories
from overpaint_backend.jobs.scheduler import WorkerState
from overpaint_protocol.errors import ERROR_TYPES, DaemonError, UnknownJob
from overpaint_protocol.messages import JobState

from .outcome import OK, print_json, say

__all__ = ["find_story", "outcome_of", "run_stories", "run_story", "sentence"]

_LISTED = 20
_SHORT_ID = 8

_BECAUSE = {
    Cause.SUBMITTED: "the engine's process was free",
    Cause.CANCEL: "the job before it was cancelled",
    Cause.WORKER_READY: "the engine's process was ready",
    Cause.RUN_ENDED: "the job before it was over",
}
_NOT_READY = {
    WorkerState.STARTING: "The engine's process is still starting.",
    WorkerState.DOWN: "The engine's process does not start.",
}
_SAVINGS = {
    "tiled": "in tiles, one picture at a time",
    "offloaded": "with parts of the model in main memory until their turn comes",
    "smaller": "smaller, to be scaled up",
}
_DEVICES = {"cpu": "the processor", "cuda": "the graphics card", "mps": "the graphics card"}


def run_stories(*, as_json: bool) -> int:
    """List the newest jobs that there are stories of."""
    stories = _read()
    if as_json:
        print_json({"ok": True, "jobs": [_summary(story) for story in stories]})
        return OK
    if not stories:
        say("No job has been asked for yet, or all of them were long ago.")
        return OK
    for story in stories[:_LISTED]:
        summary = _summary(story)
        say(
            f"{_short(story, stories)}  {_clock(story.entries[0].at_s)}  {summary['operation']} from "
            f"{summary['editor']}: {summary['outcome']}"
        )
    if len(stories) > _LISTED:
        say(f"And {len(stories) - _LISTED} earlier ones; --json lists them all.")
    say("What happened to one of them: overpaint doctor --story JOB")
    return OK


def run_story(job: str, *, as_json: bool) -> int:
    """Tell the story of a job. job: its id, or as much of its beginning as no other has.

    Raises:
        UnknownJob: no job, or more than one, has an id that begins so.
    """
    story = find_story(_read(), job)
    if as_json:
        told = [{**asdict(entry), "sentence": sentence(entry)} for entry in story.entries]
        print_json({"ok": True, **_summary(story), "entries": told})
        return OK
    say(f"Job {story.job_id}: {outcome_of(story)}.")
    for entry in story.entries:
        say(f"{_clock(entry.at_s)}  {sentence(entry)}")
    return OK


def find_story(stories: list[Story], job: str) -> Story:
    """The story of the job whose id is ``job`` or is the only one to begin so; raises as ``run_story``."""
    exact = [story for story in stories if story.job_id == job]
    found = exact or [story for story in stories if job and story.job_id.startswith(job)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownJob(f"{len(found)} jobs have an id that begins with “{job}”. Give more of it.")
    raise UnknownJob(
        f"There is no story of a job “{job}”. “overpaint doctor --story” lists the jobs there are; stories "
        "are kept for a week."
    )


def outcome_of(story: Story) -> str:
    """How far the job is, in a few words."""
    words = {
        What.REFUSED: "could not be kept",
        What.ACKNOWLEDGED: "over, its results were taken or refused",
        What.EXPIRED: "nobody came for its results, so they were dropped",
        What.DONE: "done, its results wait to be taken",
        What.CANCELLED: "cancelled",
        What.FAILED: "failed",
        What.STARTED: "begun",
        What.LEFT: "waits for the next daemon",
    }
    for entry in reversed(story.entries):
        for what, outcome in words.items():
            if entry.what == what:
                return outcome
    return "waiting"


def sentence(entry: Entry) -> str:
    """What happened, for people."""
    facts = entry.facts
    match entry.what:
        case What.SUBMITTED:
            return (
                f"{_text(facts, 'editor') or 'A client'} asked for it: {_text(facts, 'operation')}, "
                f"{_count(facts, 'variants', 'variant')}, {facts.get('width_px')} × {facts.get('height_px')} px, by "
                f"{_engine(facts)}."
            )
        case What.ACCEPTED:
            return "Accepted: it is on the disk and outlives the daemon."
        case What.REFUSED:
            return (
                f"It could not be kept, so it was refused ({_text(facts, 'code')}). {_what_code_means(facts)}"
            )
        case What.WAITS:
            return _waits(facts)
        case What.STARTED:
            because = _BECAUSE.get(_cause(facts))
            worker = facts.get("worker")  # which older stories do not have
            return (
                f"Attempt {facts.get('attempt')} was begun{f' with worker {worker}' if worker else ''}, by {_engine(facts)}"
                f"{f': {because}' if because else ''}."
            )
        case What.LOADING:
            return "Its model is not in memory and is being loaded."
        case What.LOADED:
            device = _DEVICES.get(_text(facts, "device"), _text(facts, "device"))
            return f"The engine was opened on {device}, which took {_seconds(facts)}."
        case What.UNLOADED_OTHERS:
            return f"Memory was short: {_count(facts, 'count', 'other model')} left to make room."
        case What.SAVED_MEMORY:
            saving = _SAVINGS.get(_text(facts, "saving"), "with less")
            return f"Memory ran out, so it goes on {saving}."
        case What.MADE:
            return f"Variant {facts.get('variant')} was painted."
        case What.SENT:
            return f"Variant {facts.get('variant')} was sent to the editor."
        case What.LEFT:
            return "The daemon was stopped and left it to the next one; this attempt does not count."
        case What.RESUMED:
            return _resumed(facts)
        case What.DONE:
            return "Done: all variants are there."
        case What.CANCELLED:
            if "replaced" in facts:
                return "Cancelled before it began: its client asked for a newer job in its place."
            return "Cancelled, as its client asked."
        case What.FAILED:
            return f"It failed ({_text(facts, 'code')}). {_what_code_means(facts)}"
        case What.ACKNOWLEDGED:
            return "The editor took the results or refused them; the daemon has forgotten the pictures."
        case What.EXPIRED:
            return "Nobody came for the results in time, so they were dropped."
        case _:  # of a later version
            return f"{entry.what}."


def _waits(facts: Mapping[str, Fact]) -> str:
    position, own = int(facts.get("position", 0)), int(facts.get("own", 0))
    others = max(0, position - own)
    ahead = [f"{own} of the same editor"] if own else []
    ahead += [f"{others} of others"] if others else []
    turn = f"behind {position} jobs ({' and '.join(ahead)})" if position > 1 else ""
    if position == 1:
        turn = f"behind 1 job, {'of the same editor' if own else 'of another'}"
    lost = (
        "The engine's process ended while it worked on this job. "
        if _cause(facts) is Cause.WORKER_LOST
        else ""
    )
    not_ready = _NOT_READY.get(WorkerState(facts.get("worker", WorkerState.IDLE)), "")
    sentences = f"{lost}It waits {turn or 'as the next in line'}."
    return f"{sentences} {not_ready}".strip()


def _resumed(facts: Mapping[str, Fact]) -> str:
    attempts, state = int(facts.get("attempts", 0)), _text(facts, "state")
    if state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
        return f"Another daemon took over and keeps it; it was {state} before."
    begun = {0: "not begun", 1: "begun once"}.get(attempts, f"begun {attempts} times")
    return f"Another daemon took over and goes on with it; it was {begun} before."


def _what_code_means(facts: Mapping[str, Fact]) -> str:
    """The first line of the documentation of the error: its own message may quote what the artist wrote."""
    error = ERROR_TYPES.get(_text(facts, "code"))
    return "" if error is None or not error.__doc__ else error.__doc__.strip().splitlines()[0]


def _engine(facts: Mapping[str, Fact]) -> str:
    return f"engine {_text(facts, 'engine')}" if facts.get("engine") else "whichever engine fits"


def _cause(facts: Mapping[str, Fact]) -> Cause:
    return Cause(facts.get("because", Cause.TIME))


def _text(facts: Mapping[str, Fact], name: str) -> str:
    """A fact that may come from a client: without what could move a terminal's cursor."""
    return "".join(letter for letter in str(facts.get(name, "")) if letter.isprintable())


def _count(facts: Mapping[str, Fact], name: str, noun: str) -> str:
    count = int(facts.get(name, 0))
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _seconds(facts: Mapping[str, Fact]) -> str:
    return f"{float(facts.get('took_ms', 0.0)) / 1000:.1f} s"


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _short(story: Story, stories: list[Story]) -> str:
    """The beginning of its id that no other has, with at least 8 letters."""
    others = [other.job_id for other in stories if other.job_id != story.job_id]
    length = _SHORT_ID
    while length < len(story.job_id) and any(other.startswith(story.job_id[:length]) for other in others):
        length += 1
    return story.job_id[:length]


def _summary(story: Story) -> dict[str, object]:
    first = story.entries[0]
    return {
        "job_id": story.job_id,
        "at_s": first.at_s,
        "editor": _text(first.facts, "editor") or "a client",
        "operation": _text(first.facts, "operation") or "a job",
        "outcome": outcome_of(story),
    }


def _read() -> list[Story]:
    path = DaemonSettings.from_environment().stories_path
    try:
        return read_stories(path)
    except (OSError, sqlite3.Error) as error:
        raise DaemonError(f"The stories of jobs cannot be read: {error}. They lie in {path}.") from error
