"""A daemon with models and recipes for the real editors: the toy that follows its prompt, and one that knows little."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tests.integration.daemon_process import DaemonProcess, daemon_environ, wait_until
from tests.toy_model.pictures import COLORS, clouds, coverage

__all__ = [
    "PLACE",
    "SIDE",
    "TOY",
    "TURBO",
    "daemon_with_models",
    "original",
    "write_original",
    "write_recipe",
]

TOY = "toy"
"""Id of the toy that follows its prompt (``tests/toy_model``)."""

TURBO = "toy-z-image-turbo"
"""Id of one that knows neither strength nor anything to avoid."""

SIDE = 64
PLACE = (12, 12, 40, 40)
"""x, y, width and height of what tests select."""

_WEIGHTS = Path(__file__).parents[1] / "toy_model/weights"
_RECIPES = {
    "red": f'name = "Red things"\nengine = "{TOY}"\nprompt = "a red {{prompt}}"\nsteps = 12\nguidance = 4.0',
    "soft": 'name = "Soft"\nstrength = 0.5',
    "gone": 'name = "Gone"\nengine = "no-such-model"',
}


@contextmanager
def daemon_with_models(folder: Path) -> Iterator[DaemonProcess]:
    """A daemon that keeps all below ``folder``; when it is given, models and recipes are announced."""
    from tests.diffusion.toys import install_toy  # takes seconds, for torch

    # toys are so small that threads only wait for each other
    changes = {"OVERPAINT_MODELS_DIR": str(folder / "models"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "overpaint_backend", "models", "import", str(_WEIGHTS), "--id", TOY],
        env={**daemon_environ(folder), **changes},
        check=True,
        capture_output=True,
    )
    install_toy(folder / "models", "z-image-turbo", model_id=TURBO)
    for recipe_id, text in _RECIPES.items():
        write_recipe(folder, recipe_id, text)
    with DaemonProcess.start(folder, environ=changes) as daemon:
        wait_until(lambda: len(daemon.client().welcome.recipes) == len(_RECIPES), "the recipes are announced")
        yield daemon


def write_recipe(folder: Path, recipe_id: str, text: str) -> None:
    """Put a recipe where the daemon of ``folder`` finds it."""
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "recipes" / f"{recipe_id}.toml").write_text(f"format = 1\n{text}\n", encoding="utf-8")


def original() -> np.ndarray:
    """A grey, cloudy picture with a blue disc in its middle, (SIDE, SIDE, 3) uint8."""
    x, y, width, height = PLACE
    ground = 0.5 + 0.08 * clouds(np.random.default_rng(7), SIDE, SIDE)
    cover = coverage(SIDE, SIDE, y + height / 2, x + width / 2, 22)[..., None]
    return (np.clip(ground * (1 - cover) + np.array(COLORS["blue"]) * cover, 0, 1) * 255).astype(np.uint8)


def write_original(path: Path) -> Path:
    """Write ``original`` as a PNG file."""
    Image.fromarray(original()).save(path)
    return path
