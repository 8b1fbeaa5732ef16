import dataclasses

import pytest

from overpaint_backend.jobs.choice import choose_engine
from overpaint_backend.models.catalog import CATALOG
from overpaint_protocol.errors import RequestError, UnknownEngine, UnsupportedOperation
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    Edit,
    EngineInfo,
    Expand,
    Fill,
    GenerationSettings,
    LoraInfo,
    LoraWeight,
    Remove,
    SubmitJob,
)
from overpaint_protocol.pixels import ImageHeader, PixelFormat

SIZE = Size(4, 4)


def engine(id, *operations, follows_prompt=False, **more):
    fields = {"follows_negative_prompt": False, "needs_surroundings": False, **more}
    return EngineInfo(
        id=id,
        name=id.title(),
        operations=operations,
        follows_prompt=follows_prompt,
        **fields,
    )


EMBEDDED = engine("embedded", "fill", "remove", "expand")
MODEL = engine("model", "fill", "expand", follows_prompt=True)


def loras(*ids):
    return tuple(LoraWeight(id=id) for id in ids)


def with_loras(info, *ids):
    return dataclasses.replace(info, loras=tuple(LoraInfo(id=id, name=id) for id in ids))


def ask(operation, engine=None, canvas=SIZE):
    return SubmitJob(
        job_id="j",
        document_id="d",
        operation=operation,
        engine=engine,
        canvas=canvas,
        context=Rect.from_size(SIZE),
        image=ImageHeader(size=SIZE, format=PixelFormat.RGBA8),
        mask=None if isinstance(operation, Expand) else ImageHeader(size=SIZE, format=PixelFormat.GRAY8),
    )


@pytest.mark.parametrize(
    ("operation", "chosen"),
    [
        pytest.param(Fill(), "embedded", id="no prompt"),
        pytest.param(Fill(prompt="  "), "embedded", id="blank prompt"),
        pytest.param(Fill(prompt="a door"), "model", id="prompt"),
        pytest.param(Expand(margins=Margins(left=1), prompt="a lake"), "model", id="expand with a prompt"),
        pytest.param(Remove(), "embedded", id="remove"),
    ],
)
def test_a_prompt_goes_to_an_engine_that_follows_it(operation, chosen):
    assert choose_engine([EMBEDDED, MODEL], ask(operation)).id == chosen


def test_a_prompt_is_no_reason_to_refuse():
    assert choose_engine([EMBEDDED], ask(Fill(prompt="a door"))) is EMBEDDED


def test_the_named_engine_is_taken():
    assert choose_engine([EMBEDDED, MODEL], ask(Fill(), "model")) is MODEL


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(UnknownEngine, match="embedded, model"):
        choose_engine([EMBEDDED, MODEL], ask(Fill(), "other"))


def test_what_an_engine_cannot_do_is_refused_with_those_that_can():
    with pytest.raises(UnsupportedOperation, match=r"Model cannot remove\. Choose one of: Embedded"):
        choose_engine([EMBEDDED, MODEL], ask(Remove(), "model"))
    with pytest.raises(UnsupportedOperation, match="overpaint doctor"):
        choose_engine([dataclasses.replace(MODEL, operations=())], ask(Fill()))


# ---------------------------------------------------------------- edit


def test_an_edit_goes_to_an_engine_that_offers_it():
    editor = engine("editor", "edit", follows_prompt=True)
    assert choose_engine([EMBEDDED, MODEL, editor], ask(Edit(prompt="make it night"))) is editor


def test_where_nothing_edits_a_model_that_does_is_named():
    with pytest.raises(UnsupportedOperation, match=r"“overpaint models add \S+”") as error:
        choose_engine([EMBEDDED, MODEL], ask(Edit(prompt="make it night")))
    named = error.value.message.split("models add ")[1].split("”")[0]
    assert named in CATALOG
    with pytest.raises(UnsupportedOperation, match=rf"Model cannot edit\. .*{named}"):
        choose_engine([EMBEDDED, MODEL], ask(Edit(prompt="make it night"), "model"))


# ---------------------------------------------------------------- a canvas that may be empty

CONTINUES = engine("continues", "fill", follows_prompt=True, needs_surroundings=True)


@pytest.mark.parametrize(
    ("operation", "canvas", "chosen"),
    [
        pytest.param(Fill(prompt="a door"), SIZE, "model", id="words for all of it"),
        pytest.param(Fill(prompt="a door"), Size(5, 4), "continues", id="a part of it"),
        pytest.param(Fill(), SIZE, "continues", id="no words"),
    ],
)
def test_words_for_a_whole_canvas_go_to_an_engine_that_needs_nothing_around(operation, canvas, chosen):
    assert choose_engine([CONTINUES, MODEL], ask(operation, canvas=canvas)).id == chosen


def test_a_canvas_that_may_be_empty_is_no_reason_to_refuse():
    assert choose_engine([CONTINUES], ask(Fill(prompt="a door"))) is CONTINUES


# ---------------------------------------------------------------- strength

GENTLE = engine("gentle", "fill", follows_prompt=True, defaults=GenerationSettings(strength=1.0))


@pytest.mark.parametrize(
    ("strength", "chosen"), [(None, "embedded"), (1, "embedded"), (0.99, "gentle"), (0, "gentle")]
)
def test_keeping_some_of_what_is_there_goes_to_an_engine_that_can(strength, chosen):
    settings = GenerationSettings(strength=strength)
    assert choose_engine([EMBEDDED, MODEL, GENTLE], ask(Fill(settings=settings))).id == chosen


def test_a_strength_is_no_reason_to_refuse():
    settings = GenerationSettings(strength=0.5)
    assert choose_engine([EMBEDDED], ask(Fill(settings=settings))) is EMBEDDED
    assert choose_engine([EMBEDDED, GENTLE], ask(Fill(settings=settings), "embedded")) is EMBEDDED


# ---------------------------------------------------------------- LoRAs

PEN = with_loras(engine("pen", "fill", follows_prompt=True), "ink")
BOTH = with_loras(engine("both", "fill", "expand"), "ink", "glow")


@pytest.mark.parametrize(("wanted", "chosen"), [((), "model"), (("ink",), "pen"), (("glow", "ink"), "both")])
def test_a_job_with_loras_goes_to_an_engine_that_has_them_all(wanted, chosen):
    operation = Fill(prompt="a door", settings=GenerationSettings(loras=loras(*wanted)))
    assert choose_engine([EMBEDDED, BOTH, MODEL, PEN], ask(operation)).id == chosen


@pytest.mark.parametrize(
    ("engines", "named", "wanted", "sentence"),
    [
        ([EMBEDDED, PEN], None, ("oil",), r"No engine here has the LoRA “oil”\. Get it with “overpaint models import FILE --id oil”"),
        ([EMBEDDED, PEN], "embedded", ("ink",), r"Embedded cannot use the LoRA “ink”\. It is made for: Pen\."),
        ([PEN, with_loras(MODEL, "glow")], None, ("ink", "glow"), r"together: ink, glow\. Leave some out\."),
    ],
    ids=["unknown", "of another engine", "not together"],
)  # fmt: skip
def test_loras_that_no_engine_has_are_refused(engines, named, wanted, sentence):
    operation = Fill(settings=GenerationSettings(loras=loras(*wanted)))
    with pytest.raises(RequestError, match=sentence):
        choose_engine(engines, ask(operation, named))
