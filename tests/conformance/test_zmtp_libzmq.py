"""ZmtpClient and SocketTransport against the reference, libzmq, over TCP and Unix sockets, both directions.

Nothing waits for a time to pass: every wait is for a socket, with ``PATIENCE_S`` as the point where the test fails.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import selectors
import socket
import threading

import pytest
import zmq
import zmq.auth
from tests.protocol import zmtp_server_bytes as server
from zmq.auth.thread import ThreadAuthenticator

from overpaint_client.transports.base import Transport
from overpaint_client.transports.sockets import SocketTransport
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.errors import LinkError, LinkRefused, ProtocolError, TooLarge, UnsupportedVersion
from overpaint_protocol.framing import MAX_FRAMES
from overpaint_protocol.zmtp import ZmtpClient
from overpaint_protocol.zmtp_events import (
    Closed,
    Connected,
    MessageReceived,
    PingReceived,
    PongReceived,
    Refused,
)
from overpaint_protocol.zmtp_frames import encode_command

PATIENCE_S = 30
MIB = 1 << 20


class Router:
    """A libzmq ROUTER (or another type) listening on an endpoint of its own."""

    def __init__(self, address: str, socket_type: int = zmq.ROUTER, **options: object) -> None:
        self.context = zmq.Context()
        self.authenticator: ThreadAuthenticator | None = None
        if "plain_passwords" in options:
            self.authenticator = ThreadAuthenticator(self.context)
            self.authenticator.start()
            self.authenticator.configure_plain(domain="overpaint", passwords=options.pop("plain_passwords"))
            options |= {"plain_server": 1, "zap_domain": b"overpaint"}
        self.socket = self.context.socket(socket_type)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
        self.socket.set(zmq.SNDTIMEO, PATIENCE_S * 1000)
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.bind(address)
        self.endpoint = Endpoint.parse(self.socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def close(self) -> None:
        self.socket.close()
        if self.authenticator is not None:
            self.authenticator.stop()
        self.context.term()


@pytest.fixture(params=["tcp", "ipc"])
def address(request, tmp_path):
    return "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/z.sock"


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def router(address, stack):
    def start(**options):
        return stack.enter_context(contextlib.closing(Router(address, **options)))

    return start


@pytest.fixture
def connect(stack):
    def start(endpoint, *credentials):
        return stack.enter_context(contextlib.closing(SocketTransport.open(endpoint, *credentials)))

    return start


def drive(transport: Transport, is_enough) -> list:
    """Turn the transport's loop until ``is_enough(events)`` or ``Closed``; returns all events."""
    events: list = []
    with selectors.DefaultSelector() as selector:
        selector.register(transport.fileno(), selectors.EVENT_READ)
        while not is_enough(events) and not any(isinstance(event, Closed) for event in events):
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if transport.wants_write() else 0)
            selector.modify(transport.fileno(), wanted)
            ready = selector.select(PATIENCE_S)
            assert ready, f"nothing happened for {PATIENCE_S} s after {events!r:.500}"
            if ready[0][1] & selectors.EVENT_WRITE:
                events += transport.handle_writable()
            if ready[0][1] & selectors.EVENT_READ:
                events += transport.handle_readable()
    return events


def drive_to(transport: Transport, kind: type):
    """Turn until an event of ``kind``, which must be the last, and return it."""
    events = drive(transport, lambda events: any(isinstance(event, kind) for event in events))
    assert isinstance(events[-1], kind), events
    return events[-1]


def flush(transport: Transport) -> None:
    drive(transport, lambda _: not transport.wants_write())


# libzmq as the server


def test_null_round_trip_of_every_frame_size(router, connect):
    peer = router()
    transport = connect(peer.endpoint)
    assert drive_to(transport, Connected) == Connected("ROUTER", (3, 1))
    frames = [b"", b"a" * 255, b"b" * 256, b"", bytes(range(256)) * 256, b"c" * 65537, b"d" * (8 * MIB), b""]
    transport.send(frames)
    flush(transport)
    identity, *received = peer.socket.recv_multipart()
    assert received == frames
    peer.socket.send_multipart([identity, *received])
    assert drive_to(transport, MessageReceived).frames == tuple(frames)


@pytest.mark.parametrize("frames", [[b""], [b"", b""], [b"x"], [b""] * 512])
def test_messages_of_empty_frames_keep_their_boundaries(router, connect, frames):
    peer = router()
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send(frames)
    transport.send([b"end"])
    flush(transport)
    identity, *received = peer.socket.recv_multipart()
    assert received == frames
    assert peer.socket.recv_multipart()[1:] == [b"end"]
    peer.socket.send_multipart([identity, *frames])
    assert drive_to(transport, MessageReceived).frames == tuple(frames)


def test_64_mib_in_bands_of_4_mib_both_ways(router, connect):
    peer = router()
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    bands = [bytes((number,)) * (4 * MIB) for number in range(16)]
    echoed: list = []

    def echo():
        message = peer.socket.recv_multipart(copy=False)
        echoed.extend(frame.bytes for frame in message[1:])
        peer.socket.send_multipart(message, copy=False)

    thread = threading.Thread(target=echo)
    thread.start()
    transport.send(bands)
    assert transport.pending_bytes() >= 64 * MIB
    received = drive_to(transport, MessageReceived).frames
    thread.join()
    assert echoed == bands
    assert list(received) == bands
    assert transport.pending_bytes() == 0


def test_handlers_do_a_bounded_amount_of_work_per_call(router, connect):
    peer = router()
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send([bytes(8 * MIB)])
    while transport.wants_write():
        before = transport.pending_bytes()
        transport.handle_writable()
        assert before - transport.pending_bytes() <= MIB


def test_flood_of_tiny_messages_comes_in_bounded_portions(router, connect):
    peer = router(sndhwm=0)
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send([b"go"])
    flush(transport)
    identity = peer.socket.recv_multipart()[0]
    for _ in range(100_000):
        peer.socket.send_multipart([identity, b""])
    count = 0
    while count < 100_000:
        portion = drive(transport, lambda events: bool(events))
        assert len(portion) <= 1024 + 32 * 1024  # what one stage of 64 KiB can hold, at most, on top
        count += len(portion)
    assert count == 100_000


def test_plain_with_the_right_token_connects(router, connect):
    peer = router(plain_passwords={"overpaint": "right"})
    transport = connect(peer.endpoint, "overpaint", "right")
    assert drive_to(transport, Connected) == Connected("ROUTER", (3, 1))
    transport.send([b"hello"])
    flush(transport)
    assert peer.socket.recv_multipart()[1:] == [b"hello"]


@pytest.mark.parametrize(
    "credentials", [("overpaint", "wrong"), ("somebody", "right"), ("", ""), ("o" * 255, "w" * 255)]
)
def test_plain_with_a_wrong_token_is_refused_with_libzmqs_400(router, connect, credentials):
    peer = router(plain_passwords={"overpaint": "right"})
    transport = connect(peer.endpoint, *credentials)
    assert drive(transport, lambda _: False) == [Refused("400"), Closed(None)]
    assert not transport.wants_write()
    with pytest.raises(LinkError):
        transport.send([b"x"])


@pytest.mark.parametrize(
    ("credentials", "passwords"), [((), {"overpaint": "right"}), (("overpaint", "right"), None)]
)
def test_mechanism_mismatch_is_a_protocol_error(router, connect, credentials, passwords):
    peer = router(plain_passwords=passwords) if passwords else router()
    transport = connect(peer.endpoint, *credentials)
    (closed,) = drive(transport, lambda _: False)
    assert isinstance(closed.error, ProtocolError | LinkError)


def test_wrong_socket_type_is_refused(router, connect):
    transport = connect(router(socket_type=zmq.PUB).endpoint)
    (closed,) = drive(transport, lambda _: False)
    assert closed.error is not None


@pytest.mark.parametrize("socket_type", [zmq.DEALER, zmq.REP])
def test_other_legal_socket_types_are_accepted(router, connect, socket_type):
    peer = router(socket_type=socket_type)
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send([b"", b"question"])
    flush(transport)
    question = peer.socket.recv_multipart()
    peer.socket.send_multipart(question)
    assert drive_to(transport, MessageReceived).frames == (b"", b"question")


def test_libzmqs_heartbeats_are_answered(router, connect):
    # Twenty intervals are more than the timeout: without PONG libzmq would hang up before (see the next test).
    peer = router(heartbeat_ivl=100, heartbeat_timeout=1500, heartbeat_ttl=5000)
    transport = connect(peer.endpoint)
    events = drive(transport, lambda events: len(events) > 20)
    assert events[0] == Connected("ROUTER", (3, 1))
    assert events[1:] == [PingReceived(5000)] * 20
    transport.send([b"alive"])
    flush(transport)
    assert peer.socket.recv_multipart()[1:] == [b"alive"]


def test_libzmq_hangs_up_on_a_client_that_does_not_answer(router, connect):
    """The counterpart: shows that the heartbeats of the test above depend on our PONG."""
    peer = router(heartbeat_ivl=50, heartbeat_timeout=200)
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    flush(transport)
    events: list = []
    with selectors.DefaultSelector() as selector:
        selector.register(transport.fileno(), selectors.EVENT_READ)
        while not events or not isinstance(events[-1], Closed):
            assert selector.select(PATIENCE_S)
            events += transport.handle_readable()
    assert PingReceived(0) in events


def test_libzmq_answers_our_pings(router, connect):
    peer = router()
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    assert transport.ping()
    assert drive_to(transport, PongReceived) == PongReceived(b"")


@pytest.mark.parametrize("context", [b"", b"c", b"0123456789abcdef"])
def test_libzmq_echoes_the_context_and_takes_our_longest_ttl(router, stack, context):
    peer = router()
    client = ZmtpClient()
    transport = stack.enter_context(
        contextlib.closing(SocketTransport(raw_connection(peer.endpoint), client))
    )
    drive_to(transport, Connected)
    for _ in range(3):
        assert client.send_ping(ttl_ms=65_500, context=context)
        assert drive_to(transport, PongReceived) == PongReceived(context)


def test_libzmq_takes_a_pong_between_our_messages(router, connect):
    peer = router(heartbeat_ivl=20, heartbeat_timeout=5000)
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    for _ in range(5):
        transport.send([b"head", bytes(100_000), b"tail"])
        drive_to(transport, PingReceived)
    flush(transport)
    for _ in range(5):
        assert [len(frame) for frame in peer.socket.recv_multipart()[1:]] == [4, 100_000, 4]


def test_peer_that_disappears_is_reported_once(router, connect):
    peer = router()
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send([b"hello"])
    flush(transport)
    assert peer.socket.recv_multipart()[1:] == [b"hello"]  # nothing unread is left, which would make a reset
    peer.socket.close()
    assert drive(transport, lambda _: False) == [Closed(None)]
    assert transport.handle_readable() == []
    assert transport.handle_writable() == []
    assert not transport.wants_write()


def test_frame_over_the_servers_maxmsgsize_costs_the_connection(router, connect):
    peer = router(maxmsgsize=MIB)
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send([bytes(MIB), bytes(MIB)])
    flush(transport)
    assert [len(frame) for frame in peer.socket.recv_multipart()[1:]] == [MIB, MIB]
    transport.send([bytes(MIB + 1)])
    closed = drive_to(transport, Closed)
    assert closed.error is None or isinstance(closed.error, LinkError)


def test_frame_over_our_limit_costs_the_connection(router, connect):
    peer = router()
    transport = connect(peer.endpoint)
    drive_to(transport, Connected)
    transport.send([b"go"])
    flush(transport)
    identity = peer.socket.recv_multipart()[0]
    peer.socket.send_multipart([identity, b"head", bytes(8 * MIB + 1)])
    assert isinstance(drive_to(transport, Closed).error, TooLarge)


# Connecting


def test_nothing_listening_is_link_refused(address, tmp_path, connect):
    if address.startswith("ipc"):
        with pytest.raises(LinkRefused):
            connect(Endpoint(kind="ipc", path=f"{tmp_path}/absent.sock"))
        return
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with pytest.raises(LinkRefused):  # raised at once or reported as Closed, as the system pleases
        raise drive_to(connect(Endpoint(kind="tcp", host="localhost", port=port)), Closed).error


def test_socket_file_without_a_listener_is_link_refused(tmp_path, connect):
    path = f"{tmp_path}/stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with pytest.raises(LinkRefused):
        connect(Endpoint(kind="ipc", path=path))


def test_full_queue_of_a_unix_listener_is_link_refused(tmp_path, connect):
    path = f"{tmp_path}/busy.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        connect(Endpoint(kind="ipc", path=path))
        with pytest.raises(LinkRefused):
            connect(Endpoint(kind="ipc", path=path))


def test_address_of_another_machine_is_refused_before_anything_is_sent(connect):
    with pytest.raises(LinkRefused):
        connect(Endpoint.parse("tcp://192.0.2.1:5555"), "overpaint", "token")


def test_no_descriptor_is_left_when_connecting_fails(tmp_path, connect):
    """Lowers the limit of open files instead of counting them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        for _ in range(300):
            with pytest.raises(LinkRefused):
                connect(Endpoint(kind="ipc", path=f"{tmp_path}/absent.sock"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Rogue servers


def raw_connection(endpoint: Endpoint) -> socket.socket:
    if endpoint.kind == "ipc":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(endpoint.path)
    else:
        sock = socket.create_connection((endpoint.host, endpoint.port))
    sock.setblocking(False)
    return sock


@pytest.fixture
def listener(address, stack, tmp_path):
    """A plain listening socket and its endpoint."""
    if address.startswith("ipc"):
        sock = stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(f"{tmp_path}/raw.sock")
        endpoint = Endpoint(kind="ipc", path=f"{tmp_path}/raw.sock")
    else:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=sock.getsockname()[1])
    sock.listen()
    sock.settimeout(PATIENCE_S)
    return sock, endpoint


def accept(listener, stack) -> socket.socket:
    peer, _ = listener.accept()
    peer.settimeout(PATIENCE_S)
    return stack.enter_context(peer)


ROGUES = {
    "http": (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", ProtocolError),
    "tls hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2, ProtocolError),
    "garbage": (bytes((number * 73 + 41) % 251 for number in range(5000)), ProtocolError),
    "endless greeting": (b"\xff" * 200_000, ProtocolError),
    "endless zeros after the greeting": (server.greeting() + bytes(200_000), ProtocolError),
    "ZMTP 1.0": (b"\x01\x00", ProtocolError),
    "ZMTP 2.0": (b"\xff" + bytes(7) + b"\x01\x7f\x01\x06" + b"\x00\x00", UnsupportedVersion),
    "wrong socket type": (server.greeting() + server.ready(b"PUB"), ProtocolError),
    "oversize header": (server.null_handshake() + server.long_header(0, 1 << 40), TooLarge),
    "endless message": (server.null_handshake() + b"\x01\x00" * (MAX_FRAMES + 1), TooLarge),
}


@pytest.mark.parametrize(("data", "error"), ROGUES.values(), ids=ROGUES.keys())
def test_rogue_server_is_dropped_with_a_documented_error(listener, connect, stack, data, error):
    sock, endpoint = listener
    transport = connect(endpoint)
    peer = accept(sock, stack)
    sender = threading.Thread(target=send_quietly, args=(peer, data))
    sender.start()
    events = drive(transport, lambda _: False)
    transport.close()
    sender.join()
    assert type(events[-1].error) is error
    assert all(isinstance(event, Connected) for event in events[:-1])


def send_quietly(peer: socket.socket, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        peer.sendall(data)


def test_server_that_stops_in_its_greeting_holds_nothing_and_ends_as_lost(listener, connect, stack):
    sock, endpoint = listener
    transport = connect(endpoint)
    peer = accept(sock, stack)
    for octet in server.greeting()[:63]:
        peer.send(bytes((octet,)))
    flush(transport)
    peer.close()
    (closed,) = drive(transport, lambda _: False)
    assert isinstance(closed.error, LinkError)


def test_reset_in_the_middle_of_sending_is_link_lost(listener, connect, stack):
    sock, endpoint = listener
    transport = connect(endpoint)
    peer = accept(sock, stack)
    peer.sendall(server.null_handshake())
    drive_to(transport, Connected)
    transport.send([bytes(8 * MIB)])
    transport.handle_writable()
    peer.close()  # with unread bytes: a reset
    closed = drive_to(transport, Closed)
    assert isinstance(closed.error, LinkError)
    assert closed.error.code == "link.lost"


def test_refusal_is_heard_even_if_sending_finds_the_peer_gone_first(listener, connect, stack):
    sock, endpoint = listener
    transport = connect(endpoint)
    peer = accept(sock, stack)
    flush(transport)
    peer.sendall(server.greeting() + server.ready())
    drive_to(transport, Connected)
    flush(transport)
    read_exactly(peer, 64 + 43)
    peer.sendall(server.error(b"300"))
    peer.close()
    transport.send([b"late"])
    events: list = []
    while transport.wants_write():
        events += transport.handle_writable()
        transport.send([b"later"]) if not events else None
    assert events == [Refused("300"), Closed(None)]


# libzmq as the client: what it sends and takes, compared byte for byte


def read_exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            raise OSError(errno.ECONNRESET, "closed early")
        data += piece
    return data


def without_padding(greeting: bytes) -> bytes:
    """Octets 1 to 8 carry no meaning (libzmq puts an old version's length there, we put zeros)."""
    return greeting[:1] + bytes(8) + greeting[9:]


MESSAGES = [[b"one"], [b"", b"x" * 255, b"y" * 256, b""], [b"large", bytes(range(256)) * 1000]]


@pytest.mark.parametrize("credentials", [(), ("overpaint", "token")], ids=["null", "plain"])
def test_our_bytes_equal_those_of_a_libzmq_dealer(listener, stack, credentials):
    """One scripted server talks to both; each must send the same bytes and take the server's."""
    sock, endpoint = listener
    steps = [(64, server.greeting(b"PLAIN" if credentials else b"NULL"))]
    ours = ZmtpClient(username=credentials[0], password=credentials[1]) if credentials else ZmtpClient()
    probe = ours.pending_bytes
    assert probe == 64
    if credentials:
        steps += [(2 + 6 + 1 + 9 + 1 + 5, server.WELCOME), (2 + 44, server.ready())]
    else:
        steps += [(2 + 41, server.ready())]

    context = stack.enter_context(zmq.Context())
    dealer = stack.enter_context(context.socket(zmq.DEALER))
    dealer.set(zmq.LINGER, 0)
    dealer.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
    if credentials:
        dealer.plain_username, dealer.plain_password = (text.encode() for text in credentials)
    dealer.connect(str(endpoint))
    peer = accept(sock, stack)

    transcript, expected = b"", b""
    for size, answer in steps:
        if size == 64:
            peer.sendall(answer)
            theirs, mine = without_padding(read_exactly(peer, 64)), without_padding(take(ours))
        else:
            theirs, mine = read_exactly(peer, size), take(ours)
            peer.sendall(answer)
        ours.receive_data(answer)
        transcript += theirs
        expected += mine
    assert transcript == expected
    assert ours.events() == [Connected("ROUTER", (3, 1))]

    for frames in MESSAGES:
        dealer.send_multipart(frames)
        ours.send_message(frames)
        mine = take(ours)
        assert read_exactly(peer, len(mine)) == mine
    peer.sendall(encode_command(b"PING", b"\0\0ctx") + server.message([b"from", b"server"]))
    ours.receive_data(encode_command(b"PING", b"\0\0ctx") + server.message([b"from", b"server"]))
    pong = take(ours)
    assert read_exactly(peer, len(pong)) == pong
    assert dealer.recv_multipart() == [b"from", b"server"]
    assert MessageReceived((b"from", b"server")) in ours.events()


def test_our_ping_equals_libzmqs(listener, stack):
    sock, endpoint = listener
    context = stack.enter_context(zmq.Context())
    dealer = stack.enter_context(context.socket(zmq.DEALER))
    dealer.set(zmq.LINGER, 0)
    dealer.heartbeat_ivl, dealer.heartbeat_ttl = 20, 5000
    dealer.connect(str(endpoint))
    peer = accept(sock, stack)
    peer.sendall(server.null_handshake())
    read_exactly(peer, 64 + 43)
    ours = ZmtpClient()
    ours.receive_data(server.null_handshake())
    take(ours)
    assert ours.send_ping(ttl_ms=5000)
    mine = take(ours)
    assert mine == server.PING
    assert read_exactly(peer, len(mine)) == mine


@pytest.mark.parametrize("credentials", [(), ("overpaint", "token")], ids=["null", "plain"])
def test_server_bytes_of_the_other_tests_equal_those_of_a_libzmq_router(router, stack, credentials):
    peer = router(plain_passwords={"overpaint": "token"}) if credentials else router()
    ours = ZmtpClient(username=credentials[0], password=credentials[1]) if credentials else ZmtpClient()
    sock = stack.enter_context(raw_connection(peer.endpoint))
    sock.settimeout(PATIENCE_S)
    heard = b""
    while not ours.is_connected:
        sock.sendall(take(ours))
        heard += (piece := sock.recv(4096))
        ours.receive_data(piece)
    assert heard == (server.plain_handshake() if credentials else server.null_handshake())
    sock.sendall(take(ours) + server.message([b"hello"]) + encode_command(b"PING", b"\0\0"))
    identity = peer.socket.recv_multipart()[0]
    pong = encode_command(b"PONG", b"")
    assert read_exactly(sock, len(pong)) == pong
    for frames in MESSAGES:
        peer.socket.send_multipart([identity, *frames])
        data = server.message(frames)
        assert read_exactly(sock, len(data)) == data


def test_error_bytes_of_the_other_tests_equal_those_of_a_libzmq_router(router, stack):
    peer = router(plain_passwords={"overpaint": "token"})
    ours = ZmtpClient(username="overpaint", password="wrong")
    sock = stack.enter_context(raw_connection(peer.endpoint))
    sock.settimeout(PATIENCE_S)
    sock.sendall(take(ours))
    ours.receive_data(read_exactly(sock, 64))
    sock.sendall(take(ours))
    expected = server.libzmq_plain_error(b"400")
    assert read_exactly(sock, len(expected)) == expected


def take(client: ZmtpClient) -> bytes:
    """Everything the client wants sent, marked as sent."""
    data = b""
    while views := client.data_to_send():
        data += b"".join(views)
        client.data_sent(sum(map(len, views)))
    return data
