"""Where things lie in a cloud's data directory, and what its things on the machine are called."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


def namespace_of(tag: str) -> str:
    """The network namespace of the cloud with this tag."""
    return f"freehold-{tag}"


@dataclass(frozen=True, slots=True)
class Paths:
    """The layout of one data directory. Only root may look into it, but for the images, which QEMU reads."""

    data_dir: Path

    @property
    def tag(self) -> str:
        """8 hexadecimal digits that mark everything this cloud makes on the machine as its own."""
        return hashlib.sha256(str(self.data_dir.absolute()).encode()).hexdigest()[:8]

    @property
    def namespace(self) -> str:
        return namespace_of(self.tag)

    @property
    def state_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'state.db'}"

    @property
    def run(self) -> Path:
        return self.data_dir / "run"

    @property
    def bells(self) -> Path:
        return self.run / "bells"

    @property
    def host_link(self) -> Path:
        return self.run / "hosts.sock"

    @property
    def guest_door(self) -> Path:
        """Where the front door takes what hosts relay from guests."""
        return self.run / "guests.sock"

    @property
    def questions(self) -> Path:
        """Where the controllers take questions to hosts from the front door."""
        return self.run / "questions.sock"

    @property
    def host_linked(self) -> Path:
        """Has the process id of the host agent that reached the control plane last."""
        return self.run / "host.linked"

    @property
    def ovn(self) -> Path:
        """The sockets of Open vSwitch's and OVN's daemons."""
        return self.run / "ovn"

    @property
    def ovn_state(self) -> Path:
        """Their databases."""
        return self.data_dir / "ovn"

    @property
    def northbound(self) -> Path:
        return self.ovn / "nb.sock"

    @property
    def southbound(self) -> Path:
        return self.ovn / "sb.sock"

    @property
    def switch(self) -> Path:
        """The socket of Open vSwitch's own database."""
        return self.ovn / "db.sock"

    @property
    def pki(self) -> Path:
        return self.data_dir / "pki"

    @property
    def keys(self) -> Path:
        return self.data_dir / "keys"

    @property
    def audit_head(self) -> Path:
        """How far the chain of the audit trail has come (control/sealing)."""
        return self.data_dir / "audit.head"

    @property
    def objects(self) -> Path:
        """The bytes of objects (records/objects)."""
        return self.data_dir / "objects"

    @property
    def images(self) -> Path:
        return self.data_dir / "images"

    @property
    def host(self) -> Path:
        return self.data_dir / "host"

    @property
    def log(self) -> Path:
        return self.data_dir / "log"
