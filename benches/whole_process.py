#!/usr/bin/env python3
"""Wall time and peak memory of `bootwatch analyze` on a big log, beside grep and the floor, in one run.

    whole_process.py LOG [--bootwatch PROGRAM] [--floor PROGRAM] [--rounds 5]

Every program reads LOG once a round, one after the other, so that what else the machine does hits all alike; the
first, unmeasured round fills the page cache. Prints medians, ratios to grep, and the peak resident size.
"""
import argparse
import os
import statistics
import subprocess
import time


def run(command):
    """Seconds, peak resident bytes and CPU seconds of one run, pinned to one core.

    The output goes through a pipe: grep stops at its first match where it sees that nobody reads its count.
    """
    timed = ["taskset", "-c", "0", "/usr/bin/time", "-f", "%M %U %S", *command]
    began = time.perf_counter()
    done = subprocess.run(timed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    took = time.perf_counter() - began
    kilobytes, user, system = done.stderr.split()[-3:]
    return took, int(kilobytes) * 1024, float(user) + float(system)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("log")
    arguments.add_argument("--bootwatch", default="target/release/bootwatch")
    arguments.add_argument("--floor", help="the floor program of the yardsticks, if built")
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    programs = {"grep -c ECONNREFUSED": ["grep", "-c", "ECONNREFUSED", given.log]}
    for way in ("lines", "hand", "serde") if given.floor else ():
        programs[f"floor, {way}"] = [given.floor, "tp", way, given.log]
    programs["bootwatch analyze"] = [given.bootwatch, "analyze", "--timezone", "UTC", given.log]
    seconds = {name: [] for name in programs}
    cpu = {name: [] for name in programs}
    peak = dict.fromkeys(programs, 0)
    for round_number in range(given.rounds + 1):
        for name, command in programs.items():
            took, most, busy = run(command)
            if round_number:
                seconds[name].append(took)
                cpu[name].append(busy)
                peak[name] = max(peak[name], most)
    size = os.path.getsize(given.log)
    grep = statistics.median(seconds["grep -c ECONNREFUSED"])
    grep_cpu = statistics.median(cpu["grep -c ECONNREFUSED"])
    print(f"{size / 1e6:.0f} MB, median of {given.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'program':24} {'wall s':>7} {'x grep':>7} {'cpu s':>7} {'x grep':>7} {'MB/s':>7} {'peak MB':>8}")
    for name in programs:
        median, busy = statistics.median(seconds[name]), statistics.median(cpu[name])
        print(
            f"{name:24} {median:7.3f} {median / grep:7.2f} {busy:7.3f} {busy / grep_cpu:7.2f} "
            f"{size / 1e6 / median:7.0f} {peak[name] / 1e6:8.1f}"
        )


main()
