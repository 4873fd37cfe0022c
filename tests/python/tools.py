"""Function calling with the official openai package: loops of parallel calls, as agents run them.

Usage: tools.py BASE_URL. The first prompt scripts the first calls behind the real CLI; a result of each step holds the
script of the next, so that every id, name and argument is known here.
"""

import json
import sys

from openai import OpenAI
from openai.types.chat import ChatCompletion

MODEL = "claude-sonnet-5-5"
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="any", max_retries=0)

NUMBER = {"type": "number"}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def function(name, properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": f"Does {name}.", "parameters": parameters}


FUNCTIONS = [
    function("add", {"a": NUMBER, "b": NUMBER}),
    function("note", {"text": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}),
    function("now", {}),
]
TOOLS = [{"type": "function", "function": each} for each in FUNCTIONS]

# What the model does: a text, and calls of tools. Steps have one call without arguments, text in many scripts, text
# that looks like escapes, and several calls of one tool.
STEPS = [
    ("", [("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})]),
    ("Both at once.", [("add", {"a": -0.5, "b": 1e21}), ("now", {}), ("note", {"text": "", "tags": []})]),
    ("", [("note", {"text": "a\"b\\n\n\t]] </tool> \u00e9 \U0001f980", "tags": ["x", ""]}), ("now", {})]),
    ("", [("now", {}), ("now", {}), ("now", {})]),
    ("Two words, then calls.", [("add", {"a": 5, "b": 6}), ("note", {"text": "[[words 3]", "tags": ["[]"]})]),
    ("", [("add", {"a": 0, "b": 0}), ("add", {"a": 0, "b": 0})]),
    ("", [("note", {"text": "long " * 400, "tags": ["t"] * 50}), ("add", {"a": 7, "b": 8}), ("now", {})]),
    ("Almost.", [("add", {"a": 9, "b": 10}), ("now", {})]),
]
CALLS = sum(len(calls) for _, calls in STEPS)


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def directives(step):
    text, calls = step
    said = [f"[[say {compact(text)}]]"] if text else []
    return " ".join(said + [f"[[tool {name} {compact(arguments)}]]" if arguments else f"[[tool {name}]]"
                            for name, arguments in calls])


def tokens(step):
    """A word is a token in the scripted API, and a call has one at least."""
    text, calls = step
    return len(text.split()) + sum(max(1, len(compact(arguments).split())) if arguments else 1
                                   for _, arguments in calls)


def result_of(name, arguments):
    """It depends on the arguments, so that a result handed to the wrong call shows."""
    if name == "add":
        return f"{arguments['a'] + arguments['b']:g}"
    return f"{len(arguments['text'])} characters, {len(arguments['tags'])} tags" if name == "note" else "noon"


def user(text):
    return {"role": "user", "content": text}


def answer_of(call, content):
    return {"role": "tool", "tool_call_id": call.id, "content": content}


def whole(**request):
    return client.chat.completions.create(model=MODEL, **request)


def by_helper(**request):
    """The package's own accumulation."""
    options = {"include_usage": True}
    with client.chat.completions.stream(model=MODEL, stream_options=options, **request) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        completion = stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls or []
    assert [(each.index, each.name, each.arguments) for each in done] == [
        (index, call.function.name, call.function.arguments) for index, call in enumerate(calls)], done
    return completion


def by_hand(**request):
    """What applications do: everything that comes for an index is joined, ids and names too."""
    calls, roles, texts, reasons, usages = {}, [], [], [], []
    for chunk in client.chat.completions.create(
            model=MODEL, stream=True, stream_options={"include_usage": True}, **request):
        assert not usages, "nothing follows the usage"
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            assert not reasons, "nothing but the usage follows the finish reason"
            roles += [choice.delta.role] if choice.delta.role else []
            texts += [choice.delta.content] if choice.delta.content else []
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for delta in choice.delta.tool_calls or []:
                if delta.index not in calls:
                    assert delta.index == len(calls), "calls are numbered from 0, text blocks are not counted"
                    assert (delta.type, delta.function.arguments) == ("function", ""), delta
                call = calls.setdefault(delta.index, {"id": "", "type": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                call["type"] += delta.type or ""
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    assert roles == ["assistant"] and len(reasons) == 1, (roles, reasons)
    message = {"role": "assistant", "content": "".join(texts) or None, "tool_calls": [
        {"id": call["id"], "type": call["type"], "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in calls.values()] or None}
    return ChatCompletion.model_validate({
        "id": chunk.id, "created": chunk.created, "model": chunk.model, "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": reasons[0], "message": message}], "usage": usages[0].model_dump()})


def check(completion, step):
    """The answer is that step, exactly; its calls."""
    text, expected = step
    choice = completion.choices[0]
    assert (choice.message.content or "") == text, choice.message
    calls = choice.message.tool_calls or []
    assert choice.finish_reason == ("tool_calls" if expected else "stop"), choice
    assert [(call.type, call.function.name) for call in calls] == [("function", name) for name, _ in expected], calls
    for call, (_, arguments) in zip(calls, expected):
        assert json.loads(call.function.arguments) == arguments, call
    assert all(call.function.arguments == "{}" for call in calls if call.function.name == "now"), calls
    assert all(call.id for call in calls) and len({call.id for call in calls}) == len(calls), calls
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (175, tokens(step)), (usage, step)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == 50
    return calls


def loop(complete):
    messages = [{"role": "system", "content": "Use the tools."}, user(directives(STEPS[0]))]
    ids, said = [], []
    for number, step in enumerate(STEPS):
        completion = complete(messages=messages, tools=TOOLS)
        calls = check(completion, step)
        ids += [call.id for call in calls]
        messages.append(completion.choices[0].message)
        contents = [result_of(*call) for call in step[1]]
        after = directives(STEPS[number + 1]) if number + 1 < len(STEPS) else "[[echo messages]]"
        contents[number % len(contents)] += " " + after
        said += contents
        results = [answer_of(call, content) for call, content in zip(calls, contents)]
        # Results may come in any order: whatever ended first.
        messages += results[::-1] if number % 2 else results
    completion = complete(messages=messages, tools=TOOLS)
    assert completion.choices[0].finish_reason == "stop" and not completion.choices[0].message.tool_calls
    assert len(set(ids)) == CALLS, "an id is used once"
    check_seen(json.loads(completion.choices[0].message.content), ids, said)


def check_seen(seen, ids, said):
    """What reached the model: every call under its own id, and to each its own result."""
    blocks = [block for message in seen if isinstance(message["content"], list) for block in message["content"]]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert [(call["name"], call["input"]) for call in calls] == [call for _, calls in STEPS for call in calls]
    assert [call["id"] for call in calls] == ids
    results = results_of(seen)
    assert [text_of(results[each]) for each in ids] == said


def results_of(seen):
    """The tool results among an API request's messages, by the call's id."""
    blocks = [block for message in seen if isinstance(message["content"], list) for block in message["content"]]
    return {block["tool_use_id"]: block for block in blocks if block["type"] == "tool_result"}


def text_of(result):
    content = result["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def loop_whole():
    loop(whole)


def loop_streamed_by_hand():
    loop(by_hand)


def loop_streamed_by_the_helper():
    loop(by_helper)


def one_call(script="[[tool now]]", **more):
    """The messages up to a call of `now`, and the call."""
    messages = [user(script)]
    message = whole(messages=messages, tools=TOOLS, **more).choices[0].message
    return messages + [message], message.tool_calls[0]


def asked_after(content):
    """What the model is asked when a call is answered with that content, which echoes the messages."""
    messages, call = one_call()
    completion = whole(messages=messages + [answer_of(call, content)], tools=TOOLS)
    [result] = results_of(json.loads(completion.choices[0].message.content)).values()
    return result


def result_with_an_image():
    result = asked_after([
        {"type": "text", "text": "A picture. [[echo messages]]"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + DOT}},
    ])
    assert [block["type"] for block in result["content"]] == ["text", "image"], result
    assert result["content"][1]["source"] == {"type": "base64", "media_type": "image/png", "data": DOT}, result


def result_that_is_an_error():
    """The OpenAI API has no mark for it: the text must do."""
    text = 'Error: {"errno": 13} [[echo messages]]'
    assert text_of(asked_after(text)) == text


def goes_on_with_a_question_after_the_calls():
    """Results and a new question in one request, which no waiting call is the answer to."""
    messages, call = one_call()
    messages += [answer_of(call, "noon"), user("And now? [[tool add {\"a\":1,\"b\":1}]]")]
    completion = whole(messages=messages, tools=TOOLS)
    assert completion.choices[0].message.tool_calls[0].function.name == "add"


def the_same_results_twice():
    """A retry: the second request cannot find the calls waiting any more."""
    messages, call = one_call()
    messages.append(answer_of(call, "noon [[words 2]]"))
    for _ in range(2):
        assert whole(messages=messages, tools=TOOLS).choices[0].message.content == "w0 w1"


def no_tool_may_be_called():
    """The tools are still shown, and the model is told not to call them."""
    seen = whole(messages=[user("[[echo tool_choice]]")], tools=TOOLS, tool_choice="none")
    assert json.loads(seen.choices[0].message.content)["type"] == "none"
    messages, call = one_call()
    messages.append(answer_of(call, "[[echo tool_choice]]"))
    for complete in (whole, by_hand):
        seen = complete(messages=messages, tools=TOOLS, tool_choice="none").choices[0]
        assert json.loads(seen.message.content)["type"] == "none" and seen.finish_reason == "stop"


def one_call_at_a_time():
    for complete in (whole, by_hand):
        seen = complete(messages=[user("[[echo tool_choice]]")], tools=TOOLS, parallel_tool_calls=False)
        asked = json.loads(seen.choices[0].message.content)
        assert asked == {"type": "auto", "disable_parallel_tool_use": True}, asked
    # Only that: two single calls one after the other.
    messages, call = one_call(parallel_tool_calls=False)
    messages.append(answer_of(call, '[[tool add {"a":1,"b":2}]]'))
    [second] = whole(messages=messages, tools=TOOLS, parallel_tool_calls=False).choices[0].message.tool_calls
    assert second.function.name == "add" and second.id != call.id


def legacy_functions():
    for complete in (legacy_whole, legacy_streamed):
        messages = [user('[[say First.]] [[tool add {"a":1,"b":2}]]')]
        for name, arguments, result in (("add", {"a": 1, "b": 2}, "3 [[tool now]]"), ("now", {}, "noon [[words 2]]")):
            message, reason = complete(messages)
            assert reason == "function_call" and not message.get("tool_calls"), (message, reason)
            call = message["function_call"]
            assert (call["name"], json.loads(call["arguments"])) == (name, arguments), call
            messages += [{"role": "assistant", "content": message.get("content"), "function_call": call},
                         {"role": "function", "name": name, "content": result}]
        message, reason = complete(messages)
        assert (message["content"], reason) == ("w0 w1", "stop"), (message, reason)
        assert not message.get("function_call")


def legacy_whole(messages):
    choice = whole(messages=messages, functions=FUNCTIONS, function_call="auto").choices[0]
    return choice.message.model_dump(exclude_none=True), choice.finish_reason


def legacy_streamed(messages):
    content, call, reason = "", {"name": "", "arguments": ""}, None
    for chunk in whole(messages=messages, functions=FUNCTIONS, stream=True):
        delta = chunk.choices[0].delta
        assert not delta.tool_calls, "who asks in the old form is answered in it"
        content += delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
        if delta.function_call:
            call["name"] += delta.function_call.name or ""
            call["arguments"] += delta.function_call.arguments or ""
    return {"content": content, **({"function_call": call} if call["name"] else {})}, reason


for test in (
    loop_whole, loop_streamed_by_hand, loop_streamed_by_the_helper, result_with_an_image, result_that_is_an_error,
    goes_on_with_a_question_after_the_calls, the_same_results_twice, no_tool_may_be_called, one_call_at_a_time,
    legacy_functions,
):
    test()
    print(test.__name__, "ok", flush=True)
