# SPDX-License-Identifier: GPL-2.0
"""xlab - a real Xen host with guests on any Linux machine, by emulation alone. See ../README.md."""

from .image import LabError
from .lab import Dom0, Guest, Lab
from .wire import Job, LabTimeout, Result

__all__ = ["Dom0", "Guest", "Job", "Lab", "LabError", "LabTimeout", "Result"]
