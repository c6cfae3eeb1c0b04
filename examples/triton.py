"""A Triton that Penstock knows nothing of, to try `penstock deploy add-server` with: `python -m examples.triton 8101`.

It has the model `theirs` (iris flowers) in a repository of its own, loads it when it is asked to, and runs until it is
interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from deploy.local import FAULTS
from deploy.local.places import Places
from deploy.local.ports import PortInUse, Ports
from deploy.local.stack import Stack
from examples import iris

CONFIGURATION = """\
name: "theirs"
backend: "onnxruntime"
max_batch_size: 8
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [
  { name: "label" data_type: TYPE_INT64 dims: [1] reshape: { shape: [] } },
  { name: "probabilities" data_type: TYPE_FP32 dims: [3] }
]
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.triton", description="Run a Triton apart from the stack.")
    parser.add_argument("port", type=int, help="of its gRPC endpoint, on loopback")
    port = parser.parse_args().port
    if port not in range(1, 65536):
        parser.error(f"{port} is not a port")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="penstock-triton-") as home:
        try:
            ports = Ports({**Ports.free().numbers, "triton_a_grpc": port})
            run(Stack(Places.of(Path(home)), ports, ("triton-a",), durable=False))
        except PortInUse:
            parser.error(f"port {port} is in use: name another")
        except FAULTS as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            print()


def run(stack: Stack) -> None:
    """Until a signal comes."""
    version = stack.repository("a") / "theirs" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(iris.trained())
    (version.parent / "config.pbtxt").write_text(CONFIGURATION)
    try:
        stack.start(parent=os.getpid())
        print(f"a Triton listens at {stack.address('triton_a_grpc')}; Ctrl-C ends it", flush=True)
        signal.pause()
    finally:
        stack.stop()
        stack.remove()


if __name__ == "__main__":
    main()
