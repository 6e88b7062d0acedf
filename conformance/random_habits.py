"""What a broker does where the standard leaves it the choice, asked of the broker itself.

Three habits are not a matter of chance but of a broker's design, and the model is told of them: whether a message that
matches several subscriptions of a client comes once or once for each, whether a message at QoS 2 goes out when it comes in
or when it is released, and whether what is left behind by a member of a share group that is gone goes to another.
"""

import json
import socket
import struct
import uuid

import broker as brokers
import client as clients
import mqtt_codec as codec
import random_driver
import random_model

PROBES = 12


def driver_for(target):
    """A Driver for a broker, which has been asked for its habits."""
    prefix = "" if brokers.BINARY else f"random-{uuid.uuid4().hex[:8]}/"
    can_turn = bool(brokers.BINARY) and (not brokers.IS_PEER or bool(brokers.FAKETIME))
    return random_driver.Driver(target, probes_of(target), habits_of(target), prefix, can_turn)


def probes_of(target):
    """Sockets of clients, on each thread of the broker: two on each where it tells, else so many that chance
    leaves none out."""
    some = [clients.Client(target.address, f"probe-{uuid.uuid4().hex[:12]}", 5) for _ in range(PROBES)]
    chosen = some
    if not brokers.IS_PEER:
        where = {}
        with_admin = clients.Client(target.address, "", 5)
        with_admin.subscribe("$SYS/broker/sessions/+")
        while any(one.client_id not in where for one in some):
            document = json.loads(with_admin.expect_publish().payload)
            where[document["client_id"]] = document["reactor"]
        with_admin.close()
        mine = {one: where.get(one.client_id) for one in some}
        chosen = [one for reactor in set(mine.values()) for one in
                  [one for one in some if mine[one] == reactor][:2]]
    for one in some:
        if one in chosen:  # a timeout of the kernel's: Python's own takes a second system call
            one.sock.setblocking(True)
            one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                                struct.pack("ll", int(clients.WAIT_S), 0))
        else:
            one.close()
    return [one.sock for one in chosen]


def habits_of(target):
    name = f"habit-{uuid.uuid4().hex[:8]}"
    watcher = clients.Client(target.address, name + "w", 5)
    publisher = clients.Client(target.address, name + "p", 5)
    try:
        watcher.subscribe(f"{name}/a", f"{name}/+", qos=2)
        publisher.send(codec.publish(5, f"{name}/a", b"x", 2, 1))
        publisher.expect("PUBREC", id=1)
        target.settle()
        watcher.sync()
        waits = not watcher.inbox
        publisher.pubrel(1)
        publisher.expect("PUBCOMP", id=1)
        watcher.expect_publish(f"{name}/a")
        target.settle()
        watcher.sync()
        copies = [packet for packet in watcher.inbox if packet.kind == "PUBLISH"]
        return random_model.Habits(merges=not copies, qos2_waits=waits,
                                   keeps_shared=not brokers.IS_PEER, is_lenient=brokers.IS_PEER)
    finally:
        watcher.close()
        publisher.close()
        target.forget()
        target.probes = ()
