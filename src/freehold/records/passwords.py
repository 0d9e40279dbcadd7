"""Passwords of users: kept as argon2id hashes (RFC 9106), and checked against what an account demands of them."""

from __future__ import annotations

from collections.abc import Iterator

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from freehold.records.identities import LoginProfile, PasswordPolicy

REMEMBERED_MAX = 24
"""The most that PasswordReusePrevention can be."""
_SYMBOLS = frozenset("!@#$%^&*()_+-=[]{}|'")

# OWASP's parameters for little memory: the front door answers many at once.
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hashed(password: str) -> str:
    """The encoded hash. Takes some hundredths of a second: not for a transaction that writes."""
    return _HASHER.hash(password)


def matches(password_hash: str, password: str) -> bool:
    """Whether it is the hash of this password. Takes as long as `hashed`."""
    try:
        return _HASHER.verify(password_hash, password)
    except VerifyMismatchError:
        return False


def latest(profile: LoginProfile, number: int) -> list[str]:
    """The hashes of the last so many passwords, the one in use first."""
    return [profile.password_hash, *profile.previous_hashes][:number]


def faults(password: str, policy: PasswordPolicy | None, account_names: frozenset[str]) -> Iterator[str]:
    """What is wrong with a password, in AWS's words. Without a policy of the account, its default is demanded:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_passwords_account-policy.html"""
    has = {
        "uppercase letter": any("A" <= character <= "Z" for character in password),
        "lowercase letter": any("a" <= character <= "z" for character in password),
        "number": any("0" <= character <= "9" for character in password),
        "symbol": any(character in _SYMBOLS for character in password),
    }
    if policy is None:
        if len(password) < 8:
            yield "Password should have a minimum length of 8"
        if sum(has.values()) < 3:
            yield (
                "Password should have at least three of the following: uppercase letters, lowercase letters, numbers, "
                "symbols"
            )
        if password in account_names:
            yield "Password should not be the name of the account"
        return
    if len(password) < policy.length_min:
        yield f"Password should have a minimum length of {policy.length_min}"
    for kind, demanded in (
        ("uppercase letter", policy.uppercase),
        ("lowercase letter", policy.lowercase),
        ("number", policy.numbers),
        ("symbol", policy.symbols),
    ):
        if demanded and not has[kind]:
            yield f"Password should have at least one {kind}"
