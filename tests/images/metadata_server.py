"""A DHCP and IMDSv2 server for one guest, run inside a test's network namespace: `metadata_server.py TAP DOCUMENTS`.

DHCP answers as OVN does: address, mask, router, DNS, MTU and classless static routes (option 121, RFC 3442), the
last one with the route to the metadata address. DOCUMENTS is a JSON file, path below /latest/ → text, read anew
on each request. Without a token everything is 401, as on EC2 with IMDSv2 required.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERVER = ipaddress.IPv4Address("10.77.0.1")
GUEST = ipaddress.IPv4Address("10.77.0.10")
METADATA = ipaddress.IPv4Address("169.254.169.254")
TOKEN = "test-token"
_COOKIE = b"\x63\x82\x53\x63"


def dhcp_options(packet: bytes) -> dict[int, bytes]:
    options, position = {}, 240
    while position < len(packet) and packet[position] != 255:
        if packet[position] == 0:
            position += 1
            continue
        length = packet[position + 1]
        options[packet[position]] = packet[position + 2 : position + 2 + length]
        position += 2 + length
    return options


def dhcp_reply(request: bytes) -> bytes:
    kind = dhcp_options(request)[53][0]
    routes = b"\x20" + METADATA.packed + bytes(4) + b"\x00" + SERVER.packed  # on-link, and the default route
    options = {
        53: bytes([2 if kind == 1 else 5]),
        54: SERVER.packed,
        51: struct.pack("!I", 3600),
        1: bytes([255, 255, 255, 0]),
        3: bytes([10, 77, 0, 99]),  # a router that does not exist: option 121 must win
        6: SERVER.packed,
        26: struct.pack("!H", 1442),
        121: routes,
    }
    head = struct.pack("!BBBB4sHH", 2, 1, 6, 0, request[4:8], 0, struct.unpack("!H", request[10:12])[0])
    addresses = bytes(4) + GUEST.packed + SERVER.packed + bytes(4)
    body = b"".join(bytes([code, len(value)]) + value for code, value in options.items())
    return head + addresses + request[28:44] + bytes(192) + _COOKIE + body + b"\xff"


def serve_dhcp(tap: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, tap.encode())
        server.bind(("0.0.0.0", 67))
        while True:
            server.sendto(dhcp_reply(server.recv(1500)), ("255.255.255.255", 68))


class Metadata(BaseHTTPRequestHandler):
    documents: Path

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet: the tests look at the guest, not at the requests."""

    def do_PUT(self) -> None:
        wanted = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self.answer(200 if wanted else 400, TOKEN if wanted else "")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            return self.answer(401, "")
        # cloud-init asks for a dated version of the same tree
        path = "/".join(self.path.split("/")[2:])
        documents: dict[str, str] = json.loads(self.documents.read_text())
        if path in documents:
            return self.answer(200, documents[path])
        below = path if path.endswith("/") else path + "/"
        names = {name.removeprefix(below) for name in documents if name.startswith(below)}
        listing = sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in names})
        return self.answer(200 if listing else 404, "\n".join(listing))

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    tap, documents = sys.argv[1:]
    Metadata.documents = Path(documents)
    server = ThreadingHTTPServer((str(METADATA), 80), Metadata)
    threading.Thread(target=serve_dhcp, args=(tap,), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
