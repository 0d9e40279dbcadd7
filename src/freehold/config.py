"""The configuration: ``freehold.toml`` in the data directory. Every key has a default; unknown keys are refused.

docs/configuration.md is generated from this module: a field's documentation is the comment-like text in its `Meta`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from freehold.quotas import QUOTAS

_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ZONE = re.compile(r"[a-z]")


class ConfigError(Exception):
    """The configuration can not be used; the message names the key and what would be right."""


class InstanceType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vcpus: Annotated[int, Meta(ge=1, description="Virtual CPUs.")]
    memory_mib: Annotated[int, Meta(ge=96, description="Memory, in MiB.")]
    price_per_hour: Annotated[
        Decimal, Meta(description="Price of an hour of a running instance, billed by the second.")
    ]
    network_gbps: Annotated[float, Meta(gt=0, description="Network bandwidth that it may count on, in Gbit/s.")] = 10
    network_burst_gbps: Annotated[float, Meta(gt=0, description="Network bandwidth that it may reach, in Gbit/s.")] = 10
    interfaces: Annotated[int, Meta(ge=1, description="Network interfaces, at most.")] = 4
    addresses_per_interface: Annotated[
        int, Meta(ge=1, description="Private IPv4 addresses of a network interface, at most.")
    ] = 15
    ebs_mbps: Annotated[int, Meta(ge=1, description="Bandwidth to its volumes that it may count on, in Mbit/s.")] = 4750
    ebs_iops: Annotated[int, Meta(ge=1, description="Operations a second on its volumes that it may count on.")] = 18750
    ebs_burst_mbps: Annotated[int, Meta(ge=1, description="Bandwidth to its volumes that it may reach, in Mbit/s.")] = (
        4750
    )
    ebs_burst_iops: Annotated[int, Meta(ge=1, description="Operations a second on its volumes that it may reach.")] = (
        18750
    )
    credits_per_hour: Annotated[
        int,
        Meta(
            ge=0,
            description="CPU credits that a burstable type earns: minutes of a vCPU in each hour. 0: it is not "
            "burstable, its vCPUs are its own all the time.",
        ),
    ] = 0


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[
        str,
        Meta(description="Database: empty for SQLite in the data directory, or `postgresql+psycopg://…`."),
    ] = ""
    durable: Annotated[
        bool,
        Meta(
            description="SQLite: wait for the disk at every commit. Off, a power failure may lose the last commits "
            "(a killed process never does)."
        ),
    ] = True
    keep_feed_hours: Annotated[int, Meta(ge=1, description="How long entries of the change feed are kept.")] = 24


class RootKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: Annotated[
        str,
        Meta(
            pattern="^(file|credential|pkcs11)$",
            description="Where the key that seals all secrets comes from: a `file` in the data directory, such a file "
            "that only a `pkcs11` token (HSM, TPM, smart card) opens, or a `credential` of systemd.",
        ),
    ] = "file"
    credential: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_.-]{1,255}$",
            description="Name of the credential: 32 bytes. During a rotation the older key is `NAME.previous`.",
        ),
    ] = "freehold-root-key"
    pkcs11_module: Annotated[
        str, Meta(description="The token's library, such as `/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so`.")
    ] = ""
    pkcs11_token: Annotated[str, Meta(description="Label of the token.")] = "freehold"  # noqa: S105
    pkcs11_key: Annotated[
        str,
        Meta(
            description="Label of a pair of RSA keys in the token, which you make there: `pkcs11-tool --module … "
            "--login --keypairgen --key-type rsa:2048 --label freehold`."
        ),
    ] = "freehold"
    pkcs11_pin_file: Annotated[str, Meta(description="A file with the user's PIN of the token.")] = ""


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public_pool: Annotated[
        str, Meta(description="Public IPv4 addresses of the cloud, routed from this machine only.")
    ] = "203.0.113.0/24"
    link_range: Annotated[
        str,
        Meta(description="Private range for the links between VPC routers and the cloud's public network."),
    ] = "100.64.0.0/16"
    uplink: Annotated[
        str,
        Meta(
            description="Interface through which guests may reach the outside world (masqueraded). Empty: no way out."
        ),
    ] = ""


class Compute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cpu_overcommit: Annotated[float, Meta(gt=0, le=1000, description="vCPUs offered for each core of a host.")] = 32.0
    memory_overcommit: Annotated[
        float,
        Meta(
            gt=0,
            le=1000,
            description="MiB of guest memory offered for each MiB of a host. Beyond 1 guests that have some to spare "
            "lend it while it is short; a server that would leave none is not started.",
        ),
    ] = 1.0
    credit_clock: Annotated[
        float, Meta(gt=0, le=1e6, description="How many times faster than on AWS CPU credits are earned and spent.")
    ] = 1.0
    memory_reserved_mib: Annotated[int, Meta(ge=0, description="Memory of a host that is not offered to guests.")] = (
        1024
    )
    template_memory_mib: Annotated[
        int,
        Meta(
            ge=0,
            description="Memory of a host for templates, of which launches resume clones; those used last are kept, "
            "and a clone of the last one stands ready for the next launch. 0: every server boots.",
        ),
    ] = 512
    template_types: Annotated[
        tuple[str, ...],
        Meta(description="Instance types that have templates before their first launch; others have one after it."),
    ] = ("fh1.nano",)
    shutdown_grace_seconds: Annotated[
        int, Meta(ge=1, description="How long a guest may take to shut down before it is switched off.")
    ] = 120
    accelerator: Annotated[
        str,
        Meta(
            pattern="^(auto|kvm|tcg)$",
            description="`auto` boots a probe guest under KVM to see whether it works.",
        ),
    ] = "auto"


class Spot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price: Annotated[
        Decimal, Meta(description="Price of a spot instance, as a part of what its type costs on demand.")
    ] = Decimal("0.3")
    notice_seconds: Annotated[
        int,
        Meta(
            ge=1,
            description="How long a spot instance runs on after its notice, when an on-demand instance needs its room.",
        ),
    ] = 120


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    currency: Annotated[str, Meta(description="Currency of all prices, for display.")] = "USD"
    volume_gib_month: Annotated[
        dict[str, Decimal],
        Meta(description="Price of a GiB of volume for a month (730 hours), by volume type."),
    ] = msgspec.field(
        default_factory=lambda: {
            "gp3": Decimal("0.08"),
            "gp2": Decimal("0.10"),
            "io1": Decimal("0.125"),
            "io2": Decimal("0.125"),
            "st1": Decimal("0.045"),
            "sc1": Decimal("0.015"),
            "standard": Decimal("0.05"),
        }
    )
    volume_iops_month: Annotated[
        dict[str, Decimal],
        Meta(description="Price of an I/O operation a second for a month, by volume type; of gp3 beyond 3000."),
    ] = msgspec.field(
        default_factory=lambda: {"gp3": Decimal("0.005"), "io1": Decimal("0.065"), "io2": Decimal("0.065")}
    )
    volume_mibps_month: Annotated[
        dict[str, Decimal],
        Meta(description="Price of a MiB a second of throughput for a month, by volume type; of gp3 beyond 125."),
    ] = msgspec.field(default_factory=lambda: {"gp3": Decimal("0.04")})
    snapshot_gib_month: Annotated[
        Decimal, Meta(description="Price of a GiB that a snapshot adds to those before it, for a month (730 hours).")
    ] = Decimal("0.05")
    address_hour: Annotated[Decimal, Meta(description="Price of a public IPv4 address for an hour.")] = Decimal("0.005")
    surplus_vcpu_hour: Annotated[
        Decimal,
        Meta(description="Price of an hour of a vCPU that an `unlimited` burstable instance used beyond its credits."),
    ] = Decimal("0.05")
    egress_gb: Annotated[Decimal, Meta(description="Price of a GB (10⁹ bytes) sent to the internet.")] = Decimal("0.09")


class Throttle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reads_per_second: Annotated[
        float, Meta(gt=0, description="Requests that read, of each service: what an account may keep sending a second.")
    ] = 2000
    reads_burst: Annotated[float, Meta(ge=1, description="How many of them it may send at once after a rest.")] = 20_000
    writes_per_second: Annotated[float, Meta(gt=0, description="The same of requests that change something.")] = 500
    writes_burst: Annotated[float, Meta(ge=1, description="How many of them at once after a rest.")] = 10_000
    unsigned_per_second: Annotated[
        float,
        Meta(gt=0, description="Requests that need no signature (`AssumeRoleWithWebIdentity`), from each address."),
    ] = 20
    unsigned_burst: Annotated[float, Meta(ge=1, description="How many of them at once after a rest.")] = 200


class IdentityProviders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks (`10.20.0.0/16`) beside the public internet in which OpenID Connect providers that "
            "accounts name may be. Their keys are fetched from the machine that runs the front door: name none in "
            "which something answers to whoever reaches it."
        ),
    ] = ()
    authorities: Annotated[
        str,
        Meta(description="A PEM file of authorities that vouch for providers, beside those the machine trusts."),
    ] = ""


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keep_days: Annotated[
        int,
        Meta(
            ge=1,
            description="How long audit records are kept. LookupEvents shows those of 90 days; trails deliver them to "
            "buckets, where they stay.",
        ),
    ] = 90


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    region: Annotated[str, Meta(description="The region that clients use when they name none.")] = "us-east-1"
    regions: Annotated[
        tuple[str, ...],
        Meta(description="The regions served. Empty: every region name is a region of its own."),
    ] = ()
    zones: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Letters of the availability zones of each region.")
    ] = ("a", "b", "c")
    front_processes: Annotated[
        int,
        Meta(ge=0, le=64, description="Processes of the front door, which share its port. 0: one for each core."),
    ] = 0
    https_address: Annotated[
        str,
        Meta(description="Address on which HTTPS is served to the network (`0.0.0.0`). Empty: loopback HTTP only."),
    ] = ""
    https_port: Annotated[int, Meta(ge=1, le=65535, description="Port for HTTPS.")] = 4601
    https_names: Annotated[
        tuple[str, ...],
        Meta(
            description="Names and IP addresses by which the network reaches the cloud (`cloud.example.org`): they are "
            "in its certificate, and a bucket may be named before them."
        ),
    ] = ()
    https_certificate: Annotated[
        str,
        Meta(description="Certificate chain for HTTPS, a PEM file. Empty: issued by the cloud's own authority."),
    ] = ""
    https_key: Annotated[str, Meta(description="The private key of `https_certificate`, a PEM file.")] = ""
    state: State = State()
    root_key: RootKey = RootKey()
    network: Network = Network()
    compute: Compute = Compute()
    prices: Prices = Prices()
    spot: Spot = Spot()
    throttle: Throttle = Throttle()
    identity_providers: IdentityProviders = IdentityProviders()
    audit: Audit = Audit()
    instance_types: Annotated[
        dict[str, InstanceType],
        Meta(description="Instance types beside the built-in ones, or in their place."),
    ] = {}

    quotas: Annotated[
        dict[str, float],
        Meta(
            description="What every account may hold in a region, by AWS's quota codes (`L-1216C47A = 256`: vCPUs of "
            "running instances), in the place of the defaults: `freehold quota list` shows all."
        ),
    ] = {}

    def zone_names(self, region: str) -> tuple[str, ...]:
        """The availability zones of a region: ``us-east-1a`` …"""
        return tuple(region + letter for letter in self.zones)

    @property
    def spot_notice(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.spot.notice_seconds)

    def serves(self, region: str) -> bool:
        return not self.regions or region in self.regions


def load(data_dir: Path) -> Config:
    """The configuration of the cloud in `data_dir`; defaults where there is no file.

    Raises ConfigError naming the file, the key and what is wrong with it.
    """
    path = data_dir / "freehold.toml"
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=Config) if path.exists() else Config()
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError) as error:
        raise ConfigError(f"{path}: {error}. See docs/configuration.md for the keys.") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    for problem in _problems(config):
        raise ConfigError(f"{path}: {problem}.")
    return config


def _problems(config: Config) -> Iterator[str]:
    """What the types can not say. (`freehold.network.names` says whether the networks fit together and the machine.)"""
    for key, text in (("public_pool", config.network.public_pool), ("link_range", config.network.link_range)):
        try:
            IPv4Network(text)
        except ValueError as error:
            yield f"network.{key}: {error}; write a network such as 203.0.113.0/24"
    for text in config.identity_providers.networks:
        try:
            ip_network(text)
        except ValueError as error:
            yield f"identity_providers.networks: {error}; write a network such as 10.20.0.0/16"
    for region in (config.region, *config.regions):
        if not _REGION.fullmatch(region):
            yield f"{region!r} in region or regions is not the name of a region, such as us-east-1"
    if not config.serves(config.region):
        yield f"region: {config.region} is not one of the regions"
    if len(set(config.zones)) < len(config.zones) or not all(_ZONE.fullmatch(letter) for letter in config.zones):
        yield "zones: write different small letters, such as a, b and c"
    if bool(config.https_certificate) != bool(config.https_key):
        yield "https_certificate and https_key are given together, or neither"
    if config.https_address:
        try:
            ip_address(config.https_address)
        except ValueError as error:
            yield f"https_address: {error}"
    for code, value in config.quotas.items():
        if code not in QUOTAS:
            yield f"quotas.{code} is not the code of a quota; `freehold quota list` shows them"
        elif not 0 <= value <= 2**53:
            yield f"quotas.{code}: {value} is not a limit"
    prices = {
        "prices.address_hour": config.prices.address_hour,
        "prices.egress_gb": config.prices.egress_gb,
        "spot.price": config.spot.price,
        "prices.surplus_vcpu_hour": config.prices.surplus_vcpu_hour,
        **{f"prices.volume_gib_month.{name}": price for name, price in config.prices.volume_gib_month.items()},
        **{f"prices.volume_iops_month.{name}": price for name, price in config.prices.volume_iops_month.items()},
        **{f"prices.volume_mibps_month.{name}": price for name, price in config.prices.volume_mibps_month.items()},
        **{f"instance_types.{name}.price_per_hour": t.price_per_hour for name, t in config.instance_types.items()},
    }
    for key, price in prices.items():
        if not price.is_finite() or price < 0:
            yield f"{key}: {price} is not a price"
