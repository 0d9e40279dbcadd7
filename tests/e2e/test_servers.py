"""A user's journey with real servers: launched, guarded, stopped, started, rebooted, terminated, billed."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.e2e.servers import Servers, answers, tcp, wait
from tests.host.plane import leftovers

POOL = "203.0.113.64/27"

USER_DATA = """#!/bin/sh
echo "user data ran as $(id -un)" >/root/made-by-user-data
nc -ll -p 8080 -e hostname &
nc -ll -p 8081 -e hostname &
"""
TOKEN = (
    "printf 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' "
    "| nc -w 2 169.254.169.254 80 | tail -n 1"
)


@dataclass(frozen=True)
class Fleet:
    """Three servers that may be reached by SSH, `app` also on port 8080 by members of web's group."""

    web: str
    app: str
    other: str
    web_group: str
    app_group: str


@pytest.fixture(scope="module")
def fleet(servers: Servers) -> Fleet:
    ssh = tcp(22)
    web_group = servers.group("web", ssh)
    other_group = servers.group("other", ssh)
    from_web = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "UserIdGroupPairs": [{"GroupId": web_group}]}
    app_group = servers.group("app", ssh, from_web)
    launched = [servers.launch(group, UserData=USER_DATA)[0] for group in (web_group, app_group, other_group)]
    servers.wait_until_ready(*launched)
    return Fleet(launched[0], launched[1], launched[2], web_group, app_group)


def private_ip(servers: Servers, instance_id: str) -> str:
    return servers.get(instance_id)["PrivateIpAddress"]


def test_a_server_is_what_the_api_says(servers: Servers, fleet: Fleet) -> None:
    instance = servers.get(fleet.web)
    assert instance["State"]["Name"] == "running"
    assert servers.ssh(fleet.web, "hostname").strip() == instance["PrivateDnsName"]
    assert f"inet {instance['PrivateIpAddress']}/20 " in servers.ssh(fleet.web, "ip addr show eth0")
    assert (
        servers.ssh(fleet.web, "cat /sys/class/net/eth0/address").strip()
        == (instance["NetworkInterfaces"][0]["MacAddress"])
    )
    assert servers.ssh(fleet.web, "cat /sys/class/dmi/id/sys_vendor") == "Amazon EC2\n"
    assert servers.ssh(fleet.web, "cat /root/made-by-user-data") == "user data ran as root\n"


def test_a_server_asks_the_metadata_service_who_it_is(servers: Servers, fleet: Fleet) -> None:
    ask = f'wget -q -O - --header "X-aws-ec2-metadata-token: $({TOKEN})" http://169.254.169.254/latest'
    assert servers.ssh(fleet.web, f"{ask}/meta-data/instance-id") == fleet.web
    assert servers.ssh(fleet.app, f"{ask}/meta-data/instance-id") == fleet.app
    document = json.loads(servers.ssh(fleet.web, f"{ask}/dynamic/instance-identity/document"))
    assert (document["instanceId"], document["imageId"]) == (fleet.web, servers.image)
    assert servers.ssh(fleet.web, f"{ask}/user-data") == USER_DATA
    without_token = servers.try_ssh(fleet.web, "wget -O - http://169.254.169.254/latest/meta-data/")
    assert "401" in without_token.stderr


def test_servers_find_each_other_by_name(servers: Servers, fleet: Fleet) -> None:
    app = servers.get(fleet.app)
    for name in (app["PrivateDnsName"], app["PublicDnsName"]):
        found = servers.ssh(fleet.web, f"nslookup {name}")
        assert f"Name:\t{name}\nAddress: {app['PrivateIpAddress']}\n" in found, found
    assert app["PrivateDnsName"] in servers.ssh(fleet.web, f"nslookup {app['PrivateIpAddress']}")
    assert "REFUSED" in servers.try_ssh(fleet.web, "nslookup www.example.com").stdout


def test_groups_let_in_what_they_say_and_nothing_else(servers: Servers, fleet: Fleet) -> None:
    app = private_ip(servers, fleet.app)
    name = servers.ssh(fleet.app, "hostname")
    assert servers.ssh(fleet.web, f"nc -w 3 {app} 8080 </dev/null") == name
    for blocked in (f"nc -w 3 {app} 8081", f"ping -c 1 -W 2 {app}"):
        assert servers.try_ssh(fleet.web, f"{blocked} </dev/null").returncode != 0
    assert servers.try_ssh(fleet.other, f"nc -w 3 {app} 8080 </dev/null").returncode != 0
    public = servers.get(fleet.app)["PublicIpAddress"]
    assert not answers(public, 8080)

    everybody = tcp(8081)
    servers.ec2.authorize_security_group_ingress(GroupId=fleet.app_group, IpPermissions=[everybody])
    wait(lambda: answers(public, 8081), "port 8081 is open to everybody")
    servers.ec2.revoke_security_group_ingress(GroupId=fleet.app_group, IpPermissions=[everybody])
    wait(lambda: not answers(public, 8081), "port 8081 is closed again")


def test_stop_and_start_keep_the_disk_and_the_private_address(servers: Servers, fleet: Fleet) -> None:
    before = servers.get(fleet.other)
    servers.ssh(fleet.other, "echo kept >/root/file")
    stopping = servers.ec2.stop_instances(InstanceIds=[fleet.other])["StoppingInstances"][0]
    assert (stopping["PreviousState"]["Name"], stopping["CurrentState"]["Name"]) == ("running", "stopping")
    servers.wait_for_state("stopped", fleet.other)
    assert "PublicIpAddress" not in servers.get(fleet.other)
    servers.ec2.start_instances(InstanceIds=[fleet.other])
    servers.wait_until_ready(fleet.other, boots=2)
    after = servers.get(fleet.other)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["LaunchTime"] > before["LaunchTime"]
    assert servers.ssh(fleet.other, "cat /root/file") == "kept\n"
    assert "recovery" not in servers.ssh(fleet.other, "dmesg | grep EXT4")  # it had been shut down in order


def test_a_reboot_keeps_addresses_and_disk(servers: Servers, fleet: Fleet) -> None:
    before = servers.get(fleet.app)
    boot = servers.ssh(fleet.app, "cat /proc/sys/kernel/random/boot_id")
    servers.ec2.reboot_instances(InstanceIds=[fleet.app])
    servers.wait_until_ready(fleet.app, boots=2)
    assert servers.get(fleet.app) == before
    assert servers.ssh(fleet.app, "cat /proc/sys/kernel/random/boot_id") != boot
    assert servers.ssh(fleet.app, "cat /root/made-by-user-data") == "user data ran as root\n"


def test_an_elastic_ip_reaches_the_server_it_is_given_to(servers: Servers, fleet: Fleet) -> None:
    address = servers.ec2.allocate_address(Domain="vpc")
    servers.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=fleet.web)
    assert servers.get(fleet.web)["PublicIpAddress"] == address["PublicIp"]
    wait(lambda: answers(address["PublicIp"], 22), "the Elastic IP answers")
    assert servers.ssh(fleet.web, "true") == ""
    servers.ec2.disassociate_address(PublicIp=address["PublicIp"])
    wait(lambda: not answers(address["PublicIp"], 22), "the Elastic IP leads nowhere")
    servers.ec2.release_address(AllocationId=address["AllocationId"])


def test_a_server_that_powers_itself_off_is_stopped(servers: Servers, fleet: Fleet) -> None:
    servers.try_ssh(fleet.other, "poweroff")
    servers.wait_for_state("stopped", fleet.other)
    assert servers.get(fleet.other)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_the_aws_command_sees_the_same(servers: Servers, fleet: Fleet) -> None:
    shown = json.loads(
        servers.cloud.ok(
            *("aws", "ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=running"),
            *("--query", "sort(Reservations[].Instances[].InstanceId)", "--output", "json"),
        )
    )
    assert shown == sorted([fleet.web, fleet.app])
    status = json.loads(servers.cloud.ok("aws", "ec2", "describe-instance-status", "--instance-ids", fleet.web))
    assert status["InstanceStatuses"][0]["InstanceState"]["Name"] == "running"


def test_terminated_servers_leave_a_bill_and_nothing_else(servers: Servers, fleet: Fleet) -> None:
    everything = [fleet.web, fleet.app, fleet.other]
    answer = servers.ec2.terminate_instances(InstanceIds=everything)["TerminatingInstances"]
    assert {change["CurrentState"]["Name"] for change in answer} == {"shutting-down"}
    servers.wait_for_state("terminated", *everything)
    assert leftovers(servers.cloud.data_dir, servers.cloud.paths.switch) == []
    assert servers.ec2.describe_volumes()["Volumes"] == []
    assert servers.ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert servers.ec2.describe_addresses()["Addresses"] == []
    bill = json.loads(servers.cloud.ok("bill", "--json"))
    billed = {line["resource_id"]: line for line in bill["lines"] if line["item"] == "instance:fh1.nano"}
    assert billed.keys() == set(everything)
    assert not any(line["running"] for line in bill["lines"])
