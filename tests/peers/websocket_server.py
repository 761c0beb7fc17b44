"""A WebSocket service that echoes, and closes as it is told."""

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def converse(connection):
    caller = connection.request.headers["x-spiffe-id"]
    connection.send(f"hello {caller}")
    try:
        for message in connection:
            if message == "close":
                connection.close(4001, "as you wish")
                return
            connection.send(message)
    except ConnectionClosed:
        pass
    print("closed", connection.protocol.close_code, connection.protocol.close_reason)


with serve(converse, "127.0.0.1", 0, subprotocols=["orders.v1"], max_size=None) as server:
    host, port = server.socket.getsockname()
    print(f"listening on {host}:{port}")
    server.serve_forever()
