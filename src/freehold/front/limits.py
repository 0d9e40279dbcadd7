"""What a client may take of the front door, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, seconds and numbers. What goes beyond gets AWS's error, or its connection is closed.

    How large a body may be that is read whole depends on the protocol (`routing`), that streams on S3 (`payload`).
    """

    header_bytes: int = 16 << 10
    url_bytes: int = 16 << 10
    # From the first byte of a head to its end; longer than a client ever needs, shorter than a flood of them can wait.
    head_seconds: float = 20
    body_seconds: float = 30  # of a body that is read whole, and of each 64 KiB of one that streams
    idle_seconds: int = 75  # between two requests: longer than botocore keeps a pooled connection idle in a script
    stalled_seconds: int = 60  # that a client may leave an answer untaken
    linger_seconds: float = 10  # for a client that is refused while it sends
    connections: int = 1024
    # Of these, so that the network can not shut out the machine's own clients:
    network_connections: int = 768
    streams: int = 64  # bodies that stream in at a time, each in a thread
