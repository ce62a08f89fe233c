"""A CONNECT client by another HTTP/2 library: echoes through a tunnel, is refused, resets, and says what it saw."""

import json
import socket
import sys

import h2.config
import h2.connection
import h2.events

sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
conn.initiate_connection()
sock.sendall(conn.data_to_send())
seen = {"settings": {}, "headers": {}, "data": {}, "ended": [], "reset": {}}


def connect(authority):
    stream = conn.get_next_available_stream_id()
    conn.send_headers(stream, [(":method", "CONNECT"), (":authority", authority), ("baggage", "a=b")])
    sock.sendall(conn.data_to_send())
    return stream


def until(done):
    while not done():
        data = sock.recv(65536)
        if not data:
            raise SystemExit("the server closed the connection")
        for event in conn.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                seen["settings"].update({int(k): v.new_value for k, v in event.changed_settings.items()})
            elif isinstance(event, h2.events.ResponseReceived):
                seen["headers"][event.stream_id] = [list(pair) for pair in event.headers]
            elif isinstance(event, h2.events.DataReceived):
                seen["data"][event.stream_id] = seen["data"].get(event.stream_id, 0) + len(event.data)
                conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                seen["ended"].append(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                seen["reset"][event.stream_id] = int(event.error_code)
        sock.sendall(conn.data_to_send())


echo = connect("10.1.0.9:8080")
until(lambda: echo in seen["headers"])
left = 1_000_000
while left > 0:
    size = min(left, 16384, conn.local_flow_control_window(echo))
    if size > 0:
        conn.send_data(echo, b"x" * size)
        sock.sendall(conn.data_to_send())
        left -= size
    sent = 1_000_000 - left
    until(lambda: seen["data"].get(echo, 0) >= sent - 65536)
conn.end_stream(echo)
sock.sendall(conn.data_to_send())
until(lambda: echo in seen["ended"])
refused = connect("refuse.me:1")
until(lambda: refused in seen["reset"])
cut = connect("cut.me:1")
until(lambda: cut in seen["reset"])
print(json.dumps(seen))
