"""Holds a server against RFC 6455, with two other implementations: wsproto's and websockets'.

python conformance.py HOST:PORT

Prints a line a case, "ok NAME" or what was wrong. The server takes messages of 100,000 bytes at most, and answers text
that is no JSON with "Message from Server: TEXT, task_id: N".
"""

import os
import socket
import struct
import sys

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from wsproto.frame_protocol import FrameProtocol

HOST, PORT = sys.argv[1].rsplit(":", 1)
LIMIT = 100_000
TEXT, BINARY, CONTINUE, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
    """A frame as it goes over the wire, also one that must not be."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = 128 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Peer:
    """A client that sends what it is told to, and takes apart what comes."""

    def __init__(self):
        self.stream = socket.create_connection((HOST, int(PORT)), 60)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.stream.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.protocol = FrameProtocol(client=True, extensions=[])
        self.came = []
        self.is_whole = True

    def send(self, sent, chunk):
        chunk = chunk or len(sent)
        for start in range(0, len(sent), chunk):
            self.stream.sendall(sent[start : start + chunk])

    def hear(self):
        """Takes what comes next; False at the end. A reset is an error: what the server says last has to arrive."""
        part = self.stream.recv(65536)
        self.protocol.receive_bytes(part)
        for received in self.protocol.received_frames() if part else ():
            if self.is_whole:
                self.came.append((int(received.opcode), received.payload))
            else:
                self.came[-1] = (self.came[-1][0], self.came[-1][1] + received.payload)
            self.is_whole = received.message_finished
        return bool(part)


def talk(sent, count=None, chunk=None):
    """Sends these bytes, closes after so many answers, and gives all that came as [(opcode, payload)]."""
    peer = Peer()
    try:
        peer.send(sent, chunk)
    except OSError:
        pass  # The server has had enough already, and says so.
    is_closed = count is None
    while True:
        if not is_closed and len(texts(peer.came)) >= count:
            is_closed = True
            peer.send(close(1000), None)
        if not peer.hear():
            peer.stream.close()
            return peer.came


def texts(came):
    return [payload for opcode, payload in came if opcode == TEXT]


def code(came):
    last = came[-1] if came else (None, None)
    return int(last[1][0]) if last[0] == CLOSE else None


def answered(*messages):
    """What the server answers to these, without the numbers of the tasks."""
    return [f"Message from Server: {message}" for message in messages]


def heads(came):
    return [text.rsplit(", task_id: ", 1)[0] for text in texts(came)]


failures = 0


def case(name, is_right, came):
    global failures
    failures += not is_right
    print(f"ok {name}" if is_right else f"WRONG {name}: {came!r:.300}")


def fails(name, sent, expected):
    """The server closes with this code and does nothing else."""
    came = talk(sent)
    case(name, code(came) == expected and not texts(came), came)


def echoes(name, sent, *messages, chunk=None):
    """The server answers these messages, and closes when asked."""
    came = talk(sent, len(messages), chunk)
    case(name, heads(came) == answered(*messages) and code(came) == 1000, came)


def framing():
    echoes("a text", frame(TEXT, "hello"), "hello")
    echoes("a binary message", frame(BINARY, "hello"), "hello")
    echoes("an empty text", frame(TEXT), "")
    for size in (125, 126, 127, 128, 65535, 65536, 65537):
        echoes(f"a text of {size}", frame(TEXT, "x" * size), "x" * size)
    echoes("a text octet by octet", frame(TEXT, "octets"), "octets", chunk=1)
    echoes("two texts in one segment", frame(TEXT, "a") + frame(TEXT, "b"), "a", "b")
    fails("an unmasked frame", frame(TEXT, "x", masked=False), 1002)
    for rsv in range(1, 8):
        fails(f"reserved bits {rsv}", frame(TEXT, "x", rsv=rsv), 1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        fails(f"opcode {opcode}", frame(opcode, "x"), 1002)
    fails("a length with its highest bit", frame(BINARY, b"", length=1 << 63), 1009)


def control():
    for size in (0, 1, 125):
        came = talk(frame(PING, b"p" * size) + frame(TEXT, "x"), 1)
        case(f"a ping of {size}", [bytes(p) for o, p in came if o == PONG] == [b"p" * size], came)
    fails("a ping of 126", frame(PING, b"p" * 126), 1002)
    fails("a ping in fragments", frame(PING, b"p", fin=False), 1002)
    fails("a close in fragments", frame(CLOSE, b"", fin=False), 1002)
    fails("a close of 126", frame(CLOSE, struct.pack("!H", 1000) + b"r" * 124), 1002)
    echoes("a pong that nobody asked for", frame(PONG, b"well") + frame(TEXT, "x"), "x")


def fragments():
    parts = frame(TEXT, "frag", fin=False) + frame(CONTINUE, "men", fin=False) + frame(CONTINUE, "ted")
    echoes("three fragments", parts, "fragmented")
    echoes("three fragments octet by octet", parts, "fragmented", chunk=1)
    echoes("empty fragments", frame(TEXT, fin=False) + frame(CONTINUE, fin=False) + frame(CONTINUE), "")
    between = frame(TEXT, "a", fin=False) + frame(PING, b"now") + frame(CONTINUE, "b")
    echoes("a ping between fragments", between, "ab")
    came = talk(between, 1)
    case("a ping between fragments, ponged", [o for o, _ in came][:1] == [PONG], came)
    many = frame(TEXT, "", fin=False) + frame(CONTINUE, "x", fin=False) * 1000 + frame(CONTINUE)
    echoes("a thousand fragments", many, "x" * 1000)
    fails("a continuation of nothing", frame(CONTINUE, "x"), 1002)
    fails("a continuation of nothing that goes on", frame(CONTINUE, "x", fin=False), 1002)
    fails("a text within a text", frame(TEXT, "a", fin=False) + frame(TEXT, "b"), 1002)


def utf8():
    for text in ("κόσμε", "🌍", "\x00", "\U0010ffff", "\ufffe"):
        echoes(f"UTF-8 {text!r}", frame(TEXT, text), text)
    world = "🌍".encode()
    for cut in range(1, 4):
        halves = frame(TEXT, world[:cut], fin=False) + frame(CONTINUE, world[cut:])
        echoes(f"UTF-8 cut at {cut}", halves, "🌍")
    for wrong in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\x80", b"\xf0\x9f\x8c"):
        fails(f"no UTF-8 {wrong!r}", frame(TEXT, wrong), 1007)
    fails("no UTF-8 in fragments", frame(TEXT, b"\xf0\x9f", fin=False) + frame(CONTINUE, b"x"), 1007)
    came = talk(frame(BINARY, b"\xff\xfe"), 1)
    case("a binary message need not be UTF-8", len(texts(came)) == 1, came)


def closing():
    came = talk(frame(CLOSE))
    case("a close without a code", came and came[-1][0] == CLOSE, came)
    for good in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        came = talk(close(good, b"reason"))
        case(f"a close with {good}", code(came) == good, came)
    for wrong in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        fails(f"a close with {wrong}", close(wrong), 1002)
    fails("a close with half a code", frame(CLOSE, b"\x03"), 1002)
    fails("a close with a reason that is no UTF-8", close(1000, b"\xff"), 1007)
    came = talk(close(1000) + frame(TEXT, "too late") + frame(PING, b"too late"))
    case("nothing after a close counts", code(came) == 1000 and len(came) == 1, came)


def limits():
    echoes("a text of the limit", frame(TEXT, "x" * LIMIT), "x" * LIMIT)
    fails("a text beyond the limit", frame(TEXT, "x" * (LIMIT + 1)), 1009)
    fails("a text that announces too much", frame(TEXT, b"", length=1 << 40), 1009)
    half = "x" * (LIMIT // 2 + 1)
    fails("fragments beyond the limit", frame(TEXT, half, fin=False) + frame(CONTINUE, half), 1009)


def proper_client():
    """A whole implementation at the other end, which offers compression as browsers do."""
    with connect(f"ws://{HOST}:{PORT}/", max_size=None) as peer:
        case("compression is declined", not peer.protocol.extensions, peer.protocol.extensions)
        for number in range(100):
            peer.send(f"message {number}")
        came = [peer.recv().rsplit(", task_id: ", 1)[0] for _ in range(100)]
        case("a hundred messages in their order", came == answered(*(f"message {n}" for n in range(100))), came)
        peer.send(["in ", "fragments"])
        came = peer.recv()
        case("fragments of a proper client", came.startswith("Message from Server: in fragments"), came)
        case("a ping of a proper client", peer.ping().wait(60), None)
    case("the closing handshake of a proper client", peer.close_code == 1000, peer.close_code)
    with connect(f"ws://{HOST}:{PORT}/", compression=None) as peer:
        peer.send("x" * (LIMIT + 1))
        try:
            peer.recv()
        except ConnectionClosedError as error:
            case("a proper client hears 1009", error.rcvd and error.rcvd.code == 1009, error)
        else:
            case("a proper client hears 1009", False, "an answer")
    with connect(f"ws://{HOST}:{PORT}/", subprotocols=["think", "other"]) as peer:
        case("the subprotocol", peer.subprotocol == "think", peer.subprotocol)


for part in (framing, control, fragments, utf8, closing, limits, proper_client):
    part()
sys.exit(failures > 0)
