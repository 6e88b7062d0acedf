"""What once went wrong, each reduced to the shortest way to it."""

import signal
import time

import pytest

import broker as brokers
import client
import mqtt_codec as codec


@pytest.mark.config(reactors=2)
def test_shared_message_for_a_member_that_just_ended_reaches_another(connect, topic):
    """Members that come and go are chosen by the publisher's reactor when theirs has ended them."""
    stays = connect("stays")
    stays.subscribe(f"$share/g/{topic('t')}", qos=1)
    pub = connect("pub")
    sent, got = 0, set()
    for _ in range(40):
        goes = [connect(f"goes{number}") for number in range(4)]
        for c in goes:
            c.send(codec.subscribe(5, 1, [(f"$share/g/{topic('t')}", 1)]))
        for c in goes:
            c.take("SUBACK")
        burst = b"".join(codec.publish(5, topic("t"), f"{sent + n}", 1, n + 1) for n in range(40))
        sent += 40
        pub.send(burst[:len(burst) // 2])
        for c in goes:
            c.send(codec.disconnect(5))
        pub.send(burst[len(burst) // 2:])
        for _ in range(40):
            pub.take("PUBACK")
        for c in goes:  # what it never acknowledged goes to others, so it counts for nobody here
            c.close()
        stays.sync()
        while stays.inbox:
            packet = stays.inbox.pop(0)
            got.add(int(packet.payload))
            stays.puback(packet.id)
    stays.sync()
    while len(got) < sent:
        packet = stays.take("PUBLISH")
        got.add(int(packet.payload))
        stays.puback(packet.id)


@pytest.mark.ours
def test_log_is_opened_anew_however_often_it_was_rotated(tmp_path):
    path = tmp_path / "log"
    target = brokers.Broker({"log_dest": f"file {path}"})
    for _ in range(300):  # daily, for most of a year
        path.unlink()
        target.signal(signal.SIGHUP)
        deadline = time.monotonic() + client.WAIT_S
        while not path.exists():
            assert time.monotonic() < deadline, "the log was not opened anew"
            time.sleep(0.0005)
    target.stop()
