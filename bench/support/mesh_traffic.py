"""Requests by the clock through a SOCKS5 port, and the server that answers them, each a process of one thread.

`mesh_traffic.py PROXY_IP SERVER_IP RATE`: says `ready` when it has begun. When standard input ends it does so too, and says
what became of each request, as JSON: when it was due (Unix, ms), how much later it left (ms), how long after it was
due it was answered (ms; -1: never), and whether it had a connection of its own. Lean and without garbage collection,
so that what is measured is the proxy: the whole list is written at the end, not while it runs.
"""

import ctypes
import gc
import json
import os
import platform
import select
import socket
import struct
import sys
import time

SOCKS_PORT = 15080
SERVER_PORT = 8080
KEPT_COUNT = 16
FRESH_EACH = 10
BYTES = 100
# A request that is due while so many are under way fails at once: a stall is not made worse by us.
PENDING_MAX = 200
# An unanswered request is given up.
PATIENCE_S = 10
BACKLOG = 1024


# sched_getattr and sched_setattr, by machine; struct sched_attr, and where its runtime is.
SCHED_CALLS = {"x86_64": (315, 314), "aarch64": (275, 274)}
SCHED_ATTR_BYTES = 48
SCHED_RUNTIME_AT = 24
SLICE_NS = 100_000


def ask_for_short_slices():
    """Whoever measures is not to be late itself: woken up soon, without more than its share (Linux 6.12 and later)."""
    calls = SCHED_CALLS.get(platform.machine())
    if calls is None:
        return
    libc = ctypes.CDLL(None)
    attr = ctypes.create_string_buffer(SCHED_ATTR_BYTES)
    if libc.syscall(calls[0], 0, attr, SCHED_ATTR_BYTES, 0) == 0:
        struct.pack_into("<Q", attr, SCHED_RUNTIME_AT, SLICE_NS)
        libc.syscall(calls[1], 0, attr, 0)


def now_ms():
    return time.time() * 1000


def listening(ip):
    server = socket.create_server((ip, SERVER_PORT), backlog=BACKLOG)
    server.setblocking(False)
    return server


def serve(server, parent):
    """Sends back what comes, until the other end of `parent` is closed."""
    epoll = select.epoll()
    epoll.register(server, select.EPOLLIN)
    epoll.register(parent, select.EPOLLIN)
    open_ones = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == parent:
                return
            if fd == server.fileno():
                connection, _ = server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_ones[connection.fileno()] = connection
                epoll.register(connection, select.EPOLLIN)
                continue
            connection = open_ones[fd]
            try:
                data = connection.recv(4096)
                if data:
                    connection.sendall(data)
                    continue
            except OSError:
                pass
            del open_ones[fd]
            connection.close()


class Connection:
    """What is to be sent, and then received, one pair after another; the last pair is the request itself."""

    def __init__(self, proxy_ip, server_ip):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        address = socket.inet_aton(server_ip) + SERVER_PORT.to_bytes(2, "big")
        self.steps = [(b"\5\1\0", 2), (b"\5\1\0\1" + address, 10)]
        self.missing = 0
        self.request = None
        try:
            self.socket.connect((proxy_ip, SOCKS_PORT))
        except BlockingIOError:
            pass

    def send(self):
        data, self.missing = self.steps.pop(0)
        self.socket.send(data)

    def receive(self):
        """Whether everything was sent and answered."""
        data = self.socket.recv(self.missing)
        if not data:
            raise ConnectionError("it ended")
        self.missing -= len(data)
        if self.missing == 0 and self.steps:
            self.send()
            return False
        return self.missing == 0


class Load:
    def __init__(self, proxy_ip, server_ip, rate):
        self.ips = (proxy_ip, server_ip)
        self.step_ms = 1000 / rate
        self.epoll = select.epoll()
        self.epoll.register(sys.stdin, select.EPOLLIN)
        self.busy = {}
        self.kept = []
        self.done = []

    def run(self):
        connections = [self.open() for _ in range(KEPT_COUNT)]
        while self.busy:
            self.wait(1)
        self.kept = connections
        self.done.clear()
        print("ready", flush=True)
        start_ms = now_ms()
        count = 0
        while True:
            due_ms = start_ms + count * self.step_ms
            left_ms = due_ms - now_ms()
            if left_ms <= 0:
                self.begin(due_ms, count % FRESH_EACH == 0)
                count += 1
            elif not self.wait(left_ms / 1000):
                return

    def open(self, request=None):
        connection = Connection(*self.ips)
        connection.request = request
        self.busy[connection.socket.fileno()] = connection
        self.epoll.register(connection.socket, select.EPOLLOUT)
        return connection

    def begin(self, due_ms, is_fresh):
        if len(self.busy) >= PENDING_MAX:
            self.done.append((due_ms, 0, -1, int(is_fresh)))
            return
        is_fresh = is_fresh or not self.kept
        request = (due_ms, now_ms() - due_ms, is_fresh)
        connection = self.open(request) if is_fresh else self.kept.pop(0)
        connection.request = request
        connection.steps.append((bytes(BYTES), BYTES))
        if not is_fresh:
            fd = connection.socket.fileno()
            self.busy[fd] = connection
            try:
                connection.send()
            except OSError:
                self.end(fd, connection, -1)

    def wait(self, seconds):
        """Handles what is ready; False when standard input has ended."""
        # select's time is exact to the microsecond, epoll's only to the millisecond.
        if select.select([self.epoll], [], [], seconds)[0]:
            for fd, event in self.epoll.poll(0):
                if fd == sys.stdin.fileno():
                    return False
                self.handle(fd, self.busy.get(fd), event)
        oldest = next(iter(self.busy.values()), None)
        if oldest is not None and oldest.request and now_ms() - oldest.request[0] > PATIENCE_S * 1000:
            self.end(oldest.socket.fileno(), oldest, -1)
        return True

    def handle(self, fd, connection, event):
        if connection is None:
            # A kept one was closed by the proxy, between two requests.
            self.epoll.unregister(fd)
            self.kept = [each for each in self.kept if each.socket.fileno() != fd]
            self.done.append((now_ms(), 0, -1, 0))
            return
        try:
            if event & select.EPOLLOUT:
                self.epoll.modify(fd, select.EPOLLIN)
                connection.send()
            elif connection.receive():
                self.end(fd, connection, now_ms() - connection.request[0] if connection.request else 0)
        except OSError:
            self.end(fd, connection, -1)

    def end(self, fd, connection, took_ms):
        del self.busy[fd]
        due_ms, late_ms, is_fresh = connection.request or (0, 0, False)
        self.done.append((due_ms, late_ms, took_ms, int(is_fresh)))
        if is_fresh or took_ms < 0:
            self.epoll.unregister(fd)
            connection.socket.close()
        elif connection.request:
            self.kept.append(connection)


def main(proxy_ip, server_ip, rate):
    gc.disable()
    ask_for_short_slices()
    server = listening(server_ip)
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.close(theirs)
        serve(server, ours)
        os._exit(0)
    os.close(ours)
    server.close()
    load = Load(proxy_ip, server_ip, rate)
    load.run()
    print(json.dumps([[round(value, 3) for value in one] for one in load.done]), flush=True)


main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
