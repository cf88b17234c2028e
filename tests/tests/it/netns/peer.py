"""The applications of the namespace tests: servers that say who they are, and clients that print what they got."""

import socket
import struct
import sys
import threading

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


def answer(name):
    """Answers datagrams with a name."""

    def serve(listener):
        while True:
            _, peer = listener.recvfrom(65536)
            listener.sendto(name.encode(), peer)

    return serve


def serve(arguments):
    for argument in arguments:
        kind, name, port = argument.split("=")
        if kind == "greet":
            listen(int(port), greet(name))
        elif kind == "echo":
            listen(int(port), echo)
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
    {"serve": lambda *a: serve(a), "dial": dial, "talk": talk, "ask": ask}[verb](*rest)
