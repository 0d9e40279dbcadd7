"""freehold.toml: what may be in it, and what is said of what may not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from freehold.config import Config, ConfigError, load


def loaded(directory: Path, text: str | bytes) -> Config:
    (directory / "freehold.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load(directory)


def test_without_a_file_all_has_its_default(tmp_path: Path) -> None:
    assert load(tmp_path) == loaded(tmp_path, "") == Config()
    config = Config()
    assert (config.region, config.zone_names("eu-west-1")) == ("us-east-1", ("eu-west-1a", "eu-west-1b", "eu-west-1c"))
    assert (config.network.public_pool, config.network.uplink) == ("203.0.113.0/24", "")
    assert config.serves("mars-north-1")


def test_what_is_given_holds_and_the_rest_stays(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        region = "eu-west-1"
        regions = ["eu-west-1", "eu-central-1"]
        zones = ["a", "b"]
        [network]
        public_pool = "198.51.100.0/25"
        [compute]
        cpu_overcommit = 4
        [prices]
        address_hour = 0.01
        [instance_types."my.large"]
        vcpus = 4
        memory_mib = 4096
        price_per_hour = "0.1"
        """,
    )
    assert (config.network.public_pool, config.network.link_range) == ("198.51.100.0/25", "100.64.0.0/16")
    assert (config.compute.cpu_overcommit, config.compute.accelerator) == (4, "auto")
    assert (config.prices.address_hour, config.prices.egress_gb) == (Decimal("0.01"), Decimal("0.09"))
    assert config.instance_types["my.large"].price_per_hour == Decimal("0.1")
    assert config.zone_names("eu-west-1") == ("eu-west-1a", "eu-west-1b")
    assert (config.serves("eu-central-1"), config.serves("us-east-1")) == (True, False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('colour = "red"', "colour"),
        ('[network]\npool = "203.0.113.0/24"', "pool"),
        ('[instance_types."x.y"]\nvcpus = 1\nmemory_mib = 128\nprice_per_hour = 1\ngpus = 1', "gpus"),
        ('[instance_types."x.y"]\nvcpus = 1\nmemory_mib = 128', "price_per_hour"),
        ('[instance_types."x.y"]\nvcpus = 0\nmemory_mib = 128\nprice_per_hour = 1', "vcpus"),
        ('[instance_types."x.y"]\nvcpus = 1\nmemory_mib = 8\nprice_per_hour = 1', "memory_mib"),
        ("region = 1", "region"),
        ('regions = "us-east-1"', "regions"),
        ("zones = []", "zones"),
        ('zones = ["a", "a"]', "zones"),
        ('zones = ["aa"]', "zones"),
        ('zones = ["a/../b"]', "zones"),
        ('region = "us-east-1"\nregions = ["eu-west-1"]', "region"),
        ('region = "../x"', "region"),
        ('regions = ["us-east-1", "a b"]', "regions"),
        ("https_port = 0", "https_port"),
        ("https_port = 70000", "https_port"),
        ('https_port = "4601"', "https_port"),
        ('https_address = "everywhere"', "https_address"),
        ('https_certificate = "/etc/ssl/mine.pem"', "https_key"),
        ('[state]\ndurable = "no"', "state.durable"),
        ("[state]\nkeep_feed_hours = 0", "keep_feed_hours"),
        ("[compute]\ncpu_overcommit = 0", "cpu_overcommit"),
        ("[compute]\ncpu_overcommit = inf", "cpu_overcommit"),
        ("[compute]\nmemory_overcommit = nan", "memory_overcommit"),
        ("[compute]\nmemory_reserved_mib = -1", "memory_reserved_mib"),
        ('[compute]\naccelerator = "xen"', "accelerator"),
        ("[prices]\naddress_hour = -1", "address_hour"),
        ("[quotas]\nL-00000000 = 1", "quotas.L-00000000"),
        ("[quotas]\nL-1216C47A = -1", "quotas.L-1216C47A"),
        ("[quotas]\nL-1216C47A = nan", "quotas.L-1216C47A"),
        ('[instance_types."x.y"]\nvcpus = 1\nmemory_mib = 128\nprice_per_hour = -1', "price_per_hour"),
        ("[prices]\negress_gb = nan", "egress_gb"),
        ("[prices.volume_gib_month]\ngp3 = -0.1", "volume_gib_month"),
        ('[network]\npublic_pool = "203.0.113.1/24"', "network.public_pool"),
        ('[network]\npublic_pool = "everything"', "network.public_pool"),
        ('[network]\npublic_pool = "2001:db8::/64"', "network.public_pool"),
        ('[network]\nlink_range = "100.64.0.0/33"', "network.link_range"),
    ],
)
def test_what_may_not_be_is_named_with_the_file(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'freehold.toml'}: ")
    assert named in said


@pytest.mark.parametrize("content", [b"region = ", b"[network", b"\xff\xfe", b"\0", b"region = 'a'\nregion = 'b'"])
def test_what_is_no_toml(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"freehold\.toml: "):
        loaded(tmp_path, content)


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").mkdir()
    with pytest.raises(ConfigError, match=r"freehold\.toml: "):
        load(tmp_path)
