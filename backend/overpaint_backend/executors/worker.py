"""The worker's process: ``python -m overpaint_backend.executors.worker``, started by ProcessExecutor.

Reads one line of JSON from standard input, a WorkerStart, and ends when that input does. Engines run on the main thread,
one job at a time, and stay loaded between jobs; what they print ends up in the daemon's log.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from overpaint_backend.engines.arbiter import Arbiter
from overpaint_backend.engines.base import (
    Cancelled,
    Device,
    EngineSession,
    OnStep,
    OwnPrimariesEngine,
    Saving,
    Step,
)
from overpaint_backend.engines.devices import device_kind, device_memory, is_lost, main_memory
from overpaint_backend.engines.registry import EngineRegistry
from overpaint_backend.freed_memory import FreedMemory
from overpaint_backend.imaging.pipeline import (
    FillJob,
    FillOutput,
    Prepared,
    batch_size,
    prepare,
    preview_backdrop,
    render,
)
from overpaint_backend.imaging.preview import Backdrop
from overpaint_backend.jobs.choice import choose_engine
from overpaint_protocol import codec
from overpaint_protocol.errors import EngineError, OutOfMemory, OverpaintError
from overpaint_protocol.messages import MAX_SEED, DeviceReport, EncodedImage, ErrorInfo, SubmitJob
from overpaint_protocol.pixels import Bytes, ImageHeader, split_bands

from .base import (
    Link,
    Ready,
    Remark,
    RunJob,
    RunOver,
    RunPreview,
    RunProgress,
    RunRemark,
    RunVariant,
    Serve,
    WorkerCondition,
    WorkerSettings,
    WorkerStart,
)
from .link import WorkerLink, exit_with
from .pace import Paces, RunPace, Work, area_doublings
from .pace_file import read_history, write_history
from .previews import PreviewTurns
from .watch import EngineWatch

__all__ = ["main", "serve_with_engines"]

_PROGRESS_INTERVAL_S = 0.05
_CONDITION_S = 2.0
_TURN_S = 1.0
"""How often a worker without a job looks at the time."""

_log = logging.getLogger("worker")


def main(serve: Serve | None = None) -> None:
    """Serve the daemon until it closes standard input. serve: what the worker does, by default with the engines."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when the worker ends
    start = codec.from_plain(json.loads(sys.stdin.buffer.readline()), WorkerStart)
    exit_with(sys.stdin.buffer)
    (serve or serve_with_engines)(WorkerLink(start), start.settings)


def serve_with_engines(link: Link, settings: WorkerSettings) -> None:
    """Be a worker: what an executor has run."""
    _Worker(link, settings).serve()


class _Worker:
    """What stays from job to job."""

    def __init__(self, link: Link, settings: WorkerSettings) -> None:
        self._place = settings.place
        self._pace_path = Path(settings.pace_path) if settings.pace_path else None
        self.link = link
        self.registry = EngineRegistry.installed()
        self.device = Device("auto")
        self.arbiter = Arbiter(self.registry.get, self.device, device_memory, settings.idle_unload_s)
        self._process = psutil.Process()
        self._freed_memory = FreedMemory(lambda give_back: give_back())
        self._told_loaded: tuple[str, ...] | None = None
        self._told_at = 0.0
        self.paces = Paces(None if self._pace_path is None else read_history(self._pace_path))

    def serve(self) -> None:
        """Say what can be done and do it, for ever."""
        self.link.send(Ready(engines=self.registry.infos(), broken_engines=self.registry.broken()))
        watch = EngineWatch(self.registry, self.arbiter.close, self.link.send, time.monotonic())
        while True:
            job = self.link.next_job(_TURN_S)
            if job is not None:
                self._freed_memory.use()
                _Run(self, job[0]).carry_out(job[1])
            now = time.monotonic()
            self._freed_memory.look(now)
            self.arbiter.close_idle(now)
            watch.look(now)
            self.tell_condition(now)

    def tell_condition(self, now: float) -> None:
        """Say how memory is, if that was a while ago or what is loaded has changed."""
        loaded = self.arbiter.loaded
        if loaded == self._told_loaded and now - self._told_at < _CONDITION_S:
            return
        self._told_loaded, self._told_at = loaded, now
        # Asking the device would import torch, which takes long and much memory, before anybody wants it.
        has_torch = "torch" in sys.modules
        memory = device_memory(self.device) if has_torch else main_memory()
        report = DeviceReport(
            device=device_kind(self.device),
            place=self._place,
            free_bytes=memory.free_bytes,
            total_bytes=memory.total_bytes,
            resident_bytes=self._process.memory_info().rss,
            loaded=self.arbiter.reports(now),
        )
        self.link.send(WorkerCondition(device=report))

    def keep_paces(self) -> None:
        """Let what was learnt about the time outlive this process."""
        if self._pace_path is not None:
            write_history(self._pace_path, self.paces.history)


class _Run:
    """One run of a job."""

    def __init__(self, worker: _Worker, job: RunJob) -> None:
        self._worker = worker
        self._link = worker.link
        self._arbiter = worker.arbiter
        self._job = job
        self._engine_id = job.engine
        self._pace: RunPace | None = None
        self._fraction = 0.0
        self._timings_ms: dict[str, float] = {}
        self._notes: tuple[str, ...] = ()
        self._progress_at = float("-inf")
        self._preview_turns = PreviewTurns()
        self._backdrop: Backdrop | None = None

    def carry_out(self, payload: tuple[Bytes, ...]) -> None:
        """Do the job and say how it ended; whatever an engine raises ends here."""
        error: ErrorInfo | None = None
        is_spoilt = False
        try:
            self._paint_variants(payload)
        except Cancelled:
            if not self._link.is_stopped(self._job.run):
                stopped = EngineError("The engine stopped by itself. Try again or choose another engine.")
                error = ErrorInfo.of(stopped)
        except OverpaintError as raised:
            error = ErrorInfo.of(raised)
        except MemoryError:
            is_spoilt = True
            none_left = OutOfMemory(
                "There is not enough memory for this area. Select a smaller one and try again."
            )
            error = ErrorInfo.of(none_left)
        except Exception as raised:  # the border to engines of others: any of it fails this job and no more
            _log.exception("run %d: the engine failed", self._job.run)
            if is_lost(self._worker.device):
                raise  # Nothing can be computed in this process any more. The next one gets the job.
            is_spoilt = True
            failure = EngineError(
                "The engine failed on this picture. Try a smaller selection or another engine; the daemon's log "
                "has the details.",
                detail=type(raised).__name__,
            )
            error = ErrorInfo.of(failure)
        # From here on no exception is kept: its traceback would keep the pictures and the engine's memory alive.
        if is_spoilt:
            self._arbiter.close(self._engine_id)
        self._link.send(
            RunOver(run=self._job.run, error=error, timings_ms=self._timings_ms, notes=self._notes)
        )
        if error is None:
            self._worker.keep_paces()

    def _paint_variants(self, payload: tuple[Bytes, ...]) -> None:
        job, request = self._job, self._job.request
        self._engine_id = job.engine or choose_engine(self._worker.registry.infos(), request).id
        self._enter("reading the picture")
        engine = self._worker.registry.get(self._engine_id)
        own_primaries = isinstance(engine, OwnPrimariesEngine)
        prepared = prepare(_fill_job(request, payload, job.seed), own_primaries=own_primaries)
        self._add(prepared.timings_ms)
        self._notes = prepared.area.notes
        pace = self._begin_pace(prepared)
        self._load()
        pace.painting(time.monotonic())
        self._enter("painting")
        variant = job.first_variant
        while variant < request.variants:
            with self._remarks_on_memory():
                made = self._arbiter.use(self._engine_id, partial(self._paint, prepared, variant, pace))
            for output in made:
                took_ms = output.timings_ms.items()
                self._add({name: took for name, took in took_ms if name not in prepared.timings_ms})
                self._send_variant(variant, self._seed(variant), self._engine_id, output)
                variant += 1
        pace.finished(time.monotonic())

    def _load(self) -> None:
        started = self._enter("loading")
        is_loaded = self._engine_id in self._arbiter.loaded
        if not is_loaded:
            self._remark(Remark.LOADING)
        with self._remarks_on_memory():
            self._arbiter.load(self._engine_id)
        self._note("load", started)
        if not is_loaded:
            has_model = self._arbiter.weights[self._engine_id] > 0
            device = device_kind(self._worker.device) if has_model else "cpu"
            took_ms = round((time.perf_counter() - started) * 1000, 1)
            self._remark(Remark.LOADED, device=device, took_ms=took_ms)
            self._worker.tell_condition(time.monotonic())

    @contextmanager
    def _remarks_on_memory(self) -> Iterator[None]:
        """Remark what memory made necessary meanwhile, also if it was not enough."""
        loaded, saving = set(self._arbiter.loaded), self._arbiter.saving(self._engine_id)
        try:
            yield
        finally:
            gone = loaded - set(self._arbiter.loaded) - {self._engine_id}
            if gone:
                self._remark(Remark.UNLOADED_OTHERS, count=len(gone))
            now_saving = self._arbiter.saving(self._engine_id)
            if now_saving is not None and _cost(now_saving) > _cost(saving):
                self._remark(Remark.SAVED_MEMORY, saving=now_saving)

    def _remark(
        self,
        remark: Remark,
        *,
        device: str = "",
        took_ms: float | None = None,
        count: int | None = None,
        saving: str = "",
    ) -> None:
        self._link.send(
            RunRemark(
                run=self._job.run, remark=remark, device=device, took_ms=took_ms, count=count, saving=saving
            )
        )

    def _paint(
        self, prepared: Prepared, variant: int, pace: RunPace, session: EngineSession
    ) -> list[FillOutput]:
        """The next variants from ``variant`` on, as many as the session makes at once."""
        count = batch_size(prepared, session, self._job.request.variants - variant)
        seeds = [self._seed(variant + index) for index in range(count)]
        return render(prepared, seeds, session, self._step_listener(prepared, variant, count, pace))

    def _seed(self, variant: int) -> int:
        return (self._job.seed + variant) % (MAX_SEED + 1)

    def _begin_pace(self, prepared: Prepared) -> RunPace:
        variants = self._job.request.variants - self._job.first_variant
        work = Work.of(self._engine_id, prepared.request, variants)
        needs_load = self._engine_id not in self._arbiter.loaded
        doublings = area_doublings(prepared.request)
        self._pace = self._worker.paces.begin(work, doublings, time.monotonic(), needs_load=needs_load)
        return self._pace

    def _send_variant(self, variant: int, seed: int, engine_id: str, output: FillOutput) -> None:
        bands = split_bands(output.data, output.target, output.pixel_format)
        image = ImageHeader(
            size=output.target.size,
            format=output.pixel_format,
            color=output.color,
            frames=tuple(range(len(bands))),
        )
        made = RunVariant(
            run=self._job.run, variant=variant, seed=seed, engine=engine_id, target=output.target, image=image
        )
        self._link.send(made, bands)

    def _enter(self, stage: str) -> float:
        """Stop here if that is wanted, else say what comes now; returns the time."""
        self._check_stopped()
        self._report(stage, None)
        return time.perf_counter()

    def _report(self, stage: str, fraction: float | None) -> None:
        left_s = None if self._pace is None else self._pace.time_left_s(time.monotonic())
        self._link.send(RunProgress(run=self._job.run, stage=stage, fraction=fraction, time_left_s=left_s))

    def _note(self, stage: str, started: float) -> None:
        self._add({stage: (time.perf_counter() - started) * 1000})

    def _add(self, timings_ms: Mapping[str, float]) -> None:
        for name, took_ms in timings_ms.items():
            self._timings_ms[name] = round(self._timings_ms.get(name, 0.0) + took_ms, 1)

    def _check_stopped(self) -> None:
        if self._link.is_stopped(self._job.run):
            raise Cancelled

    def _step_listener(self, prepared: Prepared, variant: int, count: int, pace: RunPace) -> OnStep:
        first, variants = self._job.first_variant, self._job.request.variants

        def on_step(step: Step) -> None:
            self._check_stopped()
            now = time.monotonic()
            reached = variant + count * min(1.0, max(0.0, step.fraction))
            pace.reached((reached - first) / (variants - first), now)
            # An engine that is tried again when memory ran out begins anew; what is shown does not go back.
            self._fraction = max(self._fraction, reached / variants)
            if now - self._progress_at >= _PROGRESS_INTERVAL_S:
                self._progress_at = now
                self._report("painting", self._fraction)
                self._worker.tell_condition(now)
            if self._job.preview_bytes > 0:
                self._show(prepared, variant, step)

        return on_step

    def _show(self, prepared: Prepared, variant: int, step: Step) -> None:
        begun_at = time.monotonic()
        if step.preview is None or not self._preview_turns.has_come(begun_at):
            return
        self._backdrop = self._backdrop or preview_backdrop(prepared)
        preview = self._backdrop.show(step.preview(), self._job.preview_bytes)
        if preview is not None:
            image = EncodedImage(media_type="image/jpeg", size=preview.size, frame=0)
            self._link.send(RunPreview(run=self._job.run, variant=variant, image=image), (preview.jpeg,))
        self._preview_turns.taken(begun_at, time.monotonic())


def _cost(saving: Saving | None) -> int:
    return 0 if saving is None else 1 + tuple(Saving).index(saving)


def _fill_job(request: SubmitJob, payload: tuple[Bytes, ...], seed: int) -> FillJob:
    return FillJob(
        canvas=request.canvas,
        context=request.context,
        operation=request.operation,
        image_bands=request.image.take(payload),
        image_size=request.image.size,
        pixel_format=request.image.format,
        color=request.image.color,
        profile=request.image.take_profile(payload),
        mask_bands=None if request.mask is None else request.mask.take(payload),
        seed=seed,
        edges=request.edges,
    )


if __name__ == "__main__":
    main()
