"""A CNI agent's socket, told line by line what to do: an implementation that is not ours (socket.SOCK_SEQPACKET,
SCM_RIGHTS). Each line of JSON on stdin is answered by one on stdout."""
import json
import os
import socket
import sys

TIMEOUT_SECONDS = 60


def listening(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    server.listen(8)
    server.settimeout(TIMEOUT_SECONDS)
    return server


def send(connection, message, files):
    fds = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in files]
    try:
        if fds:
            socket.send_fds(connection, [message], fds)
        else:
            connection.send(message)
    finally:
        for fd in fds:
            os.close(fd)


def main(path):
    server = listening(path)
    connections = []
    for line in sys.stdin:
        command = json.loads(line)
        answer = {}
        try:
            if command["do"] == "accept":
                connection, _ = server.accept()
                connection.settimeout(TIMEOUT_SECONDS)
                connections.append(connection)
            elif command["do"] == "send":
                send(connections[command["to"]], bytes.fromhex(command["hex"]), command["files"])
            elif command["do"] == "receive":
                answer["hex"] = connections[command["from"]].recv(65536).hex()
            elif command["do"] == "hang_up":
                connections[command["on"]].close()
            elif command["do"] == "listen":
                server = listening(path)
            elif command["do"] == "leave":
                server.close()
        except OSError as error:
            answer["error"] = repr(error)
        print(json.dumps(answer), flush=True)


main(sys.argv[1])
