"""A gRPC client: `ADDRESS`, or `ADDRESS ROOT CHAIN KEY` for mutual TLS; then the names of what to try. Says what went well, fails with the first that did not."""

import queue
import sys

import grpc

OPTIONS = [
    ("grpc.ssl_target_name_override", "orders.example"),
    ("grpc.default_authority", "orders.example"),
    ("grpc.enable_http_proxy", 0),
]


def channel_to(address, *files):
    if not files:
        return grpc.insecure_channel(address, OPTIONS)
    root, chain, key = (open(file, "rb").read() for file in files)
    credentials = grpc.ssl_channel_credentials(root_certificates=root, private_key=key, certificate_chain=chain)
    return grpc.secure_channel(address, credentials, OPTIONS)


def fails(call, code):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError(f"no {code}")


def unary(channel):
    call = channel.unary_unary("/shop.Orders/Answer")
    metadata = (("x-token-bin", b"\x01\xfe"), ("x-spiffe-id", "spiffe://prod.example/forged"))
    answer, told = call.with_call(b"order 5", metadata=metadata, timeout=20)
    order, caller, token, via = answer.split(b"\n")
    assert order == b"order 5", answer
    assert caller == b"spiffe://prod.example/ns/web/sa/frontend", answer
    assert token == b"\x01\xfe", answer
    assert b"2 svidgate" in via, answer
    assert dict(told.initial_metadata())["x-early"] == "before", told.initial_metadata()
    late = dict(told.trailing_metadata())
    assert late["x-late"] == "after" and late["x-late-bin"] == b"\x00\xff,", late


def large(channel):
    message = bytes(range(256)) * 12_000  # 3 MB: many windows of HTTP/2
    echo = channel.unary_unary("/shop.Orders/Echo")
    assert echo(message, timeout=20) == message
    assert echo(b"z" * 1_000_000, timeout=20, compression=grpc.Compression.Gzip) == b"z" * 1_000_000
    assert echo(b"", timeout=20) == b""


def many(channel):
    echo = channel.unary_unary("/shop.Orders/Echo")
    calls = [(b"%d" % number, echo.future(b"%d" % number, timeout=20)) for number in range(400)]
    for message, call in calls:
        assert call.result() == message


def server_streaming(channel):
    numbers = list(channel.unary_stream("/shop.Orders/Count")(b"1000", timeout=20))
    assert numbers == [b"%d" % number for number in range(1000)], numbers[:5]
    assert list(channel.unary_stream("/shop.Orders/Count")(b"0", timeout=20)) == []


def client_streaming(channel):
    parts = [b"%d" % number for number in range(1000)]
    assert channel.stream_unary("/shop.Orders/Join")(iter(parts), timeout=20) == b"+".join(parts)


def bidirectional(channel):
    """Each message goes out only when the one before it was answered: whoever holds back would stop it."""
    says = queue.Queue()
    answers = channel.stream_stream("/shop.Orders/Chat")(iter(says.get, None), timeout=20)
    for number in range(100):
        says.put(b"%d" % number)
        assert next(answers) == b"re: %d" % number
    says.put(None)
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def status(channel):
    error = fails(lambda: channel.unary_unary("/shop.Orders/Refuse")(b"", timeout=20), grpc.StatusCode.FAILED_PRECONDITION)
    assert error.details() == "no such order: \u00c4pfel & 100%", error.details()
    assert dict(error.trailing_metadata())["grpc-status-details-bin"] == b"\x08\x09\x00\xffdetails"
    fails(lambda: channel.unary_unary("/shop.Orders/Unknown")(b"", timeout=20), grpc.StatusCode.UNIMPLEMENTED)


def deadline(channel):
    wait = channel.unary_unary("/shop.Orders/Wait")
    fails(lambda: wait(b"for the deadline", timeout=0.7), grpc.StatusCode.DEADLINE_EXCEEDED)


def cancel(channel):
    """The service hears of it: the test looks for its word."""
    answers = channel.unary_stream("/shop.Orders/Endless")(b"")
    assert next(answers) == b"0"
    answers.cancel()
    fails(lambda: list(answers), grpc.StatusCode.CANCELLED)


def denied(channel):
    drop = channel.unary_unary("/shop.Admin/Drop")
    error = fails(lambda: drop(b"everything", timeout=20), grpc.StatusCode.PERMISSION_DENIED)
    assert error.details().startswith("denied, svidgate-id "), error.details()
    chat = channel.stream_stream("/shop.Admin/Chat")
    fails(lambda: list(chat(iter([b"a", b"b"]), timeout=20)), grpc.StatusCode.PERMISSION_DENIED)


def unavailable(channel):
    error = fails(lambda: channel.unary_unary("/shop.Orders/Echo")(b"", timeout=20), grpc.StatusCode.UNAVAILABLE)
    assert error.details().startswith("upstream_failed, svidgate-id "), error.details()


def no_route(channel):
    error = fails(lambda: channel.unary_unary("/shop.Orders/Echo")(b"", timeout=20), grpc.StatusCode.PERMISSION_DENIED)
    assert error.details().startswith("no_route, svidgate-id "), error.details()


address, *rest = sys.argv[1:]
files, names = ([], rest) if rest[0] in globals() else (rest[:3], rest[3:])
with channel_to(address, *files) as channel:
    for name in names:
        globals()[name](channel)
        print("well:", name)
