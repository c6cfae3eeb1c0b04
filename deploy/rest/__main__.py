"""python -m deploy.rest <folder> < descriptors: writes penstock.binpb and openapi.json into the folder.

`make protos` runs it. The descriptors are what `protoc --include_imports --include_source_info` writes.
"""

import json
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.rest.document import document
from deploy.rest.source import Source


def main() -> None:
    folder = Path(sys.argv[1])
    described = FileDescriptorSet.FromString(sys.stdin.buffer.read())
    written = json.dumps(document(Source.of(described)), indent=1, ensure_ascii=False)
    (folder / "openapi.json").write_text(written + "\n")
    for file in described.file:
        file.ClearField("source_code_info")
    (folder / "penstock.binpb").write_bytes(described.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
