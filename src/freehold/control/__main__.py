"""The controllers' process: ``python -m freehold.control --data-dir DIR``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import signal
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from freehold import config as configuration
from freehold.config import Config
from freehold.control.capacity import end_reservations
from freehold.control.delivery import Delivery
from freehold.control.events import carry_out_events
from freehold.control.hosts import HostLinks, link_security, renew_link
from freehold.control.housekeeping import keep_house
from freehold.control.keys import keep_keys
from freehold.control.networks import NetworkController
from freehold.control.questions import take_questions
from freehold.control.sealing import Chain
from freehold.control.spot import SpotRequests
from freehold.fabric.differ import Fabric
from freehold.fabric.view import PublicView
from freehold.logs import log_as_json
from freehold.network.names import CloudNetwork
from freehold.parts import host_id
from freehold.paths import Paths
from freehold.pki import PkiError
from freehold.records import feed
from freehold.records.objects import LocalObjects
from freehold.records.root_keys import RootKeys, root_keys
from freehold.records.secrets import Sealer, SealError
from freehold.records.store import Store
from freehold.records.wake import SocketBell, listen

log = structlog.get_logger()

_LOOK_SECONDS = 5.0  # a lost ring costs at most this
_HOUSEKEEPING_SECONDS = 60.0
_EVENTS_SECONDS = 5.0
_RENEWAL_SECONDS = 30.0
_CERTIFICATES_SECONDS = 3600.0
_CAPACITY_SECONDS = 5.0
_DELIVERY_SECONDS = 300.0  # "CloudTrail typically delivers logs within an average of about 5 minutes of an API call"
_TRAIL_SECONDS = 1.0  # how far the chain of the audit trail is behind the writers, who do not wake it


async def run(
    data_dir: Path, open_store: Callable[..., Store] = Store, open_fabric: Callable[[Path], Fabric] = Fabric
) -> None:
    """All changes that the controllers make pass the store and the fabric that are opened here: the cut test
    (tests/control/test_cuts.py) gives its own."""
    paths = Paths(data_dir)
    config = configuration.load(data_dir)
    bell = listen(paths.bells, "control")
    store = open_store(config.state.url or paths.state_url, SocketBell(paths.bells), durable=config.state.durable)
    cloud = CloudNetwork(paths.tag, IPv4Network(config.network.public_pool), IPv4Network(config.network.link_range))
    public = PublicView(cloud.pool, cloud.link_range, cloud.chassis)
    network = NetworkController(store, open_fabric(paths.northbound), public)
    sealer, roots = Sealer.of(data_dir), root_keys(data_dir, config.root_key)
    links = HostLinks(store, config, sealer)

    with store.read() as tx:
        position = feed.position(tx)
    security = link_security(paths.pki)
    server = await links.serve(paths.host_link, security)
    questions = await take_questions(paths.questions, links)

    rung = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(bell, rung.set)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    house = asyncio.create_task(_housekeeping(store, config, sealer, roots))
    events = asyncio.create_task(_carrying_out(store))
    chain = Chain(store, sealer, paths.audit_head)
    delivery = asyncio.create_task(_delivering(Delivery(store, sealer, LocalObjects(paths.objects))))
    trail = asyncio.create_task(_chaining(chain, dt.timedelta(days=config.audit.keep_days)))
    renewer = asyncio.create_task(_renewing(links))
    spotted = asyncio.Event()
    holder = asyncio.create_task(_holding(store, SpotRequests(store, config, sealer), spotted))
    certifier = asyncio.create_task(_certifying(paths, security))
    follower = asyncio.create_task(_follow(store, bell, rung, position, links, network, spotted))
    log.info("controllers started")
    tasks = (house, events, trail, delivery, renewer, holder, certifier, follower)
    await asyncio.wait({asyncio.create_task(stopping.wait()), *tasks}, return_when=asyncio.FIRST_COMPLETED)
    questions.close()
    server.close()
    await links.close()
    network.close()
    store.close()
    for task in tasks:
        if task.done():
            task.result()  # it never ends by itself but by an error: say which
        task.cancel()


async def _follow(
    store: Store,
    bell: socket.socket,
    rung: asyncio.Event,
    position: int,
    links: HostLinks,
    network: NetworkController,
    spotted: asyncio.Event,
) -> None:
    """Read the feed from `position` on, for ever, and pass on what changed."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await rung.wait()
        rung.clear()
        with contextlib.suppress(BlockingIOError):
            while bell.recv(1):
                pass
        while True:
            before = position
            position, changed = await asyncio.to_thread(_read_feed, store, position)
            if position == before:
                break
            network.look_at(key for topic, key in changed if topic == "vpc")
            guests = [key for topic, key in changed if topic == "guest"]
            volumes = [key for topic, key in changed if topic == "volume"]
            snapshots = [key for topic, key in changed if topic == "snapshot"]
            if any(topic == "spot" for topic, _ in changed):
                spotted.set()
            if guests or volumes or snapshots:
                await links.send_changed(guests, volumes, snapshots)


def _read_feed(store: Store, position: int) -> tuple[int, set[tuple[str, str]]]:
    with store.read() as tx:
        return feed.since(tx, position, ("guest", "snapshot", "spot", "volume", "vpc"))


async def _delivering(delivery: Delivery) -> None:
    while True:
        try:
            await asyncio.to_thread(delivery.deliver)
        except SQLAlchemyError:
            log.exception("trails not delivered, the next round will make up for it")
        await asyncio.sleep(_DELIVERY_SECONDS)


async def _chaining(chain: Chain, keep: dt.timedelta) -> None:
    while True:
        try:
            await asyncio.to_thread(chain.follow)
            await asyncio.to_thread(chain.prune, keep)
        except (SQLAlchemyError, SealError, OSError):
            log.exception("audit records not chained, the next round will make up for it")
        await asyncio.sleep(_TRAIL_SECONDS)


async def _housekeeping(store: Store, config: Config, sealer: Sealer, roots: RootKeys) -> None:
    while True:
        try:
            await asyncio.to_thread(keep_house, store, config)
            await asyncio.to_thread(keep_keys, store, sealer, roots)
        except (SQLAlchemyError, SealError):
            log.exception("housekeeping failed, the next round will make up for it")
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)


async def _carrying_out(store: Store) -> None:
    while True:
        try:
            await asyncio.to_thread(carry_out_events, store)
        except SQLAlchemyError:
            log.exception("scheduled events not carried out, the next round will make up for it")
        await asyncio.sleep(_EVENTS_SECONDS)


async def _renewing(links: HostLinks) -> None:
    """Credentials of servers' roles are looked at often enough that another role of a profile is there soon."""
    while True:
        await asyncio.sleep(_RENEWAL_SECONDS)
        try:
            await links.renew_credentials()
        except SQLAlchemyError:
            log.exception("credentials not renewed, the next round will make up for it")


async def _holding(store: Store, requests: SpotRequests, spotted: asyncio.Event) -> None:
    """What holds room, or waits for it, is looked at often enough that nobody pays for a reservation long after its
    end, nor waits long beside free room; a new request and the end of a notice are not waited for."""
    while True:
        pause: float | None = None
        spotted.clear()
        try:
            await asyncio.to_thread(end_reservations, store)
            pause = await asyncio.to_thread(requests.look)
        except (SQLAlchemyError, SealError):
            log.exception("capacity not looked at, the next round will make up for it")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CAPACITY_SECONDS if pause is None else min(pause, _CAPACITY_SECONDS)):
                await spotted.wait()


async def _certifying(paths: Paths, security: ssl.SSLContext) -> None:
    while True:
        await asyncio.sleep(_CERTIFICATES_SECONDS)
        try:
            await asyncio.to_thread(renew_link, paths.pki, host_id(paths), security)
        except (PkiError, OSError):
            log.exception("certificates not renewed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Freehold's controllers")
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    log_as_json()
    asyncio.run(run(options.data_dir))


if __name__ == "__main__":
    main()
