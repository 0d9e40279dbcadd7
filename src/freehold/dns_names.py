"""DNS names that EC2 gives to addresses.

https://docs.aws.amazon.com/vpc/latest/userguide/vpc-dns.html ("DNS hostnames"): us-east-1 has domains of its own.
"""

from __future__ import annotations


def private_domain(region: str) -> str:
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def public_domain(region: str) -> str:
    return f"{'compute-1' if region == 'us-east-1' else f'{region}.compute'}.amazonaws.com"


def private_dns_name(region: str, private_ip: str) -> str:
    """``ip-172-31-0-5.ec2.internal``"""
    return f"ip-{private_ip.replace('.', '-')}.{private_domain(region)}"


def public_dns_name(region: str, public_ip: str) -> str:
    """``ec2-203-0-113-5.compute-1.amazonaws.com``"""
    return f"ec2-{public_ip.replace('.', '-')}.{public_domain(region)}"
