# SPDX-License-Identifier: MIT
"""What boot tests, benchmarks and `make run` share: images, guests, emulators and their consoles."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
CACHE = os.path.join(BUILD, "cache")
# How many times as long as an idle machine of two cores this one may take.
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
