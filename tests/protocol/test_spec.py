"""The specification names everything the code has."""

import dataclasses
import re
from pathlib import Path

import pytest

from overpaint_protocol import messages, pixels
from overpaint_protocol.errors import ERROR_TYPES, OverpaintError
from overpaint_protocol.messages import MESSAGE_TYPES
from overpaint_protocol.pixels import PixelFormat

SPEC = (Path(__file__).parents[2] / "protocol" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MESSAGE_TYPES)
def test_the_table_of_messages_lists_each_with_its_fields(name):
    (row,) = [line for line in SPEC.splitlines() if line.startswith(f"| `{name}` |")]
    named = re.findall(r"`(\w+)`(\??)", row.split("|")[3])
    fields = dataclasses.fields(MESSAGE_TYPES[name])
    assert [field for field, _ in named] == [f.name for f in fields]
    optional = {f.name for f in fields if "None" in str(f.type)}
    assert {field for field, mark in named if mark} == optional


def test_no_other_message_is_listed():
    table = SPEC.split("## 5.")[1].split("## 6.")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)) == set(MESSAGE_TYPES)


@pytest.mark.parametrize("code", sorted(set(ERROR_TYPES) - {OverpaintError.code}))
def test_every_error_code_is_listed(code):
    assert f"`{code}`" in SPEC.split("## 7.")[1].split("## 8.")[0]


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_every_pixel_format_is_listed_with_its_size(pixel_format):
    (row,) = [
        line for line in SPEC.splitlines() if f"`{pixel_format.value}`" in line and line.startswith("|")
    ]
    names = re.findall(r"`(\w+)`", row)
    sizes = row.split("|")[2].split()
    assert int(sizes[names.index(pixel_format.value)]) == pixel_format.bytes_per_pixel


@pytest.mark.parametrize(
    "number",
    [
        messages.MAX_PROMPT_CHARS,
        messages.MAX_EDGE_PX,
        messages.MIN_DETAIL,
        int(messages.MAX_DETAIL),
        pixels.MAX_PROFILE_BYTES // 2**20,
        messages.MAX_VARIANTS,
        messages.MAX_STEPS,
        messages.MAX_GUIDANCE,
        messages.MAX_LORAS,
        messages.MAX_LORA_WEIGHT,
    ],
)
def test_fixed_limits_are_stated(number):
    assert re.search(rf"\b{number}\b", SPEC.split("## 8.")[1])
