import dataclasses

import pytest

from overpaint_backend.jobs.choice import choose_engine
from overpaint_protocol.errors import UnknownEngine, UnsupportedOperation
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import EngineInfo, Expand, Fill, Remove, SubmitJob
from overpaint_protocol.pixels import ImageHeader, PixelFormat

SIZE = Size(4, 4)


def engine(id, *operations, follows_prompt=False):
    return EngineInfo(
        id=id,
        name=id.title(),
        operations=operations,
        follows_prompt=follows_prompt,
        follows_negative_prompt=False,
        needs_surroundings=False,
    )


EMBEDDED = engine("embedded", "fill", "remove", "expand")
MODEL = engine("model", "fill", "expand", follows_prompt=True)


def ask(operation, engine=None):
    return SubmitJob(
        job_id="j",
        document_id="d",
        operation=operation,
        engine=engine,
        canvas=SIZE,
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
    with pytest.raises(UnsupportedOperation, match=r"Model cannot do 'remove'\. Choose one of: Embedded"):
        choose_engine([EMBEDDED, MODEL], ask(Remove(), "model"))
    with pytest.raises(UnsupportedOperation, match="overpaint doctor"):
        choose_engine([dataclasses.replace(MODEL, operations=())], ask(Fill()))
