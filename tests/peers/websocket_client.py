"""A WebSocket client: `direct ADDRESS`, `tunnel PROXY` (CONNECT), or `tls ADDRESS CHAIN KEY`."""

import socket
import ssl
import sys

from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

how, address, *files = sys.argv[1:]
host, port = address.split(":")


def open_one(path="/updates"):
    options = {"subprotocols": ["orders.v1"], "max_size": None, "proxy": None}
    forged = {"X-Spiffe-Id": "spiffe://prod.example/forged", "X_Spiffe_Id": "spiffe://prod.example/forged"}
    options["additional_headers"] = forged
    if how == "tunnel":
        return connect(f"ws://orders.example{path}", **{**options, "proxy": f"http://{address}"})
    plain = socket.create_connection((host, int(port)))
    if how == "direct":
        return connect(f"ws://orders.example{path}", sock=plain, **options)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(*files)
    context.set_alpn_protocols(["http/1.1"])
    return connect(f"wss://orders.example{path}", sock=plain, ssl=context, **options)


with open_one() as connection:
    assert connection.subprotocol == "orders.v1", connection.subprotocol
    hello = connection.recv(timeout=20)
    assert hello == "hello spiffe://prod.example/ns/web/sa/frontend", hello
    for message in ["text, \u00c4pfel", "", b"\x00\xff binary", b"", bytes(range(256)) * 20_000, "x" * 300_000]:
        connection.send(message)
        assert connection.recv(timeout=20) == message
    connection.send(iter([b"in ", b"several ", b"frames"]))
    assert connection.recv(timeout=20) == b"in several frames"
    assert connection.ping(b"still there?").wait(20)
    connection.close(4000, "all said")
print("well: talk")

with open_one() as connection:
    connection.recv(timeout=20)
    connection.send("close")
    try:
        connection.recv(timeout=20)
        raise AssertionError("not closed")
    except ConnectionClosedError as closed:
        assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you wish"), closed
print("well: close")

try:
    open_one("/admin/updates")
    raise AssertionError("not refused")
except InvalidStatus as refused:
    assert refused.response.status_code == 403, refused
    assert refused.response.headers["content-type"] == "application/problem+json", refused.response.headers
print("well: denied")
