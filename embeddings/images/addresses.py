"""Which IP addresses an image may be fetched from: the public ones, as the registries of RFC 6890 know them."""

from __future__ import annotations

import ipaddress

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")  # all addresses assigned for use on the Internet, RFC 4291
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_INNER_IPV4 = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments, RFC 6890; Python knows only parts of them
    ipaddress.IPv4Network("168.63.129.16"),  # the platform address inside every Azure network
)


def may_reach(address: str, *, allow_private: bool) -> bool:
    """Return whether a connection to this numeric IP address is permitted.

    An IPv6 address that wraps an IPv4 address (mapped, 6to4, NAT64) is judged by that IPv4 address. An
    address is public if the registries of RFC 6890 call it globally reachable.
    """
    ip = _unwrap(ipaddress.ip_address(address))
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local or str(ip) == "255.255.255.255":
        return False
    if allow_private:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.is_global and ip in _PUBLIC_IPV6
    return ip.is_global and not any(ip in network for network in _INNER_IPV4)


def _unwrap(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
