"""An authorization service over HTTP: lets a request pass that brings `x-pass: yes`, and tells upstream who asked."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/healthz") or self.headers.get("x-pass") == "yes":
            status, body = 200, b""
        else:
            status, body = 401, b"who are you?"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-reason", "asked " + self.path)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
