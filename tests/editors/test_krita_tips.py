"""Tool tips of the docker that hold words of recipes, models and engines."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from overpaint_krita.tips import plain_tip


@pytest.mark.parametrize("text", ["", "Black ink on white paper.", "black & white", "1 > 0"])
def test_words_are_shown_as_they_are(text: str) -> None:
    assert plain_tip(text) == text


@pytest.mark.parametrize(
    "text", ["<img src='//host/share/x.png'>", "a <b>bold</b> one", "1 < 2 & 3", "</p><script>", "<?xml"]
)
def test_what_looks_like_tags_is_text(text: str) -> None:
    tree = ElementTree.fromstring(plain_tip(text))
    assert (tree.tag, tree.text, list(tree)) == ("p", text, [])
