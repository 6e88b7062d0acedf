"""Small things that several test files share."""

import pytest

from broker import IS_PEER

versions = pytest.mark.parametrize("version", [3, 4, 5])
not_31 = pytest.mark.parametrize("version", [4, 5])
before_5 = pytest.mark.parametrize("version", [3, 4])
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
acknowledged = pytest.mark.parametrize("qos", [1, 2])

FOREVER = 0xFFFFFFFF


def peer_fails(reason):
    """Known to fail with the broker we compare with; says why. Means nothing for our own."""
    return pytest.mark.xfail(IS_PEER, reason=reason, strict=False)


def lasting(version, expiry=FOREVER):
    """Arguments for connect() that make a session outlive its connection."""
    if version == 5:
        return {"clean": False, "props": {"session_expiry": expiry}}
    return {"clean": False}


def offline(connect, name, *filters, version=5, qos=1, expiry=FOREVER, **option):
    """A session that has subscribed and gone away, cleanly and noticed by the broker."""
    c = connect(name, version, **lasting(version, expiry))
    c.subscribe(*filters, qos=qos, **option)
    c.disconnect()
    return c


def payloads(packets):
    return [packet.payload for packet in packets]
