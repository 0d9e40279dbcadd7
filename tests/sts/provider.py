"""An OpenID Connect provider on loopback: real HTTPS, real keys, a certificate of its own authority."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from joserfc import jwt
from joserfc.jwk import RSAKey

from freehold.config import Config, IdentityProviders

CLIENT = "my-app"


@dataclass
class Provider:
    """`url` is without ``https://``. `answers` are what it says at a path instead of what is right."""

    url: str
    config: Config
    key: RSAKey
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def token(self, key: RSAKey | None = None, **claims: Any) -> str:
        """An identity token; a claim that is None is left out."""
        now = int(time.time())
        said = {"iss": f"https://{self.url}", "sub": "alice", "aud": CLIENT, "iat": now, "exp": now + 300} | claims
        key = key or self.key
        return jwt.encode(
            {"alg": "RS256", "kid": key.kid}, {name: value for name, value in said.items() if value is not None}, key
        )

    def document(self, path: str) -> Any:
        if path in self.answers:
            return self.answers[path]
        base = f"https://{self.url}"
        return {
            "/realm/.well-known/openid-configuration": {"issuer": base, "jwks_uri": f"{base}/keys"},
            "/realm/keys": {"keys": [self.key.as_dict(private=False)]},
        }.get(path)


def new_key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


@contextmanager
def provider(directory: Path) -> Iterator[Provider]:
    """A running provider, and the configuration of a cloud that may ask it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    serving = Provider("", Config(), new_key("first"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.asked.append(self.path)
            found = serving.document(self.path)
            status = found if isinstance(found, int) else 200 if found is not None else 404
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("location", f"https://{serving.url}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving.url = f"localhost:{server.server_port}/realm"
    loopback = IdentityProviders(("127.0.0.0/8", "::1/128"), str(directory / "authority.pem"))
    serving.config = Config(identity_providers=loopback)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield serving
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
