"""``overpaint fill | remove | expand | edit``: a picture file goes the way of an editor's document.

The same Controller that runs inside Krita and GIMP drives a FileEditor here: it starts the daemon if none runs, sends
the pixels, follows the job and inserts the layers, which are then flattened and written.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from overpaint_client.controller import Controller
from overpaint_client.jobs import EditRequest, Job, JobPhase
from overpaint_client.loop import SelectorLoop
from overpaint_client.settings import ClientSettings
from overpaint_protocol.errors import OverpaintError, RequestError, UnsupportedFormat
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edges, Expand, Operation, operation_name

from .file_editor import FileEditor, FileLayer, Pixels
from .options import TaskOptions
from .outcome import FAILED, OK, complain, error_plain, print_json, say
from .pictures import Picture, check_output, load_mask, load_picture, save_pixels

__all__ = ["margins_for_ratio", "run_edit"]

_IDLE_EXIT_S = 1800
_FAREWELL_S = 5.0
_LARGEST_TERM = 1e6
"""Of a ratio: what is beyond is a slip of the hand, and its arithmetic overflows."""


def run_edit(
    task: TaskOptions, operation_for: Callable[[Size], Operation], mask: Path | None, edges: Edges
) -> int:
    """Run one of the commands; returns its exit code.

    Args:
        task: what was asked for on the command line.
        operation_for: makes the operation once the picture's size is known.
        mask: what may change; None for an Expand, and for all of the picture.
        edges: how the result ends.

    Raises:
        OverpaintError: it failed; its message says why and what to do.
    """
    picture = load_picture(task.image)
    operation = operation_for(picture.size)
    grown = Rect.from_size(picture.size)
    if isinstance(operation, Expand):
        grown = grown.expand(operation.margins)
    selection = _selection(operation, mask, picture)
    outputs = [_numbered(task.out, index, task.variants) for index in range(task.variants)]
    inputs = (task.image,) if mask is None else (task.image, mask)
    for path in outputs:
        check_output(path, picture, grown.size, inputs, force=task.force)
    if task.layer is not None:
        _check_layer_output(task, picture, grown.size, (*inputs, *outputs))
    editor = FileEditor()
    document = editor.open(
        picture.pixels,
        picture.format,
        selection=selection,
        color=picture.color,
        profile=picture.icc_profile,
        title=task.image.name,
        path=str(task.image.absolute()),
    )
    request = EditRequest(
        operation=operation,
        engine=task.engine,
        recipe=task.recipe,
        variants=task.variants,
        seed=task.seed,
        edges=edges,
        is_batch=task.batch,
    )
    job, stopped_by = _run_job(editor, request)
    if stopped_by is not None:
        complain("Cancelled; nothing was written.")
        if task.as_json:
            print_json({"ok": False, "cancelled": True})
        return 128 + stopped_by
    if job.phase is not JobPhase.DONE:
        raise job.error or OverpaintError("The job did not finish. Run “overpaint doctor” to see why.")
    written = _write_results(task, editor, document.document_id, picture)
    _report(task, job, written, grown.size)
    return OK if job.error is None else FAILED


def margins_for_ratio(canvas: Size, ratio: str) -> Margins:
    """The smallest margins, even on both sides, that give ``canvas`` the proportions ``ratio``, such as ``16:9``.

    Raises:
        RequestError: ``ratio`` is not two numbers above 0, or the canvas has these proportions already.
    """
    numbers = ratio.replace("/", ":").split(":")
    try:
        across, down = (float(number) for number in numbers)
    except ValueError:
        across = down = math.nan
    if not (1 / _LARGEST_TERM <= across <= _LARGEST_TERM and 1 / _LARGEST_TERM <= down <= _LARGEST_TERM):
        raise RequestError(f"“{ratio}” is not a ratio. Write it as width:height, such as 16:9.")
    wider = round(canvas.height * across / down) - canvas.width
    taller = round(canvas.width * down / across) - canvas.height
    if wider > 0:
        return Margins(left=wider // 2, right=wider - wider // 2)
    if taller > 0:
        return Margins(top=taller // 2, bottom=taller - taller // 2)
    raise RequestError(
        f"The picture's {canvas} px are {ratio} already. Choose another ratio, or say how many pixels to add."
    )


def _selection(operation: Operation, mask: Path | None, picture: Picture) -> NDArray[np.uint8] | None:
    """What is selected in the picture: what the mask says, or all of it."""
    if mask is not None:
        return load_mask(mask, picture)
    if isinstance(operation, Expand):
        return None
    return np.full((picture.size.height, picture.size.width), 255, np.uint8)


# ---------------------------------------------------------------- the job


def _run_job(editor: FileEditor, request: EditRequest) -> tuple[Job, int | None]:
    """Run one job to its end; returns it, and the signal that ended it early or None."""
    settings = replace(
        ClientSettings.for_editor(
            editor.name,
            daemon_command=(
                sys.executable,
                "-m",
                "overpaint_backend",
                "serve",
                "--idle-exit",
                str(_IDLE_EXIT_S),
            ),
        ),
        preview_bytes=0,
        outwaits_stop=False,
    )
    loop = SelectorLoop()
    controller = Controller(editor, loop, settings)
    try:
        for left in controller.jobs:  # of a run that was killed: its picture is not open any more
            controller.cancel(left.job_id)
        with _interruptible() as interrupted, _progress_bar() as progress:
            controller.start()
            job = controller.submit(request)
            task = progress.add_task(job.sentence, total=None)

            def is_over() -> bool:
                total = None if job.fraction is None else 1.0
                # At the whole of it the clock would stop for good, and the next stage begins at 0 again.
                done = min(job.fraction or 0.0, 0.999)
                progress.update(task, description=job.sentence, total=total, completed=done)
                return bool(interrupted) or job.phase.is_final or job.phase is JobPhase.OFFERED

            loop.run_until(is_over)
            if interrupted and not job.phase.is_final:
                controller.cancel(job.job_id)
            if job.phase is JobPhase.OFFERED:
                controller.discard(job.job_id)
            if controller.link.is_open:
                loop.run_until(lambda: controller.is_settled, _FAREWELL_S)
            return job, interrupted[0] if interrupted and job.phase is JobPhase.CANCELLED else None
    finally:
        controller.close()
        loop.close()


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list; a second one ends the program at once."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A bar on stderr that is gone when the work is; nothing where nobody watches."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield progress


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class _Written:
    variant: int
    path: Path
    layer: Path | None


def _write_results(
    task: TaskOptions, editor: FileEditor, document_id: str, picture: Picture
) -> list[_Written]:
    written: list[_Written] = []
    canvas = Rect.from_size(editor.document(document_id).canvas)
    for index, layer in enumerate(editor.inserted(document_id)):
        path = _numbered(task.out, index, task.variants)
        save_pixels(path, editor.flatten(document_id, showing=layer), picture)
        layer_path = None
        if task.layer is not None:
            layer_path = _numbered(task.layer, index, task.variants)
            save_pixels(layer_path, _on_canvas(layer, canvas), replace(picture, has_alpha=True))
        written.append(_Written(index, path, layer_path))
    return written


def _on_canvas(layer: FileLayer, canvas: Rect) -> Pixels:
    """The layer's pixels at their place on an otherwise transparent canvas."""
    pixels = np.zeros((canvas.height, canvas.width, layer.pixels.shape[2]), layer.pixels.dtype)
    shared = layer.rect.intersect(canvas)
    inner = shared.relative_to(layer.rect.origin)
    source = layer.pixels[inner.top : inner.bottom, inner.left : inner.right]
    pixels[shared.top : shared.bottom, shared.left : shared.right] = source
    return pixels


def _report(task: TaskOptions, job: Job, written: list[_Written], canvas: Size) -> None:
    seeds = dict(enumerate(job.seeds))
    if job.error is not None:
        complain(f"{len(written)} of {task.variants} variants were made. {job.error.message}")
    for note in job.notes:
        complain(note)
    if not task.as_json:
        for result in written:
            seed = f" (seed {seeds[result.variant]})" if result.variant in seeds else ""
            layer = f", its layer {result.layer}" if result.layer is not None else ""
            say(f"Wrote {result.path}{layer}{seed}.")
        return
    report: dict[str, object] = {
        "ok": job.error is None,
        "operation": operation_name(job.operation),
        "engine": job.engine,
        "canvas": {"width": canvas.width, "height": canvas.height},
        "outputs": [
            {
                "path": str(result.path),
                "layer": None if result.layer is None else str(result.layer),
                "seed": seeds.get(result.variant),
            }
            for result in written
        ],
        "notes": list(job.notes),
        "timings_ms": job.timings_ms,
    }
    if job.error is not None:
        report["error"] = error_plain(job.error)
    print_json(report)


# ---------------------------------------------------------------- names


def _numbered(path: Path, index: int, variants: int) -> Path:
    return path if variants == 1 else path.with_name(f"{path.stem}-{index + 1}{path.suffix}")


def _check_layer_output(task: TaskOptions, picture: Picture, canvas: Size, taken: tuple[Path, ...]) -> None:
    layer = task.layer
    if layer is None:
        return
    if layer.suffix.lower() in (".jpg", ".jpeg"):
        raise UnsupportedFormat(
            "A layer is transparent in places, which a JPEG cannot be. Write it to a .png."
        )
    as_layer = replace(picture, has_alpha=True, pixels=picture.pixels[:0])
    for index in range(task.variants):
        check_output(_numbered(layer, index, task.variants), as_layer, canvas, taken, force=task.force)
