"""Connects and prints what is said: `ask.py HOST PORT [mark=1337] [udp]`."""

import socket
import sys

# A busy machine is no failure; who asks whether nobody answers says so.
TIMEOUT_S = 60 if "short" not in sys.argv else 3
host, port, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
kind = socket.SOCK_DGRAM if "udp" in words else socket.SOCK_STREAM
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, kind) as client:
    client.settimeout(TIMEOUT_S)
    for word in words:
        if word.startswith("mark="):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(word[5:]))
    client.connect((host, port))
    if kind == socket.SOCK_DGRAM:
        client.sendall(b"?")
    print(client.recv(500).decode().strip())
