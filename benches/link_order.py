#!/usr/bin/env python3
"""Which functions of bootwatch run while it follows a log, as the order in which they are linked.

    benches/link_order.py target/release/bootwatch > packaging/link-order.txt
    benches/link_order.py --check target/release/bootwatch

Of the program's 26,000 functions 4,000 run in a day of following, pages and scrapes. Where they lie among the others, the
kernel maps nearly all of the program (64 kB around each page that is touched); side by side they are a quarter of it.
build.rs gives the list to the linker, which takes names it does not find for nothing: the list stays good while the code
changes. With a new toolchain, and when a dependency or its features change, all names have other hashes: --check (a step of
scripts/test) finds too few of them, or not in this order, and says to make the list anew. The program is to be one of
`cargo build --release`: what `cargo bench` builds beside the benches has their dependencies' features, and other hashes.

Each function's first byte becomes a breakpoint (ptrace, x86-64 only), which is taken back when it is met: so it is exact, and
costs little. First come the functions that run all the time, then those of a start, then those of alerts and pages.
"""
import ctypes
import http.server
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

SECONDS_OF_A_PHASE = 40
PATHS = ["/", "/-/ready", "/boots", "/incidents", "/system", "/alerts"]
# Set where build.rs is not to give the list to the linker.
UNORDERED = "BOOTWATCH_LINK_UNORDERED"
# Of the listed functions, those that a program must still have.
ENOUGH = 0.8

TRACEME, CONT, GETREGS, SETREGS, SETOPTIONS = 0, 7, 12, 13, 0x4200
TRACE_THREADS, ANY_THREAD = 0x8, 0x40000000
REGISTERS, RIP = 27, 16
BREAKPOINT = 0xCC

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request} of {pid}")


def functions(binary):
    """The name of the function that begins at an address of the file."""
    found = {}
    told = subprocess.run(["nm", "--defined-only", binary], capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tTwW":
            found.setdefault(int(address, 16), name)
    return found


def text_section(binary):
    told = subprocess.run(["readelf", "-SW", binary], capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        fields = line.replace("[ ", "[").split()
        if len(fields) > 5 and fields[1] == ".text":
            return int(fields[3], 16), int(fields[5], 16)
    raise SystemExit(f"{binary} has no .text")


class Traced:
    """A program with a breakpoint at each function; `run` belongs to one thread, as ptrace wants it."""

    def __init__(self, binary, arguments):
        self.binary, self.arguments = os.path.realpath(binary), arguments
        self.at, self.size = text_section(binary)
        within = range(self.at, self.at + self.size)
        self.functions = {address: name for address, name in functions(binary).items() if address in within}
        self.said, self.output = os.pipe()
        # What ran first, in order, by phase.
        self.phases = [[]]
        self.next_phase = threading.Event()
        self.pid = None

    def run(self):
        pid = os.fork()
        if pid == 0:
            os.dup2(self.output, 1)
            os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
            ptrace(TRACEME, 0)
            os.execv(self.binary, [self.binary, *self.arguments])
        # Whoever reads what the program says hears of its end.
        os.close(self.output)
        os.waitpid(pid, 0)
        ptrace(SETOPTIONS, pid, 0, TRACE_THREADS)
        with open(f"/proc/{pid}/maps") as maps:
            self.base = next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(self.binary))
        self.memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        self.clean = os.pread(self.memory, self.size, self.base + self.at)
        self.arm()
        self.pid = pid
        ptrace(CONT, pid)
        while True:
            thread, status = os.waitpid(-1, ANY_THREAD)
            if not os.WIFSTOPPED(status):
                if thread == pid:
                    return
                continue
            signal_number, is_event = os.WSTOPSIG(status), status >> 16 != 0
            deliver = 0
            if signal_number == signal.SIGTRAP and not is_event:
                self.met(thread)
            elif signal_number != signal.SIGSTOP and not is_event:
                deliver = signal_number
            if self.next_phase.is_set():
                self.next_phase.clear()
                self.phases.append([])
                self.arm()
            try:
                ptrace(CONT, thread, 0, deliver)
            except ProcessLookupError:
                pass

    def arm(self):
        text = bytearray(self.clean)
        for address in self.functions:
            text[address - self.at] = BREAKPOINT
        self.armed = set(self.functions)
        os.pwrite(self.memory, bytes(text), self.base + self.at)

    def met(self, thread):
        registers = (ctypes.c_ulonglong * REGISTERS)()
        ptrace(GETREGS, thread, 0, ctypes.addressof(registers))
        address = registers[RIP] - 1 - self.base
        if address not in self.functions:
            return
        # Two threads may have met it at once.
        if address in self.armed:
            self.armed.discard(address)
            self.phases[-1].append(self.functions[address])
            place = address - self.at
            os.pwrite(self.memory, self.clean[place : place + 1], self.base + address)
        registers[RIP] -= 1
        ptrace(SETREGS, thread, 0, ctypes.addressof(registers))


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def ran(binary, paths, channel="", phases=1):
    """What runs, by phase, while bootwatch follows a log and these paths are asked for."""
    with tempfile.TemporaryDirectory(prefix="link-order.") as folder:
        log, config = f"{folder}/master-controller.log", f"{folder}/bootwatch.toml"
        open(log, "w").close()
        with open(config, "w") as file:
            file.write(f'[log]\nfile = "{log}"\ntimezone = "UTC"\n[web]\nlisten = "127.0.0.1:0"\n')
            file.write(f'[store]\npath = "{folder}/bootwatch.db"\n{channel}')
        traced = Traced(binary, ["run", "--config", config])
        tracer = threading.Thread(target=traced.run, daemon=True)
        tracer.start()
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(traced.said, 1) or sys.exit("the program ended before it said its address")
        address = line.decode().strip().rsplit("http://", 1)[1]
        simulated = subprocess.Popen(
            [binary, "simulate", "--scenario", "mixed", "--log", log, "--speed", "1", "--rate", "20000"],
            stdout=subprocess.DEVNULL,
        )
        try:
            for phase in range(phases):
                if phase > 0:
                    traced.next_phase.set()
                until = time.monotonic() + SECONDS_OF_A_PHASE
                while time.monotonic() < until:
                    for path in paths:
                        urllib.request.urlopen(f"http://{address}{path}").read()
                    time.sleep(5)
        finally:
            simulated.terminate()
            simulated.wait()
            os.kill(traced.pid, signal.SIGTERM)
            tracer.join(60)
    return traced.phases


def order(binary):
    start, always = ran(binary, ["/metrics"], phases=2)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    channel = f'[notify.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:{receiver.server_port}/"\n'
    (pages,) = ran(binary, PATHS, channel)
    return list(dict.fromkeys(always + start + pages))


def check(binary, listed):
    if platform.machine() != "x86_64" or os.environ.get(UNORDERED):
        print(f"the order is for x86-64, and not with {UNORDERED}")
        return
    with open(listed) as file:
        wanted = file.read().split()
    addresses = {name: address for address, name in functions(binary).items()}
    found = [addresses[name] for name in wanted if name in addresses]
    ordered = sum(one < next for one, next in zip(found, found[1:]))
    print(f"{len(found)} of {len(wanted)} functions of {listed} are in {binary}, {ordered} of them before the next")
    remedy = f"make it anew with benches/link_order.py {binary} > {listed}"
    if len(found) < ENOUGH * len(wanted):
        sys.exit(f"too few: {remedy}")
    if ordered < ENOUGH * len(found):
        sys.exit(f"the linker did not put them side by side: one other than lld wants {UNORDERED}=1, see build.rs")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2], "packaging/link-order.txt")
    elif len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        print("\n".join(order(sys.argv[1])))
    else:
        sys.exit(__doc__)


main()
