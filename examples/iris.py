"""An ONNX file to try things with: `python -m examples.iris iris.onnx` trains a classifier of iris flowers."""

from __future__ import annotations

import argparse
from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

OPSET = 17
COLUMNS = 4
SEPAL_COLUMNS = 2


def trained(columns: int = COLUMNS) -> bytes:
    """An ONNX file: X float32 [n, 4] → label int64 [n], probabilities float32 [n, 3]; sees the first `columns` of X."""
    flowers, kinds = load_iris(return_X_y=True)
    seen = ColumnTransformer([("seen", "passthrough", list(range(columns)))])
    model = make_pipeline(seen, LogisticRegression(max_iter=500)).fit(flowers, kinds)
    shape = [("X", FloatTensorType([None, COLUMNS]))]
    return to_onnx(model, initial_types=shape, target_opset=OPSET, options={"zipmap": False}).SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.iris", description="Train a classifier of iris flowers.")
    parser.add_argument("file", type=Path, help="where to write the ONNX file")
    parser.add_argument("--sepals", action="store_true", help="one that looks at the sepals only, and errs more often")
    asked = parser.parse_args()
    try:
        asked.file.write_bytes(trained(SEPAL_COLUMNS if asked.sepals else COLUMNS))
    except OSError as error:
        parser.error(str(error))
    print(f"{asked.file}: X FP32 [n, 4] -> label INT64 [n], probabilities FP32 [n, 3]")


if __name__ == "__main__":
    main()
