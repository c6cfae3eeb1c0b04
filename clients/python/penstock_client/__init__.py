"""Stubs of Penstock's services behind one address, with deadlines and credentials, without retries."""

from penstock_client.client import Penstock
from penstock_client.values import column, python_value, python_values, value

__all__ = ["Penstock", "column", "python_value", "python_values", "value"]
