#!/usr/bin/env python3
"""CPU and memory of a following bootwatch beside mtail, over the same log, in one run.

    benches/footprint.py BOOTWATCH GENERATOR_FOLDER MTAIL_PROGRAMS [--rate 1000] [--seconds 40] [--rounds 3] [--idle 10]

GENERATOR_FOLDER holds gen_log.py (an endless iterator `records(seed)` of controller lines); MTAIL_PROGRAMS is a folder
of mtail programs that count the same things. Both follow one log, written in bursts of 20 lines. Prints each process's
share of a core by the scheduler's own nanoseconds (so that other work on the machine does not count), their ratio round
by round and its median, resident memory, the same on an idle log, and how long a scrape of /metrics takes. After them runs
beat.c (built with cc), alone: what a program takes that reads in batches of at most 20 ms and does nothing with the lines.
It is not run beside them, as each write would wake a third program on the cores that they share. A round takes as long as
two commits are apart.
"""
import argparse
import glob
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ALLOWED_RATIO, ALLOWED_MB = 0.5, 20


def cpu_by_thread(pid):
    """Nanoseconds on a core, by thread. Neither program ends threads while it is measured."""
    times = {}
    for path in glob.glob(f"/proc/{pid}/task/*"):
        try:
            name = open(f"{path}/comm").read().strip()
            times[(name, os.path.basename(path))] = int(open(f"{path}/schedstat").read().split()[0])
        except FileNotFoundError:
            pass
    return times


def resident_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def measured(processes, work):
    """What each process used of a core while `work` ran, in percent: in all, and by thread's name."""
    before = {name: cpu_by_thread(process.pid) for name, process in processes.items()}
    began = time.monotonic()
    work()
    took = time.monotonic() - began
    shares = {}
    for name, process in processes.items():
        threads = {}
        for key, spent in cpu_by_thread(process.pid).items():
            spent -= before[name].get(key, 0)
            threads[key[0]] = threads.get(key[0], 0) + 100 * spent / 1e9 / took
        shares[name] = (sum(threads.values()), threads)
    return shares


def end(processes):
    for process in processes.values():
        process.terminate()
        process.wait()
    processes.clear()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bootwatch")
    parser.add_argument("generator")
    parser.add_argument("programs")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=10)
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
    beat = os.path.join(folder, "beat")
    subprocess.run(["cc", "-O2", "-o", beat, os.path.join(os.path.dirname(os.path.abspath(__file__)), "beat.c")], check=True)
    lines = gen_log.records(7)

    def write():
        began = time.monotonic()
        written = 0
        while time.monotonic() - began < arguments.seconds:
            os.write(descriptor, "".join(next(lines)[1] + "\n" for _ in range(20)).encode())
            written += 20
            time.sleep(max(0, began + written / arguments.rate - time.monotonic()))

    try:
        # Both read their first lines, and bootwatch reads its store once (10 s after its start).
        time.sleep(2)
        for _ in range(50):
            os.write(descriptor, (next(lines)[1] + "\n").encode())
            time.sleep(0.2)
        ratios = []
        for number in range(arguments.rounds):
            shares = measured(processes, write)
            ratios.append(shares["bootwatch"][0] / shares["mtail"][0])
            threads = ", ".join(f"{name} {share:.2f}" for name, share in sorted(shares["bootwatch"][1].items()))
            print(
                f"round {number + 1}, {arguments.rate} lines/s: bootwatch {shares['bootwatch'][0]:.3f} % of a core ({threads}), "
                f"mtail {shares['mtail'][0]:.3f} %, ratio {ratios[-1]:.2f}",
                flush=True,
            )
        print(f"ratio, median of {len(ratios)}: {statistics.median(ratios):.2f} (allowed {ALLOWED_RATIO})")
        memory = {name: resident_mb(process.pid) for name, process in processes.items()}
        print(f"resident: bootwatch {memory['bootwatch']:.1f} MB (allowed {ALLOWED_MB}), mtail {memory['mtail']:.1f} MB")
        if arguments.idle:
            time.sleep(1)
            shares = measured(processes, lambda: time.sleep(arguments.idle))
            print(f"idle: bootwatch {shares['bootwatch'][0]:.3f} %, mtail {shares['mtail'][0]:.3f} %")
        scrapes = []
        for _ in range(1000):
            start = time.perf_counter()
            urllib.request.urlopen(f"http://{address}/metrics").read()
            scrapes.append((time.perf_counter() - start) * 1000)
        scrapes.sort()
        print(f"scrape with a new connection: p50 {scrapes[500]:.2f} ms, p99 {scrapes[990]:.2f} ms")
        end(processes)
        processes["beat"] = subprocess.Popen([beat, log])
        time.sleep(1)
        shares = measured(processes, write)
        print(f"reading alone, {arguments.rate} lines/s: {shares['beat'][0]:.3f} % of a core")
    finally:
        end(processes)
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


main()
