"""An app that notes the exact bytes of each connection it gets, before it answers, and whatever still comes after.

Runs in the app's sandbox: `files()` makes a repository of it.
"""

import os
import pathlib
import socket
import threading

SEEN = pathlib.Path(os.environ.get("RUSTPLOY_DATA_DIR", "/nowhere"), "seen")
LOCK = threading.Lock()
#: What comes later than this after the head belongs to no request of an honest sender.
PATIENCE = 0.3


def files() -> dict[str, str]:
    text = pathlib.Path(__file__).read_text()
    return {"index.html": "", "app.py": text, "Procfile": "web: exec python3 app.py\n"}


def note(received: bytes) -> None:
    with LOCK, SEEN.open("a") as seen:
        seen.write(received.hex() + "\n")


def read(connection: socket.socket, seconds: float, until: bytes = b"") -> bytes:
    received = b""
    connection.settimeout(seconds)
    try:
        while (not until or until not in received) and (piece := connection.recv(65536)):
            received += piece
    except OSError:
        pass
    return received


def serve(connection: socket.socket) -> None:
    with connection:
        received = read(connection, 5, until=b"\r\n\r\n")
        received += read(connection, PATIENCE)
        if b"rustploy-health" not in received:
            note(received)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nrecorded")
        except OSError:
            return
        late = read(connection, PATIENCE)
        if late:
            note(received + b"<late>" + late)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=64) as server:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
