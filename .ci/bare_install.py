"""Build the wheel, install it into fresh environments outside the checkout, and use it from other folders.

    python .ci/bare_install.py [--keep FOLDER] [--images cifar10-jpeg:FOLDER]

Two environments: the engine alone, and the dashboard with it. In the first, what an extra brings is asked for without
it, and then got by the very command that TDQ's sentence names. Prints what was done, sizes and times; the first thing
that is not as it should be ends it with exit code 1. Only Python and a package index are needed.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
PACKED = ("tdq_core", "dashboard", "cached_runs")
RUN = ("run", "--model", "digits_resnet", "--data", "digits", "--method", "tucker2")
INT8 = ("--ratio", "2.7", "--precision", "int8", "--backend", "torch")  # no shipped run, so that it must be measured


class Visited(NamedTuple):
    """What `visit.py` prints."""

    pages: dict[str, int]
    exceptions: list[str]
    text: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="leave everything in this folder instead of a temporary one")
    parser.add_argument("--images", help="also run ResNet-20 from Python on these")
    asked = parser.parse_args()
    if asked.keep:
        check(asked.keep.resolve(), asked.images)
        return
    with tempfile.TemporaryDirectory(prefix="tdq-bare-") as folder:
        check(Path(folder), asked.images)


def check(folder: Path, images: str | None) -> None:
    """Everything, in `folder`."""
    wheel = build_wheel(folder)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    engine = Environment(folder / "engine", str(wheel))
    screen = Environment(folder / "dashboard", f"{wheel}[dashboard]")
    check_engine(engine)
    check_python(engine, images)
    check_dashboard(screen)
    check_sentences(engine)
    print("All is as it should be.")


def build_wheel(folder: Path) -> Path:
    """The wheel, built from a copy, so that nothing left over in the checkout gets in."""
    source = folder / "source"
    for package in PACKED:
        shutil.copytree(PROJECT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source / name)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source], check=True)
    (wheel,) = folder.glob("tdq-*.whl")
    return wheel


class Environment:
    """A virtual environment with TDQ in it, and a folder of its own to use it from."""

    def __init__(self, folder: Path, requirement: str) -> None:
        self.name, self.bin, self.place = folder.name, folder / "venv" / "bin", folder / "elsewhere"
        self.place.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=True)
        started = time.perf_counter()
        self.install("torch", "torchvision")  # first: its constraint decides which build of the others fits
        self.install(requirement)
        seconds = time.perf_counter() - started
        count, size = len(json.loads(self.pip("list", "--format", "json").stdout)), size_of(folder / "venv")
        print(f"\n== {self.name}: {count} packages, {size / 1e6:,.0f} MB, installed in {seconds:.0f} s")

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=self.place, check=True)

    def install(self, *requirements: str) -> None:
        self.pip("install", "--quiet", "-c", str(PROJECT / "constraints.txt"), *requirements)

    def environ(self) -> dict[str, str]:
        """Nothing of the caller's but the PATH; a home without settings."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.place), "STREAMLIT_SERVER_HEADLESS": "true"}

    def tdq(self, *arguments: str, code: int = 0, says: str = "") -> str:
        """Run `tdq`, hold its exit code and its words against what they should be, and return its stdout."""
        started = time.perf_counter()
        done = subprocess.run(
            [self.bin / "tdq", *arguments], capture_output=True, text=True, cwd=self.place, env=self.environ()
        )
        print(f"$ tdq {' '.join(arguments)}   # exit code {done.returncode}, {time.perf_counter() - started:.2f} s")
        if code:
            print(f"  {done.stderr.strip()}")
        require(done.returncode == code, f"exit code {code} was due\n{done.stdout}\n{done.stderr}")
        require("Traceback" not in done.stderr and says in done.stdout + done.stderr, f"'{says}' was due")
        return done.stdout

    def seconds_of_help(self) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([self.bin / "tdq", "--help"], capture_output=True, env=self.environ(), check=True)
            times.append(time.perf_counter() - started)
        return sorted(times)[2]

    def visit(self, port: int, text: str) -> Visited:
        """All pages of the dashboard on this port, and whether `text` is on them."""
        command = [str(self.bin / "python"), str(PROJECT / ".ci" / "visit.py"), str(port), text]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=self.place.parent, env=self.environ(), check=True)
        return Visited(**json.loads(done.stdout))


def check_engine(engine: Environment) -> None:
    """The engine alone: what it knows, a shipped run, a run of its own, and what it must ask for."""
    engine.tdq("--help", says="Usage: tdq")
    print(f"  again: {engine.seconds_of_help():.2f} s (median of 5)")
    engine.tdq("models", says="digits_resnet")
    shipped = {path.stem for path in (PROJECT / "cached_runs").glob("*.json")}
    found = json.loads(engine.tdq(*RUN, "--ratio", "2", "--json"))
    require(found["run_id"] in shipped and not (engine.place / "runs").exists(), "the shipped run was due")
    own = json.loads(engine.tdq(*RUN, "--ratio", "2.7", "--precision", "int8", "--backend", "onnxruntime", "--json"))
    print(f"  measured: {own['metrics']['top1']:.4f} of {own['metrics']['n']} images, {own['metrics']['bytes']} bytes")
    require(own["state"] == "complete" and own["metrics"]["top1"] > 0.9, "a good run was due")
    listed = json.loads(engine.tdq("show", "--json"))
    print(f"  {len(listed)} runs are shown")
    require({run["run_id"] for run in listed} == shipped | {p.stem for p in (engine.place / "runs").glob("*.json")}, "")
    engine.tdq("show", found["run_id"], says="digits_resnet")
    before = sorted((engine.place / "runs").rglob("*"))
    engine.tdq(*RUN, *INT8, code=2, says="pip install 'tdq[pt2e]'")
    require(before == sorted((engine.place / "runs").rglob("*")), "nothing was to be recorded")
    engine.tdq("dashboard", code=2, says="pip install 'tdq[dashboard]'")
    print(engine.tdq("doctor", says="tdq[dashboard]").split("\n\n")[-1].rstrip())


def check_python(engine: Environment, images: str | None) -> None:
    """The twenty lines of docs/python.md on what comes along, and on ResNet-20 where there are images for it."""
    for words in [(), *([("resnet20_cifar10", images)] if images else [])]:
        script = PROJECT / "docs" / "examples" / "twenty_lines.py"
        done = subprocess.run(
            [engine.bin / "python", script, *words],
            capture_output=True,
            text=True,
            cwd=engine.place,
            env=engine.environ(),
        )
        print(f"$ python twenty_lines.py {' '.join(words)}   # exit code {done.returncode}\n{done.stdout.rstrip()}")
        require(done.returncode == 0 and done.stdout.rstrip().endswith("complete"), f"a run was due\n{done.stderr}")


def check_sentences(engine: Environment) -> None:
    """What the sentences advise is done, and helps."""
    engine.install("tdq[pt2e]")
    engine.tdq(*RUN, *INT8)
    engine.install("tdq[dashboard]")
    check_dashboard(engine)


def check_dashboard(screen: Environment) -> None:
    """`tdq dashboard` serves every page, to this machine only, wherever it is started."""
    lay_traps(screen.place)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [str(screen.bin / "tdq"), "dashboard", "--port", str(port), "--", "--data", "folder:holiday"]
    print(f"$ tdq {' '.join(command[1:])}")
    with (screen.place / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=screen.place, env=screen.environ(), stdout=log, stderr=log)
    try:
        status = answer(f"http://localhost:{port}/", server)
        visited = screen.visit(port, "folder:holiday")
        abroad = reachable_from_elsewhere(port)
    finally:
        server.terminate()
        server.wait(timeout=20)
    print(f"  HTTP {status}; elements by page: {visited.pages}")
    require(status == 200 and len(visited.pages) >= 7 and min(visited.pages.values()) > 5, "seven pages were due")
    require(not visited.exceptions, f"no errors were due: {visited.exceptions}")
    require(visited.text, "what stands after -- was to be offered")
    require(not abroad, "only this machine was to be served")


def lay_traps(place: Path) -> None:
    """What must not count where the dashboard is started: other settings, and a package of the same name."""
    (place / ".streamlit").mkdir(exist_ok=True)
    (place / ".streamlit" / "config.toml").write_text('[server]\naddress = "0.0.0.0"\n')
    (place / "dashboard").mkdir(exist_ok=True)
    (place / "dashboard" / "__init__.py").write_text('raise ImportError("the wrong dashboard")\n')


def answer(address: str, server: subprocess.Popen[bytes]) -> int:
    """The status with which the server answers, once it does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address) as page:
                return int(page.status)
        except urllib.error.URLError:
            time.sleep(0.1)
    raise SystemExit(f"The dashboard does not answer at {address}; its exit code is {server.poll()}.")


def reachable_from_elsewhere(port: int) -> bool:
    """Whether the port also answers at the address that other machines know this one by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # nothing is sent: it only tells the way out
        own = outward.getsockname()[0]
    with socket.socket() as caller:
        caller.settimeout(2)
        return caller.connect_ex((own, port)) == 0


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def require(holds: bool, sentence: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {sentence}.")


if __name__ == "__main__":
    main()
