import pytest
from tests.protocol import golden

from overpaint_protocol.errors import UnsupportedVersion
from overpaint_protocol.framing import MAGIC
from overpaint_protocol.version import MAJOR, MINOR, negotiate


@pytest.mark.parametrize(
    ("oldest", "newest", "agreed"), [(0, 0, 0), (0, 7, MINOR), (MINOR, MINOR + 1, MINOR)]
)
def test_the_newest_common_version_is_chosen(oldest, newest, agreed):
    assert negotiate(oldest, newest) == agreed


@pytest.mark.parametrize(("oldest", "newest"), [(MINOR + 1, MINOR + 2), (2, 1), (-3, -2)])
def test_no_common_version_is_said(oldest, newest):
    with pytest.raises(UnsupportedVersion):
        negotiate(oldest, newest)


def test_magic_spec_and_golden_vectors_name_this_version():
    assert f"OVP{MAJOR}".encode() == MAGIC
    assert golden.FOLDER.is_dir()
    spec = (golden.FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    assert spec.startswith(f"# Overpaint protocol {MAJOR}.{MINOR}\n")
