"""$CONTROL/sessions/v1: requests in mosquitto's way."""

import json

import pytest

import mqtt_codec as codec
from support import lasting

pytestmark = pytest.mark.ours

TOPIC = "$CONTROL/sessions/v1"


@pytest.fixture
def admin(connect):
    c = connect("admin")
    c.subscribe(TOPIC + "/response")
    return c


def request(admin, *commands, **fields):
    """The list of answers to the commands."""
    admin.publish(TOPIC, json.dumps({"commands": list(commands)}), 1, **fields)
    packet = admin.expect_publish(TOPIC + "/response")
    return json.loads(packet.payload)["responses"]


def one(admin, command, **parameters):
    answers = request(admin, {"command": command, **parameters})
    assert len(answers) == 1 and answers[0]["command"] == command, answers
    return answers[0]


def refused(admin, text, *words):
    """An answer with an error that holds the words."""
    admin.publish(TOPIC, text if isinstance(text, (str, bytes)) else json.dumps(text), 1)
    said = admin.expect_publish(TOPIC + "/response").payload.decode()
    assert "error" in said, said
    for word in words:
        assert word in said, said
    json.loads(said)
    admin.ping()


def ids(answer):
    return [s["client_id"] for s in answer["data"]["sessions"]]


def test_sessions_are_listed_by_prefix(connect, admin, prefix):
    made = {connect(f"c{n}").client_id for n in range(5)}
    assert set(ids(one(admin, "listSessions", prefix=prefix + "c"))) == made
    assert ids(one(admin, "listSessions", prefix=prefix + "nobody")) == []


def test_a_long_list_comes_in_pieces(connect, admin, prefix):
    made = {connect(f"c{n}").client_id for n in range(25)}
    seen, cursor, rounds = [], None, 0
    while True:
        parameters = {"cursor": cursor} if cursor is not None else {}
        answer = one(admin, "listSessions", prefix=prefix + "c", limit=10, **parameters)
        assert len(ids(answer)) <= 10
        seen += ids(answer)
        rounds += 1
        cursor = answer["data"].get("cursor")
        if not cursor:
            break
        assert rounds < 100
    assert sorted(seen) == sorted(made)


def test_sessions_are_listed_by_state(connect, admin, prefix):
    connect("here")
    connect("away", **lasting(5)).disconnect()
    assert prefix + "away" in ids(one(admin, "listSessions", prefix=prefix, state="disconnected"))
    connected = ids(one(admin, "listSessions", prefix=prefix, state="connected"))
    assert prefix + "here" in connected and prefix + "away" not in connected


def test_sessions_are_listed_by_idle_time(broker, connect, admin, prefix):
    connect("old")
    broker.turn(100_000)
    connect("new").ping()
    found = ids(one(admin, "listSessions", prefix=prefix, idleLongerThan=50))
    assert prefix + "old" in found and prefix + "new" not in found


def test_sessions_are_counted(connect, admin, prefix):
    for n in range(4):
        connect(f"c{n}")
    assert one(admin, "countSessions", prefix=prefix + "c")["data"]["count"] == 4


def test_one_session_is_shown(connect, admin, topic):
    c = connect("c", keepalive=33)
    c.subscribe(topic("a"))
    data = one(admin, "getSession", clientId=c.client_id)["data"]["session"]
    assert data["client_id"] == c.client_id and data["keepalive_s"] == 33


def test_an_unknown_session_is_an_error(admin):
    for command in ("getSession", "disconnectSession", "deleteSession"):
        assert "error" in one(admin, command, clientId="nobody at all")


def test_a_session_is_disconnected_and_stays(connect, admin):
    c = connect("c", **lasting(5))
    assert "error" not in one(admin, "disconnectSession", clientId=c.client_id)
    c.expect_close(0x98)
    assert connect("c", **lasting(5)).connack.session_present


def test_a_session_is_deleted(connect, admin):
    c = connect("c", **lasting(5))
    away = connect("away", **lasting(5))
    away.disconnect()
    assert "error" not in one(admin, "deleteSession", clientId=c.client_id)
    assert "error" not in one(admin, "deleteSession", clientId=away.client_id)
    c.expect_close(0x98)
    assert not connect("c", **lasting(5)).connack.session_present
    assert not connect("away", **lasting(5)).connack.session_present


def test_many_commands_in_one_request_are_answered_in_order(connect, admin, prefix):
    connect("c")
    answers = request(admin, {"command": "countSessions", "prefix": prefix},
                      {"command": "nonsense"}, {"command": "listSessions", "prefix": prefix})
    assert [a.get("command") for a in answers] == ["countSessions", "nonsense", "listSessions"]
    assert "error" in answers[1] and "error" not in answers[0] and "error" not in answers[2]


def test_correlation_data_of_a_command_is_returned(admin):
    answer = one(admin, "countSessions", correlationData="abc")
    assert answer["correlationData"] == "abc"


def test_an_answer_goes_to_the_response_topic_with_its_correlation_data(connect, admin, topic):
    other = connect("o")
    other.subscribe(topic("answers"), qos=1)
    other.publish(TOPIC, json.dumps({"commands": [{"command": "countSessions"}]}), 1,
                  props={"response_topic": topic("answers"), "correlation_data": b"\x00c"})
    packet = other.expect_publish(topic("answers"))
    assert packet.props["correlation_data"] == b"\x00c"
    assert json.loads(packet.payload)["responses"][0]["command"] == "countSessions"


def test_an_answer_may_go_to_a_topic_below_ours_but_to_no_other_system_topic(connect, admin):
    other = connect("o")
    other.subscribe("$CONTROL/sessions/v1/mine")
    request_ = json.dumps({"commands": [{"command": "countSessions"}]})
    other.publish(TOPIC, request_, 1, props={"response_topic": "$CONTROL/sessions/v1/mine"})
    assert "data" in json.loads(other.expect_publish().payload)["responses"][0]
    other.publish(TOPIC, request_, 1, props={"response_topic": "$SYS/broker/version",
                                             "correlation_data": b"k"})
    packet = admin.expect_publish(TOPIC + "/response")
    assert packet.props["correlation_data"] == b"k"
    assert "Response Topic" in json.loads(packet.payload)["responses"][0]["error"]


def test_a_reason_reaches_the_client(connect, admin):
    c = connect("c")
    assert "error" not in one(admin, "disconnectSession", clientId=c.client_id, reason="bye, ü")
    packet = c.expect("DISCONNECT")
    assert packet.code == 0x98 and packet.props["reason_string"] == "bye, ü"


@pytest.mark.config(fresh=True)
def test_a_long_reason_is_cut_between_characters(broker, connect, admin):
    for start in ("", "x", "xy"):
        c = connect("c")
        assert "error" not in one(admin, "disconnectSession", clientId=c.client_id,
                                  reason=start + "é" * 200)
        whole = start + "é" * ((256 - len(start)) // 2)
        assert c.expect("DISCONNECT").props["reason_string"] == whole
        broker.wait_log(f"disconnected: admin: {whole}.")


@pytest.mark.parametrize("start", ["", "x"])
def test_what_an_error_quotes_is_cut_between_characters(admin, start):
    name = start + "é" * 100
    refused(admin, {"commands": [{"command": name}]}, start + "é" * 31)
    refused(admin, {"commands": [{"command": "countSessions", name: 1}]}, start + "é" * 31)
    refused(admin, {"commands": [{"command": "countSessions"}], name: 1}, start + "é" * 31)


@pytest.mark.config(fresh=True)
def test_an_admin_with_long_names_is_told_in_whole_characters(broker, connect, prefix):
    for start in ("", "x", "xy"):
        one_ = connect(start + "é" * 300, username=start + "€" * 300)
        victim = connect("victim")
        one_.publish(TOPIC, json.dumps({"commands": [
            {"command": "deleteSession", "clientId": victim.client_id}]}), 1)
        broker.wait_log(f"€: deleteSession {victim.client_id}.")
        victim.expect_close(0x98)
        one_.disconnect()
    assert "\ufffd" not in broker.log()


def test_a_client_that_is_away_cannot_be_disconnected(connect, admin):
    away = connect("away", **lasting(5))
    away.disconnect()
    assert "not connected" in one(admin, "disconnectSession", clientId=away.client_id)["error"]


@pytest.mark.config(fresh=True)
def test_the_log_names_the_admin_of_what_was_ended_and_only_of_that(broker, connect, admin):
    away, here = connect("away", **lasting(5)), connect("here", **lasting(5))
    away.disconnect()
    ids_ = [away.client_id, here.client_id, "nobody"]
    request(admin, *[{"command": "disconnectSession", "clientId": i} for i in ids_])
    request(admin, *[{"command": "deleteSession", "clientId": i, "reason": "old"} for i in ids_])
    request(admin, {"command": "getSession", "clientId": admin.client_id})
    here.expect_close(0x98)
    said = [line.split("): ")[1] for line in broker.log().splitlines()
            if f"Admin {admin.client_id} (127.0.0.1:" in line]
    assert said == [f"disconnectSession {here.client_id}.",
                    f"deleteSession {away.client_id}: old.",
                    f"deleteSession {here.client_id}: old."]


def test_too_many_requests_at_once_are_refused(connect, admin, prefix):
    text = json.dumps({"commands": [{"command": "listSessions", "prefix": prefix}] * 64})
    admin.send(b"".join(codec.publish(5, TOPIC, text) for _ in range(40)))
    answers = [json.loads(admin.expect_publish().payload)["responses"] for _ in range(40)]
    assert any(len(a) == 64 for a in answers)
    assert all(len(a) == 64 or "too many requests" in a[0]["error"] for a in answers)
    assert "error" not in one(admin, "countSessions")


def test_other_control_topics_do_not_exist(admin):
    for topic in ("$CONTROL/sessions/v2", "$CONTROL/x", TOPIC + "/response"):
        admin.publish(topic, "{}", 1, code=0x87)


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[]", "null", "42", '"x"', b"\xff\xfe",
                                  "{" * 10_000, "[" * 100_000, '{"commands":[{"command":"x"',
                                  '{"commands":[]}x'])
def test_bad_json_is_an_error(admin, text):
    refused(admin, text)


@pytest.mark.parametrize("what, words", [
    ({}, ["commands"]),
    ({"commands": "x"}, ["commands"]),
    ({"commands": [{"command": "countSessions"}], "limit": 5}, ["limit", "nothing but commands"]),
    ({"commands": [5]}, ["command"]),
    ({"commands": [{}]}, ["command"]),
    ({"commands": [{"command": 5}]}, ["command"]),
    ({"commands": [{"command": "fly"}]}, ["fly"]),
    ({"commands": [{"command": "listSessions", "limit": "ten"}]}, ["limit"]),
    ({"commands": [{"command": "listSessions", "limit": -1}]}, ["limit"]),
    ({"commands": [{"command": "listSessions", "limit": 1.5}]}, ["limit"]),
    ({"commands": [{"command": "listSessions", "prefix": 5}]}, ["prefix"]),
    ({"commands": [{"command": "listSessions", "state": "asleep"}]}, ["state"]),
    ({"commands": [{"command": "listSessions", "cursor": "nonsense"}]}, ["cursor"]),
    ({"commands": [{"command": "countSessions"}, {"command": "listSessions", "limit": 1001}]},
     ["commands[1].limit", "1 to 1000"]),
    ({"commands": [{"command": "listSessions", "cursor": "99.1"}]}, ["cursor"]),
    ({"commands": [{"command": "listSessions", "cursor": "0.-1"}]}, ["cursor"]),
    ({"commands": [{"command": "listSessions", "cursor": "0.4294967296"}]}, ["cursor"]),
    ({"commands": [{"command": "listSessions", "idleLongerThan": True}]},
     ["idleLongerThan", "boolean"]),
    ({"commands": [{"command": "countSessions", "limit": 5}]}, ["limit", "prefix"]),
    ({"commands": [{"command": "countSessions", "correlationData": 5}]}, ["correlationData"]),
    ({"commands": [{"command": "countSessions"}] * 65}, ["commands", "64"]),
    ({"commands": []}, ["commands"]),
    ({"commands": [{"command": "getSession", "clientId": ""}]}, ["clientId"]),
    ({"commands": [{"command": "getSession", "clientId": "a\0b"}]}, ["zeros"]),
    ({"commands": [{"command": "getSession", "clientId": "\\\0"}]}, ["zeros"]),
    ({"commands": [{"command": "getSession", "clientId": "\\u0000\0"}]}, ["zeros"]),
    ({"commands": [{"command": "getSession"}]}, ["commands[0].clientId"]),
    ({"commands": [{"command": "getSession", "clientId": 5}]}, ["commands[0].clientId", "number"]),
    ({"commands": [{"command": "deleteSession", "clientId": None}]}, ["commands[0].clientId", "null"]),
])
def test_a_wrong_request_gets_an_error_that_names_the_field(admin, what, words):
    refused(admin, what, *words)


@pytest.mark.parametrize("client_id", ["a\\u0000b", "\\\\u0000", "\\u0000\\\\\\u0000"])
def test_an_escaped_backslash_before_u0000_is_no_zero(admin, client_id):
    assert "no session" in one(admin, "getSession", clientId=client_id)["error"]


def test_an_admin_may_disconnect_itself(connect, admin):
    admin.send(codec.publish(5, TOPIC, json.dumps({"commands": [
        {"command": "disconnectSession", "clientId": admin.client_id}]})))
    admin.expect_close(0x98)


@pytest.mark.config(admin_users="ada", fresh=True)
def test_others_than_admins_have_no_control(connect, prefix):
    victim = connect("victim")
    ada = connect("ada", username="ada")
    ada.subscribe(TOPIC + "/response")
    assert prefix + "victim" in ids(one(ada, "listSessions", prefix=prefix))
    bob = connect("bob", username="bob")
    bob.publish(TOPIC, json.dumps({"commands": [
        {"command": "disconnectSession", "client_id": victim.client_id}]}), 1, code=0x87)
    bob.ping()
    victim.ping()
    ada.expect_nothing()
