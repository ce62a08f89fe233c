"""Answers on the given TCP ports (`u53`: UDP): which port, who called, where the call went before a rule turned it."""

import socket
import struct
import sys
import threading


def original(connection):
    try:
        raw = connection.getsockopt(socket.SOL_IP, 80, 16)
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]
    except OSError:
        try:
            raw = connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)
            return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
        except OSError:
            return "", 0


def serve_tcp(port):
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        started.release()
        while True:
            connection, peer = server.accept()
            with connection:
                ip, at = original(connection)
                caller = peer[0].removeprefix("::ffff:")
                connection.sendall(f"port={port} caller={caller} original={ip} {at}\n".encode())


def serve_udp(port):
    # On loopback only, where redirected packets come to: from a wildcard the answer would leave with another address.
    for family, ip in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((ip, port))
        threading.Thread(target=answer_udp, args=(server, port)).start()
    started.release()


def answer_udp(server, port):
    while True:
        _, peer = server.recvfrom(2048)
        server.sendto(f"port={port}\n".encode(), peer)


started = threading.Semaphore(0)
for word in sys.argv[1:]:
    target = (serve_udp, int(word[1:])) if word.startswith("u") else (serve_tcp, int(word))
    threading.Thread(target=target[0], args=(target[1],)).start()
for _ in sys.argv[1:]:
    started.acquire()
print("ready", flush=True)
