"""A service of server-sent events: each is sent when a line comes on standard input, and the stream ends with the line `end`."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Events(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in sys.stdin:
                if line == "end\n":
                    self.wfile.write(b"0\r\n\r\n")
                    return
                event = b"data: " + line.encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        except OSError:
            print("nobody listens")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Events)
print("listening on %s:%d" % server.server_address)
server.serve_forever()
