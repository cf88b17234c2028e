"""Connects to a port many times, says nothing or half a greeting, and times newcomers meanwhile.

Arguments: the number of silent connections, the number of newcomers, and HOST:PORT. Prints one JSON object.
"""

import json
import socket
import ssl
import sys
import time

LIMIT = 10
# The begin of a ClientHello: a record of 512 bytes of which 6 come.
HALF = bytes([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03])


def context():
    # Certificates are not what is measured.
    wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    wanted.check_hostname = False
    wanted.verify_mode = ssl.CERT_NONE
    wanted.set_alpn_protocols(["h2", "http/1.1"])
    return wanted


def speaks_tls(address, wanted):
    try:
        with socket.create_connection(address, LIMIT) as plain, wanted.wrap_socket(plain):
            return True
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return False


def newcomer(address, wanted):
    """Seconds from nothing to a handshake, or to the first byte of an answer."""
    start = time.monotonic()
    with socket.create_connection(address, LIMIT) as plain:
        if wanted:
            with wanted.wrap_socket(plain):
                return time.monotonic() - start
        plain.sendall(b"GET / HTTP/1.1\r\nhost: nobody.example\r\n\r\n")
        plain.recv(1)
        return time.monotonic() - start


def main():
    silent, newcomers = int(sys.argv[1]), int(sys.argv[2])
    host, port = sys.argv[3].rsplit(":", 1)
    address = (host, int(port))
    wanted = context()
    if not speaks_tls(address, wanted):
        wanted = None
    held = []
    for number in range(silent):
        connection = socket.create_connection(address, LIMIT)
        if number % 2:
            connection.sendall(HALF)
        held.append(connection)
    seconds = sorted(newcomer(address, wanted) for _ in range(newcomers))
    result = {"tls": wanted is not None, "p50_ms": seconds[len(seconds) // 2] * 1e3}
    result["p99_ms"] = seconds[len(seconds) * 99 // 100] * 1e3
    print(json.dumps(result))


main()
