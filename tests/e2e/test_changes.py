"""What is changed of a server is so in the server: its type, its vCPUs, its user data, its metadata service."""

from __future__ import annotations

import pytest

from tests.e2e.servers import Servers, answers, tcp, wait

POOL = "198.18.5.0/27"

TOKEN = (
    "printf 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' "
    "| nc -w 2 169.254.169.254 80 | tail -n 1"
)


@pytest.fixture(scope="module")
def server(servers: Servers) -> str:
    """A server of a fleet that a launch template describes."""
    group = servers.group("ssh", tcp(22))
    servers.ec2.create_launch_template(
        LaunchTemplateName="small",
        LaunchTemplateData={"ImageId": servers.image, "KeyName": "e2e", "SecurityGroupIds": [group]},
    )
    fleet = servers.ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "small", "Version": "$Latest"},
                "Overrides": [{"InstanceType": "t3.nano"}, {"InstanceType": "fh1.nano"}],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )
    (launched,) = fleet["Instances"]
    assert launched["InstanceType"] == "fh1.nano"
    (instance_id,) = launched["InstanceIds"]
    servers.wait_until_ready(instance_id)
    return instance_id


def shape(servers: Servers, instance_id: str) -> tuple[int, int]:
    """vCPUs and MiB, as the server sees them (the kernel keeps some of the memory for itself)."""
    lines = servers.ssh(instance_id, "grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo").split()
    return int(lines[0]), int(lines[2]) // 1024


def restart(servers: Servers, instance_id: str, boots: int) -> None:
    servers.ec2.start_instances(InstanceIds=[instance_id])
    servers.wait_until_ready(instance_id, boots=boots)


def test_a_server_becomes_what_it_is_made(servers: Servers, server: str) -> None:
    assert shape(servers, server)[0] == 1
    servers.ec2.stop_instances(InstanceIds=[server])
    servers.wait_for_state("stopped", server)
    servers.ec2.modify_instance_attribute(InstanceId=server, InstanceType={"Value": "t3.nano"})
    servers.ec2.modify_instance_attribute(InstanceId=server, UserData={"Value": b"new words"})
    restart(servers, server, boots=2)
    vcpus, memory_mib = shape(servers, server)
    assert vcpus == 2
    assert 384 < memory_mib <= 512
    ask = f'wget -q -O - --header "X-aws-ec2-metadata-token: $({TOKEN})" http://169.254.169.254/latest'
    assert servers.ssh(server, f"{ask}/meta-data/instance-type") == "t3.nano"
    assert servers.ssh(server, f"{ask}/user-data") == "new words"
    servers.ec2.stop_instances(InstanceIds=[server])
    servers.wait_for_state("stopped", server)
    servers.ec2.modify_instance_cpu_options(InstanceId=server, CoreCount=1, ThreadsPerCore=1)
    restart(servers, server, boots=3)
    assert shape(servers, server)[0] == 1


def test_the_metadata_service_changes_at_once(servers: Servers, server: str) -> None:
    ask = "wget -q -O - http://169.254.169.254/latest/meta-data/instance-id"
    assert servers.try_ssh(server, ask).returncode != 0

    def becomes(code: int, **options: str) -> None:
        servers.ec2.modify_instance_metadata_options(InstanceId=server, **options)
        wait(lambda: (servers.try_ssh(server, ask).returncode == 0) == (code == 0), f"{options}")

    becomes(0, HttpTokens="optional")
    becomes(1, HttpEndpoint="disabled")
    assert servers.try_ssh(server, "true", seconds=30).returncode == 0  # nobody waits for keys that it does not give
    becomes(0, HttpEndpoint="enabled")


def test_its_public_address_goes_and_comes_while_it_runs(servers: Servers, server: str) -> None:
    (interface,) = servers.get(server)["NetworkInterfaces"]
    name, before = interface["NetworkInterfaceId"], servers.get(server)["PublicIpAddress"]
    assert answers(before, 22)
    servers.ec2.modify_network_interface_attribute(NetworkInterfaceId=name, AssociatePublicIpAddress=False)
    assert "PublicIpAddress" not in servers.get(server)
    wait(lambda: not answers(before, 22), "nobody is at the address")
    servers.ec2.modify_network_interface_attribute(NetworkInterfaceId=name, AssociatePublicIpAddress=True)
    address = servers.get(server)["PublicIpAddress"]
    wait(lambda: answers(address, 22), "the server is at its new address")
    assert servers.ssh(server, "echo it is") == "it is\n"
