"""A long transfer: `trickle.py serve PORT SECONDS` sends 1 KiB every 10 ms, `trickle.py read HOST PORT` says how many bytes came."""

import socket
import sys
import threading
import time

CHUNK = bytes(range(256)) * 4


def send(connection, seconds):
    with connection:
        for _ in range(int(seconds * 100)):
            connection.sendall(CHUNK)
            time.sleep(0.01)


if sys.argv[1] == "serve":
    with socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        print("ready", flush=True)
        while True:
            threading.Thread(target=send, args=(server.accept()[0], float(sys.argv[3]))).start()
else:
    total = 0
    with socket.create_connection((sys.argv[2], int(sys.argv[3]))) as connection:
        while data := connection.recv(65536):
            if total == 0:
                print("begun", flush=True)
            total += len(data)
    print(f"bytes={total}", flush=True)
