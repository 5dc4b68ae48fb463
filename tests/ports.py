"""Ports of loopback for servers that tests start, by themselves or side by side."""

from __future__ import annotations

import random
import socket

# Below the range that systems take the ports of outgoing connections from, or one might hold ours while we restart.
PORTS = range(20_000, 32_768)


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nobody listens on, and that no outgoing connection will be given."""
    probes: list[socket.socket] = []
    while len(probes) < count:
        probe = socket.socket()
        try:
            probe.bind(("127.0.0.1", random.choice(PORTS)))
        except OSError:
            probe.close()
        else:
            probes.append(probe)
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
