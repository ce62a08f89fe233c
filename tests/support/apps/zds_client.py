"""A ztunnel's end of ZDS by hand: lines on stdin, answers in JSON on stdout.

`connect PATH`, `send HEX`, `read` (the next packet, with the inodes of the files beside it), `close`.
"""

import json
import os
import socket
import sys

peer = None


def read():
    data, files, flags, _ = socket.recv_fds(peer, 1 << 16, 300)
    inodes = [os.fstat(fd).st_ino for fd in files]
    for fd in files:
        os.close(fd)
    return {"bytes": data.hex(), "inodes": inodes, "truncated": bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))}


for line in sys.stdin:
    word, *rest = line.split()
    answer = {}
    try:
        if word == "connect":
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            peer.settimeout(60)
            peer.connect(rest[0])
        elif word == "send":
            peer.send(bytes.fromhex(rest[0]))
        elif word == "read":
            answer = read()
        elif word == "close":
            peer.close()
    except OSError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
