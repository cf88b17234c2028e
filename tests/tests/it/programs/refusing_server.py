"""An HTTP server that refuses what it does not want before the body is sent, and asks for the body of anything else."""

import socketserver
import sys


class Uploads(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            lines = []
            for line in self.rfile:
                if line == b"\r\n":
                    break
                lines.append(line)
            head = b"".join(lines).lower()
            if not head:
                return
            if b"x-refuse:" in head:
                self.wfile.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
                return
            length = int((head.split(b"content-length: ") + [b"0"])[1].split(b"\r\n")[0])
            if b"expect: 100-continue" in head:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self.rfile.read(length)
            answer = b"got " + body
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Uploads).serve_forever()
