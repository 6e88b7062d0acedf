"""What a string may not have it may have nowhere: a server that looks at several bytes at a time sees the last as well."""

import pytest

import mqtt_codec as codec
from support import not_31

LENGTHS = (1, 7, 8, 9, 16, 23, 33)  # on both sides of what fits into a word, or into several


def everywhere(what):
    """Strings of several lengths, each with `what` in one place."""
    for length in LENGTHS:
        for at in range(max(length - len(what), 0) + 1):
            yield (b"a" * at + what).ljust(length, b"a")


@not_31
@pytest.mark.parametrize("what", [b"+", b"#", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc3"], ids=bytes.hex)
@pytest.mark.clause("MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.2-1", "MQTT-3.3.2-2")
@pytest.mark.clause311("MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.3.2-1", "MQTT-3.3.2-2")
def test_a_topic_is_looked_at_up_to_its_end(connect, version, what):
    for text in everywhere(what):
        c = connect(version=version)
        c.send(codec.publish(version, text, b"x"))
        c.expect_close(0x81, 0x82, 0x90)


@not_31
@pytest.mark.clause("MQTT-1.5.4-1", "MQTT-3.3.2-1")
@pytest.mark.clause311("MQTT-1.5.3-1", "MQTT-3.3.2-1")
def test_topics_of_any_length_with_any_characters_in_any_place_arrive(connect, prefix, version):
    s, p = connect("s", version), connect("p", version)
    s.subscribe(f"{prefix}/#", qos=1)
    for what in ("é", "€", "𝄞", "$", "\u007e"):
        for text in everywhere(what.encode()):
            name = prefix.encode() + b"/" + text
            p.publish(name, "x", 1)
            s.expect_publish(name.decode(), "x")
