"""The whole client on a real daemon: FakeEditor (held to the editors' contract) in, layers out."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_client import capture, insertion
from overpaint_client.controller import Controller
from overpaint_client.editor import Insertion, LayerPlan
from overpaint_client.jobs import EditRequest, JobPhase
from overpaint_client.loop import SelectorLoop
from overpaint_client.settings import ClientSettings
from overpaint_client.testing.fake_editor import FakeEditor
from overpaint_client.testing.kinds import DocumentKind
from overpaint_protocol import connection
from overpaint_protocol.geometry import Margins, Point, Rect, Size
from overpaint_protocol.messages import Edges, Edit, Expand, Fill, Remove
from overpaint_protocol.pixels import PixelFormat

SIZE = Size(40, 30)
WAIT_S = 40.0
PROTECTED = Edges(grow_px=0, blend_px=0)
"""What was not selected stays, so that a layer is the selection exactly."""


@pytest.fixture(scope="module")
def folder():
    path = Path(tempfile.mkdtemp(prefix="ov-"))  # short: a Unix socket's path has little room
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def daemon(folder):
    with DaemonProcess.start(folder) as running:
        yield running


def picture(size=SIZE):
    out = bytearray()
    for i in range(size.area):
        out += bytes((i % 251, i * 7 % 256, i * 3 % 256, 255))
    return bytes(out)


class Artist:
    """Someone with an editor and the plug-in."""

    def __init__(self, clients_dir, find, **settings):
        self.editor = FakeEditor()
        self.loop = SelectorLoop()
        self.settings = ClientSettings(clients_dir=clients_dir, find_daemon=find, **settings)
        self.controller = Controller(self.editor, self.loop, self.settings)
        self.has_left = False
        self.controller.start()

    def open(self, title="photo", size=SIZE, path=""):
        return self.editor.open_document(title, size, picture(size), path)

    def ask(self, operation=None, engine="test-invert", edges=PROTECTED, **options):
        return self.controller.submit(
            EditRequest(operation=operation or Fill(), engine=engine, edges=edges, **options)
        )

    def wait(self, job, *phases, timeout_s=WAIT_S):
        wanted = phases or (JobPhase.DONE, JobPhase.FAILED, JobPhase.OFFERED, JobPhase.CANCELLED)
        assert self.loop.run_until(lambda: job.phase in wanted, timeout_s), (job.phase, job.sentence)
        return job

    def connect(self):
        assert self.loop.run_until(lambda: self.controller.link.is_open, WAIT_S), self.controller.link
        return self

    def leave(self):
        """The editor ends."""
        if not self.has_left:
            self.has_left = True
            self.controller.close()
            self.loop.close()


@pytest.fixture
def hire(tmp_path):
    """Makes artists who share a folder for session files; those still at work leave at the end."""
    hired = []

    def make(find, **settings):
        hired.append(Artist(tmp_path / "clients", find, **settings))
        return hired[-1]

    yield make
    for someone in hired:
        someone.leave()


@pytest.fixture
def artist(daemon, hire):
    return hire(lambda: daemon.info)


RECT = Rect(10, 8, 12, 9)


def select(artist, document, rect=RECT, mask=None):
    artist.editor.select(document, rect, mask or bytes([255]) * rect.area)


@pytest.mark.parametrize("pixel_format", [PixelFormat.BGRA8, PixelFormat.RGBA8])
def test_a_fill_becomes_a_layer_that_covers_the_selection_only(artist, pixel_format):
    artist.editor.pixel_format = pixel_format
    document = artist.open()
    mask = bytes(i * 5 % 256 for i in range(RECT.area))
    select(artist, document, mask=mask)
    job = artist.wait(artist.ask(seed=0))
    assert job.phase is JobPhase.DONE, job.sentence
    layer = artist.editor.layers(document)[0]
    original = picture()
    for y in range(SIZE.height):
        for x in range(SIZE.width):
            inside = RECT.contains(Rect(x, y, 1, 1))
            value = mask[(y - RECT.y) * RECT.width + x - RECT.x] if inside else 0
            r, g, b, alpha = layer.pixel(Point(x, y))
            assert alpha == value, (x, y)
            if value:
                source = original[(y * SIZE.width + x) * 4 :][:3]
                assert (r, g, b) == tuple(255 - c for c in source), "the engine inverts"


def test_what_is_selected_when_it_is_asked_for_counts(artist):
    """Pressed with one selection, then another is made before the editor's loop has its next turn."""
    document = artist.open()
    asked = []
    for x in (2, 12, 22):
        select(artist, document, Rect(x, 5, 6, 6))
        asked.append((x, artist.ask()))
    artist.editor.select(document, RECT, None)
    for x, job in asked:
        assert artist.wait(job).phase is JobPhase.DONE, job.sentence
        (layer,) = [each for each in artist.editor.layers(document) if each.rect.x == x]
        assert layer.rect == Rect(x, 5, 6, 6)
        assert layer.pixel(Point(x, 5))[3] == 255


def test_variants_arrive_in_one_group_with_seeds_that_follow(artist):
    document = artist.open()
    select(artist, document)
    job = artist.wait(artist.ask(Fill(prompt="a red door"), variants=3, seed=2**32 - 1))
    assert job.seeds == (2**32 - 1, 0, 1)
    layers = artist.editor.layers(document)
    assert [layer.name for layer in layers[:3]] == [f"Fill: a red door ({i})" for i in (1, 2, 3)]
    artist.editor.undo(document)
    assert len(artist.editor.layers(document)) == 1


def test_expand_grows_the_canvas(artist):
    document = artist.open()
    job = artist.wait(artist.ask(Expand(margins=Margins(left=4, bottom=6)), engine="embedded"))
    assert job.phase is JobPhase.DONE, job.sentence
    assert artist.editor.document(document).canvas == Size(44, 36)
    new, old = artist.editor.layers(document)
    assert old.rect == Rect(4, 0, 40, 30)
    assert new.pixel(Point(0, 0))[3] == 255
    assert new.pixel(Point(20, 35))[3] == 255
    assert new.pixel(Point(20, 10))[3] == 0


@pytest.mark.parametrize("operation", [Fill(prompt="a door"), Edit(prompt="make it night")])
def test_a_prompt_with_nothing_selected_changes_the_whole_canvas(artist, operation):
    document = artist.open()
    job = artist.wait(artist.ask(operation, seed=0))
    assert job.phase is JobPhase.DONE, job.sentence
    layer = artist.editor.layers(document)[0]
    assert layer.rect == Rect.from_size(SIZE)
    assert layer.rgba8 == bytes(255 - c if i % 4 < 3 else 255 for i, c in enumerate(picture()))


def test_one_pixel_can_be_removed(artist):
    document = artist.open()
    select(artist, document, Rect(39, 29, 1, 1))
    job = artist.wait(artist.ask(Remove(), engine=None))
    assert job.phase is JobPhase.DONE, job.sentence


@pytest.mark.parametrize(
    ("rect", "operation", "engine", "code"),
    [
        pytest.param(None, Fill(), None, "request.empty_selection", id="nothing selected"),
        pytest.param(Rect(50, 50, 9, 9), Fill(), None, "request.empty_selection", id="outside the canvas"),
        pytest.param(Rect(0, 0, 40, 30), Fill(), "embedded", "request.nothing_to_sample", id="everything"),
        pytest.param(RECT, Fill(), "no-such-engine", "request.unknown_engine", id="unknown engine"),
    ],
)
def test_what_cannot_be_done_fails_with_a_sentence_and_changes_nothing(artist, rect, operation, engine, code):
    document = artist.open()
    if rect is not None:
        select(artist, document, rect)
    job = artist.wait(artist.ask(operation, engine))
    assert job.phase is JobPhase.FAILED
    assert job.error.code == code
    assert job.sentence.endswith(".")
    assert len(artist.editor.layers(document)) == 1


def test_a_mask_of_zeros_is_an_empty_selection(artist):
    document = artist.open()
    select(artist, document, mask=bytes(RECT.area))
    assert artist.wait(artist.ask()).error.code == "request.empty_selection"


def test_no_document_and_an_indexed_one_are_refused(artist):
    assert artist.wait(artist.ask()).error.code == "request.no_document"
    artist.editor.open_unsupported()
    assert artist.wait(artist.ask()).error.code == "request.unsupported_format"


def test_a_canvas_of_30000_px_is_fine_if_the_selection_is_not(artist):
    """Only the Context is read, so the canvas may be as large as the editor can hold."""

    class Huge(FakeEditor):
        def open_reader(self, document_id, area):
            class Reader:
                def pixels(self, rect):
                    return bytes((rect.x % 200, 50, 60, 255)) * rect.area

                def selection(self, rect):
                    return bytes([255 if RECT.contains(Rect(x, y, 1, 1)) else 0
                                  for y in range(rect.top, rect.bottom) for x in range(rect.left, rect.right)])  # fmt: skip

                def close(self):
                    pass

            return Reader()

    huge = Huge()
    artist.controller._port = huge
    document = huge.open_document("huge", Size(30_000, 30_000), b"")
    huge.select(document, RECT, bytes([255]) * RECT.area)
    assert artist.wait(artist.ask()).phase is JobPhase.DONE
    huge.select(document, Rect(0, 0, 30_000, 30_000), b"")
    job = artist.wait(artist.ask())
    assert "30000 × 30000" in job.sentence
    assert "smaller" in job.sentence


def test_a_picture_of_very_many_frames_is_sent(artist, monkeypatch):
    monkeypatch.setattr(capture, "BAND_BYTES", 1)
    size = Size(8, 500)
    document = artist.open("tall", size)
    select(artist, document, Rect.from_size(size))
    job = artist.wait(artist.ask())
    assert (job.phase, job.sentence) == (JobPhase.DONE, "Fill: done.")
    assert artist.editor.layers(document)[0].rect == Rect.from_size(size)


@pytest.mark.parametrize("is_connected", [True, False])
def test_more_bytes_than_a_message_holds_are_refused_before_they_are_read(artist, is_connected):
    if is_connected:
        artist.connect()
    whole = Rect(0, 0, 8192, 8192)
    document = artist.editor.open_kind("deep", whole.size, DocumentKind(PixelFormat.RGBAF32), b"")
    artist.editor.select(document, whole, b"")
    job = artist.ask()
    assert job.phase is JobPhase.FAILED and job.error.code == "request.invalid"
    assert "megapixels" in job.sentence


def test_a_picture_cropped_while_the_layers_are_written_is_left_alone(artist, monkeypatch):
    monkeypatch.setattr(insertion, "BAND_BYTES", 1)
    document = artist.open()
    select(artist, document)
    job = artist.wait(artist.ask(), JobPhase.INSERTING)
    artist.editor.crop(document, Size(SIZE.width, SIZE.height - 1))
    artist.wait(job)
    assert job.phase is JobPhase.OFFERED and "belongs to" in job.error.message
    assert len(artist.editor.layers(document)) == 1


def test_a_session_file_that_cannot_be_written_is_said_and_costs_no_result(artist, tmp_path):
    document = artist.open()
    select(artist, document)
    shutil.rmtree(tmp_path / "clients")
    job = artist.wait(artist.ask())
    assert job.phase is JobPhase.FAILED and str(tmp_path / "clients") in job.sentence
    (tmp_path / "clients").mkdir()
    job = artist.wait(artist.ask(), JobPhase.QUEUED, JobPhase.RUNNING, JobPhase.INSERTING, JobPhase.DONE)
    shutil.rmtree(tmp_path / "clients")
    assert artist.wait(job).phase is JobPhase.DONE
    assert len(artist.editor.layers(document)) == 2


def test_cancel_stops_a_running_job_and_the_next_one_works(artist):
    document = artist.open()
    select(artist, document)
    job = artist.ask(Fill(prompt="steps=400 delay=0.05"))
    artist.wait(job, JobPhase.RUNNING)
    artist.controller.cancel(job.job_id)
    assert job.phase is JobPhase.CANCELLED
    assert artist.wait(artist.ask()).phase is JobPhase.DONE
    assert len(artist.editor.layers(document)) == 2


def test_a_job_that_waits_says_its_place_and_once_that_is_known_how_long_it_will_take(artist):
    document = artist.open()
    select(artist, document)
    slow = Fill(prompt="steps=400 delay=0.05")
    first = artist.wait(artist.ask(slow), JobPhase.RUNNING)
    second, third = artist.ask(variants=2), artist.ask(variants=2)
    assert artist.loop.run_until(lambda: third.position == 2, WAIT_S)
    assert third.sentence == "Fill: waiting for its turn, 2 ahead."
    artist.controller.cancel(first.job_id)
    artist.wait(second)
    artist.wait(third)
    artist.wait(artist.ask(slow), JobPhase.RUNNING)
    last = artist.ask(variants=2)
    assert artist.loop.run_until(lambda: last.time_left_s is not None or last.phase.is_final, 2 * WAIT_S)
    assert last.sentence.startswith("Fill: waiting for its turn, 1 ahead, about ")
    for job in artist.controller.jobs:
        artist.controller.cancel(job.job_id)
    assert artist.loop.run_until(lambda: artist.controller.is_settled, WAIT_S)


def test_asked_again_and_again_only_the_newest_that_waits_is_done(artist):
    document = artist.open()
    select(artist, document)
    slow = artist.ask(Fill(prompt="steps=400 delay=0.05"))
    artist.wait(slow, JobPhase.RUNNING)
    older = artist.ask(slot="live")
    artist.wait(older, JobPhase.QUEUED)
    newer = artist.ask(slot="live")
    assert artist.wait(older).sentence == "Fill: replaced by a newer one."
    artist.controller.cancel(slow.job_id)
    assert artist.wait(newer).phase is JobPhase.DONE
    assert artist.loop.run_until(lambda: artist.controller.is_settled, WAIT_S)


def test_a_closed_document_gets_its_result_when_it_is_open_again(artist):
    document = artist.open(path="/pictures/photo.kra")
    select(artist, document)
    job = artist.ask(Fill(prompt="steps=10 delay=0.05"))
    artist.wait(job, JobPhase.RUNNING)
    artist.editor.close_document(document)
    artist.wait(job)
    assert job.phase is JobPhase.OFFERED
    other = artist.open(title="other", path="/pictures/other.kra")
    artist.controller.insert(job.job_id)
    assert job.phase is JobPhase.OFFERED
    assert "photo" in job.error.message
    assert len(artist.editor.layers(other)) == 1
    again = artist.open(path="/pictures/photo.kra")
    artist.controller.insert(job.job_id)
    artist.wait(job, JobPhase.DONE)
    assert len(artist.editor.layers(again)) == 2


def test_an_editor_that_died_is_offered_its_result(daemon, hire, tmp_path):
    before = hire(lambda: daemon.info)
    document = before.open(path="/pictures/photo.kra")
    select(before, document)
    job = before.ask(Fill(prompt="steps=20 delay=0.05"))
    before.wait(job, JobPhase.RUNNING)
    before.leave()
    after = hire(lambda: daemon.info)
    (offered,) = after.controller.jobs
    assert offered.job_id == job.job_id
    after.wait(offered, JobPhase.OFFERED)
    assert "photo" in offered.sentence
    document = after.open(path="/pictures/photo.kra")
    after.controller.insert(offered.job_id)
    after.wait(offered, JobPhase.DONE)
    assert len(after.editor.layers(document)) == 2
    assert after.loop.run_until(lambda: after.controller.is_settled, WAIT_S)
    after.leave()
    assert not list((tmp_path / "clients").iterdir()), "nothing is left to offer"


def test_what_was_ready_of_a_job_that_was_given_up_is_offered_and_the_reason_is_kept(hire):
    folder = Path(tempfile.mkdtemp(prefix="ov-"))
    try:
        with DaemonProcess.start(folder) as daemon:
            before = hire(lambda: daemon.info)
            select(before, before.open(path="/pictures/photo.kra"))
            job = before.ask(Fill(prompt="steps=50 delay=0.02"), variants=2)
            assert before.loop.run_until(lambda: job.variants_ready == 1, WAIT_S)
            before.leave()
            daemon.worker().send_signal(signal.SIGKILL)
            wait_until(lambda: "attempt 2" in daemon.log, "it is tried again")
            daemon.worker().send_signal(signal.SIGKILL)
            after = hire(lambda: daemon.info)
            (offered,) = after.controller.jobs
            after.wait(offered, JobPhase.OFFERED)
            document = after.open(path="/pictures/photo.kra")
            after.controller.insert(offered.job_id)
            after.wait(offered, JobPhase.DONE)
            assert len(after.editor.layers(document)) == 2
            assert offered.error.code == "engine.lost"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_result_for_a_picture_without_a_file_goes_into_none_that_looks_different(daemon, hire):
    before = hire(lambda: daemon.info)
    select(before, before.open(title="unsaved"))
    before.wait(before.ask(Fill(prompt="steps=20 delay=0.05")), JobPhase.RUNNING)
    before.leave()
    after = hire(lambda: daemon.info)
    (offered,) = after.controller.jobs
    after.wait(offered, JobPhase.OFFERED)
    for path in ("", "/pictures/other.kra"):
        other = after.editor.open_document("other", SIZE, bytes(255 - c for c in picture()), path)
        after.controller.insert(offered.job_id)
        after.wait(offered, JobPhase.OFFERED)
        assert "belongs to “unsaved”" in offered.error.message
        assert len(after.editor.layers(other)) == 1
    same = after.open(title="recovered")
    after.controller.insert(offered.job_id)
    assert after.wait(offered, JobPhase.DONE).error is None
    assert len(after.editor.layers(same)) == 2


def test_a_picture_that_has_been_open_ever_since_is_known_by_its_id_though_it_was_painted_on(daemon, hire):
    """As in GIMP, where a dialog is a process of its own and pictures outlive it."""
    before = hire(lambda: daemon.info)
    document = before.open(title="unsaved")
    select(before, document)
    before.wait(before.ask(Fill(prompt="steps=20 delay=0.05")), JobPhase.RUNNING)
    before.leave()
    after = hire(lambda: daemon.info)
    after.controller._port = before.editor
    before.editor.commit(
        document,
        Insertion(name="stroke", layers=(LayerPlan(name="stroke", rect=RECT),)),
        [bytes((9, 9, 9, 255)) * RECT.area],
    )
    (offered,) = after.controller.jobs
    after.wait(offered, JobPhase.OFFERED)
    after.controller.insert(offered.job_id)
    assert after.wait(offered, JobPhase.DONE).error is None
    assert len(before.editor.layers(document)) == 3


def test_a_picture_with_a_file_is_known_by_it_though_it_was_painted_on(daemon, hire):
    before = hire(lambda: daemon.info)
    select(before, before.open(path="/pictures/photo.kra"))
    before.wait(before.ask(Fill(prompt="steps=20 delay=0.05")), JobPhase.RUNNING)
    before.leave()
    after = hire(lambda: daemon.info)
    (offered,) = after.controller.jobs
    after.wait(offered, JobPhase.OFFERED)
    after.editor.open_document("photo", SIZE, bytes(255 - c for c in picture()), "/pictures/photo.kra")
    after.controller.insert(offered.job_id)
    assert after.wait(offered, JobPhase.DONE).error is None


def test_an_editor_that_comes_back_after_the_daemon_has_gone_too_has_it_started(daemon, hire, tmp_path):
    """As after a restart of the machine: nobody asks for anything, and the result is offered."""
    folder = Path(tempfile.mkdtemp(prefix="ov-"))
    started = tmp_path / "started"
    command = (sys.executable, "-c", f"open({str(started)!r}, 'w').close()")
    try:
        with DaemonProcess.start(folder) as first:
            before = hire(lambda: first.info)
            select(before, before.open(path="/pictures/photo.kra"))
            before.wait(before.ask(Fill(prompt="steps=20 delay=0.05")), JobPhase.RUNNING)
            before.leave()
            first.process.kill()
            first.process.wait()
            first.connection_path.unlink()
        after = hire(lambda: connection.find([folder / "state" / "daemon.json"]), daemon_command=command)
        assert after.loop.run_until(started.exists, WAIT_S), "the plug-in has the daemon started"
        with DaemonProcess.start(folder):
            (offered,) = after.controller.jobs
            after.wait(offered, JobPhase.OFFERED)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_an_ack_that_was_never_sent_is_made_up_for_by_the_next_run(daemon, hire, tmp_path):
    before = hire(lambda: daemon.info)
    select(before, before.open())
    before.wait(before.ask(), JobPhase.DONE)
    before.leave()  # before the loop has turned again
    assert list((tmp_path / "clients").glob("*.json"))
    after = hire(lambda: daemon.info).connect()
    assert after.controller.jobs == ()
    assert after.loop.run_until(lambda: after.controller.is_settled, WAIT_S)
    after.leave()
    assert not list((tmp_path / "clients").iterdir())


def test_an_offer_can_be_discarded(daemon, hire, tmp_path):
    before = hire(lambda: daemon.info)
    select(before, before.open())
    before.wait(before.ask(Fill(prompt="steps=20 delay=0.05")), JobPhase.RUNNING)
    before.leave()
    after = hire(lambda: daemon.info)
    (offered,) = after.controller.jobs
    after.wait(offered, JobPhase.OFFERED)
    after.controller.discard(offered.job_id)
    after.leave()
    third = hire(lambda: daemon.info)
    assert third.controller.jobs == ()


def test_two_editors_at_once_get_their_own_results(daemon, hire):
    people = [hire(lambda: daemon.info) for _ in range(2)]
    jobs = []
    for someone in people:
        document = someone.open()
        select(someone, document)
        jobs.append([someone.ask(Fill(prompt="steps=3 delay=0.01"), seed=i) for i in range(4)])
    deadline = time.monotonic() + WAIT_S
    while not all(job.phase.is_final for own in jobs for job in own) and time.monotonic() < deadline:
        for someone in people:
            someone.loop.run_until(lambda: False, timeout_s=0.02)
    for someone, own in zip(people, jobs, strict=True):
        assert [job.phase for job in own] == [JobPhase.DONE] * 4
        assert len(someone.controller.jobs) == 4
        assert len(someone.editor.layers(own[0].document_id)) == 5


def test_a_killed_worker_costs_one_retry(daemon, artist):
    document = artist.open()
    select(artist, document)
    job = artist.ask(Fill(prompt="steps=40 delay=0.05"))
    artist.wait(job, JobPhase.RUNNING)
    daemon.worker().send_signal(signal.SIGKILL)
    assert artist.wait(job).phase is JobPhase.DONE, job.sentence


def test_a_daemon_killed_in_mid_job_and_started_again_does_the_job(hire):
    """The artist sees a pause, not an error."""
    folder = Path(tempfile.mkdtemp(prefix="ov-"))
    try:
        with DaemonProcess.start(folder) as daemon:
            someone = hire(lambda: connection.find([daemon.connection_path]))
            select(someone, someone.open())
            job = someone.ask(Fill(prompt="steps=60 delay=0.05"))
            someone.wait(job, JobPhase.RUNNING)
            daemon.process.kill()
            daemon.process.wait()
            someone.wait(job, JobPhase.WAITING)
            restarted = DaemonProcess.start(folder)
            with restarted:
                assert someone.wait(job).phase is JobPhase.DONE, job.sentence
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("uses_tcp", [False, True])
def test_the_last_words_of_a_daemon_that_is_gone_are_heard(hire, tmp_path, uses_tcp):
    """The editor was busy while the daemon ended: what it said and that it went arrive in one piece."""

    def find():
        info = connection.find([daemon.connection_path])
        return dataclasses.replace(info, endpoints=info.endpoints[1:]) if uses_tcp else info

    folder = Path(tempfile.mkdtemp(prefix="ov-"))
    try:
        with DaemonProcess.start(folder) as daemon:
            someone = hire(find)
            select(someone, someone.open())
            job = someone.wait(someone.ask(Fill(prompt="steps=600 delay=0.05")), JobPhase.RUNNING)
            daemon.terminate()
            someone.wait(job, JobPhase.WAITING)
            assert someone.loop.run_until(lambda: not someone.controller.link.is_open, WAIT_S)
            with DaemonProcess.start(folder):
                someone.wait(job, JobPhase.RUNNING)
                someone.controller.cancel(job.job_id)
                assert someone.loop.run_until(lambda: someone.controller.is_settled, WAIT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_no_daemon_and_none_to_start_is_said_at_once(hire, tmp_path):
    someone = hire(lambda: connection.find([tmp_path / "daemon.json"]))
    select(someone, someone.open())
    job = someone.wait(someone.ask())
    assert job.error.code == "link.not_running"
    assert "overpaint serve" in job.sentence


def test_a_daemon_that_cannot_start_is_told_apart(hire, tmp_path):
    command = (sys.executable, "-c", "raise SystemExit(1)")
    someone = hire(lambda: connection.find([tmp_path / "daemon.json"]), daemon_command=command)
    select(someone, someone.open())
    assert "ended at once" in someone.wait(someone.ask()).sentence


def test_a_wrong_token_is_said(daemon, hire):
    someone = hire(lambda: dataclasses.replace(daemon.info, token="wrong"))
    select(someone, someone.open())
    job = someone.wait(someone.ask())
    assert job.error.code == "access.denied"
    assert "Restart the daemon" in job.sentence


def test_previews_and_progress_are_announced(artist):
    document = artist.open()
    select(artist, document)
    job = artist.ask(Fill(prompt="steps=20 delay=0.05"))
    fractions, previews = [], []

    def watch():
        if job.phase is JobPhase.RUNNING and job.fraction is not None:
            fractions.append(job.fraction)
        if job.preview is not None:
            previews.append(job.preview)

    artist.controller.subscribe(watch)
    artist.wait(job)
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 3
    assert previews
    assert all(len(preview.data) <= 32 * 1024 and preview.data[:2] == b"\xff\xd8" for preview in previews)
