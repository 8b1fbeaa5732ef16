"""How well seams disappear and what our part of a fill costs.

    python -m tests.bench.image [--cases FOLDER] [--rounds 5] [--cost-only]

Engines that know the truth and spoil it paint into photographs, by the pipeline that also serves the editors. Printed by
distortion are median and p95 CIEDE2000 near the border and the ratio of gradients across it, means over all pictures and
selections, and how many of these keep the bounds: without correction, with the usual recipe (biased means and deviations in
Lab, eroded and blurred mask), and with ours. Then the cost of everything but the engine, by stage, as multiples of a copy of the Context's bytes in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint_backend.engines.base import EngineSession, FillRequest, FillResult, OnStep
from overpaint_backend.imaging.edges import selected_area
from overpaint_backend.imaging.pipeline import FillJob, run_fill
from overpaint_client.context import ContextHints, plan_context
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Edges, Fill, Remove
from overpaint_protocol.pixels import ColorSpace, PixelFormat

from .distortions import DISTORTIONS, DistortingSession, passing_through
from .mean_std import blend_alpha, match_mean_std
from .seam_metrics import SeamFigures

EDGES = Edges(grow_px=4, blend_px=12)
"""So soft that all that is measured is blended, as well as the selection itself."""

HIDDEN = np.float32(0.3)
"""The color of what is to be replaced: nothing to learn from."""

BOUNDS = SeamFigures(1.5, 4.0, 1.10)
_CHINA = Path(__file__).parents[1] / "data" / "china.jpg"
_CANVAS = Size(4096, 4096)
_SELECTION = Rect(1200, 1500, 1500, 1000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=Path, help="a folder with more pictures")
    parser.add_argument("--rounds", type=int, default=5, help="of the cost")
    parser.add_argument("--cost-only", action="store_true", help="no figures about seams")
    options = parser.parse_args()
    files = [_CHINA]
    if options.cases:
        files += sorted(options.cases.rglob("*.jpg"))
    if not options.cost_only:
        print_seams([load(file) for file in files])
    print_cost(options.rounds)


def load(file: Path) -> NDArray[np.float32]:
    return np.asarray(Image.open(file).convert("RGB"), np.float32) / 255


def selections(height: int, width: int) -> Iterator[NDArray[np.bool_]]:
    """An ellipse, a rectangle, a side, a small square."""
    rows, columns = np.mgrid[:height, :width]
    yield ((rows / height - 0.5) / 0.2) ** 2 + ((columns / width - 0.45) / 0.18) ** 2 < 1
    yield (abs(rows / height - 0.4) < 0.15) & (abs(columns / width - 0.6) < 0.17)
    yield columns > 0.75 * width
    yield (abs(rows - 0.6 * height) < 30) & (abs(columns - 0.3 * width) < 30)


def alpha_of(selection: NDArray[np.bool_], edges: Edges = EDGES) -> NDArray[np.float32]:
    """How much of a fill shows, (H, W) float32."""
    return selected_area(selection.astype(np.float32), edges).alpha


def fill_in(
    document: NDArray[np.float32], selection: NDArray[np.bool_], session: EngineSession, edges: Edges = EDGES
) -> NDArray[np.float32]:
    """The (H, W, 3) document with the layer of a fill over it, as an editor shows it."""
    height, width = selection.shape
    size = Size(width, height)
    pixels = np.concatenate((document, np.ones((height, width, 1), np.float32)), axis=-1)
    job = FillJob(
        canvas=size,
        context=Rect.from_size(size),
        operation=Fill(),
        image_bands=(pixels.tobytes(),),
        image_size=size,
        pixel_format=PixelFormat.RGBAF32,
        color=ColorSpace.SRGB,
        mask_bands=((selection * np.uint8(255)).tobytes(),),
        seed=0,
        edges=edges,
    )
    output = run_fill(job, session, lambda step: None)
    target = output.target
    layer = np.frombuffer(output.data, np.float32).reshape(target.height, target.width, 4)
    shown = document.copy()
    part = np.s_[target.top : target.bottom, target.left : target.right]
    shown[part] = lay_over(shown[part], layer[..., :3], layer[..., 3])
    return shown


def lay_over(image: NDArray, painted: NDArray, alpha: NDArray) -> NDArray:
    return image + alpha[..., None] * (painted - image)


def print_seams(pictures: list[NDArray[np.float32]]) -> None:
    print(f"{'engine':26}{'uncorrected':>22}{'usual recipe':>22}{'ours':>22}   in bounds")
    for name, distortion in DISTORTIONS.items():
        for kind, engine in (("", distortion), (", surroundings kept", passing_through(distortion))):
            figures: list[list[SeamFigures]] = [[], [], []]
            for truth in pictures:
                for selection in selections(*truth.shape[:2]):
                    alpha = alpha_of(selection)
                    hole = alpha > 0
                    document = np.where(selection[..., None], HIDDEN, truth)
                    painted = engine(truth, hole).astype(np.float32)
                    usual = match_mean_std(painted, document, hole)
                    for column, composite in zip(
                        figures,
                        (
                            lay_over(truth, painted, alpha),
                            lay_over(truth, usual, blend_alpha(hole)),
                            fill_in(document, selection, DistortingSession(truth, engine)),
                        ),
                        strict=True,
                    ):
                        column.append(SeamFigures.measure(composite, truth, selection, hole))
            kept = sum(all(np.array(astuple(one)) <= astuple(BOUNDS)) for one in figures[2])
            cells = "".join(
                "{:10.2f}{:6.2f}{:6.2f}".format(*np.mean([astuple(one) for one in column], axis=0))
                for column in figures
            )
            print(f"{name + kind:26}{cells}   {kept} of {len(figures[2])}", flush=True)


class _TooDark:
    """An engine that is off by 5 % everywhere, in no time that counts."""

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        return FillResult(request.image * np.float32(0.95))

    def close(self) -> None:
        pass


def print_cost(rounds: int) -> None:
    """A Remove of 1500 × 1000 px in 4096² RGBA8."""
    context = plan_context(_SELECTION, _CANVAS, ContextHints())
    photograph = Image.open(_CHINA).convert("RGBA").resize((_CANVAS.width, _CANVAS.height))
    pixels = np.asarray(photograph)[context.top : context.bottom, context.left : context.right]
    mask = np.zeros(pixels.shape[:2], np.uint8)
    left, top = _SELECTION.x - context.x, _SELECTION.y - context.y
    mask[top : top + _SELECTION.height, left : left + _SELECTION.width] = 255
    job = FillJob(
        canvas=_CANVAS,
        context=context,
        operation=Remove(),
        image_bands=(pixels.tobytes(),),
        image_size=context.size,
        pixel_format=PixelFormat.RGBA8,
        color=ColorSpace.SRGB,
        mask_bands=(mask.tobytes(),),
        seed=0,
    )
    copies, runs = [], []
    target = np.empty_like(pixels)
    for _ in range(rounds):
        start = time.perf_counter()
        np.copyto(target, pixels)
        copies.append((time.perf_counter() - start) * 1000)
        runs.append(run_fill(job, _TooDark(), lambda step: None).timings_ms)
    copy_ms = statistics.median(copies)
    stages = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0] if stage != "engine"}
    print(f"\ncopy of the Context ({context.size} px, RGBA8): {copy_ms:.1f} ms")
    for stage, took_ms in (*stages.items(), ("all", sum(stages.values()))):
        print(f"{stage:12}{took_ms:8.1f} ms{took_ms / copy_ms:8.1f} x")


if __name__ == "__main__":
    main()
