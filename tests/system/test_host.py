"""dunlin --check-host: the real machine; machines that are made up are in tests/unit/runtime/test_host.c."""

import os
import pwd
import re
import resource
import shutil
import subprocess
import tempfile

import pytest

import broker as brokers

pytestmark = pytest.mark.ours

CHECK = re.compile(r"  (ok|NO|hint|test|\?) +(\S.*?)  +(\S.*?)  +needed: (>=|<=) (\d+\S*( \S+)?|yes)")
COMMAND = re.compile(r"        (\S.*?)   # (\S.*)")


def ask(*arguments, binary=brokers.BINARY, **options):
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=20,
                          **options)


def limit_files(count):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def checks(text):
    """name -> (word, found, command, why)"""
    lines, found = text.splitlines(), {}
    for line, after in zip(lines, lines[1:]):
        match = CHECK.fullmatch(line)
        if match:
            command = COMMAND.fullmatch(after)
            assert command, after
            found[match[2]] = (match[1], match[3], command[1], command[2])
    return found


def test_a_few_sessions_fit():
    done = ask("--check-host", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"^10 sessions fit\. There is room for \d+; then the first wall is ", done.stdout,
                     re.M)
    assert "\n  NO " not in done.stdout


def test_each_check_says_found_needed_command_and_why():
    done = ask("--check-host", "1000000")
    found = checks(done.stdout)
    for name in ("open files, hard limit", "open files, soft limit", "fs.nr_open", "fs.file-max",
                 "backlog", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog",
                 "net.core.netdev_max_backlog", "ListenOverflows so far", "ListenDrops so far",
                 "net.ipv4.tcp_mem, the third", "net.ipv4.tcp_rmem, the third",
                 "net.ipv4.tcp_wmem, the third", "net.ipv4.ip_local_port_range",
                 "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_keepalive_time",
                 "net.ipv4.tcp_fin_timeout", "memory available"):
        assert name in found, done.stdout
    for line in done.stdout.splitlines():
        if "needed:" in line:
            assert CHECK.fullmatch(line), line


def test_a_wall_in_the_way_is_status_1():
    done = ask("--check-host", "1000", preexec_fn=limit_files(200))
    assert done.returncode == 1, done.stdout
    word, value, command, _ = checks(done.stdout)["open files, hard limit"]
    assert (word, value) == ("NO", "200") and command.startswith("LimitNOFILE=")
    assert re.search(r"1000 sessions do not fit\. There is room for 1\d\d; then the first wall is "
                     r"open files, hard limit \(200\)\.", done.stdout)


def test_limits_of_the_configuration_count(tmp_path):
    path = tmp_path / "dunlin.conf"
    path.write_text("listener 1883\nmax_connections 50\n")
    done = ask("-c", str(path), "--check-host", "100")
    assert done.returncode == 1
    assert "room for 50; then the first wall is max_connections (50)" in done.stdout
    assert ask("--check-host", "50", "-c", str(path)).returncode == 0


@pytest.mark.parametrize("arguments", [["--check-host"], ["--check-host", "0"],
                                       ["--check-host", "many"], ["--write-sysctl"],
                                       ["--check-host", "5", "-c", "/nonexistent/file"],
                                       ["--nonsense", "--check-host", "5"]])
def test_a_question_that_makes_no_sense_is_status_2(arguments):
    done = ask(*arguments)
    assert done.returncode == 2 and done.stderr and not done.stdout


def test_a_sysctl_file_and_a_drop_in_are_written():
    done = ask("--check-host", "3000000", "--write-sysctl")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    keys = {}
    for line in lines:
        if line and not line.startswith("#"):
            key, value = re.fullmatch(r"-?((?:fs|net)\.[a-z0-9_.-]+) = (\d+(?: \d+)*)", line).groups()
            keys[key] = value
    assert int(keys["fs.nr_open"]) >= 3000000 and len(keys["net.ipv4.tcp_mem"].split()) == 3
    for key in keys:  # they are there, unless a container hides them
        path = "/proc/sys/" + key.replace(".", "/")
        assert os.path.exists(path) or f"-{key}" in done.stdout, key
    drop_in = [line[3:] for line in lines if line.startswith("#: ")]
    assert drop_in[0] == "[Service]"
    assert int(re.fullmatch(r"LimitNOFILE=(\d+)", drop_in[1])[1]) >= 3000000


@pytest.mark.skipif(os.geteuid() != 0, reason="is not root, so the other tests show it")
def test_nobody_may_ask_too():
    with tempfile.TemporaryDirectory() as folder:  # nobody may not look into every build folder
        os.chmod(folder, 0o755)
        binary = shutil.copy(brokers.BINARY, folder)
        done = ask("--check-host", "10", binary=binary, user=pwd.getpwnam("nobody").pw_uid)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith("  ?  ")] or \
        "not known" in done.stdout


@pytest.mark.config(fresh=True)
def test_the_broker_says_how_much_room_there_is(broker):
    line = broker.wait_log("Room for about ")
    assert re.search(r"Room for about \d+ sessions; the first wall is .+ \(.+\): dunlin "
                     r"--check-host N", broker.log()), line
