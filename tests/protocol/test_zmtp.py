from __future__ import annotations

import array
import errno
import itertools
import mmap
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol import zmtp_server_bytes as server

from overpaint_protocol import zmtp
from overpaint_protocol.errors import LinkError, ProtocolError, TooLarge, UnsupportedVersion
from overpaint_protocol.zmtp import (
    DEFAULT_MAX_FRAME_BYTES,
    DEFAULT_MAX_MESSAGE_BYTES,
    MAX_COMMAND_BYTES,
    MAX_PING_TTL_MS,
    SMALL_FRAME_BYTES,
    ZmtpClient,
)
from overpaint_protocol.zmtp_events import (
    Closed,
    Connected,
    MessageReceived,
    PingReceived,
    PongReceived,
    Refused,
)
from overpaint_protocol.zmtp_frames import COMMAND, MORE, encode_command

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01%b" + bytes(32)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
INITIATE = b"\x04\x2c\x08INITIATE\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"


def take(client: ZmtpClient) -> bytes:
    """Everything the client wants sent, marked as sent."""
    data = b""
    while views := client.data_to_send():
        data += b"".join(views)
        client.data_sent(sum(map(len, views)))
    return data


def connected(**limits: int) -> ZmtpClient:
    client = ZmtpClient(**limits)
    client.receive_data(server.null_handshake())
    assert client.events() == [Connected("ROUTER", (3, 1))]
    take(client)
    return client


# Handshake


def test_null_handshake_byte_for_byte():
    client = ZmtpClient()
    assert take(client) == GREETING % b"NULL".ljust(20, b"\0")
    assert not client.is_connected
    client.receive_data(server.greeting())
    assert take(client) == READY
    assert client.events() == []
    client.receive_data(server.ready())
    assert client.events() == [Connected("ROUTER", (3, 1))]
    assert client.is_connected
    assert take(client) == b""


def test_plain_handshake_byte_for_byte():
    client = ZmtpClient(username="overpaint", password="tökn")
    assert take(client) == GREETING % b"PLAIN".ljust(20, b"\0")
    client.receive_data(server.greeting(b"PLAIN"))
    assert take(client) == b"\x04\x16\x05HELLO\x09overpaint\x05t\xc3\xb6kn"
    client.receive_data(server.WELCOME)
    assert take(client) == INITIATE
    client.receive_data(server.ready())
    assert client.events() == [Connected("ROUTER", (3, 1))]


@pytest.mark.parametrize(("major", "minor"), [(3, 0), (3, 1), (3, 7), (4, 0), (255, 255)])
def test_handshake_with_another_version_from_3_0_on_is_accepted(major, minor):
    client = ZmtpClient()
    client.receive_data(server.greeting(major=major, minor=minor) + server.ready())
    assert client.events() == [Connected("ROUTER", (major, minor))]


def test_greeting_padding_as_server_and_filler_are_not_interpreted():
    odd = (
        b"\xff"
        + b"\x00whatever"[:8]
        + b"\x7f\x03\x01"
        + b"NULL".ljust(20, b"\0")
        + b"\x01"
        + b"future" * 5
        + b"x"
    )
    assert len(odd) == 64
    client = ZmtpClient()
    client.receive_data(odd + server.ready())
    assert client.events() == [Connected("ROUTER", (3, 1))]


@pytest.mark.parametrize("socket_type", ["ROUTER", "DEALER", "REP"])
def test_peer_types_that_a_dealer_may_talk_to(socket_type):
    client = ZmtpClient()
    client.receive_data(server.greeting() + server.ready(socket_type.encode()))
    assert client.events() == [Connected(socket_type, (3, 1))]


def test_ready_with_long_size_other_case_and_more_properties_is_accepted():
    body = b"\x05READY" + server.prop(b"X-Host", b"v" * 300) + server.prop(b"SOCKET-type", b"ROUTER")
    client = ZmtpClient()
    client.receive_data(server.greeting() + server.long_header(COMMAND, len(body)) + body)
    assert client.events() == [Connected("ROUTER", (3, 1))]


MALFORMED_HANDSHAKES = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "zeros": bytes(64),
    "all ones": b"\xff" * 64,
    "ZMTP 1.0 of ZeroMQ 2.1": b"\x01\x00",
    "mechanism mismatch": server.greeting(b"PLAIN"),
    "mechanism with a tail": server.greeting(b"NULL\0X"),
    "message before the end": server.greeting() + b"\x00\x00",
    "welcome in NULL": server.greeting() + server.WELCOME,
    "ping before the end": server.greeting() + server.PING,
    "empty command": server.greeting() + b"\x04\x00",
    "command without name": server.greeting() + b"\x04\x01\x00",
    "command name cut short": server.greeting() + b"\x04\x03\x05RE",
    "command name not of letters": server.greeting() + b"\x04\x04\x03R-Y",
    "command with MORE": server.greeting() + b"\x05\x01\x00",
    "reserved bit": server.greeting() + b"\x0c\x01\x00",
    "no socket type": server.greeting() + encode_command(b"READY", b""),
    "socket type PUB": server.greeting() + server.ready(b"PUB"),
    "socket type REQ": server.greeting() + server.ready(b"REQ"),
    "socket type not ASCII": server.greeting() + server.ready(b"\xff\xfe"),
    "property without name": server.greeting() + encode_command(b"READY", server.prop(b"", b"")),
    "property name with a space": server.greeting() + encode_command(b"READY", server.prop(b"A b", b"")),
    "property cut in its name": server.greeting() + encode_command(b"READY", b"\x0bSock"),
    "property cut in its size": server.greeting() + encode_command(b"READY", b"\x01X\x00\x00"),
    "property cut in its value": server.greeting() + encode_command(b"READY", b"\x01X\x00\x00\x00\x02v"),
    "property of 4 GiB": server.greeting() + encode_command(b"READY", b"\x01X\xff\xff\xff\xffv"),
    "property twice": server.greeting()
    + encode_command(b"READY", server.prop(b"Socket-Type", b"ROUTER") + server.prop(b"socket-type", b"PUB")),
    "error without reason": server.greeting() + encode_command(b"ERROR", b""),
    "error reason cut short": server.greeting() + encode_command(b"ERROR", b"\x04400"),
}


@pytest.mark.parametrize("data", MALFORMED_HANDSHAKES.values(), ids=MALFORMED_HANDSHAKES.keys())
def test_malformed_handshake_kills_the_connection(data):
    client = ZmtpClient()
    with pytest.raises(ProtocolError) as caught:
        client.receive_data(data)
    assert caught.value.code == "protocol.malformed"
    assert caught.value.detail
    assert client.events() == []
    assert take(client) == b""
    assert client.pending_bytes == 0
    with pytest.raises(ProtocolError) as again:
        client.receive_data(b"\0")
    assert again.value is caught.value
    client.receive_eof()
    assert client.events() == []


@pytest.mark.parametrize("data", [b"\x04\x09\x07WELCOMEx", server.ready(), encode_command(b"HELLO", b"\0\0")])
def test_plain_refuses_another_command_where_welcome_is_due(data):
    client = ZmtpClient(username="u", password="p")
    with pytest.raises(ProtocolError):
        client.receive_data(server.greeting(b"PLAIN") + data)


@pytest.mark.parametrize("revision", [0, 1, 2])
def test_older_zmtp_is_refused_as_soon_as_its_revision_is_known(revision):
    client = ZmtpClient()
    with pytest.raises(UnsupportedVersion):
        client.receive_data(server.greeting()[:10] + bytes((revision,)))


def test_token_is_not_sent_to_a_peer_that_does_not_ask_for_it():
    client = ZmtpClient(username="overpaint", password="secret")
    sent = take(client)
    with pytest.raises(ProtocolError):
        client.receive_data(server.greeting(b"NULL") + server.ready())
    assert b"secret" not in sent + take(client)


@pytest.mark.parametrize("credentials", [("u" * 256, "p"), ("u", "ä" * 128), (None, "p"), ("u", None)])
def test_credentials_that_plain_cannot_carry_are_refused(credentials):
    username, password = credentials
    with pytest.raises(ValueError, match=r"255|both"):
        ZmtpClient(username=username, password=password)


def test_credentials_of_255_bytes_fit():
    client = ZmtpClient(username="u" * 255, password="p" * 255)
    client.receive_data(server.greeting(b"PLAIN"))
    body = b"\x05HELLO\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    assert take(client).endswith(b"\x06" + len(body).to_bytes(8, "big") + body)


# Refusal and end


def test_a_server_with_the_identity_that_is_known_is_connected_to():
    client = ZmtpClient(username="overpaint", password="token", server_identity="the daemon")
    client.receive_data(server.greeting(b"PLAIN") + server.WELCOME + server.ready(identity=b"the daemon"))
    assert client.events() == [Connected("ROUTER", (3, 1))]


@pytest.mark.parametrize(
    "ready",
    [
        server.ready(),
        server.ready(identity=b"another"),
        server.ready(identity=b"the daemon and more"),
        encode_command(b"READY", server.prop(b"Socket-Type", b"ROUTER")),
    ],
    ids=["empty", "another", "longer", "none"],
)
def test_a_server_with_another_identity_is_sent_no_message(ready):
    client = ZmtpClient(username="overpaint", password="token", server_identity="the daemon")
    client.receive_data(server.greeting(b"PLAIN") + server.WELCOME)
    take(client)
    with pytest.raises(ProtocolError, match="Another program") as refusal:
        client.receive_data(ready)
    assert refusal.value.action == "start_daemon"
    assert client.events() == []
    with pytest.raises(LinkError):
        client.send_message([b"pixels"])
    assert take(client) == b""


@pytest.mark.parametrize("before", [b"", server.ready()], ids=["in the handshake", "after it"])
def test_error_command_is_a_refusal_and_the_rest_is_ignored(before):
    client = ZmtpClient()
    client.receive_data(server.greeting() + before)
    client.events()
    client.receive_data(server.error(b"400") + b"garbage \xff\xff")
    client.receive_data(b"\xff" * 200_000)
    assert client.events() == [Refused("400")]
    assert take(client) == b""
    client.receive_eof()
    client.receive_eof()
    assert client.events() == [Closed(None)]
    with pytest.raises(LinkError):
        client.send_message([b"x"])


def test_libzmqs_misspelt_error_is_a_refusal_in_the_plain_handshake_only():
    misspelt = server.libzmq_plain_error(b"400")
    for welcome in (b"", server.WELCOME):
        client = ZmtpClient(username="u", password="p")
        client.receive_data(server.greeting(b"PLAIN") + welcome + misspelt)
        assert client.events() == [Refused("400")]
    for client, before in ((ZmtpClient(), server.greeting()), (connected(), b"")):
        with pytest.raises(ProtocolError):
            client.receive_data(before + misspelt)


def test_refusal_reason_is_made_printable():
    client = ZmtpClient()
    client.receive_data(server.greeting() + server.error(b"no\n\x1b[31m\xff\x7f!"))
    assert client.events() == [Refused("no??[31m??!")]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "before its greeting"),
        (server.greeting()[:30], "during the handshake"),
        (server.greeting(), "during the handshake"),
        (server.null_handshake() + b"\x00", "middle of a message"),
        (server.null_handshake() + b"\x00\x05abc", "middle of a message"),
        (server.null_handshake() + b"\x01\x01a", "middle of a message"),
    ],
)
def test_eof_at_a_bad_moment_says_so(data, detail):
    client = ZmtpClient()
    client.receive_data(data)
    client.receive_eof()
    (closed,) = [event for event in client.events() if isinstance(event, Closed)]
    assert isinstance(closed.error, LinkError)
    assert detail in closed.error.detail


def test_eof_between_messages_is_a_plain_end():
    client = connected()
    client.receive_data(server.message([b"last"]))
    client.receive_eof()
    assert client.events() == [MessageReceived((b"last",)), Closed(None)]
    client.receive_data(b"late")
    client.receive_eof()
    assert client.events() == []


def test_events_before_a_fault_are_kept():
    client = connected()
    with pytest.raises(ProtocolError):
        client.receive_data(server.message([b"good"]) + b"\x80\x00")
    assert client.events() == [MessageReceived((b"good",))]


# Messages in


@pytest.mark.parametrize("size", [0, 1, 255, 256, SMALL_FRAME_BYTES, SMALL_FRAME_BYTES + 1, 300_000])
def test_received_frame_type_depends_on_its_size_alone(size):
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for piece in (64, 5000, 10**6):
        client = connected()
        data = server.message([body, b"tail"])
        for start in range(0, len(data), piece):
            client.receive_data(data[start : start + piece])
        (event,) = client.events()
        assert event == MessageReceived((body, b"tail"))
        assert type(event.frames[0]) is (bytes if size <= SMALL_FRAME_BYTES else bytearray)


@pytest.mark.parametrize("has_large_pages", [True, False])
def test_a_message_is_received_whole_wherever_there_is_memory_for_it(monkeypatch, has_large_pages):
    asked = []

    def take(*arguments, **options):
        asked.append(arguments)
        if not has_large_pages:
            raise OSError(errno.ENOMEM, "no memory")
        return mmap.mmap(*arguments, **options)

    monkeypatch.setattr(zmtp, "mmap", SimpleNamespace(**{**vars(mmap), "mmap": take}))
    client = connected()
    sizes = [6 << 20, 6 << 20, 6 << 20, (2 << 20) + 1, 100_000, 3]
    bodies = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    for _ in range(2):
        client.receive_data(server.message(bodies))
    events = client.events()
    assert events == [MessageReceived(tuple(bodies))] * 2
    assert len(asked) == (4 if sys.platform == "linux" else 0)  # what is large, beyond the first 16 MiB


def test_large_frame_is_received_into_the_buffer_that_is_handed_out():
    client = connected()
    client.receive_data(server.long_header(0, 1 << 20) + b"abc")
    buffer = client.receive_buffer()
    assert len(buffer) == (1 << 20) - 3
    buffer[:] = b"z" * len(buffer)
    client.buffer_filled(len(buffer))
    (event,) = client.events()
    assert event.frames[0] is buffer.obj
    assert event.frames[0] == b"abc" + b"z" * ((1 << 20) - 3)


def test_long_size_for_a_short_frame_is_accepted():
    client = connected()
    client.receive_data(server.long_header(0, 3) + b"abc")
    assert client.events() == [MessageReceived((b"abc",))]


def test_commands_between_the_frames_of_a_message_are_accepted():
    client = connected()
    client.receive_data(b"\x01\x01a" + server.PING + encode_command(b"NEWS", b"x") + b"\x00\x01b")
    assert client.events() == [PingReceived(5000), MessageReceived((b"a", b"b"))]


def test_buffer_filled_beyond_the_buffer_is_a_mistake_of_the_caller():
    client = connected()
    with pytest.raises(ValueError, match="do not fit"):
        client.buffer_filled(len(client.receive_buffer()) + 1)
    client.receive_data(server.long_header(0, 100_000))
    with pytest.raises(ValueError, match="do not fit"):
        client.buffer_filled(100_001)
    with pytest.raises(ValueError, match="do not fit"):
        client.buffer_filled(-1)


STREAM = (
    server.plain_handshake()
    + server.message([b"one"])
    + server.PING
    + server.message([b"", b"x" * 255, b"y" * 256, b""])
    + encode_command(b"PONG", b"ctx")
    + server.long_header(MORE, 2)
    + b"ab"
    + encode_command(b"PING", b"\0\0" + b"c" * 16)
    + server.message([b"end"])
)
ENDINGS = {
    "open": b"",
    "refused": server.error(b"300") + b"more",
    "reserved": b"\x08\x00",
    "oversize": server.long_header(0, 1 << 62),
}


def outcome(pieces):
    """Everything that can be seen of a client that is fed ``pieces``."""
    client = ZmtpClient(username="u", password="p")
    events, failure = [], None
    for piece in pieces:
        try:
            client.receive_data(piece)
        except ProtocolError as error:
            failure = (error.code, error.detail)
            events += client.events()
            break
        events += client.events()
    return events, failure, take(client), client.is_connected, client.buffered_bytes


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_any_split_in_two_gives_the_same_outcome(ending):
    data = STREAM + ending
    whole = outcome([data])
    assert len(whole[0]) >= 7
    for cut in range(len(data) + 1):
        assert outcome([data[:cut], data[cut:]]) == whole
    assert outcome([bytes((octet,)) for octet in data]) == whole


@given(st.lists(st.integers(0, len(STREAM)), max_size=40), st.sampled_from(sorted(ENDINGS)))
@settings(max_examples=150, deadline=None)
def test_any_split_gives_the_same_outcome(cuts, ending):
    data = STREAM + ENDINGS[ending]
    edges = [0, *sorted(cuts), len(data)]
    assert outcome([data[a:b] for a, b in itertools.pairwise(edges)]) == outcome([data])


@given(st.lists(st.lists(st.binary(max_size=600), min_size=1, max_size=5), max_size=5), st.integers(1, 700))
@settings(max_examples=100, deadline=None)
def test_what_is_sent_is_what_is_received(messages, piece):
    sender, receiver = connected(), connected()
    for frames in messages:
        sender.send_message(frames)
    data = take(sender)
    assert data == b"".join(map(server.message, messages))
    for start in range(0, len(data), piece):
        receiver.receive_data(data[start : start + piece])
    assert receiver.events() == [MessageReceived(tuple(frames)) for frames in messages]


# Messages out


def test_sent_frames_use_the_short_size_up_to_255():
    client = connected()
    client.send_message([b"", b"a" * 255, b"b" * 256])
    assert (
        take(client)
        == b"\x01\x00" + b"\x01\xff" + b"a" * 255 + b"\x02" + (256).to_bytes(8, "big") + b"b" * 256
    )


def test_large_bodies_are_queued_without_a_copy_and_small_ones_joined():
    client = connected()
    large = bytearray(b"L" * 100_000)
    client.send_message([b"head", large, memoryview(large)[10:50_010], b"tail"])
    views = client.data_to_send()
    assert [len(view) for view in views] == [2 + 4 + 9, 100_000, 9, 50_000, 2 + 4]
    assert views[1].obj is large
    assert views[3].obj is large
    assert client.pending_bytes == sum(map(len, views))


def test_data_to_send_is_bounded_and_stays_until_it_is_sent():
    client = connected()
    body = bytes(range(256)) * 400
    client.send_message([body])
    sent = b""
    while client.pending_bytes:
        views = client.data_to_send(1000)
        assert 0 < sum(map(len, views)) <= 1000
        assert b"".join(client.data_to_send(1000)) == b"".join(views)
        sent += b"".join(views)[:777]
        client.data_sent(min(777, sum(map(len, views))))
    assert sent == server.message([body])
    with pytest.raises(ValueError, match="were queued"):
        client.data_sent(1)


def test_buffers_of_other_item_sizes_go_as_their_bytes():
    client = connected()
    client.send_message([memoryview(array.array("H", [1, 2, 3])), memoryview(array.array("H"))])
    assert take(client) == server.message([array.array("H", [1, 2, 3]).tobytes(), b""])


def test_buffer_that_is_not_contiguous_is_refused_before_anything_is_queued():
    client = connected()
    with pytest.raises(TypeError):
        client.send_message([b"first", memoryview(b"abcdef")[::2]])
    assert client.pending_bytes == 0


def test_send_needs_a_connection_and_a_frame():
    client = ZmtpClient()
    with pytest.raises(LinkError):
        client.send_message([b"x"])
    with pytest.raises(LinkError):
        client.send_ping()
    with pytest.raises(ProtocolError):
        connected().send_message([])


# Limits, at them and one beyond


def test_default_limits_at_and_beyond_by_header_alone():
    client = connected()
    client.receive_data(server.long_header(0, DEFAULT_MAX_FRAME_BYTES))
    assert client.buffered_bytes == DEFAULT_MAX_FRAME_BYTES
    with pytest.raises(TooLarge) as caught:
        connected().receive_data(server.long_header(0, DEFAULT_MAX_FRAME_BYTES + 1))
    assert f"{DEFAULT_MAX_FRAME_BYTES + 1} bytes, at most {DEFAULT_MAX_FRAME_BYTES}" in caught.value.detail
    assert DEFAULT_MAX_MESSAGE_BYTES == 1 << 30


@pytest.mark.parametrize(
    ("frames", "is_accepted"),
    [
        ([b"f" * 100], True),
        ([b"f" * 101], False),
        ([b""] * 8, True),
        ([b""] * 9, False),
        ([b"m" * 100, b"m" * 100, b"m" * 50], True),
        ([b"m" * 100, b"m" * 100, b"m" * 51], False),
    ],
)
def test_limits_hold_for_receiving_and_sending(frames, is_accepted):
    limits = {"max_frame_bytes": 100, "max_message_frames": 8, "max_message_bytes": 250}
    receiver, sender = connected(**limits), connected(**limits)
    data = server.message(frames)
    if is_accepted:
        receiver.receive_data(data * 3)
        assert receiver.events() == [MessageReceived(tuple(frames))] * 3
        sender.send_message(frames)
        assert take(sender) == data
    else:
        with pytest.raises(TooLarge):
            receiver.receive_data(data)
        with pytest.raises(TooLarge):
            sender.send_message(frames)
        assert sender.pending_bytes == 0


@pytest.mark.parametrize("size", [(1 << 31) - 1, 1 << 63, (1 << 64) - 1])
def test_huge_size_in_a_header_allocates_nothing(size):
    client = connected()
    with pytest.raises(TooLarge):
        client.receive_data(server.long_header(0, size))
    assert client.buffered_bytes == 0


def test_command_limit_at_and_beyond():
    name = b"\x04NEWS"
    client = connected()
    client.receive_data(
        server.long_header(COMMAND, MAX_COMMAND_BYTES) + name + bytes(MAX_COMMAND_BYTES - len(name))
    )
    client.receive_data(server.message([b"still here"]))
    assert client.events() == [MessageReceived((b"still here",))]
    with pytest.raises(TooLarge):
        client.receive_data(server.long_header(COMMAND, MAX_COMMAND_BYTES + 1))


# Heartbeats


@pytest.mark.parametrize("context", [b"", b"c", b"c" * 16])
def test_ping_is_answered_with_its_context(context):
    client = connected()
    client.receive_data(encode_command(b"PING", b"\x00\x0a" + context))
    assert client.events() == [PingReceived(1000)]
    assert client.pending_bytes > 0
    assert take(client) == encode_command(b"PONG", context)


@pytest.mark.parametrize("data", [b"PING", b"PING\x00", b"PING\x00\x00" + b"c" * 17, b"PONG" + b"c" * 17])
def test_malformed_heartbeat_is_refused(data):
    with pytest.raises(ProtocolError):
        connected().receive_data(encode_command(data[:4], data[4:]))


def test_flood_of_pings_queues_a_bounded_number_of_pongs():
    client = connected()
    for number in range(1000):
        client.receive_data(encode_command(b"PING", b"\0\0" + number.to_bytes(2, "big")))
    pongs = take(client)
    assert pongs == b"".join(
        encode_command(b"PONG", number.to_bytes(2, "big")) for number in range(984, 1000)
    )


def test_pong_never_lands_inside_a_message():
    client = connected()
    body = b"B" * 50_000
    client.send_message([b"a", body])
    client.data_sent(20_000)
    client.receive_data(server.PING)
    client.send_message([b"next"])
    assert (
        take(client)
        == (server.message([b"a", body]))[20_000:] + encode_command(b"PONG", b"") + b"\x00\x04next"
    )


def test_own_ping_and_its_pong():
    client = connected()
    assert client.send_ping(ttl_ms=1201, context=b"0123456789abcdef")
    assert take(client) == b"\x04\x17\x04PING\x00\x0d0123456789abcdef"
    client.receive_data(encode_command(b"PONG", b"0123456789abcdef"))
    assert client.events() == [PongReceived(b"0123456789abcdef")]


def test_pings_stop_while_four_are_unanswered():
    client = connected()
    assert [client.send_ping() for _ in range(6)] == [True] * 4 + [False] * 2
    client.receive_data(encode_command(b"PONG", b""))
    assert client.send_ping()


def test_zmtp_3_0_peer_is_not_pinged():
    client = ZmtpClient()
    client.receive_data(server.greeting(minor=0) + server.ready())
    take(client)
    assert not client.send_ping()
    assert client.pending_bytes == 0


def test_ping_arguments_at_their_limits_and_beyond():
    client = connected()
    assert client.send_ping(ttl_ms=MAX_PING_TTL_MS, context=b"c" * 16)
    for arguments in ({"ttl_ms": MAX_PING_TTL_MS + 1}, {"ttl_ms": -1}, {"context": b"c" * 17}):
        with pytest.raises(ValueError, match=r"ttl_ms|context"):
            client.send_ping(**arguments)
