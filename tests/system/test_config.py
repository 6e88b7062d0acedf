"""The command line and the configuration file."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import time

import pytest

import broker as brokers
import client as clients

pytestmark = pytest.mark.ours

VERSION = (brokers.REPOSITORY / "VERSION").read_text().strip()


def run(*arguments, cwd=None):
    return subprocess.run([brokers.BINARY, *arguments], capture_output=True, text=True, timeout=20,
                          cwd=cwd)


def check(tmp_path, text):
    """Runs --test-config on a file with this content."""
    path = tmp_path / "test.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run("-c", str(path), "--test-config")
    return done.returncode, done.stdout + done.stderr


def good(tmp_path, text):
    code, said = check(tmp_path, text)
    assert code == 0, said


def bad(tmp_path, text, line, *words):
    code, said = check(tmp_path, text)
    assert code != 0, said
    assert f"test.conf:{line}" in said, said
    for word in words:
        assert word in said, said


def test_help_names_every_flag():
    done = run("--help")
    assert done.returncode == 0
    for flag in ("-c", "-p", "-d", "-v", "-q", "-h", "--version", "--test-config",
                 "--check-host", "--write-sysctl"):
        assert flag in done.stdout
    assert run("-h").stdout == done.stdout


def test_version_is_the_projects():
    done = run("--version")
    assert done.returncode == 0 and VERSION in done.stdout


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-c"], ["-p"], ["-p", "x"], ["-p", "0"],
                                       ["-p", "65536"], ["-c", "/nonexistent/file"], ["-c", "/"],
                                       ["stray"]])
def test_a_bad_command_line_is_refused_with_a_word(arguments):
    done = run(*arguments)
    assert done.returncode not in (0, -6, -11)
    assert done.stderr.strip()


def test_a_good_file_passes(tmp_path):
    good(tmp_path, "# a comment\n\nlistener 1883 127.0.0.1\nallow_anonymous true\n"
                   "max_inflight_messages 20\nlog_dest stderr\nlog_type error\nlog_type warning\n")


def test_an_empty_file_passes(tmp_path):
    good(tmp_path, "")
    good(tmp_path, "\n\n# nothing\n   \n")


@pytest.mark.parametrize("text, line, words", [
    ("listener 1883\nmax_inflight_mesages 3\n", 2, ["max_inflight_mesages",
                                                    "max_inflight_messages"]),
    ("alow_anonymous true\n", 1, ["allow_anonymous"]),
    ("\n\nMAX_QOS 1\n", 3, ["MAX_QOS"]),
    ("xyzzy plugh\n", 1, ["xyzzy"]),
    ("max_inflight_messages\n", 1, ["max_inflight_messages"]),
    ("max_inflight_messages many\n", 1, ["many"]),
    ("max_inflight_messages -5\n", 1, ["-5"]),
    ("max_inflight_messages 70000\n", 1, ["70000"]),
    ("max_inflight_messages 3 4\n", 1, ["4"]),
    ("max_inflight_messages 3x\n", 1, ["3x"]),
    ("max_inflight_messages 99999999999999999999\n", 1, ["max_inflight_messages"]),
    ("allow_anonymous maybe\n", 1, ["maybe", "true"]),
    ("listener\n", 1, ["listener"]),
    ("listener 0\n", 1, ["listener"]),
    ("listener 65536\n", 1, ["65536"]),
    ("listener 1883\nmax_qos 3\n", 2, ["3"]),
    ("persistent_client_expiration 5x\n", 1, ["5x"]),
    ("log_type everything\n", 1, ["everything"]),
    ("max_keepalive 5\nmax_keepalive 6\n", 1, ["max_keepalive"]),
    ("sys_interval 10\nsys_interval 20\n", 2, ["sys_interval", "already"]),
    ("listener 1883\nlistener 1883\n", 2, ["1883"]),
    ("password_file /etc/x\n", 1, ["password_file", "mosquitto"]),
    ("persistence true\n", 1, ["persistence", "mosquitto"]),
    ("connection bridge\n", 1, ["connection", "mosquitto"]),
    ("include_dir /nonexistent\n", 1, ["/nonexistent"]),
])
def test_a_bad_line_is_named_with_its_place_and_a_way_out(tmp_path, text, line, words):
    bad(tmp_path, text, line, *words)


def test_every_bad_line_is_named_at_once(tmp_path):
    code, said = check(tmp_path, "nonsense 1\nmax_qos 1\nlistener 1883\nmax_qos 9\nmore 2\n")
    assert code != 0
    assert "test.conf:1" in said and "test.conf:5" in said


def test_windows_line_ends_and_a_byte_order_mark_are_taken(tmp_path):
    good(tmp_path, b"\xef\xbb\xbflistener 1883 127.0.0.1\r\nallow_anonymous true\r\n\r\n# x\r\n")
    bad(tmp_path, b"listener 1883\r\nnonsense 1\r\n", 2, "nonsense")


def test_the_last_line_needs_no_end(tmp_path):
    good(tmp_path, "listener 1883\nallow_anonymous true")


def test_blanks_and_tabs_around_words_do_not_matter(tmp_path):
    good(tmp_path, "  listener\t1883   127.0.0.1  \n\tallow_anonymous   true\t\n")


@pytest.mark.parametrize("length", [1000, 100_000, 5_000_000])
def test_very_long_lines_are_read_or_refused_whole(tmp_path, length):
    good(tmp_path, "# " + "x" * length + "\nallow_anonymous true\n")
    bad(tmp_path, "allow_anonymous true\nauto_id_prefix " + "x" * length + "\n" if length > 2000
        else "allow_anonymous true\nnonsense " + "x" * length + "\n", 2)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    bad(tmp_path, b"allow_anonymous true\n\x00\x01\x02\n", 2)
    code, said = check(tmp_path, bytes(range(256)) * 20)
    assert code not in (0, -6, -11) and "test.conf:" in said


def test_include_dir_reads_conf_files_in_order_and_names_them_in_errors(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.conf").write_text("max_inflight_messages 3\n")
    (folder / "b.conf").write_text("sys_interval 5\n")
    (folder / "ignored.txt").write_text("nonsense\n")
    good(tmp_path, f"include_dir {folder}\n")
    (folder / "b.conf").write_text("sys_interval 5\nnonsense 1\n")
    code, said = check(tmp_path, f"include_dir {folder}\n")
    assert code != 0 and "b.conf:2" in said


def test_older_names_still_work(tmp_path):
    good(tmp_path, "listener 1883\nmaximum_qos 1\n")
    good(tmp_path, "port 1884\nbind_address 127.0.0.1\n")


@pytest.mark.parametrize("name", ["max_inflight_messages", "max_queued_messages",
                                  "max_queued_bytes", "max_packet_size", "message_size_limit",
                                  "memory_limit", "global_max_connections"])
@pytest.mark.parametrize("value", ["0", "unlimited"])
def test_0_and_unlimited_mean_no_limit_everywhere(tmp_path, name, value):
    good(tmp_path, f"{name} {value}\n")


def test_the_whole_table_can_be_printed():
    text = run("--print-directives").stdout
    for name in ("listener", "max_queued_messages", "memory_limit", "include_dir", "log_dest"):
        assert f"`{name}`" in text
    assert ".TH" in run("--print-man8").stdout and ".TH" in run("--print-man5").stdout


# ------------------------------------------------------------------------------- a running broker


def test_without_a_file_it_listens_on_the_loopback_and_takes_anonymous_clients(tmp_path):
    claim = brokers.PortClaim()
    log = open(tmp_path / "log", "wb")
    # As nobody, the sanitizer may not look at itself.
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    process = subprocess.Popen([brokers.BINARY, "-p", str(claim.number)], stdin=subprocess.DEVNULL,
                               stdout=log, stderr=log, cwd=tmp_path, env=environment)
    try:
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", claim.number), 1).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                subprocess.run(["sleep", "0.01"], check=False)
        c = clients.Client(("127.0.0.1", claim.number), "x")
        c.subscribe("a", qos=1)
        c.publish("a", "x", 1)
        c.expect_publish("a", "x")
        c.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        log.close()
        claim.free()


@pytest.mark.config(allow_anonymous=None, fresh=True)
def test_with_a_listener_anonymous_clients_need_to_be_allowed(connect):
    connect(version=5, code={0x86, 0x87})
    connect(version=4, code={4, 5})


@pytest.mark.config(max_qos=1, mount_point="site/", fresh=True)
def test_a_mount_point_is_seen_by_nobody(connect, topic):
    c = connect()
    c.subscribe(topic("a"), qos=1)
    c.publish(topic("a"), "x", 1)
    c.expect_publish(topic("a"), "x")
    c.publish(topic("r"), "kept", 1, retain=True)
    c.subscribe(topic("+"), qos=1)
    c.expect_publish(topic("r"), "kept", retain=True)


def test_two_listeners_with_their_own_settings(tmp_path):
    claims = [brokers.PortClaim(), brokers.PortClaim()]
    one, two = (claim.number for claim in claims)
    target = brokers.Broker(text=(
        f"log_dest stderr\nper_listener_settings true\nreactors 2\nlistener @PORT@ 127.0.0.1\n"
        f"allow_anonymous true\nlistener {one} 127.0.0.1\nallow_anonymous true\nmax_qos 0\n"
        f"listener {two} 127.0.0.1\nallow_anonymous false\n"))
    try:
        assert "max_qos" not in clients.Client(target.address, "a").connack.props
        assert clients.Client(("127.0.0.1", one), "b").connack.props["max_qos"] == 0
        clients.Client(("127.0.0.1", two), "c", code={0x86, 0x87})
    finally:
        target.stop()
        for claim in claims:
            claim.free()


def test_a_name_is_listened_on_at_all_of_its_addresses():
    hosts = {at[4][0] for at in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    target = brokers.Broker(text="log_dest stderr\nreactors 2\nlistener @PORT@ localhost\n"
                                 "allow_anonymous true\n")
    for host in hosts:
        try:
            for _ in range(20):  # of both reactors
                clients.Client((host, target.port), "c").ping()
        except OSError:
            assert "passed over" in target.log()
    target.stop()


def test_a_port_in_use_is_an_error_that_says_so(tmp_path):
    claim = brokers.PortClaim()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", claim.number))
        taken.listen()
        path = tmp_path / "c.conf"
        path.write_text(f"listener {claim.number} 127.0.0.1\nlog_dest stderr\n")
        done = run("-c", str(path))
    claim.free()
    assert done.returncode not in (0, -6, -11)
    assert str(claim.number) in done.stderr + done.stdout


def test_a_pid_file_is_written_and_removed(tmp_path):
    path = tmp_path / "pid"
    target = brokers.Broker({"pid_file": str(path)})
    assert int(path.read_text()) == target.process.pid
    target.stop()
    assert not path.exists()


def test_the_log_can_go_to_a_file(tmp_path):
    path = tmp_path / "file.log"
    target = brokers.Broker({"log_dest": f"file {path}", "log_type": "all"})
    clients.Client(target.address, "log-me").disconnect()
    target.stop()
    text = path.read_text()
    assert "log-me" in text and "127.0.0.1" in text


def test_a_client_cannot_forge_a_line_of_the_log():
    target = brokers.Broker({"log_type": "all"})
    c = clients.Client(target.address, "a\x01b\nFORGED LINE", connect=False)
    c.send(clients.codec.connect(5, "evil\nFORGED LINE"))
    c.next()
    c.close()
    clients.Client(target.address, "later").disconnect()
    target.stop()
    lines = target.log_path.read_text().splitlines()
    assert not [line for line in lines if line.startswith("FORGED")]


def test_a_connection_that_sends_nothing_is_not_logged():
    target = brokers.Broker({"log_type": "all"})
    start = len(target.log())
    for _ in range(20):
        with socket.create_connection(target.address) as probe:
            port = probe.getsockname()[1]
            probe.shutdown(socket.SHUT_WR)
            probe.settimeout(clients.WAIT_S)
            probe.recv(1)
    clients.Client(target.address, "marker").disconnect()
    text = target.wait_log("marker", start)
    target.stop()
    assert f":{port}" not in text, text


def test_tests_do_not_depend_on_the_environment_of_the_caller():
    assert os.environ.get("DUNLIN_TEST_CLOCK") is None


# ------------------------------------------------------------------------------------ root and users

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def start_as_user(user, monkeypatch, **config):
    """A broker that root starts, in a folder that everybody may use. Its sanitizer, if any, may not
    look at itself then."""
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    target = brokers.Broker(dict(config, user=user), wait=False)
    target.folder.chmod(0o777)
    target.wait_ready()
    return target


def uid_of(target):
    for line in open(f"/proc/{target.process.pid}/status"):
        if line.startswith("Uid:"):
            return {int(uid) for uid in line.split()[1:]}
    raise RuntimeError("no Uid")


@as_root
@pytest.mark.skipif("dunlin" in {user.pw_name for user in pwd.getpwall()}, reason="dunlin exists")
def test_root_becomes_nobody_where_there_is_no_user_dunlin(monkeypatch):
    target = start_as_user(None, monkeypatch)
    assert uid_of(target) == {pwd.getpwnam("nobody").pw_uid}
    target.wait_log("no user dunlin: runs as nobody")
    clients.Client(target.address, "c").ping()
    target.stop()


@as_root
def test_root_stays_root_only_with_a_warning(monkeypatch):
    target = start_as_user("root", monkeypatch)
    assert uid_of(target) == {0}
    target.wait_log("runs as root")
    target.stop()


@as_root
def test_a_rotated_log_is_opened_anew_by_another_user_than_root(monkeypatch):
    target = start_as_user("nobody", monkeypatch, log_dest="file file.log", pid_file="pid")
    nobody = pwd.getpwnam("nobody").pw_uid
    path, pid = target.folder / "file.log", target.folder / "pid"
    assert path.stat().st_uid == pid.stat().st_uid == nobody
    target.signal(signal.SIGHUP)  # the file is there: it has to be one that nobody may write
    wait_until(lambda: "Reload: done, 0 changes" in path.read_text())
    path.rename(target.folder / "old.log")
    target.signal(signal.SIGHUP)
    wait_until(lambda: path.exists() and "Reload: done, 0 changes" in path.read_text())
    target.stop()
    assert not pid.exists()


CONNECTS = "import socket; socket.socket(socket.AF_UNIX).connect('mqtt.sock')"


@as_root
def test_a_unix_socket_is_the_users_and_its_groups(monkeypatch):
    target = start_as_user("nobody", monkeypatch, listener=["0 mqtt.sock"])
    nobody = pwd.getpwnam("nobody")
    path = target.folder / "mqtt.sock"
    assert (path.stat().st_uid, path.stat().st_gid) == (nobody.pw_uid, nobody.pw_gid)

    def may_connect(user, group):
        done = subprocess.run([sys.executable, "-c", CONNECTS], cwd=target.folder, user=user, group=group,
                              extra_groups=[], capture_output=True, text=True)
        assert done.returncode == 0 or "PermissionError" in done.stderr, done.stderr
        return done.returncode == 0

    assert may_connect(nobody.pw_uid, 4711) and may_connect(4711, nobody.pw_gid)
    assert not may_connect(4711, 4711)
    target.stop()
    assert not path.exists()


@as_root
def test_a_unix_socket_that_could_not_be_removed_is_replaced_at_the_next_start(monkeypatch):
    target = start_as_user("nobody", monkeypatch, listener=["0 mqtt.sock"])
    path = target.folder / "mqtt.sock"
    target.folder.chmod(0o755)
    target.stop()
    assert path.is_socket()
    again = brokers.Broker({"user": "nobody", "listener": [f"0 {path}"]})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    again.stop()


@as_root
def test_a_pid_file_in_a_folder_of_roots_is_emptied(monkeypatch):
    target = start_as_user("nobody", monkeypatch, pid_file="pid")
    pid = target.folder / "pid"
    target.folder.chmod(0o755)
    assert int(pid.read_text()) == target.process.pid
    target.stop()
    assert pid.read_text() == ""


@as_root
def test_a_log_that_cannot_be_opened_anew_is_a_failure_that_names_it(monkeypatch):
    target = start_as_user("nobody", monkeypatch, log_dest="file file.log")
    (target.folder / "file.log").rename(target.folder / "old.log")
    target.folder.chmod(0o755)
    target.signal(signal.SIGHUP)
    old = target.folder / "old.log"
    wait_until(lambda: "Reload: done in part" in old.read_text())
    assert "cannot open the log file.log: Permission denied" in old.read_text()
    target.stop()


@as_root
def test_test_config_knows_which_users_there_are(tmp_path):
    code, said = check(tmp_path, "user no-such-user\n")
    assert code == 1 and "no-such-user" in said
    good(tmp_path, "user nobody\n")


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")
