"""Real images, built once and kept in the user's cache, and what a guest needs around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from freehold.images.build import build
from freehold.images.catalog import ImageManifest, paths
from tests.images.guest import Network, run


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="session")
def micro(data_dir: Path) -> ImageManifest:
    return build("freehold-micro", data_dir, print)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private SSH key; the public one is beside it, as `.pub`."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key"))
    return tmp_path / "key"


@pytest.fixture
def new_volume(tmp_path: Path, data_dir: Path) -> Callable[[ImageManifest, str], Path]:
    """Make a root volume of a size (`8G`) over an image."""

    def make(image: ImageManifest, size: str) -> Path:
        volume = tmp_path / "root.qcow2"
        base = str(paths(data_dir, image).disk)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(volume), size)
        return volume

    return make


@pytest.fixture
def start_network(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Network]]:
    """Start a namespace with DHCP and this metadata."""
    with ExitStack() as stack:
        yield lambda metadata: stack.enter_context(Network(tmp_path, metadata))


def instance_metadata(instance_id: str, keys: list[Path], user_data: str) -> dict[str, str]:
    """The metadata documents of an instance, path → text; `keys` are private key files."""
    documents = {
        "meta-data/instance-id": instance_id,
        "meta-data/local-hostname": "ip-10-77-0-10.ec2.internal",
        "meta-data/public-keys/": "\n".join(f"{number}={key.name}" for number, key in enumerate(keys)),
        "user-data": user_data,
    }
    for number, key in enumerate(keys):
        documents[f"meta-data/public-keys/{number}/openssh-key"] = key.with_suffix(".pub").read_text().strip()
    return documents
