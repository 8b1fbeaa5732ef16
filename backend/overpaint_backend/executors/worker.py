"""The worker's process: ``python -m overpaint_backend.executors.worker``, started by ProcessExecutor.

Reads one line of JSON from standard input, ``{"endpoint", "token"}``, and ends when that input does. Engines run on
the main thread, one job at a time, and stay loaded between jobs; what they print ends up in the daemon's log.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Mapping

from overpaint_backend.engines.base import Cancelled, Device, EngineSession, OnStep, Step
from overpaint_backend.engines.registry import EngineRegistry
from overpaint_backend.imaging.pipeline import FillJob, FillOutput, Prepared, prepare, render, render_preview
from overpaint_backend.jobs.choice import choose_engine
from overpaint_protocol.errors import EngineError, OutOfMemory, OverpaintError
from overpaint_protocol.messages import MAX_SEED, EncodedImage, ErrorInfo, SubmitJob
from overpaint_protocol.pixels import Bytes, ImageHeader, split_bands

from .base import Ready, RunJob, RunOver, RunPreview, RunProgress, RunVariant
from .link import WorkerLink, exit_with
from .watch import WATCH_INTERVAL_S, EngineWatch

__all__ = ["main"]

_PROGRESS_INTERVAL_S = 0.05
_PREVIEW_INTERVAL_S = 0.25

_log = logging.getLogger("worker")


def main() -> None:
    """Serve the daemon until it closes standard input."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when the worker ends
    connection = json.loads(sys.stdin.buffer.readline())
    exit_with(sys.stdin.buffer)
    link = WorkerLink(connection["endpoint"], connection["token"])
    registry = EngineRegistry.installed()
    engines = _Engines(registry)
    link.send(Ready(engines=registry.infos(), broken_engines=registry.broken()))
    watch = EngineWatch(registry, engines.close, link.send, time.monotonic())
    while True:
        received = link.next_job(WATCH_INTERVAL_S)
        if received is not None:
            job, payload = received
            _Run(link, engines, job).carry_out(payload)
        watch.look(time.monotonic())


class _Engines:
    """The installed engines and the one that is loaded."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry
        self._loaded: tuple[str, EngineSession] | None = None

    def choose(self, job: RunJob) -> str:
        """The engine's id; the best that can, if the job names none."""
        if job.engine:
            return job.engine
        return choose_engine(self._registry.infos(), job.request).id

    def open(self, engine_id: str) -> EngineSession:
        """The session of the engine; another engine's makes room for it."""
        if self._loaded is None or self._loaded[0] != engine_id:
            engine = self._registry.get(engine_id)
            self.unload()
            self._loaded = (engine_id, engine.open(Device("auto")))
        return self._loaded[1]

    def close(self, engine_id: str) -> None:
        """Close the session of that engine, if it is the loaded one."""
        if self._loaded is not None and self._loaded[0] == engine_id:
            self.unload()

    def unload(self) -> None:
        """Close the loaded session, if any."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded[1].close()


class _Run:
    """One run of a job."""

    def __init__(self, link: WorkerLink, engines: _Engines, job: RunJob) -> None:
        self._link = link
        self._engines = engines
        self._job = job
        self._timings_ms: dict[str, float] = {}
        self._progress_at = self._preview_at = float("-inf")

    def carry_out(self, payload: tuple[Bytes, ...]) -> None:
        """Do the job and say how it ended; whatever an engine raises ends here."""
        error: OverpaintError | None = None
        try:
            self._paint_variants(payload)
        except Cancelled:
            if not self._link.is_stopped(self._job.run):
                error = EngineError("The engine stopped by itself. Try again or choose another engine.")
        except OverpaintError as raised:
            error = raised
        except MemoryError:
            self._engines.unload()
            error = OutOfMemory(
                "There is not enough memory for this area. Select a smaller one and try again."
            )
        except Exception as raised:  # the border to engines of others: any of it fails this job and no more
            _log.exception("run %d: the engine failed", self._job.run)
            self._engines.unload()
            error = EngineError(
                "The engine failed on this picture. Try a smaller selection or another engine; the daemon's log "
                "has the details.",
                detail=type(raised).__name__,
            )
        info = None if error is None else ErrorInfo.of(error)
        self._link.send(RunOver(run=self._job.run, error=info, timings_ms=self._timings_ms))

    def _paint_variants(self, payload: tuple[Bytes, ...]) -> None:
        job, request = self._job, self._job.request
        engine_id = self._engines.choose(job)
        started = self._enter("loading")
        session = self._engines.open(engine_id)
        self._note("load", started)
        self._enter("reading the picture")
        prepared = prepare(_fill_job(request, payload, job.seed))
        self._add(prepared.timings_ms)
        self._enter("painting")
        for variant in range(job.first_variant, request.variants):
            seed = (job.seed + variant) % (MAX_SEED + 1)
            output = render(prepared, seed, session, self._step_listener(prepared, variant))
            self._add(
                {name: took for name, took in output.timings_ms.items() if name not in prepared.timings_ms}
            )
            self._send_variant(variant, seed, engine_id, output)

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
        self._link.send(RunProgress(run=self._job.run, stage=stage, fraction=None))
        return time.perf_counter()

    def _note(self, stage: str, started: float) -> None:
        self._add({stage: (time.perf_counter() - started) * 1000})

    def _add(self, timings_ms: Mapping[str, float]) -> None:
        for name, took_ms in timings_ms.items():
            self._timings_ms[name] = round(self._timings_ms.get(name, 0.0) + took_ms, 1)

    def _check_stopped(self) -> None:
        if self._link.is_stopped(self._job.run):
            raise Cancelled

    def _step_listener(self, prepared: Prepared, variant: int) -> OnStep:
        variants = self._job.request.variants

        def on_step(step: Step) -> None:
            self._check_stopped()
            now = time.monotonic()
            if now - self._progress_at >= _PROGRESS_INTERVAL_S:
                self._progress_at = now
                fraction = min(1.0, max(0.0, (variant + step.fraction) / variants))
                self._link.send(RunProgress(run=self._job.run, stage="painting", fraction=fraction))
            if self._job.preview_bytes > 0 and now - self._preview_at >= _PREVIEW_INTERVAL_S:
                self._show(prepared, variant, step)

        return on_step

    def _show(self, prepared: Prepared, variant: int, step: Step) -> None:
        if step.preview is None:
            return
        preview = render_preview(prepared, step.preview(), self._job.preview_bytes)
        # Counted from its end: however long it took, the engine gets the larger part of the time.
        self._preview_at = time.monotonic()
        if preview is not None:
            image = EncodedImage(media_type="image/jpeg", size=preview.size, frame=0)
            self._link.send(RunPreview(run=self._job.run, variant=variant, image=image), (preview.jpeg,))


def _fill_job(request: SubmitJob, payload: tuple[Bytes, ...], seed: int) -> FillJob:
    return FillJob(
        canvas=request.canvas,
        context=request.context,
        operation=request.operation,
        image_bands=request.image.take(payload),
        image_size=request.image.size,
        pixel_format=request.image.format,
        color=request.image.color,
        mask_bands=None if request.mask is None else request.mask.take(payload),
        seed=seed,
        grow_px=request.grow_px,
    )


if __name__ == "__main__":
    main()
