"""How a host proves who it is to the rest of its cloud, and knows it."""

from __future__ import annotations

import ssl
from pathlib import Path

CONTROL = "control"  # the DNS name in the control plane's certificate


def link_security(pki: Path) -> ssl.SSLContext:
    """TLS 1.3 with this host's certificate; the peer must show one of the cloud's authority."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pki / "host.crt", pki / "host.key")
    return context
