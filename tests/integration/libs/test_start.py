"""What a service says as it starts."""

import os
import signal
import subprocess
import sys

PROGRAM = """
from libs import serve
async def build():
    return serve.App(services=[], register=lambda server: None)
serve.run("quiet", serve.Address("127.0.0.1:0", 0, drain_seconds=0), build)
"""


def test_every_start_says_whom_it_trusts():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as service:
        lines = [service.stderr.readline() for _ in range(2)]
        service.send_signal(signal.SIGTERM)
        lines += service.stderr.readlines()
    assert service.returncode == 0
    assert [line for line in lines if "past the edge is who its x-penstock-* headers say" in line]
