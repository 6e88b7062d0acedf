"""The tests' own codec: if it took what no server may send, the other tests would show little."""

import pytest

import mqtt_codec as codec


def parse(version, data):
    kind, flags, skip, length = codec.header(data)
    assert len(data) == skip + length
    return codec.parse(version, kind, flags, data[skip:], len(data))


@pytest.mark.parametrize("value, encoded", [
    (0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001"),
    (2097151, "ffff7f"), (2097152, "80808001"), (268435455, "ffffff7f")])
def test_variable_byte_integers_take_their_shortest_form(value, encoded):
    assert codec.varint(value).hex() == encoded
    assert codec.Reader(bytes.fromhex(encoded), "x").varint() == value


def test_a_padded_integer_can_be_built():
    assert codec.varint(0, 5).hex() == "8080808000"
    assert codec.varint(1, 2).hex() == "8100"


@pytest.mark.parametrize("version, data", [
    (5, "2003000000"), (5, "200301000 0"), (4, "20020100"), (4, "20020005"), (3, "20020000"),
    (5, "300500016100 78"), (4, "3004000161 78"), (5, "320700016100 01 00 78"),
    (5, "40020001"), (5, "4003000110"), (5, "400400011000"), (5, "62020001"), (5, "7003000192"),
    (5, "90040001 00 02"), (4, "9004000102 80"), (5, "b0040001 00 11"), (4, "b0020001"),
    (5, "d000"), (5, "e000"), (5, "e001 8b"), (5, "e002 8e00")])
def test_good_packets_are_accepted(version, data):
    parse(version, bytes.fromhex(data.replace(" ", "")))


@pytest.mark.parametrize("version, data", [
    (5, "2003020000"), (5, "2003018700"), (5, "2003000400"), (5, "20020000"), (5, "21030000 00"),
    (4, "20020006"), (3, "20020100"), (4, "2003000000"), (5, "2005000002 1100"),
    (5, "2006000003 210000"), (5, "20080000 05 2200012200"), (5, "2005000002 2402"),
    (5, "3004000161"), (5, "3605000161 0001 00"), (5, "38040001 61 00"), (5, "3206000161 0000 00"),
    (5, "30040001 23 00"), (5, "3003 0000 00"), (5, "3004 0001 ff 00"), (5, "3004 0001 00 00"),
    (5, "3006 0001 61 02 0b00"), (5, "3007 0001 61 03 210001"), (4, "40020000"), (5, "4003000104"),
    (5, "60020001"), (5, "6203000110"), (5, "90030001 00"), (5, "90040001 00 03"), (4, "9003000103"),
    (3, "9003000180"), (4, "b003000100"), (5, "b0040001 00 01"), (4, "e000"), (5, "e00104"),
    (5, "e1 00"), (5, "e007 8e 05 1100000001"), (5, "f000"), (5, "8206 0001 00 0001 61 00"),
    (5, "0000"), (5, "d001 00"), (5, "d100")])
def test_bad_packets_are_refused(version, data):
    with pytest.raises(codec.Malformed):
        data = bytes.fromhex(data.replace(" ", ""))
        kind, flags, skip, length = codec.header(data)
        codec.parse(version, kind, flags, data[skip:skip + length], len(data))


def test_padded_and_long_remaining_lengths_are_refused():
    for data in ("d08000", "d08080808000"):
        with pytest.raises(codec.Malformed):
            codec.header(bytes.fromhex(data))
