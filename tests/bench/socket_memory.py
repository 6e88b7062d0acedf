#!/usr/bin/python3
"""socket_memory.py [CONNECTIONS]: what the kernel needs for an idle TCP connection over the loopback.

Opens connections (8000 unless said) between two processes, one end of each watched by an epoll as the broker
does, and says what a connection takes, both ends together: by /proc/meminfo (Slab), which counts what others on
the machine do meanwhile too; and as root by /proc/slabinfo, without the inodes of /proc that a program which
looks through /proc/PID/fd leaves behind. Then each gets 20 bytes that nobody reads: pages of tcp_mem.
HOST_KERNEL_BYTES in broker/runtime/host.h is half of the sum, rounded up.
"""

import os
import re
import select
import signal
import socket
import sys
import time

SLABS = ("TCP", "sock_inode_cache", "filp", "eventpoll_epi", "eventpoll_pwq", "ep_head", "dentry",
         "lsm_inode_cache", "lsm_file_cache")
OF_PROC = ("dentry", "lsm_inode_cache")  # of which each inode of /proc has one as well
PER_PROCESS = 8000


def slab_bytes():
    return int(re.search(r"^Slab:\s+(\d+)", open("/proc/meminfo").read(), re.M)[1]) * 1024


def tcp_pages():
    return int(re.search(r"^TCP: .* mem (\d+)", open("/proc/net/sockstat").read(), re.M)[1])


def slabs():
    """name -> (objects in use, bytes of an object with its share of the slab's pages)"""
    try:
        lines = open("/proc/slabinfo").read().splitlines()[2:]
    except OSError:
        return {}
    page = os.sysconf("SC_PAGE_SIZE")
    rows = [line.split() for line in lines]
    return {row[0]: (int(row[1]), int(row[5]) * page / int(row[4])) for row in rows}


def accept(listener, count, say, hear):
    poll, kept = select.epoll(), []
    for _ in range(count):
        kept.append(listener.accept()[0])
        poll.register(kept[-1].fileno(), select.EPOLLIN)
    os.write(say, b".")
    os.read(hear, 1)
    for one in kept:
        one.send(b"x" * 20)
    os.write(say, b".")
    signal.pause()


def connect(address, count, say):
    kept = [socket.create_connection(address) for _ in range(count)]
    os.write(say, b".")
    signal.pause()
    return kept


def child(work, *arguments):
    pid = os.fork()
    if pid == 0:
        work(*arguments)
    return pid


def wait_for(hear, count):
    while count:
        count -= len(os.read(hear, count))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    pairs = [min(PER_PROCESS, count - at) for at in range(0, count, PER_PROCESS)]
    hear, say = os.pipe()
    hear_go, go = os.pipe()
    slab, before, children = slab_bytes(), slabs(), []
    try:
        for index, share in enumerate(pairs):
            listener = socket.create_server((f"127.0.0.{index + 2}", 0), backlog=4096)
            children.append(child(accept, listener, share, say, hear_go))
            children.append(child(connect, listener.getsockname(), share, say))
        wait_for(hear, 2 * len(pairs))
        time.sleep(1)
        print(f"{count} connections, both ends: {(slab_bytes() - slab) / count:.0f} bytes each by Slab")
        after, total = slabs(), 0
        inodes = "proc_inode_cache"
        looked_at = max(after[inodes][0] - before[inodes][0], 0) if inodes in after else 0
        for name in SLABS:
            if name in after and name in before:
                objects = (after[name][0] - before[name][0] - looked_at * (name in OF_PROC)) / count
                total += objects * after[name][1]
                print(f"  {name:18} {objects:6.2f} of {after[name][1]:5.0f} bytes")
        print(f"  these together: {total:.0f} bytes")
        pages = tcp_pages()
        os.write(go, b"." * len(pairs))
        wait_for(hear, len(pairs))
        print(f"tcp_mem: {pages} pages while idle, {tcp_pages()} with 20 bytes unread in each")
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


main()
