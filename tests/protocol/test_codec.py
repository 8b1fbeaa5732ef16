import pytest
from tests.protocol.examples import EXAMPLES

from overpaint_protocol import codec, framing
from overpaint_protocol._msgpack import msgpack
from overpaint_protocol.errors import (
    InvalidImage,
    ProtocolError,
    RequestError,
    TooLarge,
    UnknownType,
    UnsupportedVersion,
)
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import (
    MAX_PROMPT_CHARS,
    Edit,
    Fill,
    GenerationSettings,
    JobId,
    JobProgress,
    JobState,
    LoraWeight,
    Ping,
    SubmitJob,
)
from overpaint_protocol.pixels import MAX_PROFILE_BYTES, ColorSpace, ImageHeader, PixelFormat, split_bands


def body(message, **changes):
    """The message's plain body with some keys changed; a value of ... leaves the key out."""
    plain = {**codec.to_plain(message), **changes}
    return msgpack.packb({key: value for key, value in plain.items() if value is not ...})


SUBMIT, SUBMIT_PAYLOAD = EXAMPLES["job.submit"]
PROGRESS = EXAMPLES["job.progress"][0]


def test_unknown_fields_are_ignored():
    assert codec.unpack(body(Ping(nonce=1), added_in_1_7="x"), Ping) == Ping(nonce=1)


def test_a_missing_optional_field_is_none():
    assert codec.unpack(body(PROGRESS, fraction=...), JobProgress).fraction is None


def test_none_is_not_written_and_defaults_are():
    plain = codec.to_plain(JobProgress(job_id="j", state=JobState.QUEUED))
    assert plain == {"job_id": "j", "state": "queued", "stage": "", "position": 0}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        pytest.param(Ping(nonce=1), {"nonce": ...}, id="missing field"),
        pytest.param(Ping(nonce=1), {"nonce": True}, id="a bool is no int"),
        pytest.param(Ping(nonce=1), {"nonce": "1"}, id="text is no int"),
        pytest.param(Ping(nonce=1), {"nonce": 1.0}, id="a float is no int"),
        pytest.param(PROGRESS, {"state": "asleep"}, id="unknown enum value"),
        pytest.param(PROGRESS, {"state": 1}, id="enum of another type"),
        pytest.param(SUBMIT, {"operation": {"type": "hack"}}, id="unknown operation"),
        pytest.param(SUBMIT, {"operation": "fill"}, id="operation is no map"),
        pytest.param(SUBMIT, {"canvas": {"width": -1, "height": 2}}, id="negative size"),
        pytest.param(SUBMIT, {"canvas": [8, 6]}, id="positional size"),
        pytest.param(SUBMIT, {"context": {"x": 2, "y": 1, "width": 3}}, id="half a rectangle"),
    ],
)
def test_wrong_shape_is_refused(message, changes):
    with pytest.raises(ProtocolError):
        codec.unpack(body(message, **changes), type(message))


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"image__frames": [0, "1"]}, "SubmitJob.image.frames[1]: int, not str"),
        ({"canvas": [8, 6]}, "SubmitJob.canvas: map, not list"),
        (
            {"operation__settings__loras": [{"id": 1}]},
            "SubmitJob.operation.settings.loras[0].id: str, not int",
        ),
        ({"context": {"x": 2, "y": 1, "width": 3}}, "SubmitJob.context: height"),
        ({"image__format": "rgb7"}, "SubmitJob.image.format: 'rgb7'"),
    ],
)
def test_the_log_is_told_where_a_message_is_wrong(changes, detail):
    with pytest.raises(ProtocolError) as caught:
        codec.unpack(submit(**changes), SubmitJob)
    assert caught.value.detail == detail


def submit(**changes):
    plain = codec.to_plain(SUBMIT)
    for path, value in changes.items():
        target = plain
        *parents, last = path.split("__")
        for key in parents:
            target = target[key]
        target[last] = value
    return msgpack.packb(plain)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"variants": 0}, id="no variant"),
        pytest.param({"variants": 9}, id="too many variants"),
        pytest.param({"seed": -1}, id="negative seed"),
        pytest.param({"seed": 2**32}, id="seed beyond 32 bits"),
        pytest.param({"job_id": ""}, id="no id"),
        pytest.param({"job_id": "x" * 65}, id="long id"),
        pytest.param({"job_id": "../../x"}, id="id with a path"),
        pytest.param({"engine": "../../x"}, id="engine with a path"),
        pytest.param({"recipe": "a\nb"}, id="recipe of two lines"),
        pytest.param({"slot": "a\0"}, id="slot with a NUL"),
        pytest.param({"document_id": "\u202e"}, id="document that turns words around"),
        pytest.param({"edges__grow_px": 513}, id="grow too far"),
        pytest.param({"edges__blend_px": -1}, id="negative blend"),
        pytest.param({"image__color": "icc"}, id="a space of its own without a profile"),
        pytest.param({"operation__settings__detail": 0.05}, id="too little detail"),
        pytest.param({"operation__prompt": "x" * 8001}, id="long prompt"),
        pytest.param({"canvas__width": 300_001}, id="huge canvas"),
        pytest.param({"context__x": 6}, id="context outside"),
        pytest.param({"context__width": 4}, id="image of another size"),
        pytest.param({"mask__size__width": 2}, id="mask of another size"),
        pytest.param({"mask": None}, id="no mask"),
        pytest.param({"image__format": "gray8"}, id="image without alpha"),
        pytest.param({"mask__format": "rgba8"}, id="colored mask"),
        pytest.param(
            {"operation": {"type": "expand", "margins": {"left": 1, "top": 0, "right": 0, "bottom": 0}}},
            id="expand with a mask",
        ),
    ],
)
def test_value_outside_its_range_is_refused_with_a_sentence(changes):
    with pytest.raises(RequestError) as caught:
        codec.unpack(submit(**changes), SubmitJob)
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    "changes",
    [{"variants": 1}, {"variants": 8}, {"seed": 2**32 - 1}, {"job_id": "x" * 64}, {"edges__grow_px": 512},
     {"operation__prompt": "x" * 8000}, {"canvas__width": 300_000}],
)  # fmt: skip
def test_value_at_its_limit_is_taken(changes):
    codec.unpack(submit(**changes), SubmitJob)


def test_a_prompt_that_utf8_cannot_hold_is_refused_where_it_is_made():
    with pytest.raises(RequestError, match="Type it again"):
        Fill(prompt="caf\udce9")  # what a shell in another encoding hands to the command line


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not():
    filler = codec.MAX_DOCUMENT_BYTES - len(body(Ping(nonce=1), filler="")) - 4
    at_limit = body(Ping(nonce=1), filler="x" * filler)
    assert len(at_limit) == codec.MAX_DOCUMENT_BYTES
    assert codec.unpack(at_limit, Ping) == Ping(nonce=1)
    with pytest.raises(TooLarge):
        codec.unpack(at_limit + b"x", Ping)


def test_deep_nesting_is_refused():
    for depth in (100, 2000, 100_000):
        with pytest.raises(ProtocolError):
            codec.unpack(b"\x81\xa5nonce" + b"\x91" * depth + b"\x01", Ping)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x81", b"\x93\x01\x02\x03", b"\x01", b"\x80\x80", b"\xd9\xff"]
)
def test_broken_msgpack_is_refused(data):
    with pytest.raises(ProtocolError):
        codec.unpack(data, Ping)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_claimed_length_is_not_allocated(length):
    for kind in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):
        with pytest.raises(ProtocolError):
            codec.unpack(b"\x81\xa5nonce" + kind + length.to_bytes(4, "big"), Ping)


def test_frames_of_another_major_version_are_told_apart():
    frames = framing.encode(Ping(nonce=1), id="m")
    with pytest.raises(UnsupportedVersion, match="protocol '2'"):
        framing.decode([b"OVP2", *frames[1:]])
    with pytest.raises(ProtocolError):
        framing.decode([b"HTTP", *frames[1:]])


def test_an_unknown_type_is_its_own_error():
    header = msgpack.packb({"t": "job.teleport", "id": "m"})
    with pytest.raises(UnknownType):
        framing.decode([framing.MAGIC, header, b"\x80"])


def test_too_few_and_too_many_frames():
    frames = framing.encode(Ping(nonce=1), id="m")
    with pytest.raises(ProtocolError):
        framing.decode(frames[:2])
    framing.decode(frames + [b""] * framing.MAX_PAYLOAD_FRAMES)
    with pytest.raises(TooLarge):
        framing.decode(frames + [b""] * (framing.MAX_PAYLOAD_FRAMES + 1))


def test_payload_is_not_copied():
    pixels = bytearray(100)
    frames = framing.encode(Ping(nonce=1), id="m", payload=[pixels])
    assert framing.decode(frames).payload[0] is pixels


class TestTake:
    HEADER = ImageHeader(size=Size(4, 2), format=PixelFormat.RGBA8, frames=(0, 1))

    def test_frames_are_picked_in_order(self):
        a, b = bytes(20), bytes(12)
        assert self.HEADER.take((a, b)) == (a, b)

    @pytest.mark.parametrize(
        "payload",
        [(bytes(20),), (bytes(20), bytes(11)), (bytes(20), bytes(13)), ()],
        ids=["missing", "short", "long", "none"],
    )
    def test_bytes_that_do_not_add_up_are_refused(self, payload):
        with pytest.raises(InvalidImage):
            self.HEADER.take(payload)

    def test_a_frame_named_twice_is_refused(self):
        header = ImageHeader(size=Size(4, 2), format=PixelFormat.RGBA8, frames=(0, 0))
        with pytest.raises(InvalidImage):
            header.take((bytes(16),))

    def test_a_negative_frame_is_refused(self):
        header = ImageHeader(size=Size(4, 2), format=PixelFormat.RGBA8, frames=(-1,))
        with pytest.raises(InvalidImage):
            header.take((bytes(32),))

    def test_a_profile_beside_a_space_that_needs_none_is_refused(self):
        with pytest.raises(InvalidImage):
            ImageHeader(size=Size(4, 2), format=PixelFormat.RGBA8, profile=1)

    @pytest.mark.parametrize(
        "payload",
        [(bytes(32),), (bytes(32), b""), (bytes(32), bytes(MAX_PROFILE_BYTES + 1))],
        ids=["missing", "empty", "too large"],
    )
    def test_a_profile_that_cannot_be_one_is_refused(self, payload):
        header = ImageHeader(
            size=Size(4, 2), format=PixelFormat.RGBA8, frames=(0,), color=ColorSpace.ICC, profile=1
        )
        with pytest.raises(InvalidImage):
            header.take_profile(payload)
        assert header.take_profile((bytes(32), b"icc")) == b"icc"


def test_bands_hold_whole_rows_and_all_of_them():
    rect = Rect(0, 0, 1000, 3000)
    data = bytes(rect.area * 4)
    bands = split_bands(data, rect, PixelFormat.RGBA8)
    assert sum(len(band) for band in bands) == len(data)
    assert all(len(band) % 4000 == 0 and len(band) <= 4 << 20 for band in bands)


def test_prompt_is_part_of_fill():
    assert codec.to_plain(Fill(prompt="x")) == {
        "type": "fill",
        "prompt": "x",
        "negative_prompt": "",
        "settings": {"loras": []},
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1, "guidance": 0.0, "strength": 0.0},
        {"steps": 150, "guidance": 30.0, "strength": 1.0},
        {"loras": tuple(LoraWeight(id=f"lora-{i}", weight=(-4, 4)[i % 2]) for i in range(8))},
        {},
    ],
)
def test_settings_travel_up_to_their_limits(settings):
    operation = Fill(settings=GenerationSettings(**settings))
    assert codec.unpack(codec.pack(operation), Fill) == operation


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 151},
        {"guidance": -0.1},
        {"guidance": 30.1},
        {"guidance": float("nan")},
        {"strength": -0.1},
        {"strength": 1.1},
        {"strength": float("nan")},
        {"loras": [{"id": f"lora-{i}", "weight": 1} for i in range(9)]},
        {"loras": [{"id": "twice", "weight": 1}, {"id": "twice", "weight": 2}]},
        {"loras": [{"id": "", "weight": 1}]},
        {"loras": [{"id": "heavy", "weight": 4.01}]},
        {"loras": [{"id": "heavy", "weight": float("nan")}]},
    ],
)
def test_settings_beyond_their_limits_are_refused(settings):
    with pytest.raises(RequestError):
        codec.from_plain({"type": "fill", "settings": settings}, Fill)


def test_a_fill_without_settings_leaves_them_to_the_engine():
    assert codec.from_plain({"type": "fill", "prompt": "x"}, Fill) == Fill(prompt="x")


@pytest.mark.parametrize("prompt", ["", "  ", "x" * (MAX_PROMPT_CHARS + 1)])
def test_an_edit_needs_an_instruction(prompt):
    with pytest.raises(RequestError):
        Edit(prompt=prompt)


@pytest.mark.parametrize("time_left_s", [-0.1, float("nan"), float("inf")])
def test_a_time_left_is_a_time(time_left_s):
    with pytest.raises(RequestError):
        JobProgress(job_id=JobId("job-1"), state=JobState.RUNNING, time_left_s=time_left_s)
