"""The tables of docs/parameters.md against the parameters that the official packages have.

Usage: parameters.py DOCUMENT.
"""

import re
import sys

from anthropic.types import message_count_tokens_params, message_create_params
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_completion_create_params

PARAMETERS = {
    "/v1/chat/completions": [chat_completion_create_params.CompletionCreateParamsStreaming],
    "/v1/completions": [completion_create_params.CompletionCreateParamsStreaming],
    "/v1/messages": [
        message_create_params.MessageCreateParamsStreaming,
        message_count_tokens_params.MessageCountTokensParams,
    ],
}

sections = open(sys.argv[1]).read().split("\n## POST ")[1:]
tables = {section.split("\n", 1)[0]: set(re.findall(r"^\| `([^`]+)`", section, re.M)) for section in sections}
for path, types in PARAMETERS.items():
    known = {name for parameters in types for name in parameters.__annotations__}
    assert len(known) > 10, known
    missing = known - tables[path]
    assert not missing, f"{path} has no row for {sorted(missing)}"
    print(path, "ok", flush=True)
