"""The one-machine stack, from wheels: the functions behind `penstock up|down|status|logs`."""

from deploy.local.commands import FAULTS, down, logs, status, the_stack, up

__all__ = ["FAULTS", "down", "logs", "status", "the_stack", "up"]
