"""Key specs: what each can do and with which algorithms.

https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ENCRYPT, SIGN, MAC, AGREE = "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"

HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA_1": hashes.SHA1(),  # noqa: S303 (of OAEP, where it does no harm)
    "SHA_224": hashes.SHA224(),
    "SHA_256": hashes.SHA256(),
    "SHA_384": hashes.SHA384(),
    "SHA_512": hashes.SHA512(),
}

_OAEP = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
_RSA_SIGNING = tuple(f"RSASSA_{padding}_SHA_{bits}" for padding in ("PKCS1_V1_5", "PSS") for bits in (256, 384, 512))


@dataclass(frozen=True, slots=True)
class Spec:
    """A key spec. `algorithms` are those of each usage, in the order in which KMS lists them; `rsa_bits`, `curve` and
    `random_bytes` say what the material is."""

    name: str
    algorithms: dict[str, tuple[str, ...]]
    rsa_bits: int = 0
    curve: ec.EllipticCurve | None = None
    random_bytes: tuple[int, int] = field(default=(0, 0))

    @property
    def symmetric(self) -> bool:
        return self.name == "SYMMETRIC_DEFAULT"

    @property
    def has_public_key(self) -> bool:
        return bool(self.rsa_bits or self.curve)


def _elliptic(name: str, curve: ec.EllipticCurve, bits: int, *, agrees: bool = True) -> Spec:
    usages: dict[str, tuple[str, ...]] = {SIGN: (f"ECDSA_SHA_{bits}",)}
    return Spec(name, usages | ({AGREE: ("ECDH",)} if agrees else {}), curve=curve)


SPECS = {
    spec.name: spec
    for spec in (
        Spec("SYMMETRIC_DEFAULT", {ENCRYPT: ("SYMMETRIC_DEFAULT",)}, random_bytes=(32, 32)),
        *(Spec(f"RSA_{bits}", {ENCRYPT: _OAEP, SIGN: _RSA_SIGNING}, rsa_bits=bits) for bits in (2048, 3072, 4096)),
        _elliptic("ECC_NIST_P256", ec.SECP256R1(), 256),
        _elliptic("ECC_NIST_P384", ec.SECP384R1(), 384),
        _elliptic("ECC_NIST_P521", ec.SECP521R1(), 512),
        _elliptic("ECC_SECG_P256K1", ec.SECP256K1(), 256, agrees=False),
        # KMS makes them as long as the hash; imported ones may be as long as its block.
        # https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-get-public-key-and-token.html
        *(
            Spec(f"HMAC_{bits}", {MAC: (f"HMAC_SHA_{bits}",)}, random_bytes=(bits // 8, 64 if bits < 384 else 128))
            for bits in (224, 256, 384, 512)
        ),
    )
}

ALGORITHMS_MEMBER = {
    ENCRYPT: "EncryptionAlgorithms",
    SIGN: "SigningAlgorithms",
    MAC: "MacAlgorithms",
    AGREE: "KeyAgreementAlgorithms",
}
"""The member of answers that lists a key's algorithms, by its usage."""


def hash_of(algorithm: str) -> hashes.HashAlgorithm:
    """The hash that an algorithm's name ends with: ``RSASSA_PSS_SHA_256``."""
    return HASHES["SHA_" + algorithm.rpartition("_")[2]]
