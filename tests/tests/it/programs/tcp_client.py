"""Sends lines over one TCP connection each, and prints the answers."""

import socket
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(f"line {number}\n".encode())
        answer = connection.makefile("rb").readline()
        if not answer:
            sys.exit("the connection was closed without an answer")
        sys.stdout.write(answer.decode())
