"""The one-machine stack, from wheels: the functions behind `penstock up|down|status|logs`."""

from deploy.local.commands import down, logs, status, up

__all__ = ["down", "logs", "status", "up"]
