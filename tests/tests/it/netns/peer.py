"""The applications of the namespace tests: servers that say who they are, and clients that print what they got."""

import http.server
import socket
import struct
import sys
import threading
import urllib.error
import urllib.request

LIMIT = 5


def original_destination(connection):
    """The address that the client meant, where the kernel redirected it; else the one it reached."""
    try:
        if connection.family == socket.AF_INET:
            raw = connection.getsockopt(socket.IPPROTO_IP, 80, 16)
            port, address = struct.unpack("!2xH4s8x", raw)
            return f"{socket.inet_ntoa(address)}:{port}"
        raw = connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)
        port, address = struct.unpack("!2xH4x16s4x", raw)
        return f"[{socket.inet_ntop(socket.AF_INET6, address)}]:{port}"
    except OSError:
        # The kernel keeps no track of connections here.
        host, port = connection.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def accept(listener, serve):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def listen(port, serve, kind=socket.SOCK_STREAM, loopback=False):
    for family in (socket.AF_INET, socket.AF_INET6):
        address = ("127.0.0.1" if family == socket.AF_INET else "::1") if loopback else ""
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        if kind == socket.SOCK_STREAM:
            listener.listen(64)
            task = lambda listener=listener: accept(listener, serve)
        else:
            task = lambda listener=listener: serve(listener)
        threading.Thread(target=task, daemon=True).start()


def greet(name):
    """Speaks first, then gives back what it gets."""

    def serve(connection):
        with connection:
            connection.sendall(f"{name} {original_destination(connection)}\n".encode())
            while data := connection.recv(65536):
                connection.sendall(data)

    return serve


def echo(connection):
    """Waits for the client, then gives back what it gets."""
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def web(name, port):
    """An HTTP server that says its name and how it was called."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            caller = self.headers.get("x-forwarded-client-cert", "")
            caller = caller.rsplit("URI=", 1)[-1] if "URI=" in caller else "nobody"
            body = f"{name} for {caller}".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def answer(name):
    """Answers datagrams with a name."""

    def serve(listener):
        while True:
            _, peer = listener.recvfrom(65536)
            listener.sendto(name.encode(), peer)

    return serve


def name_server(port):
    """A DNS server that knows one name, outside.test, with the address 192.0.2.7; over TCP another one."""

    def respond(query, address):
        name, rest = [], query[12:]
        while rest[0]:
            name.append(rest[1 : 1 + rest[0]].decode().lower())
            rest = rest[1 + rest[0] :]
        kind = rest[1:3]
        known = ".".join(name) == "outside.test"
        answers = 1 if known and kind == b"\0\1" else 0
        header = query[:2] + (b"\x81\x80" if known else b"\x81\x83") + struct.pack("!HHHH", 1, answers, 0, 0)
        question = query[12 : len(query) - len(rest) + 5]
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address)
        return header + question + (record if answers else b"")

    def datagrams(listener):
        while True:
            query, peer = listener.recvfrom(65536)
            listener.sendto(respond(query, "192.0.2.7"), peer)

    def stream(connection):
        with connection:
            query = connection.recv(65536)[2:]
            answer = respond(query, "192.0.2.8")
            connection.sendall(struct.pack("!H", len(answer)) + answer)

    listen(port, datagrams, socket.SOCK_DGRAM)
    listen(port, stream)


def query(host, name, tcp=""):
    """Asks a DNS server for an A record itself, and prints the addresses."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    message = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + question
    if tcp:
        with socket.create_connection((host, 53), LIMIT) as client:
            client.settimeout(LIMIT)
            client.sendall(struct.pack("!H", len(message)) + message)
            answer = client.recv(65536)[2:]
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LIMIT)
            client.connect((host, 53))
            client.send(message)
            answer = client.recv(65536)
    if answer[:2] != message[:2]:
        print("another id")
        return
    count = struct.unpack("!H", answer[6:8])[0]
    print(socket.inet_ntoa(answer[-4:]) if count else f"code {answer[3] & 15}")


def serve(arguments):
    for argument in arguments:
        kind, name, port = argument.split("=")
        if kind == "greet":
            listen(int(port), greet(name))
        elif kind == "echo":
            listen(int(port), echo)
        elif kind == "dns":
            name_server(int(port))
        elif kind == "http":
            web(name, int(port))
        elif kind == "udp":
            listen(int(port), answer(name), socket.SOCK_DGRAM)
        elif kind == "udp-loopback":
            # Redirected datagrams arrive at loopback, and must be answered from there.
            listen(int(port), answer(name), socket.SOCK_DGRAM, loopback=True)
    print("ready", flush=True)
    threading.Event().wait()


def dial(host, port, source=None):
    """Prints the first line that the server sends."""
    try:
        bound = (source, 0) if source else None
        with socket.create_connection((host, int(port)), LIMIT, bound) as connection:
            connection.settimeout(LIMIT)
            print(connection.makefile().readline().strip() or "closed")
    except ConnectionRefusedError:
        print("refused")
    except ConnectionResetError:
        print("reset")
    except TimeoutError:
        print("timeout")


def talk(host, port, text):
    """Sends a line first and prints the one that comes back."""
    try:
        with socket.create_connection((host, int(port)), LIMIT) as connection:
            connection.settimeout(LIMIT)
            connection.sendall(text.encode() + b"\n")
            print(connection.makefile().readline().strip() or "closed")
    except ConnectionRefusedError:
        print("refused")
    except ConnectionResetError:
        print("reset")
    except TimeoutError:
        print("timeout")


def get(url, host=None):
    """Prints status and body."""
    request = urllib.request.Request(url, headers={"host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            print(response.status, response.read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
    except urllib.error.URLError as error:
        print(type(error.reason).__name__)
    except (ConnectionError, http.client.HTTPException, TimeoutError) as error:
        print(type(error).__name__)


def resolve(name):
    """Prints the addresses that the system's resolver finds."""
    try:
        found = socket.getaddrinfo(name, 80, proto=socket.IPPROTO_TCP)
        print(",".join(sorted({entry[4][0] for entry in found})))
    except socket.gaierror:
        print("unknown")


def ask(host, port):
    """Sends a datagram and prints the answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT)
        client.connect((host, int(port)))
        try:
            client.send(b"?")
            print(client.recv(65536).decode())
        except ConnectionRefusedError:
            print("refused")
        except TimeoutError:
            print("timeout")


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    {"serve": lambda *a: serve(a), "dial": dial, "talk": talk, "ask": ask, "get": get, "resolve": resolve, "query": query}[verb](*rest)
