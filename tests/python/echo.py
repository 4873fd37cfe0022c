"""Prints its arguments and the variable X as JSON; fails or hangs when told to. For the test kit's own tests."""

import json
import os
import sys
import time

if sys.argv[1:] == ["--fail"]:
    sys.exit("told on stderr")
if sys.argv[1:] == ["--hang"]:
    time.sleep(600)
print(json.dumps([sys.argv[1:], os.environ.get("X")]))
