"""Holds the document against OpenAPI's rules, and a server against the document.

Usage: openapi.py DOCUMENT, or openapi.py URL KEY FOLDER EXAMPLES SEED [PATH…], FOLDER being for what
schemathesis keeps. With paths only these are tried, without those of the operator none.
"""

import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent

# All that schemathesis can check but these.
LEFT_OUT = [
    # Nothing is created here that could be gone or belong to somebody else.
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
]


def validate(document):
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(json.loads(pathlib.Path(document).read_text())).validate()
    print("valid ok")


# They take another key, and one of them ends the sign-in.
OF_THE_OPERATOR = ["/admin/cli", "/admin/usage", "/metrics", "/auth/logout"]


def explore(url, key, folder, examples, seed, *paths):
    os.environ["SCHEMATHESIS_HOOKS"] = str(HERE / "openapi_hooks.py")
    os.chdir(folder)
    from schemathesis.cli import schemathesis

    chosen = [("--include-path", path) for path in paths] or [("--exclude-path", path) for path in OF_THE_OPERATOR]
    schemathesis([
        "run", f"{url}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {key}",
        "--checks", "all", "--exclude-checks", ",".join(LEFT_OUT),
        "--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", seed,
        "--workers", "2", "--continue-on-failure", "--request-timeout", "20", "--warnings", "off",
        "--generation-database", "none", "--no-color", "--output-truncate", "false",
        *(word for pair in chosen for word in pair),
    ])


if len(sys.argv) == 2:
    validate(sys.argv[1])
else:
    explore(*sys.argv[1:])
