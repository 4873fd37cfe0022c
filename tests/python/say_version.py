"""Prints the installed version of the package named on the command line."""

import importlib.metadata
import sys

print(importlib.metadata.version(sys.argv[1]))
