#!/usr/bin/env python3
"""The web under load beside a busy log.

    benches/web.py [PROGRAM] [--rate 1000] [--seconds 30] [--lines 1000]

Starts `bootwatch run` on loopback with a webhook receiver and a log that a simulated controller once wrote, and then
appends lines to it at the given rate. First without, then with so many requests a second, half of them for the first page
and half for /metrics: tells the requests' percentiles, the resident set, and how long a deciding line takes to the page
in both cases. The line is the third of three failed boots; the page is taken by the receiver's clock. Exits 1 if p99 is
20 ms or more, the page's way has more than doubled, or the resident set has passed 60 MB.
"""
import argparse
import asyncio
import datetime
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONNECTIONS = 20


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stamp():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def resident_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Receiver:
    def __init__(self):
        self.pages = []

    async def serve(self, port):
        async def take(reader, writer):
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                    body = await reader.readexactly(length)
                    self.pages.append((time.monotonic(), json.loads(body)))
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    await writer.drain()
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                writer.close()

        return await asyncio.start_server(take, "127.0.0.1", port)


def failed_boots(program, work, seed):
    """Three boots that fail at once (no TAP device), as the controller logs them, stamped now."""
    path = work / f"failed-{seed}.log"
    start = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    subprocess.run([program, "simulate", "--scenario", "tap-fails", "--boots", "3", "--no-noise", "--log", path, "--start", start, "--seed", str(seed), "--rate", "36000"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path.read_bytes()


async def requests(port, rate, seconds, took):
    """So many requests a second over a few connections; each waits for its turn, and its wait counts."""
    begin = time.monotonic() + 0.1

    async def client(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        try:
            while (due := begin + turn / rate) < begin + seconds:
                await asyncio.sleep(max(0, due - time.monotonic()))
                path = "/" if turn % 2 else "/metrics"
                writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(length)
                took.append(time.monotonic() - due)
                turn += CONNECTIONS
        finally:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))


async def noise(log, lines, stop):
    """Lines that are no news, in batches of 20 ms."""
    with open(log, "ab", buffering=0) as file:
        begin, written = time.monotonic(), 0
        while not stop.is_set():
            due = int((time.monotonic() - begin) * lines)
            text = f'{stamp()} [INFO]: Request completed {{"module":"http","method":"GET","path":"/api/health","status":200,"duration":3}}\n'
            if due > written:
                file.write(text.encode() * (due - written))
                written = due
            await asyncio.sleep(0.02)


async def page_takes(log, receiver, text, patience=30):
    before = len(receiver.pages)
    began = time.monotonic()
    with open(log, "ab", buffering=0) as file:
        file.write(text)
    while time.monotonic() - began < patience:
        firing = [at for at, page in receiver.pages[before:] if page["status"] == "firing"]
        if firing:
            return firing[0] - began
        await asyncio.sleep(0.001)
    sys.exit("no page came")


async def measure(program, asked, load):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        log = work / "master-controller.log"
        subprocess.run([program, "simulate", "--scenario", "healthy", "--boots", "300", "--rate", "60", "--no-noise", "--log", log,
                        "--start", (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        web, hook = free_port(), free_port()
        receiver = Receiver()
        server = await receiver.serve(hook)
        config = work / "bootwatch.toml"
        config.write_text(f'[host]\nname = "bench"\n[log]\nfile = "{log}"\ntimezone = "UTC"\n[web]\nlisten = "127.0.0.1:{web}"\n'
                          f'[store]\npath = "{work}/bootwatch.db"\n[notify.oncall]\ntype = "webhook"\nurl = "http://127.0.0.1:{hook}/page"\n')
        process = subprocess.Popen([program, "run", "--config", config], stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", web)
                    writer.write(b"GET /-/ready HTTP/1.0\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                    if b" 200 " in answer.split(b"\r\n")[0]:
                        break
                except ConnectionError:
                    pass
                await asyncio.sleep(0.05)
            stop, took = asyncio.Event(), []
            writing = asyncio.create_task(noise(log, asked.lines, stop))
            loading = asyncio.create_task(requests(web, asked.rate, asked.seconds, took)) if load else None
            await asyncio.sleep(asked.seconds / 2)
            page = await page_takes(log, receiver, failed_boots(program, work, 7))
            if loading:
                await loading
            rss = resident_kb(process.pid)
            stop.set()
            await writing
            return page, sorted(took), rss
        finally:
            process.terminate()
            process.wait()
            server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="target/release/bootwatch")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--lines", type=int, default=1000)
    asked = parser.parse_args()
    program = os.path.realpath(asked.program)
    # As long after the start as the other: what is done once a start is done in both.
    quiet, _, _ = asyncio.run(measure(program, asked, load=False))
    page, took, rss = asyncio.run(measure(program, asked, load=True))
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1000
    print(f"requests {len(took)} in {asked.seconds} s: p50 {at(0.5):.2f} ms, p95 {at(0.95):.2f} ms, p99 {at(0.99):.2f} ms, longest {took[-1] * 1000:.1f} ms")
    print(f"deciding line to page: {quiet * 1000:.1f} ms without requests, {page * 1000:.1f} ms beside them")
    print(f"resident set {rss / 1000:.1f} MB")
    bad = []
    if at(0.99) >= 20:
        bad.append("p99 is 20 ms or more")
    if page > 2 * quiet + 0.005:
        bad.append("the page's way has more than doubled")
    if rss > 60_000:
        bad.append("the resident set has passed 60 MB")
    if len(took) < asked.rate * asked.seconds * 0.99:
        bad.append("not all requests were made")
    print("; ".join(bad) or "all within their limits")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
