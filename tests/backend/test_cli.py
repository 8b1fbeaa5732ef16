"""The command line as a user starts it: real processes, a real daemon, real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import site
import struct
import subprocess
import sys
import tempfile
import venv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.backend.icc import ADOBE_COLORANTS, gamma, rgb_profile

from overpaint_backend.cli.app import app
from overpaint_protocol.version import PRODUCT_VERSION

PROJECT = Path(__file__).parents[2]
LONGEST_DERIVED_REACH_PX = 5
"""Of a result beyond a selection that is smaller than 800 px across, where nobody set it."""


@dataclass(frozen=True)
class Program:
    """``overpaint`` with a home, a state folder and, once needed, a daemon of its own."""

    python: Path
    home: Path
    has_test_engines: bool = False

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
        return kept | {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "OVERPAINT_STATE_DIR": str(self.home / "state"),
            "OVERPAINT_RUNTIME_DIR": str(self.home / "run"),
            "PYTHONWARNINGS": "error",
            "COLUMNS": "200",
            "OVERPAINT_TEST_ENGINES": "1" if self.has_test_engines else "",
        }

    def start(self, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.python), "-m", "overpaint_backend", *map(str, arguments)],
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environ)
        out, err = process.communicate(timeout=90)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, *arguments: object) -> str:
        answer = self.run(*arguments)
        assert answer.returncode == 0, answer.stderr + answer.stdout
        return answer.stdout

    def json(self, *arguments: object) -> dict:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """A virtual environment that sees the project as if it were installed, and what it needs.

    The daemon is started without PYTHONPATH, so the sources must be on the path the way an installation is.
    """
    folder = Path(tempfile.mkdtemp(prefix="op-venv-"))
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    answer = subprocess.run(
        [str(python), "-c", "import site; print(site.getsitepackages()[-1])"],
        capture_output=True,
        text=True,
        check=True,
    )
    own = [path for path in sys.path if path and Path(path).is_relative_to(PROJECT)]
    lines = [*own, *site.getsitepackages()]
    (Path(answer.stdout.strip()) / "overpaint.pth").write_text("\n".join(lines))
    yield python
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh(python: Path) -> Iterator[Program]:
    """A program whose daemon does not run yet. The folder is short: a socket's path has 107 bytes at most."""
    home = Path(tempfile.mkdtemp(prefix="op-"))
    program = Program(python, home)
    yield program
    program.run("stop")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def overpaint(python: Path) -> Iterator[Program]:
    """A program whose daemon serves the whole module."""
    home = Path(tempfile.mkdtemp(prefix="op-"))
    program = Program(python, home)
    yield program
    program.run("stop")
    shutil.rmtree(home, ignore_errors=True)


def scene(height: int = 96, width: int = 128, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Something with structure: a gradient with stripes and a little noise."""
    y, x = np.mgrid[:height, :width]
    base = 0.5 + 0.3 * np.sin(x / 7) * np.cos(y / 11) + 0.1 * (x / width)
    picture = np.stack([np.roll(base, 3 * c, axis=1) for c in range(channels)], axis=-1)
    picture += np.random.default_rng(3).normal(0, 0.02, picture.shape)
    return (np.clip(picture, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def soft_mask(height: int = 96, width: int = 128) -> np.ndarray:
    """A disc with a soft edge."""
    y, x = np.mgrid[:height, :width]
    return (np.clip((20 - np.hypot(y - 48, x - 70)) / 8, 0, 1) * 255).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def save_deep_png(path: Path, array: np.ndarray, profile: bytes) -> None:
    """A PNG of 16 bits with a profile, which Pillow does not write."""
    data = imagecodecs.png_encode(array)
    chunk = b"iCCP" + b"profile\0\0" + zlib.compress(profile)
    header_end = 33
    path.write_bytes(
        data[:header_end]
        + struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + data[header_end:]
    )


def load_deep_png(path: Path) -> tuple[np.ndarray, bytes | None]:
    with Image.open(path) as image:
        return imagecodecs.png_decode(path.read_bytes()), image.info.get("icc_profile")


def save_deep_tiff(path: Path, array: np.ndarray, profile: bytes) -> None:
    tifffile.imwrite(path, array, photometric="rgb", iccprofile=profile)


def load_deep_tiff(path: Path) -> tuple[np.ndarray, bytes | None]:
    with tifffile.TiffFile(path) as file:
        return file.pages.first.asarray(), file.pages.first.iccprofile


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    return save(tmp_path / "mask.png", soft_mask())


# ---------------------------------------------------------------- start-up


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["fill", "--help"], ["edit", "--help"], ["recipes", "new", "--help"], ["--version"]],
)
def test_help_loads_nothing_heavy(python: Path, arguments: list[str]):
    code = (
        "import sys, atexit\n"
        f"sys.argv = ['overpaint', *{arguments!r}]\n"
        "from overpaint_backend.cli.app import main\n"
        "heavy = {'torch', 'numpy', 'zmq', 'PIL', 'psutil', 'diffusers', 'msgpack'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n"
        "main()\n"
    )
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "HEAVY []"


def test_version(overpaint: Program):
    assert overpaint.must("--version") == f"overpaint {PRODUCT_VERSION}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fill", "a.png", "--out", "b.png"],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--variants", "9"],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--seed", "-1"],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--strength", "1.5"],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--steps", "0"],
        ["expand", "a.png", "--out", "b.png", "--left", "5", "--guidance", "31"],
        ["fill", "a.png", "--out", "b.png", "--prompt", " "],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--lora", "ink:much"],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--lora", "ink:5"],
        ["fill", "a.png", "--mask", "m.png", "--out", "b.png", "--lora", ":1"],
        ["remove", "a.png", "--mask", "m.png", "--out", "b.png", "--lora", "ink"],
        ["remove", "a.png", "--out", "b.png"],
        ["edit", "a.png", "--out", "b.png"],
        ["recipes", "new"],
        ["expand", "a.png", "--out", "b.png"],
        ["expand", "a.png", "--out", "b.png", "--left", "5", "--ratio", "1:1"],
        ["expand", "a.png", "--out", "b.png", "--left", "-5"],
        ["install", "photoshop"],
        ["install", "krita", "--zip", "x", "--link"],
        ["paint"],
    ],
)
def test_wrong_usage_is_2(overpaint: Program, arguments: list[str]):
    answer = overpaint.run(*arguments)
    assert answer.returncode == 2
    assert "Usage:" in answer.stderr
    assert answer.stdout == ""


# ---------------------------------------------------------------- fill, remove, expand


def check_only_the_mask_changed(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> None:
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    outside = mask == 0
    assert np.array_equal(after[outside], before[outside])
    assert not np.array_equal(after[mask == 255], before[mask == 255])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_fill_changes_nothing_outside_the_mask(overpaint: Program, tmp_path: Path, mask: Path, suffix: str):
    image = save(tmp_path / f"in{suffix}", scene(), **({"lossless": True} if suffix == ".webp" else {}))
    out = tmp_path / f"out{suffix}"
    assert str(out) in overpaint.must("fill", image, "--mask", mask, "--out", out)
    check_only_the_mask_changed(load(image), load(out), soft_mask())


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, np.uint8), (1, np.uint16), (2, np.uint8), (4, np.uint8)], ids=str
)
def test_every_kind_of_png_stays_what_it_is(
    overpaint: Program, tmp_path: Path, mask: Path, channels: int, dtype: type
):
    array = scene(channels=channels, dtype=dtype)
    image = save(tmp_path / "in.png", array[..., 0] if channels == 1 else array)
    overpaint.must("remove", image, "--mask", mask, "--protect-original", "--out", tmp_path / "out.png")
    check_only_the_mask_changed(load(image), load(tmp_path / "out.png"), soft_mask())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("command", ["fill", "remove"])
def test_16_bits_with_a_profile_stay_what_they_are(
    overpaint: Program, tmp_path: Path, command: str, suffix: str
):
    before = scene(dtype=np.uint16)
    image, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    adobe = rgb_profile(ADOBE_COLORANTS, gamma(2.2))
    (save_deep_png if suffix == ".png" else save_deep_tiff)(image, before, adobe)
    selected = np.zeros(before.shape[:2], np.uint8)
    selected[30:60, 50:90] = 255
    overpaint.must(command, image, "--mask", save(tmp_path / "hard.png", selected), "--out", out)
    after, profile = (load_deep_png if suffix == ".png" else load_deep_tiff)(out)
    assert profile == adobe
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    y, x = np.mgrid[: before.shape[0], : before.shape[1]]
    beyond_px = np.hypot(np.maximum(np.maximum(30 - y, y - 59), 0), np.maximum(np.maximum(50 - x, x - 89), 0))
    untouched = beyond_px > LONGEST_DERIVED_REACH_PX
    assert np.array_equal(after[untouched], before[untouched])
    painted = after[selected == 255]
    assert (painted != before[selected == 255]).any(axis=-1).mean() > 0.9
    assert (painted % 257 != 0).mean() > 0.9, "they are 8 bits, stretched to 16"


def test_a_jpeg_becomes_a_png_that_keeps_its_decoded_pixels(overpaint: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.jpg", scene())
    overpaint.must("fill", image, "--mask", mask, "--out", tmp_path / "out.png")
    check_only_the_mask_changed(load(image), load(tmp_path / "out.png"), soft_mask())


def test_variants_layers_and_seeds(overpaint: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.png", scene())
    arguments = ["fill", image, "--mask", mask, "--variants", 2, "--seed", 11]
    report = overpaint.json(*arguments, "--out", tmp_path / "out.png", "--layer", tmp_path / "layer.png")
    assert report["ok"] is True
    assert report["operation"] == "fill"
    assert report["engine"] == "embedded"
    assert report["canvas"] == {"width": 128, "height": 96}
    assert [Path(output["path"]).name for output in report["outputs"]] == ["out-1.png", "out-2.png"]
    assert [output["seed"] for output in report["outputs"]] == [11, 12]
    layer = load(tmp_path / "layer-1.png")
    assert np.array_equal(layer[..., 3], soft_mask()), "the layer's alpha is the mask, graded where it is"
    assert not (layer[soft_mask() == 0]).any()
    again = overpaint.json(*arguments[:-4], "--seed", 12, "--out", tmp_path / "again.png")
    assert again["ok"] is True
    assert np.array_equal(load(tmp_path / "again.png"), load(tmp_path / "out-2.png"))


def test_expand_by_sides_keeps_the_original(overpaint: Program, tmp_path: Path):
    image = save(tmp_path / "in.png", scene())
    overpaint.must(
        "expand", image, "--left", 10, "--bottom", 20, "--protect-original", "--out", tmp_path / "out.png"
    )
    out = load(tmp_path / "out.png")
    assert out.shape == (116, 138, 3), "opaque, so without an alpha channel"
    assert np.array_equal(out[:96, 10:], load(image))
    assert out[96:].any()


def test_expand_to_a_ratio(overpaint: Program, tmp_path: Path):
    image = save(tmp_path / "in.png", scene())
    report = overpaint.json(
        "expand", image, "--ratio", "16:9", "--protect-original", "--out", tmp_path / "out.png"
    )
    assert report["canvas"] == {"width": 171, "height": 96}
    assert np.array_equal(load(tmp_path / "out.png")[:, 21:149], load(image))


# ---------------------------------------------------------------- refusals


def in_json(arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """Run in this process, for what is refused before a daemon is asked; returns the error's code.

    The sentence is the same on stderr and in the JSON.
    """
    with pytest.raises(SystemExit) as end:
        app([*map(str, arguments), "--json"])
    assert end.value.code == 1
    streams = capsys.readouterr()
    report = json.loads(streams.out)
    assert report["ok"] is False
    assert streams.err == report["error"]["message"] + "\n"
    return report["error"]["code"]


def test_refusals_have_codes_and_write_nothing(
    tmp_path: Path, mask: Path, capsys: pytest.CaptureFixture[str]
):
    image = save(tmp_path / "in.png", scene())
    small = save(tmp_path / "small.png", np.full((5, 5), 255, np.uint8))
    black = save(tmp_path / "black.png", np.zeros((96, 128), np.uint8))
    text = tmp_path / "text.png"
    text.write_text("no")
    out = tmp_path / "out.png"
    before = sorted(tmp_path.iterdir())
    refused = {
        ("fill", image, "--mask", small, "--out", out): "request.invalid",
        ("fill", image, "--mask", black, "--out", out): "request.empty_selection",
        ("fill", image, "--mask", text, "--out", out): "image.failed",
        ("fill", text, "--mask", mask, "--out", out): "image.failed",
        ("fill", image, "--mask", mask, "--out", image): "request.invalid",
        ("fill", image, "--mask", mask, "--out", tmp_path / "no" / "o.png"): "image.failed",
        ("fill", image, "--mask", mask, "--out", tmp_path / "o.xyz"): "request.unsupported_format",
        ("fill", image, "--mask", mask, "--out", out, "--prompt", "a" * 8001): "request.invalid",
        ("edit", image, "--out", out, "--prompt", " "): "request.invalid",
        (
            "fill",
            image,
            "--mask",
            mask,
            "--out",
            out,
            "--lora",
            "ink",
            "--lora",
            "ink:0.5",
        ): "request.invalid",
        ("remove", image, "--mask", mask, "--out", out, "--layer", out): "request.invalid",
        ("remove", image, "--mask", mask, "--out", out, "--layer", tmp_path / "l.jpg"): (
            "request.unsupported_format"
        ),
        ("expand", image, "--ratio", "4:3", "--out", out): "request.invalid",
        ("expand", image, "--ratio", "wide", "--out", out): "request.invalid",
        ("expand", image, "--left", 300_000, "--out", tmp_path / "o.jpg"): "request.unsupported_format",
    }
    assert {arguments: in_json(arguments, capsys) for arguments in refused} == refused
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ([], "request.nothing_to_sample"),
        (["--engine", "nobody"], "request.unknown_engine"),
        (["--recipe", "nothing"], "request.unknown_recipe"),
        (["--lora", "ink:0.5"], "request.invalid"),
    ],
)
def test_what_the_daemon_refuses_is_told(overpaint: Program, tmp_path: Path, extra: list[str], code: str):
    image = save(tmp_path / "in.png", scene())
    white = save(tmp_path / "white.png", np.full((96, 128), 255, np.uint8))
    report = overpaint.json("fill", image, "--mask", white, "--out", tmp_path / "out.png", *extra)
    assert report["error"]["code"] == code
    assert not (tmp_path / "out.png").exists()


def test_the_input_is_replaced_by_force(overpaint: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.png", scene())
    overpaint.must("fill", image, "--mask", mask, "--out", image, "--force")
    check_only_the_mask_changed(scene(), load(image), soft_mask())


def test_one_pixel_is_enough(overpaint: Program, tmp_path: Path):
    image = save(tmp_path / "in.png", scene())
    dot = np.zeros((96, 128), np.uint8)
    dot[40, 50] = 255
    mask = save(tmp_path / "dot.png", dot)
    overpaint.must("fill", image, "--mask", mask, "--protect-original", "--out", tmp_path / "out.png")
    changed = (load(image) != load(tmp_path / "out.png")).any(axis=-1)
    assert changed.sum() <= 1


def test_a_wrong_token_is_refused(overpaint: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.png", scene())
    overpaint.must("fill", image, "--mask", mask, "--out", tmp_path / "out.png")  # the daemon runs
    connection = json.loads((overpaint.home / "state" / "daemon.json").read_text())
    forged = tmp_path / "daemon.json"
    forged.write_text(json.dumps(connection | {"token": "0" * 32}))
    forged.chmod(0o600)
    for command in (("status",), ("fill", image, "--mask", mask, "--out", tmp_path / "out.png")):
        answer = overpaint.run(*command, OVERPAINT_CONNECTION=str(forged))
        assert answer.returncode == 1
        assert "token" in answer.stderr


# ---------------------------------------------------------------- edit, recipes, a whole picture


@pytest.fixture(scope="module")
def inverter(python: Path) -> Iterator[Program]:
    """A program whose daemon has the engine for tests, which inverts and offers every operation."""
    home = Path(tempfile.mkdtemp(prefix="op-"))
    program = Program(python, home, has_test_engines=True)
    yield program
    program.run("stop")
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("command", ["fill", "edit"])
def test_without_a_mask_all_of_the_picture_changes(inverter: Program, tmp_path: Path, command: str):
    image = save(tmp_path / "in.png", scene())
    out = tmp_path / "out.png"
    engine = ["--engine", "test-invert"] if command == "fill" else []  # which alone can edit
    report = inverter.json(command, image, "--prompt", "steps=2", "--seed", 0, "--out", out, *engine)
    assert (report["operation"], report["engine"]) == (command, "test-invert")
    assert np.array_equal(load(out), 255 - load(image))


def test_an_edit_keeps_to_its_mask(inverter: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.png", scene())
    out = tmp_path / "out.png"
    inverter.must("edit", image, "--mask", mask, "--prompt", "steps=2", "--out", out)
    check_only_the_mask_changed(load(image), load(out), soft_mask())


def test_an_empty_picture_is_painted_from_words(inverter: Program, tmp_path: Path):
    image = save(tmp_path / "in.png", np.zeros((64, 48, 4), np.uint8))
    out = tmp_path / "out.png"
    inverter.must("fill", image, "--prompt", "steps=2", "--engine", "test-invert", "--out", out)
    assert (load(out)[..., 3] == 255).all()
    assert load(out)[..., :3].any()


def test_where_nothing_edits_the_command_for_a_model_is_told(overpaint: Program, tmp_path: Path):
    image = save(tmp_path / "in.png", scene())
    report = overpaint.json("edit", image, "--prompt", "make it night", "--out", tmp_path / "out.png")
    assert report["error"]["code"] == "request.unsupported_operation"
    assert "overpaint models add" in report["error"]["message"]


def test_a_recipe_from_the_command_line_to_the_engine(inverter: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.png", scene())
    made = inverter.json("recipes", "new", "bad-luck", "--engine", "test-invert", "--prompt", "{prompt} fail")
    assert made["ok"] is True
    paint = ["--mask", mask, "--out", tmp_path / "out.png", "--recipe", "bad-luck"]
    report = inverter.json("fill", image, "--prompt", "steps=2", *paint)
    assert "because its prompt says so" in report["error"]["message"]
    report = inverter.json("remove", image, *paint)
    assert (report["ok"], report["engine"]) == (True, "test-invert")

    status = inverter.json("status")
    assert [(recipe["id"], recipe["name"]) for recipe in status["recipes"]] == [("bad-luck", "Bad luck")]
    assert "Recipe bad-luck: Bad luck (test-invert)" in inverter.must("status")


# ---------------------------------------------------------------- the daemon


def test_a_fill_starts_the_daemon_and_stop_ends_it(fresh: Program, tmp_path: Path, mask: Path):
    assert fresh.json("status") == {"ok": True, "running": False}
    assert fresh.run("status").returncode == 1
    assert fresh.json("stop") == {"ok": True, "was_running": False}
    image = save(tmp_path / "in.png", scene())
    fresh.must("fill", image, "--mask", mask, "--out", tmp_path / "out.png")
    status = fresh.json("status")
    assert status["running"] is True
    assert [engine["id"] for engine in status["engines"]] == ["embedded"]
    assert all(session["kept"] == 0 for session in status["sessions"]), "the result was acknowledged"
    said = fresh.must("status")
    assert "its worker is" in said
    assert "results kept" not in said, "nobody is there but the asker"
    assert fresh.json("doctor")["ok"] is True
    assert fresh.json("stop") == {"ok": True, "was_running": True}
    assert fresh.json("status") == {"ok": True, "running": False}


def test_a_killed_daemon_is_replaced(fresh: Program, tmp_path: Path, mask: Path):
    image = save(tmp_path / "in.png", scene())
    fresh.must("fill", image, "--mask", mask, "--out", tmp_path / "out.png")
    first = fresh.json("status")
    os.kill(first["pid"], signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    fresh.must("fill", image, "--mask", mask, "--out", tmp_path / "again.png")
    assert fresh.json("status")["daemon_id"] != first["daemon_id"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_job(overpaint: Program, tmp_path: Path, number: int, code: int):
    image = save(tmp_path / "in.png", scene(1400, 1400))
    big = np.zeros((1400, 1400), np.uint8)
    big[200:1200, 200:1200] = 255
    mask = save(tmp_path / "big.png", big)
    process = overpaint.start("fill", image, "--mask", mask, "--variants", 8, "--out", tmp_path / "out.png")
    try:
        while not any(session["running"] for session in overpaint.json("status").get("sessions", ())):
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert err == "Cancelled; nothing was written.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.png", "in.png"]
    sessions = overpaint.json("status")["sessions"]
    assert all(session["queued"] + session["running"] + session["kept"] == 0 for session in sessions)
