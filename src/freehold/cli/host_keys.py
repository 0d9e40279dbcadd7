"""The SSH host keys that a guest printed on its console, which only the guest itself can have written there.

cloud-init's form, which AWS's images print too: lines of ``TYPE BASE64 [COMMENT]`` between two marks
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/connection-prereqs-general.html, "Get the instance fingerprint").
The text is a tenant's: what is not exactly such a line is not taken.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(
    r"^-----BEGIN SSH HOST KEY KEYS-----$(.*?)^-----END SSH HOST KEY KEYS-----$", re.MULTILINE | re.DOTALL
)
_KEY = re.compile(r"((?:ssh|ecdsa)-[a-z0-9-]{1,40}) ([A-Za-z0-9+/]{40,4000}={0,2})(?: .*)?", re.ASCII)


def host_keys(console: str) -> list[str]:
    """The keys of the newest whole block, each as ``TYPE BASE64``; none before the guest has printed one."""
    blocks = _BLOCK.findall(console.replace("\r", ""))
    matches = (_KEY.fullmatch(line.strip()) for line in blocks[-1].splitlines()) if blocks else ()
    return [f"{match[1]} {match[2]}" for match in matches if match]


def known_hosts(address: str, keys: list[str]) -> str:
    """A known_hosts file (sshd(8)) by which `ssh` takes exactly these keys for the address."""
    return "".join(f"{address} {key}\n" for key in keys)
