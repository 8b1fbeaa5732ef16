"""Session files: what survives an editor, and who may take it over."""

import stat
from contextlib import ExitStack

import pytest

from overpaint_client.store import PendingJob, SessionStore
from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import Fill

JOB = PendingJob(
    job_id="j1",
    title="photo",
    path="/a/photo.kra",
    canvas=Size(4, 3),
    operation=Fill(prompt="a door"),
    variants=2,
    profile_digest="of a profile",
)


@pytest.fixture
def start(tmp_path):
    """An editor begins: its store, closed at the end."""
    with ExitStack() as running:

        def begin(folder=tmp_path):
            store = SessionStore(folder)
            running.callback(store.close)
            return store

        yield begin


def test_what_an_editor_left_is_adopted_once_and_whole(start):
    first = start()
    first.add(JOB)
    beside = start()  # while the first still lives
    assert beside.session_id != first.session_id
    assert beside.jobs == ()
    first.close()
    heir = start()
    assert (heir.session_id, heir.jobs) == (first.session_id, (JOB,))
    assert start().jobs == ()


def test_only_the_owner_can_read_a_session_file(start, tmp_path):
    store = start(tmp_path / "clients" / "krita")
    store.add(JOB)
    (file,) = (tmp_path / "clients" / "krita").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_nothing_stays_when_nothing_is_pending(start, tmp_path):
    store = start()
    store.add(JOB)
    store.remove("j1")
    store.confirm("j1")
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_an_unconfirmed_ack_is_left_to_the_next_run(start):
    store = start()
    store.add(JOB)
    store.remove("j1")
    store.close()
    adopted = start()
    assert adopted.session_id == store.session_id
    assert adopted.jobs == ()
    assert adopted.acks == ("j1",)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"session_id": "x", "jobs": []}', '{"session_id": "../x"}'])
def test_a_damaged_file_is_cleared_away(start, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    assert start().jobs == ()
    assert list(tmp_path.glob("*.json")) == []


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "clients").write_text("in the way")
    with pytest.raises(OverpaintError, match="clients"):
        SessionStore(tmp_path / "clients")
