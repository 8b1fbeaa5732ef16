"""The path of one fill inside the worker: decode, engine, composite, encode.

``prepare`` does what all variants of a job share, ``render`` makes one of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import (
    BatchSession,
    BleedSession,
    EngineSession,
    FillRequest,
    OnStep,
    OperationName,
)
from overpaint_protocol.errors import EmptySelection, EngineError, InvalidImage
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import (
    Edges,
    Expand,
    GenerationSettings,
    Operation,
    Remove,
    operation_name,
)
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

from .bleed import Bleed, add_bleed
from .composite import Layer, cut_layer
from .decode import decode, decode_mask, read_pixels
from .edges import Area, expand_area, selected_area
from .encode import encode
from .mask import window
from .match import REACH_PX, match
from .preview import MAX_PREVIEW_PIXELS, Backdrop
from .profiles import Conversion, conversion
from .raster import Raster
from .resample import bounded_size, resize
from .transparency import known_pixels, over_gray, without_hidden

__all__ = [
    "FillJob",
    "FillOutput",
    "Prepared",
    "batch_size",
    "prepare",
    "preview_backdrop",
    "render",
    "run_fill",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillJob:
    """Everything one fill needs.

    canvas: size of the canvas before the operation.
    context: what the engine sees, in canvas coordinates; may reach outside the canvas.
    operation: what to do.
    image_bands: the pixels of ``context`` where it lies on the canvas, rows top to bottom, cut anywhere.
    image_size: their width and height.
    pixel_format, color: how to read them, and how to write the layer.
    profile: the ICC profile where ``color`` is ICC.
    mask_bands: gray8 over ``context``, 255 = repaint; None for an Expand.
    seed: 0 to 2**32 - 1.
    edges: how far the layer reaches beyond the selection, and how softly it ends.
    """

    canvas: Size
    context: Rect
    operation: Operation
    image_bands: tuple[Bytes, ...]
    image_size: Size
    pixel_format: PixelFormat
    color: ColorSpace
    mask_bands: tuple[Bytes, ...] | None
    seed: int
    profile: bytes | None = None
    edges: Edges = field(default_factory=Edges)


@dataclass(frozen=True, slots=True)
class FillOutput:
    """A finished layer.

    target: where it goes, in canvas coordinates from before the operation.
    pixel_format, color: as in the job.
    data: its straight-alpha pixels, rows top to bottom.
    timings_ms: milliseconds by stage: ``decode``, ``mask``, ``bleed``, ``engine``, ``match``, ``composite``, ``encode``.
    """

    target: Rect
    pixel_format: PixelFormat
    color: ColorSpace
    data: memoryview
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the variants of a job share.

    document: the Context as it is, with its alpha; 0 outside the canvas.
    request: all but the seed.
    area: what of the Context the engine paints and the layer shows.
    own_primaries: whether colors have the primaries of the document and not sRGB's.
    """

    job: FillJob
    document: Raster
    request: FillRequest
    area: Area
    timings_ms: Mapping[str, float]
    own_primaries: bool

    @property
    def conversion(self) -> Conversion:
        """Between the document's colors and those of ``document`` and ``request``."""
        job = self.job
        channels = 1 if job.pixel_format.channels < 3 else 3
        return conversion(job.color, job.profile, channels, own_primaries=self.own_primaries)


def run_fill(
    job: FillJob, session: EngineSession, on_step: OnStep, *, own_primaries: bool = False
) -> FillOutput:
    """Prepare and render one variant with the job's own seed, ``own_primaries`` as for ``prepare``.

    Raises:
        InvalidImage, EmptySelection: as ``prepare``.
        OverpaintError: as ``EngineSession.fill``.
        Cancelled: ``on_step`` did.
    """
    return render(prepare(job, own_primaries=own_primaries), (job.seed,), session, on_step)[0]


def prepare(job: FillJob, *, own_primaries: bool = False) -> Prepared:
    """Decode the job's pixels and lay out what the engine gets.

    With ``own_primaries`` it gets them in the primaries of the document (see ``OwnPrimariesEngine``), else in sRGB's.

    Raises:
        InvalidImage: the bytes do not fit the sizes, or the profile not the format.
        UnsupportedFormat: the profile is for a color model that cannot be used.
        EmptySelection: nothing is selected inside the Context, or all of it too faintly.
    """
    clock = _Stopwatch()
    with clock.stage("decode"):
        document, known = _over_context(job, own_primaries)
        image = without_hidden(document.rgb, known)
    with clock.stage("mask"):
        area = _area(job, known)
    operation = job.operation
    request = FillRequest(
        image=image,
        mask=area.mask,
        known=known,
        operation=OperationName(operation_name(operation)),
        prompt="" if isinstance(operation, Remove) else operation.prompt,
        negative_prompt="" if isinstance(operation, Remove) else operation.negative_prompt,
        settings=GenerationSettings() if isinstance(operation, Remove) else operation.settings,
        seed=job.seed,
    )
    return Prepared(job, document, request, area, clock.timings_ms, own_primaries)


def render(
    prepared: Prepared, seeds: Sequence[int], session: EngineSession, on_step: OnStep
) -> list[FillOutput]:
    """Make a variant for each of ``seeds``, together if there are several: ``batch_size`` says how many may be.

    Each output has its share of the time the engine took.

    Raises:
        EngineError: the engine's picture has another size than it was asked for or holds NaN or infinity, or the
            engine said so.
        OverpaintError: as ``EngineSession.fill``.
        Cancelled: ``on_step`` did.
    """
    clock = _Stopwatch()
    with clock.stage("bleed"):
        request, bleed = _for_session(prepared.request, session)
    with clock.stage("engine"):
        if len(seeds) > 1 and isinstance(session, BatchSession):
            results = session.fill_batch(request, seeds, on_step)
        else:
            results = [session.fill(replace(request, seed=seed), on_step) for seed in seeds]
    share_ms = {stage: took_ms / len(seeds) for stage, took_ms in clock.timings_ms.items()}
    return [_finish(prepared, result.image, bleed, share_ms) for result in results]


def batch_size(prepared: Prepared, session: EngineSession, variants: int) -> int:
    """How many of the next ``variants``, at least 1, the session should make together."""
    if variants > 1 and isinstance(session, BatchSession):
        request, _ = _for_session(prepared.request, session)
        return max(1, min(variants, session.batch_limit(request)))
    return 1


def _for_session(request: FillRequest, session: EngineSession) -> tuple[FillRequest, Bleed | None]:
    """The request with the bleed that the session wants."""
    if not isinstance(session, BleedSession):
        return request, None
    mask, bleed = add_bleed(request.mask, request.known, session.bleed_px(request))
    return replace(request, mask=mask), bleed


def _finish(
    prepared: Prepared, painted: NDArray[np.float32], bleed: Bleed | None, engine_ms: Mapping[str, float]
) -> FillOutput:
    job = prepared.job
    clock = _Stopwatch({**prepared.timings_ms, **engine_ms})
    if painted.shape != prepared.request.image.shape:
        raise EngineError(
            "The engine returned a picture of another size. Choose another engine.",
            detail=f"asked for {prepared.request.image.shape}, got {painted.shape}",
        )
    request, area = prepared.request, prepared.area
    # All that the layer and its match depend on: a large Context costs no more than what is painted in it.
    reach_px = REACH_PX if bleed is None else REACH_PX + bleed.width_px
    near = area.box.grow(reach_px).intersect(Rect.from_size(job.context.size))
    view = window(near)
    painted = painted[view]
    if painted.strides[-1] != painted.itemsize:  # from a library that keeps channels apart
        painted = np.ascontiguousarray(painted)
    with clock.stage("match"):
        if not np.isfinite(painted).all():
            raise EngineError(
                "The engine returned numbers that are no colors. Try another seed or another engine."
            )
        bleed = None if bleed is None else bleed.within(near)
        painted = match(painted, request.image[view], request.mask[view], request.known[view], bleed)
    with clock.stage("composite"):
        layer = cut_layer(painted, area.alpha[view])
    with clock.stage("encode"):
        data = encode(
            layer.raster, job.pixel_format, job.color, job.profile, own_primaries=prepared.own_primaries
        )
        _keep_unchanged(data, replace(layer, target=layer.target.translate(near.x, near.y)), prepared)
    target = layer.target.translate(job.context.x + near.x, job.context.y + near.y)
    return FillOutput(target, job.pixel_format, job.color, data, clock.timings_ms)


def _keep_unchanged(data: memoryview, layer: Layer, prepared: Prepared) -> None:
    """Write the document's own numbers into a layer's bytes where its color is that of the document.

    On the way to the working space and back some get lost: profiles of tables have two directions that do not quite agree,
    and in a wide gamut a component near black, beside a bright one, is less than a float32 of the working space can tell.

    Args:
        data: the layer's pixels, written to.
        layer: whose target is relative to the Context.
        prepared: of the job it is for.
    """
    job = prepared.job
    if prepared.conversion.is_identity:
        return
    canvas = Rect.from_size(job.canvas).relative_to(job.context.origin)
    visible = canvas.intersect(Rect.from_size(job.context.size))
    area = layer.target.intersect(visible)
    if area.is_empty:
        return
    in_context, in_layer = window(area), window(area.relative_to(layer.target.origin))
    document = read_pixels(job.image_bands, job.image_size, job.pixel_format)
    document = document[window(area.relative_to(visible.origin))]
    same = (layer.raster.rgb[in_layer] == prepared.request.image[in_context]).all(axis=-1)
    same &= (layer.raster.alpha[in_layer] > 0) & prepared.request.known[in_context]
    same &= np.isfinite(document).all(axis=-1)
    pixels = np.frombuffer(data, document.dtype).reshape(layer.target.height, layer.target.width, -1)
    np.copyto(pixels[in_layer][..., :-1], document[..., :-1], where=same[..., None])


def preview_backdrop(prepared: Prepared) -> Backdrop:
    """What previews of a job's variants are shown on: its whole Context, before the engine changed anything."""
    size = bounded_size(prepared.job.context.size, MAX_PREVIEW_PIXELS)
    picture, selection = resize(over_gray(prepared.document), size), resize(prepared.area.alpha, size)
    return Backdrop(picture, selection, prepared.conversion.to_display)


def _over_context(job: FillJob, own_primaries: bool) -> tuple[Raster, NDArray[np.bool_]]:
    """The image laid out over the Context, and which of its pixels may be learnt from."""
    visible = job.context.intersect(Rect.from_size(job.canvas))
    if job.image_size != visible.size:
        raise InvalidImage(
            f"The image is {job.image_size} px, but the context shows {visible.size} px of the canvas. "
            "Update Overpaint on both sides and try again."
        )
    raster = decode(
        job.image_bands,
        job.image_size,
        job.pixel_format,
        job.color,
        job.profile,
        own_primaries=own_primaries,
    )
    known = known_pixels(raster.alpha)
    if visible == job.context:
        return raster, known
    before_x, before_y = visible.x - job.context.x, visible.y - job.context.y
    pad = (
        (before_y, job.context.height - visible.height - before_y),
        (before_x, job.context.width - visible.width - before_x),
    )
    return Raster(np.pad(raster.rgb, (*pad, (0, 0))), np.pad(raster.alpha, pad)), np.pad(known, pad)


def _area(job: FillJob, known: NDArray[np.bool_]) -> Area:
    if isinstance(job.operation, Expand):
        return expand_area(job.canvas, job.operation.margins, job.context, job.edges)
    if job.mask_bands is None:
        raise EmptySelection("Nothing is selected. Select the area to change and try again.")
    selection = decode_mask(job.mask_bands, job.context.size)
    removes = isinstance(job.operation, Remove)
    return selected_area(selection, job.edges, removes=removes, known=known)


class _Stopwatch:
    """Milliseconds by stage, added to those before."""

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        self._timings_ms = dict(before or {})

    @property
    def timings_ms(self) -> Mapping[str, float]:
        return MappingProxyType(self._timings_ms)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._timings_ms[name] = (time.perf_counter() - start) * 1000
