"""HTTPS for the network, beside the HTTP of loopback."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

from freehold import pki
from freehold.config import Config, ConfigError

_LOCAL = "localhost"


class Certificate:
    """The endpoint's certificate: the files that the configuration names, or the cloud's own authority's."""

    def __init__(self, config: Config, directory: Path) -> None:
        """`directory` is the authority's. Raises ConfigError, PkiError."""
        self._config = config
        self._directory = directory
        if bool(config.https_certificate) != bool(config.https_key):
            raise ConfigError("https_certificate and https_key: give both, or neither.")
        try:
            self._address = ip_address(config.https_address)
        except ValueError:
            raise ConfigError(
                f"https_address {config.https_address}: give an IP address; 0.0.0.0 is all of this machine's."
            ) from None
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["http/1.1"])
        self.load()

    def load(self) -> None:
        """Read the files, renewed if they are the authority's and about to expire: for connections from now on."""
        certificate, key = self._config.https_certificate, self._config.https_key
        if not certificate:
            certificate, key = str(self._directory / "endpoint.crt"), str(self._directory / "endpoint.key")
            authority = pki.Authority.of(self._directory)
            try:
                authority.ensure_leaf(self._directory, "endpoint", _LOCAL, server=True, names=self._names())
            except ValueError as error:
                raise ConfigError(f"https_names: {error}") from error
        try:
            self.context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"https_certificate {certificate}, https_key {key}: {error}; give a PEM chain and its key."
            ) from error

    def _names(self) -> list[str]:
        names = ["127.0.0.1", socket.gethostname(), *self._config.https_names]
        if not self._address.is_unspecified:
            names.append(str(self._address))
        # A bucket may stand before a name.
        names += [f"*.{name}" for name in (_LOCAL, *self._config.https_names) if not name[-1:].isdigit()]
        return list(dict.fromkeys(name for name in names if name != _LOCAL))
