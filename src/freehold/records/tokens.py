"""Root keys that only a PKCS #11 token opens: an HSM, a TPM (tpm2-pkcs11), a smart card.

The token has a pair of RSA keys that its owner has made there. A root key lies in its file encrypted by the public one
(RSA-OAEP with SHA-1: what all tokens can do, and safe here); the private one never leaves the token. So a copy of the
data directory opens nothing. The token is asked when a process starts and after a rotation, not for each secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.config import RootKey

if TYPE_CHECKING:
    import pkcs11


class RootKeyError(Exception):
    """The root key can not be used; the message says what to do."""


class Token:
    """The token that the configuration names."""

    def __init__(self, config: RootKey) -> None:
        self._config = config

    def wrap(self, key: bytes) -> bytes:
        """Encrypt a root key. Raises RootKeyError."""
        import pkcs11

        with self._session() as session:
            public: Any = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=self._config.pkcs11_key)
            wrapped: bytes = public.encrypt(key, mechanism=pkcs11.Mechanism.RSA_PKCS_OAEP, mechanism_param=_oaep())
            return wrapped

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt a root key. Raises RootKeyError."""
        import pkcs11

        with self._session() as session:
            private: Any = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=self._config.pkcs11_key)
            key: bytes = private.decrypt(wrapped, mechanism=pkcs11.Mechanism.RSA_PKCS_OAEP, mechanism_param=_oaep())
            return key

    @contextmanager
    def _session(self) -> Iterator[pkcs11.Session]:
        try:
            import pkcs11
        except ImportError:
            raise RootKeyError(
                "root_key.source is pkcs11, which needs the package python-pkcs11: "
                "`.venv/bin/pip install python-pkcs11`."
            ) from None
        config = self._config
        try:
            pin = Path(config.pkcs11_pin_file).read_text().strip()
        except OSError as error:
            raise RootKeyError(f"root_key.pkcs11_pin_file {config.pkcs11_pin_file}: {error.strerror}.") from error
        try:
            token = pkcs11.lib(config.pkcs11_module).get_token(token_label=config.pkcs11_token)
            with token.open(user_pin=pin) as session:
                yield session
        except pkcs11.PKCS11Error as error:
            said = str(error) or type(error).__name__
            raise RootKeyError(
                f"The PKCS #11 token {config.pkcs11_token} does not open the root key: {said}. See root_key in "
                "docs/configuration.md."
            ) from error


def _oaep() -> tuple[pkcs11.Mechanism, pkcs11.MGF, None]:
    import pkcs11

    return pkcs11.Mechanism.SHA_1, pkcs11.MGF.SHA1, None
