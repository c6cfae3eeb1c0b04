"""An ONNX file to try things with: `python -m examples.iris iris.onnx` trains a classifier of iris flowers."""

from __future__ import annotations

import sys
from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

OPSET = 17


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.iris FILE")
    flowers, kinds = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(flowers, kinds)
    shape = [("X", FloatTensorType([None, flowers.shape[1]]))]
    exported = to_onnx(model, initial_types=shape, target_opset=OPSET, options={"zipmap": False})
    Path(sys.argv[1]).write_bytes(exported.SerializeToString())
    print(f"{sys.argv[1]}: X FP32 [n, 4] -> label INT64 [n], probabilities FP32 [n, 3]")


if __name__ == "__main__":
    main()
