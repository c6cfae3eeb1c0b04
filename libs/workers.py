"""Several processes behind one port, for services that keep no state: Python answers with one core a process.

Each worker is the same command again with PENSTOCK_WORKER=i; the kernel spreads connections (SO_REUSEPORT).
Worker i exposes its metrics on the metrics port + 100 * i. Never for the process that holds ADS streams.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

WORKER = "PENSTOCK_WORKER"
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.2, 5.0
STOP_SECONDS = 15.0

log = logging.getLogger(__name__)


def run_workers(count: int, module: str, work: Callable[[int], None]) -> None:
    """Call `work(0)` in this process when count is 1; otherwise supervise `count` processes until SIGTERM."""
    if WORKER in os.environ or count <= 1:
        if WORKER in os.environ:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        work(int(os.environ.get(WORKER, "0")))
        return
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    workers = {index: _start(module, index) for index in range(count)}
    pause = LEAST_PAUSE_SECONDS
    while not stopping:
        ended = {index: worker.returncode for index, worker in workers.items() if worker.poll() is not None}
        for index, code in ended.items():
            log.error("worker %d of %s ended with %d; it is started again", index, module, code)
            workers[index] = _start(module, index)
        # what dies at once dies again at once
        pause = min(2 * pause, MOST_PAUSE_SECONDS) if ended else max(pause / 2, LEAST_PAUSE_SECONDS)
        time.sleep(pause)
    for worker in workers.values():
        worker.terminate()
    for worker in workers.values():
        try:
            worker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()


def _end_with(parent: int) -> None:
    """Whoever supervised this worker was killed: its successor starts workers of its own on the same port."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


def _start(module: str, index: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module], env={**os.environ, WORKER: str(index)})  # noqa: S603  our own module
