"""Key pairs: what is made and imported is what ssh-keygen and openssl say it is; found, deleted, and refused."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cloudapi import api_server
from tests.ec2.calls import Caller, refused


def run(*command: str | Path, given: bytes = b"") -> bytes:
    return subprocess.run(command, input=given, check=True, capture_output=True).stdout


def keygen(directory: Path, *options: str) -> Path:
    """The file of a private key that ssh-keygen made; the public one is beside it."""
    path = directory / "key"
    run("ssh-keygen", "-q", "-N", "", "-C", "me@here", *options, "-f", path)
    return path


def names(caller: Caller, **request: Any) -> list[str]:
    return [key["KeyName"] for key in caller.describe_key_pairs(**request)["KeyPairs"]]


@pytest.fixture(scope="module")
def rsa_material() -> bytes:
    """A public key as a user has it in ~/.ssh."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" me@here\n"


@pytest.mark.parametrize("request_", [{}, {"KeyType": "rsa", "KeyFormat": "pem"}, {"KeyType": "ed25519"}])
def test_a_new_key_works_and_its_private_half_is_kept_nowhere(
    caller: Caller, tmp_path: Path, request_: dict[str, str]
) -> None:
    made = caller.create_key_pair(KeyName="k", **request_)
    file = tmp_path / "k.pem"
    file.write_text(made["KeyMaterial"])
    file.chmod(0o600)
    (shown,) = caller.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert shown["PublicKey"].split()[:2] == run("ssh-keygen", "-y", "-f", file).decode().split()[:2]
    assert shown["PublicKey"].split()[2:] == ["k"]
    # As https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html has the user compare them.
    if shown["KeyType"] == "ed25519":
        said = run("ssh-keygen", "-l", "-f", file).decode().split()[1].removeprefix("SHA256:")
        assert made["KeyFingerprint"].rstrip("=") == said
    else:
        assert made["KeyMaterial"].startswith("-----BEGIN RSA PRIVATE KEY-----\n")
        der = run("openssl", "pkcs8", "-in", file, "-inform", "PEM", "-outform", "DER", "-topk8", "-nocrypt")
        assert f"= {made['KeyFingerprint']}\n" in run("openssl", "sha1", "-c", given=der).decode()
    assert (shown["KeyFingerprint"], shown["KeyPairId"]) == (made["KeyFingerprint"], made["KeyPairId"])
    assert "PublicKey" not in caller.describe_key_pairs()["KeyPairs"][0]
    with caller.store.read() as tx:
        audited = [*tx.connection.exec_driver_sql("SELECT * FROM key_pairs")]
    assert made["KeyMaterial"].split("\n")[1] not in repr(audited)


@pytest.mark.parametrize("options", [("-t", "rsa", "-b", "2048"), ("-t", "ed25519")])
def test_an_imported_key_in_every_form_that_tools_send(
    caller: Caller, tmp_path: Path, options: tuple[str, ...]
) -> None:
    public = keygen(tmp_path, *options).with_suffix(".pub")
    der = serialization.load_ssh_public_key(public.read_bytes()).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    forms = [
        public.read_bytes(),
        b"\n" + public.read_bytes().strip() + b"\r\n",
        run("ssh-keygen", "-e", "-m", "RFC4716", "-f", public),
        base64.b64encode(der),
        base64.encodebytes(der),
    ]
    imported = [
        caller.import_key_pair(KeyName=f"k{number}", PublicKeyMaterial=form) for number, form in enumerate(forms)
    ]
    (fingerprint,) = {key["KeyFingerprint"] for key in imported}
    if "rsa" in options:
        assert f"= {fingerprint}\n" in run("openssl", "md5", "-c", given=der).decode()
    else:
        assert fingerprint.rstrip("=") in run("ssh-keygen", "-l", "-f", public).decode()
    shown = caller.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    written = public.read_text().split()[:2]
    assert [key["PublicKey"].split() for key in shown] == [[*written, f"k{number}"] for number in range(len(forms))]
    assert {key["KeyType"] for key in shown} == {options[1]}


def test_by_boto3(tmp_path: Path, rsa_material: bytes) -> None:
    with api_server(tmp_path) as api:
        ec2 = api.client("ec2")
        with pytest.raises(ec2.exceptions.ClientError, match="DryRunOperation"):
            ec2.create_key_pair(KeyName="made", DryRun=True)
        assert "PRIVATE KEY" in ec2.create_key_pair(KeyName="made")["KeyMaterial"]
        key = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=rsa_material)
        (shown,) = ec2.describe_key_pairs(KeyPairIds=[key["KeyPairId"]], IncludePublicKey=True)["KeyPairs"]
    assert shown["PublicKey"].split()[1] == rsa_material.decode().split()[1]


def _unusable() -> list[bytes]:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1536).public_key()
    foreign = [
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        dsa.generate_private_key(1024).public_key(),
        small,
    ]
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    der = [key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in foreign]
    return [
        b"",
        b"\0",
        b"ssh-rsa",
        b"ssh-rsa AAAA",
        b"ssh-ed25519 !!!! x",
        b"hello",
        "ssh-rsa schlüssel".encode(),
        b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----",
        b"---- BEGIN SSH2 PUBLIC KEY ----\n\xff\n---- END SSH2 PUBLIC KEY ----",
        b"x" * 17_000,
        private,
        small.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        *map(base64.b64encode, der),
    ]


def test_what_is_no_usable_public_key(caller: Caller) -> None:
    for material in _unusable():
        with refused("InvalidKey.Format"):
            caller.import_key_pair(KeyName="k", PublicKeyMaterial=material)
    assert caller.describe_key_pairs() == {"KeyPairs": []}


def test_options_comments_and_further_lines_do_not_come_through(caller: Caller, rsa_material: bytes) -> None:
    with refused("InvalidKey.Format"):
        caller.import_key_pair(KeyName="k", PublicKeyMaterial=b'command="reboot" ' + rsa_material)
    for after in (b' "; DROP TABLE x', b"\nssh-ed25519 AAAA"):
        caller.import_key_pair(KeyName="k", PublicKeyMaterial=rsa_material.strip() + after)
        (key,) = caller.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
        assert key["PublicKey"].split() == [*rsa_material.decode().split()[:2], "k"]
        caller.delete_key_pair(KeyName="k")


def test_names_that_may_not_be(caller: Caller, rsa_material: bytes) -> None:
    for name in ("x" * 256, " k", "k ", "a\nb", "a\0b", "Straße", "k\u202e"):
        with refused("InvalidParameterValue"):
            caller.create_key_pair(KeyName=name, KeyType="ed25519")
        with refused("InvalidParameterValue"):
            caller.import_key_pair(KeyName=name, PublicKeyMaterial=rsa_material)
        with refused("InvalidKeyPair.NotFound"):
            caller.describe_key_pairs(KeyNames=[name])
        assert caller.delete_key_pair(KeyName=name) == {"Return": True}


def test_a_name_is_taken_once_in_an_account_and_region(caller: Caller, stranger: Caller, rsa_material: bytes) -> None:
    caller.create_key_pair(KeyName="k", KeyType="ed25519")
    with refused("InvalidKeyPair.Duplicate"):
        caller.create_key_pair(KeyName="k", KeyType="ed25519")
    with refused("InvalidKeyPair.Duplicate"):
        caller.import_key_pair(KeyName="k", PublicKeyMaterial=rsa_material)
    stranger.import_key_pair(KeyName="k", PublicKeyMaterial=rsa_material)
    caller.import_key_pair(KeyName="K", PublicKeyMaterial=rsa_material)
    assert names(caller) == ["K", "k"]
    assert names(stranger) == ["k"]


def test_what_is_not_built_is_refused_by_its_name(caller: Caller) -> None:
    with refused("UnsupportedOperation"):
        caller.create_key_pair(KeyName="k", KeyFormat="ppk")


def test_keys_are_found_by_names_ids_and_filters(caller: Caller, rsa_material: bytes) -> None:
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "team", "Value": "web"}]}]
    one = caller.import_key_pair(KeyName="one", PublicKeyMaterial=rsa_material, TagSpecifications=tags)
    two = caller.create_key_pair(KeyName="two", KeyType="ed25519")
    assert one["Tags"] == [{"Key": "team", "Value": "web"}]
    for request, found in (
        ({}, ["one", "two"]),
        ({"KeyNames": ["two", "one"]}, ["one", "two"]),
        ({"KeyPairIds": [two["KeyPairId"]]}, ["two"]),
        ({"KeyPairIds": [two["KeyPairId"]], "KeyNames": ["one"]}, []),
        ({"Filters": [{"Name": "key-name", "Values": ["t*"]}]}, ["two"]),
        ({"Filters": [{"Name": "key-pair-id", "Values": [one["KeyPairId"]]}]}, ["one"]),
        ({"Filters": [{"Name": "fingerprint", "Values": [one["KeyFingerprint"]]}]}, ["one"]),
        ({"Filters": [{"Name": "tag:team", "Values": ["w?b"]}]}, ["one"]),
        ({"Filters": [{"Name": "tag-key", "Values": ["team"]}]}, ["one"]),
        ({"KeyNames": ["two"], "Filters": [{"Name": "tag-key", "Values": ["team"]}]}, []),
    ):
        assert names(caller, **request) == found, request
    with refused("InvalidParameterValue"):
        names(caller, Filters=[{"Name": "key-type", "Values": ["rsa"]}])


def test_unknown_keys_are_named_in_the_error(caller: Caller, stranger: Caller) -> None:
    theirs = stranger.create_key_pair(KeyName="theirs", KeyType="ed25519")
    with refused("InvalidKeyPair.NotFound") as caught:
        caller.describe_key_pairs(KeyNames=["theirs"])
    assert caught.value.message == "The key pair 'theirs' does not exist"
    for key_id in (theirs["KeyPairId"], "key-0123456789abcdef0", "key-1", "i-0123456789abcdef0"):
        with refused("InvalidKeyPair.NotFound"):
            caller.describe_key_pairs(KeyPairIds=[key_id])


def test_deleting_is_idempotent_and_takes_the_tags(caller: Caller, stranger: Caller, rsa_material: bytes) -> None:
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "team", "Value": "web"}]}]
    one, two = (
        caller.import_key_pair(KeyName=name, PublicKeyMaterial=rsa_material, TagSpecifications=tags)["KeyPairId"]
        for name in ("one", "two")
    )
    assert stranger.delete_key_pair(KeyName="one") == {"Return": True}
    assert stranger.delete_key_pair(KeyPairId=two) == {"Return": True}
    assert caller.delete_key_pair(KeyName="one") == {"Return": True, "KeyPairId": one}
    assert caller.delete_key_pair(KeyName="one") == {"Return": True}
    assert [tag["ResourceId"] for tag in caller.describe_tags()["Tags"]] == [two]
    assert caller.delete_key_pair(KeyPairId=two) == {"Return": True, "KeyPairId": two}
    assert caller.delete_key_pair(KeyPairId="key-\0") == {"Return": True}
    assert (names(caller), caller.describe_tags()["Tags"]) == ([], [])
    with refused("MissingParameter"):
        caller.delete_key_pair()
