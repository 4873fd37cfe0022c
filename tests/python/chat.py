"""The official openai package against Couplet: what its users do, and what it raises when things go wrong.

Usage: chat.py BASE_URL. Prompts script the upstream behind the real CLI with [[...]] directives.
"""

import sys
import time

import openai
from openai import OpenAI

MODEL = "claude-sonnet-5-5"
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="any", max_retries=0)


def ask(text, **more):
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **more)


def reads():
    answer = ask("[[think]][[words 4]]")
    message = answer.choices[0].message
    assert message.content == "w0 w1 w2 w3", message
    assert message.refusal is None and message.role == "assistant"
    assert message.reasoning_content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id.startswith("chatcmpl-") and abs(answer.created - time.time()) < 60
    assert answer.usage.prompt_tokens == 175
    assert answer.usage.prompt_tokens_details.cached_tokens == 50
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def streams():
    chunks = list(ask("[[words 4]]", stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert texts == ["w0 ", "w1 ", "w2 ", "w3"], texts
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 4


def stream_helper():
    with client.chat.completions.stream(model=MODEL, messages=[{"role": "user", "content": "[[words 3]]"}]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "w0 w1 w2"
    assert final.choices[0].message.role == "assistant", "role came once"


def conversation():
    """What a chat program does: it sends back the message objects it got."""
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "[[words 2]]"}]
    for _ in range(3):
        answer = client.chat.completions.create(model=MODEL, messages=messages)
        messages.append(answer.choices[0].message)
        messages.append({"role": "user", "content": "[[words 2]] and more"})
    assert answer.choices[0].message.content == "w0 w1"


def lists_models():
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids and "sonnet" in ids, ids
    assert client.models.retrieve("sonnet").id == "sonnet"
    raises(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("gpt/none"))


def raises(kind, code, action):
    try:
        action()
    except kind as error:
        assert error.code == code, (error.code, code)
        assert error.message
        return error
    raise AssertionError(f"nothing was raised; expected {kind} {code}")


def errors():
    cases = [
        ("[[err 401 authentication_error]]", openai.AuthenticationError, "invalid_api_key"),
        ("[[err 403 permission_error]]", openai.PermissionDeniedError, "permission_denied"),
        ("[[err 404 not_found_error]]", openai.NotFoundError, "model_not_found"),
        ("[[err 413 request_too_large]]", openai.APIStatusError, "request_too_large"),
        ("[[err 429 rate_limit_error]]", openai.RateLimitError, "rate_limit_exceeded"),
        ("[[err 500 api_error]]", openai.InternalServerError, "upstream_error"),
        ("[[err 529 overloaded_error]]", openai.InternalServerError, "overloaded"),
        ("[[err 400 invalid_request_error prompt is too long: 9 tokens > 8 maximum]]",
         openai.BadRequestError, "context_length_exceeded"),
    ]
    for prompt, kind, code in cases:
        for stream in (False, True):
            raises(kind, code, lambda: list(ask(prompt, stream=stream)))
    # In the middle of a stream there is no status any more: the package raises its base error.
    for prompt, code in (("[[words 6]][[cut 3]]", "upstream_broken"),
                         ("[[words 6]][[errevent 3 overloaded_error]]", "overloaded")):
        seen = []
        raises(openai.APIError, code, lambda: collect(seen, ask(prompt, stream=True)))
        assert seen == ["w0 ", "w1 ", "w2 "], seen


def collect(seen, stream):
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            seen.append(chunk.choices[0].delta.content)


def does_not_retry_in_vain():
    eager = OpenAI(base_url=sys.argv[1] + "/v1", api_key="any", max_retries=3)
    begun = time.monotonic()
    raises(openai.BadRequestError, "unsupported_parameter", lambda: eager.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "x"}], audio={"voice": "alloy", "format": "wav"}))
    raises(openai.AuthenticationError, "invalid_api_key", lambda: eager.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "[[err 401 authentication_error]]"}]))
    assert time.monotonic() - begun < 6


for step in (reads, streams, stream_helper, conversation, lists_models, errors, does_not_retry_in_vain):
    step()
    print(step.__name__, "ok", flush=True)
