#!/usr/bin/env python3
"""CPU and memory of a following bootwatch beside mtail, over the same log, in one run.

    benches/footprint.py BOOTWATCH GENERATOR_FOLDER MTAIL_PROGRAMS [--rate 1000] [--seconds 30]

GENERATOR_FOLDER holds gen_log.py (an endless iterator `records(seed)` of controller lines); MTAIL_PROGRAMS is a folder
of mtail programs that count the same things. Prints each process's share of a core and resident memory, then how long a
scrape of /metrics takes.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bootwatch")
    parser.add_argument("generator")
    parser.add_argument("programs")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.generator)
    import gen_log

    folder = tempfile.mkdtemp(prefix="footprint.")
    log = os.path.join(folder, "master-controller.log")
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    config = os.path.join(folder, "bootwatch.toml")
    with open(config, "w") as file:
        file.write(f'[log]\nfile = "{log}"\ntimezone = "UTC"\n[web]\nlisten = "127.0.0.1:0"\n[store]\npath = "{folder}/bootwatch.db"\n')
    ours = subprocess.Popen([arguments.bootwatch, "run", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    address = ours.stdout.readline().decode().strip().rsplit("http://", 1)[1]
    processes = {"bootwatch": ours}
    processes["mtail"] = subprocess.Popen(
        ["mtail", "-address", "127.0.0.1", "-port", "0", "-progs", arguments.programs, "-logs", log, "-logtostderr"],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(2)
    try:
        lines = gen_log.records(7)
        before = {name: cpu(process.pid) for name, process in processes.items()}
        began = time.time()
        written = 0
        while time.time() - began < arguments.seconds:
            os.write(descriptor, "".join(next(lines)[1] + "\n" for _ in range(20)).encode())
            written += 20
            time.sleep(max(0, began + written / arguments.rate - time.time()))
        took = time.time() - began
        print(f"{written} lines in {took:.0f} s")
        for name, process in processes.items():
            share = 100 * (cpu(process.pid) - before[name]) / took
            print(f"{name:<10} {share:.2f} % of a core, {resident_mb(process.pid):.1f} MB resident")
        scrapes = []
        for _ in range(1000):
            start = time.perf_counter()
            urllib.request.urlopen(f"http://{address}/metrics").read()
            scrapes.append((time.perf_counter() - start) * 1000)
        scrapes.sort()
        print(f"scrape with a new connection: p50 {scrapes[500]:.2f} ms, p99 {scrapes[990]:.2f} ms")
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()
        os.close(descriptor)


main()
