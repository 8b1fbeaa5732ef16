import pytest

from overpaint_protocol import errors
from overpaint_protocol.errors import ERROR_TYPES, EngineError, EngineLost, OverpaintError, from_code
from overpaint_protocol.messages import ErrorInfo


def test_every_class_has_its_own_code():
    classes = {
        cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, OverpaintError)
    }
    assert set(ERROR_TYPES.values()) == classes
    assert len(ERROR_TYPES) == len(classes)


def test_the_tree_in_the_docstring_is_the_tree():
    for code, cls in ERROR_TYPES.items():
        if cls is not OverpaintError:
            assert any(
                line.split()[-2:] == [cls.__name__, code] or (cls.__name__ in line and code in line)
                for line in (errors.__doc__ or "").splitlines()
            ), code


@pytest.mark.parametrize("code", ERROR_TYPES)
def test_an_error_survives_the_wire(code):
    error = ERROR_TYPES[code]("Sentence.", detail="d", action="a")
    again = ErrorInfo.of(error).to_exception()
    assert type(again) is type(error)
    assert (again.code, again.message, again.detail, again.retry, again.action) == (
        error.code, error.message, error.detail, error.retry, error.action
    )  # fmt: skip


def test_an_unknown_code_of_a_known_family_is_of_that_family():
    error = ErrorInfo(code="engine.on_fire", message="Run.").to_exception()
    assert type(error) is EngineError
    assert error.code == "engine.on_fire"
    assert from_code("weather.rain") is OverpaintError
    assert from_code("engine.lost") is EngineLost
