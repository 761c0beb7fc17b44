"""A gRPC service of generic handlers: bytes in, bytes out, so that nobody needs protoc."""

import itertools
import sys
import threading
from concurrent import futures

import grpc


def caller(context):
    return dict(context.invocation_metadata())


def answer(request, context):
    """Says who called, and what followed the request on its way."""
    context.send_initial_metadata((("x-early", "before"),))
    context.set_trailing_metadata((("x-late", "after"), ("x-late-bin", b"\x00\xff,")))
    told = caller(context)
    return b"\n".join([request, told["x-spiffe-id"].encode(), told["x-token-bin"], told["via"].encode()])


def echo(request, context):
    return request


def refuse(request, context):
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x09\x00\xffdetails"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such order: \u00c4pfel & 100%")


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def join(requests, context):
    return b"+".join(requests)


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def wait(request, context):
    """Answers when it is too late, or not at all."""
    ended = threading.Event()
    context.add_callback(ended.set)
    left = context.time_remaining()
    print("waiting", request.decode(), "with a deadline" if left is not None and left < 100 else "without one")
    ended.wait(30)
    print("gave up", request.decode())
    return b"too late"


def endless(request, context):
    context.add_callback(lambda: print("nobody listens"))
    for number in itertools.count():
        yield b"%d" % number


ORDERS = {
    "Answer": grpc.unary_unary_rpc_method_handler(answer),
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler("shop.Orders", ORDERS),
        grpc.method_handlers_generic_handler("shop.Admin", {"Drop": ORDERS["Echo"]}),
    )
)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening on 127.0.0.1:{port}")
sys.stdin.read()  # until the test is over
server.stop(0)
