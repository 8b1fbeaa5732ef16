"""How the embedded engine compares with a plain call of the library it builds on.

    python -m tests.bench.embedded [--cases FOLDER] [--seed 0] [--sheet FILE [--free]] [--rounds 2]

With --cases, a folder with a manifest and its ``score.py``, both paint every case and the scorer, which needs scipy and
scikit-image in the Python of --scorer, compares them by kind. Luck moves a case by some points of Q, so compare several
seeds: of those divisible by four, as 0 is, the engine copies from anywhere, as the library does. --sheet draws the results
at 100 %, with --free only what may be shown in the repository. Then both fill 20 % of a picture of 1024 x 1024, in turns
and in processes of their own, and the engine one of 4096 x 4096; printed are ratios of elapsed time, start included, and
the peak memory of the processes.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tests.bench.fill_sheet import draw_sheet
from tests.integration.daemon_process import ROOT

from overpaint_backend.engines.base import Device, FillRequest, OperationName
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.imaging.resample import resize
from overpaint_protocol.geometry import Size

_PHOTOGRAPH = ROOT / "tests" / "data" / "china.jpg"
_HOLE_SHARE = 0.2


def main() -> None:
    """Score, then measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=Path, help="a folder of fill cases with its score.py")
    parser.add_argument("--scorer", default=sys.executable, metavar="PYTHON", help="what runs score.py")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw the cases and both results there")
    parser.add_argument("--free", action="store_true", help="only the cases whose pictures are CC BY or CC0")
    parser.add_argument("--seed", type=int, default=0, help="of both")
    parser.add_argument("--rounds", type=int, default=2, help="pairs of fills to time")
    parser.add_argument("--paint", nargs=4, metavar=("HOW", "IMAGE", "MASK", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paint:
        how, *paths = options.paint
        paint(how, *map(Path, paths), seed=options.seed)
        return
    with tempfile.TemporaryDirectory(prefix="overpaint-bench-") as scratch:
        if options.cases:
            results = paint_cases(options.cases, options.scorer, options.seed, Path(scratch))
            scores = score(options.cases, options.scorer, results, Path(scratch))
            if options.sheet:
                draw_sheet(options.cases, results[::-1], scores, options.sheet, only_free=options.free)
        measure(options.rounds, Path(scratch))


def paint(how: str, image: Path, mask: Path, out: Path, *, seed: int) -> None:
    """Fill one file with the ``library`` or the ``engine``; print the peak of memory in kB."""
    rgb = np.asarray(Image.open(image).convert("RGB"))
    hole = np.asarray(Image.open(mask).convert("L")) > 127
    if how == "library":
        import patchmatch

        patchmatch.set_random_seed(seed)
        painted = patchmatch.inpaint(rgb, hole, patch_size=3)
    else:
        request = FillRequest(
            image=rgb.astype(np.float32) / np.float32(255),
            mask=hole.astype(np.float32),
            known=np.ones(hole.shape, np.bool_),
            operation=OperationName.FILL,
            seed=seed,
        )
        filled = EmbeddedEngine().open(Device()).fill(request, lambda step: None).image
        painted = np.rint(np.clip(filled, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(painted).save(out, compress_level=1)
    print(_peak_kb())


def paint_cases(cases: Path, python: str, seed: int, scratch: Path) -> list[Path]:
    """Let both paint all cases, each into a folder of its name."""
    results = [scratch / how for how in ("library", "engine")]
    for folder in results:
        template = f"{shlex.join(_painter(folder.name, seed))} {{image}} {{mask}} {{out}}"
        _score(cases, python, "--cmd", template, "--out", str(folder))
    return results


def score(cases: Path, python: str, results: list[Path], scratch: Path) -> dict[str, dict[str, float]]:
    """Print the scorer's table of the results; return the Q of each case by folder."""
    table = scratch / "scores.json"
    compared = [argument for folder in results for argument in ("--results", str(folder))]
    print(_score(cases, python, *compared, "--per-case", "--json", str(table)))
    scores = {
        how: {case: marks["Q"] for case, marks in found.items()}
        for how, found in json.loads(table.read_text()).items()
    }
    ahead = statistics.mean(scores["engine"].values()) - statistics.mean(scores["library"].values())
    print(f"mean Q, engine - library: {ahead:+.2f}")
    return scores


def measure(rounds: int, scratch: Path) -> None:
    """Time both on a square photograph and print the ratios."""
    small, large = (_square(side, scratch) for side in (1024, 4096))
    library: list[_Cost] = []
    engine: list[_Cost] = []
    for _ in range(rounds):
        library.append(_cost("library", *small, scratch))
        engine.append(_cost("engine", *small, scratch))
    big = _cost("engine", *large, scratch)
    ratio = statistics.median(e.elapsed_s / b.elapsed_s for e, b in zip(engine, library, strict=True))
    usual = statistics.median(cost.elapsed_s for cost in engine)
    print(
        f"1024 x 1024: engine / library {ratio:.2f} x the time, peak {max(c.peak_mb for c in engine):.0f} MB"
    )
    print(
        f"4096 x 4096: {big.elapsed_s / usual:.2f} x the engine's time at 1024 x 1024, peak {big.peak_mb:.0f} MB"
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    elapsed_s: float
    peak_mb: float


def _cost(how: str, image: Path, mask: Path, scratch: Path) -> _Cost:
    started = time.monotonic()
    command = [*_painter(how), str(image), str(mask), str(scratch / "out.png")]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return _Cost(time.monotonic() - started, int(said) / 1024)


def _peak_kb() -> int:
    """The most memory this process has held; ``ru_maxrss`` would count what its parent held as well."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _painter(how: str, seed: int = 0) -> list[str]:
    return [sys.executable, "-m", "tests.bench.embedded", "--seed", str(seed), "--paint", how]


def _score(cases: Path, python: str, *arguments: str) -> str:
    command = [python, str(cases / "score.py"), "--set", str(cases), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _square(side: int, scratch: Path) -> tuple[Path, Path]:
    """The photograph scaled to a square and a round hole in its middle, as files."""
    photograph = np.asarray(Image.open(_PHOTOGRAPH).convert("RGB")).astype(np.float32)
    shorter = min(photograph.shape[:2])
    scaled = np.clip(resize(photograph[:shorter, :shorter], Size(side, side)), 0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    hole = np.hypot(rows, columns) < side * np.sqrt(_HOLE_SHARE / np.pi)
    image, mask = scratch / f"{side}.png", scratch / f"{side}.mask.png"
    Image.fromarray(scaled).save(image, compress_level=1)
    Image.fromarray(hole).save(mask)
    return image, mask


if __name__ == "__main__":
    main()
