from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

from deploy.local.processes import Identity, kill_all, wait_until

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


def test_a_process_with_a_reused_pid_is_never_signalled() -> None:
    child = subprocess.Popen(SLEEP)
    try:
        real = Identity.of(child.pid)
        assert real is not None
        for stranger in (replace(real, start=real.start - 1), replace(real, boot="another boot")):
            assert stranger.send(signal.SIGKILL) is False
            assert stranger.family() == []
        assert real.alive()
    finally:
        child.kill()
        child.wait()
    assert not real.alive()
    assert real.send(signal.SIGTERM) is False


def test_a_family_outlives_its_head() -> None:
    parent = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()"
    head = subprocess.Popen([sys.executable, "-c", parent, *SLEEP], stdout=subprocess.PIPE, start_new_session=True)
    assert head.stdout is not None
    child = Identity.of(int(head.stdout.readline()))
    identity = Identity.of(head.pid)
    assert identity is not None
    assert child in identity.family()
    head.kill()
    head.wait()
    head.stdout.close()
    assert identity.family() == [child]
    kill_all(identity.family())
    assert identity.family() == []


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(SLEEP)
    identity = Identity.of(child.pid)
    assert identity is not None
    child.kill()
    assert wait_until(lambda: not identity.alive(), 10)
    child.wait()
