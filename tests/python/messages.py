"""The official anthropic package against Couplet: what its users do, and what it raises when things go wrong.

Usage: messages.py BASE_URL. Prompts script the upstream behind the real CLI with [[...]] directives.
"""

import json
import sys

import anthropic
from anthropic import Anthropic

MODEL = "claude-sonnet-5-5"
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {"name": "add", "description": "Adds.", "input_schema": {
    "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}}
client = Anthropic(base_url=sys.argv[1], api_key="any", max_retries=0)


def user(content):
    return {"role": "user", "content": content}


def ask(content, **more):
    return client.messages.create(model=MODEL, max_tokens=4096, messages=[user(content)], **more)


def creates():
    message = ask("[[think one two]][[words 4]]", system="Be brief.")
    thinking, text = message.content
    assert (thinking.type, thinking.thinking.strip()) == ("thinking", "one two") and thinking.signature, thinking
    assert (text.type, text.text) == ("text", "w0 w1 w2 w3"), text
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None), message
    assert message.id.startswith("msg_") and message.role == "assistant" and message.model == MODEL
    usage = message.usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (25, 100, 50)
    assert message._request_id, "the request's id is in the headers"


def streams():
    events = list(ask("[[words 3]]", stream=True))
    assert [event.type for event in events] == [
        "message_start", "content_block_start", *["content_block_delta"] * 3, "content_block_stop",
        "message_delta", "message_stop"], events
    assert [event.delta.text for event in events[2:5]] == ["w0 ", "w1 ", "w2"]
    assert events[-2].delta.stop_reason == "end_turn" and events[-2].usage.output_tokens == 3


def streams_with_the_helper():
    prompt = '[[think hm]][[say Adding.]][[tool add {"a":1,"b":[2,{"c":"\\u00e9]]"}]}]]'
    with client.messages.stream(model=MODEL, max_tokens=4096, messages=[user(prompt)], tools=[TOOL]) as stream:
        texts = [event.text for event in stream if event.type == "text"]
        message = stream.get_final_message()
    assert "".join(texts) == "Adding.", texts
    thinking, text, call = message.content
    assert thinking.thinking.strip() == "hm" and thinking.signature and text.text == "Adding."
    assert (call.name, call.input) == ("add", {"a": 1, "b": [2, {"c": "\u00e9]]"}]}), call
    assert message.stop_reason == "tool_use" and message.usage.output_tokens > 0


def tool_loop():
    """Three rounds, the last with a tool that failed; the blocks go back as they came."""
    messages = [user('[[tool add {"a":1,"b":2}]] [[tool add {"a":3,"b":4}]]')]
    answers = ['7 [[think again]][[say Once more.]][[tool add {"a":10,"b":5}]]', "overflow [[echo messages]]"]
    ids = []
    for answer in answers:
        message = client.messages.create(model=MODEL, max_tokens=4096, messages=messages, tools=[TOOL])
        assert message.stop_reason == "tool_use", message
        calls = [block for block in message.content if block.type == "tool_use"]
        ids += [call.id for call in calls]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": str(call.input["a"] + call.input["b"])}
                   for call in calls]
        results[-1] |= {"content": answer, "is_error": answer.startswith("overflow")}
        messages += [{"role": "assistant", "content": message.content}, user(results)]
    message = client.messages.create(model=MODEL, max_tokens=4096, messages=messages, tools=[TOOL])
    assert message.stop_reason == "end_turn", message
    seen = [block for turn in json.loads(message.content[0].text) if isinstance(turn["content"], list)
            for block in turn["content"]]
    assert [block["id"] for block in seen if block["type"] == "tool_use"] == ids and len(ids) == 3
    results = [block for block in seen if block["type"] == "tool_result"]
    assert [block["tool_use_id"] for block in results] == ids
    assert [bool(block.get("is_error")) for block in results] == [False, False, True], results


def image():
    source = {"type": "base64", "media_type": "image/png", "data": DOT}
    message = ask([{"type": "image", "source": source}, {"type": "text", "text": "[[echo messages]]"}])
    blocks = json.loads(message.content[0].text)[0]["content"]
    assert blocks[0] == {"type": "image", "source": source}, blocks


def thinking():
    budget = {"type": "enabled", "budget_tokens": 2048}
    seen = client.messages.create(model="claude-haiku-4-5", max_tokens=4096, thinking=budget,
                                  messages=[user("[[echo thinking]]")])
    assert json.loads(seen.content[-1].text)["budget_tokens"] == 2048, seen
    off = client.messages.create(model="claude-haiku-4-5", max_tokens=4096, thinking={"type": "disabled"},
                                 messages=[user("[[echo thinking]]")])
    assert json.loads(off.content[-1].text) == {"type": "disabled"}, off


def counts_tokens():
    few = client.messages.count_tokens(model=MODEL, messages=[user("a question")], system="Be brief.")
    many = client.messages.count_tokens(model=MODEL, messages=[user("a question " * 400)], system="Be brief.")
    assert 0 < few.input_tokens < many.input_tokens, (few, many)
    # A quarter of the bytes is what the scripted API counts.
    more = (len("a question " * 400) - len("a question")) / 4
    assert abs(many.input_tokens - few.input_tokens - more) <= 1, (few, many)


def lists_models():
    models = {model.id: model for model in client.models.list()}
    assert MODEL in models and models["sonnet"].display_name, models
    assert client.models.retrieve("sonnet").type == "model"
    raises(anthropic.NotFoundError, "not_found_error", lambda: client.models.retrieve("gpt/none"))


def raises(kind, told, action):
    try:
        action()
    except kind as error:
        assert error.body["error"]["type"] == told, (error.body, told)
        assert error.body["error"]["message"]
        return error
    raise AssertionError(f"nothing was raised; expected {kind} {told}")


def errors():
    cases = [
        ("[[err 401 authentication_error]]", anthropic.AuthenticationError, "authentication_error"),
        ("[[err 403 permission_error]]", anthropic.PermissionDeniedError, "permission_error"),
        ("[[err 404 not_found_error]]", anthropic.NotFoundError, "not_found_error"),
        ("[[err 413 request_too_large]]", anthropic.APIStatusError, "request_too_large"),
        ("[[err 429 rate_limit_error]]", anthropic.RateLimitError, "rate_limit_error"),
        ("[[err 500 api_error]]", anthropic.InternalServerError, "api_error"),
        ("[[err 529 overloaded_error]]", anthropic.InternalServerError, "overloaded_error"),
        ("[[err 400 invalid_request_error prompt is too long: 9 tokens > 8 maximum]]",
         anthropic.BadRequestError, "invalid_request_error"),
    ]
    for prompt, kind, told in cases:
        for stream in (False, True):
            error = raises(kind, told, lambda: list(ask(prompt, stream=stream)))
            assert error.request_id == error.body["request_id"]
    error = raises(anthropic.BadRequestError, "invalid_request_error", lambda: ask("x", temperature=1.5))
    assert "temperature" in error.message
    # In the middle of a stream there is no status any more.
    seen = []
    prompt = "[[words 6]][[errevent 3 overloaded_error]]"
    raises(anthropic.APIStatusError, "overloaded_error", lambda: collect(seen, ask(prompt, stream=True)))
    assert seen == ["w0 ", "w1 ", "w2 "], seen


def collect(seen, stream):
    for event in stream:
        if event.type == "content_block_delta":
            seen.append(event.delta.text)


for step in (creates, streams, streams_with_the_helper, tool_loop, image, thinking, counts_tokens, lists_models, errors):
    step()
    print(step.__name__, "ok", flush=True)
