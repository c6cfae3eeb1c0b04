"""`python -m deploy.local.supervise JSON`: the supervisor's process. `Stack` starts it; nobody types this."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from pathlib import Path

from deploy.local import parts
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.supervisor import Supervisor


def main() -> None:
    os.umask(0o022)  # root's PostgreSQL runs as another user, who must be able to read its programs
    what = json.loads(sys.argv[1])
    places = Places.of(Path(what["home"]))
    ports = Ports.from_environment(os.environ)
    built = parts.build(places, ports, what["parts"], durable=what["durable"])
    # held for life: one supervisor for each stack, and cleaners of temporary files leave a locked directory alone
    directory = os.open(places.run, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    asyncio.run(Supervisor(places, ports, built, parent=what["parent"]).run())


main()
