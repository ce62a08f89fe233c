"""A CONNECT server by another HTTP/2 library: one connection, echoes, refuses, resets, and says GOAWAY when asked to."""

import socket
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

FRAME_BYTES = 1 << 20
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
sock, _ = listener.accept()
conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
conn.initiate_connection()
conn.update_settings({h2.settings.SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES})
conn.increment_flow_control_window(4 << 20)
sock.sendall(conn.data_to_send())
# By stream: what is to be echoed, and whether its end came.
pending = {}
ended = set()
is_leaving = False


def flush(stream):
    waiting = pending.get(stream)
    while waiting:
        size = min(len(waiting), conn.local_flow_control_window(stream), conn.max_outbound_frame_size)
        if size <= 0:
            return
        conn.send_data(stream, bytes(waiting[:size]))
        del waiting[:size]
    if waiting is not None and stream in ended:
        conn.end_stream(stream)
        del pending[stream]


def take(event):
    global is_leaving
    if isinstance(event, h2.events.RequestReceived):
        headers = dict(event.headers)
        authority = headers[":authority"]
        if authority == "refuse.me:1":
            conn.send_headers(event.stream_id, [(":status", "401")], end_stream=True)
            return
        conn.send_headers(event.stream_id, [(":status", "200"), ("baggage", headers["baggage"])])
        if authority == "cut.me:1":
            conn.reset_stream(event.stream_id, h2.errors.ErrorCodes.CANCEL)
            return
        pending[event.stream_id] = bytearray()
        is_leaving = is_leaving or authority == "bye.me:1"
    elif isinstance(event, h2.events.DataReceived):
        conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.stream_id in pending:
            pending[event.stream_id] += event.data
    elif isinstance(event, h2.events.StreamEnded):
        ended.add(event.stream_id)
    elif isinstance(event, h2.events.StreamReset):
        pending.pop(event.stream_id, None)


said_goodbye = False
while True:
    data = sock.recv(65536)
    if not data:
        break
    for event in conn.receive_data(data):
        take(event)
    for stream in list(pending):
        flush(stream)
    sock.sendall(conn.data_to_send())
    # By hand: with its own `close_connection` the library would send no more DATA.
    if is_leaving and not said_goodbye:
        said_goodbye = True
        last = max(pending, default=0)
        sock.sendall(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big") + bytes(4))
sock.close()
