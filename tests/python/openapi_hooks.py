"""What a schema cannot say of a request, put right in those that schemathesis makes by the document.

Only requests that should be taken are touched: those that should be refused are sent as they were made. SCHEMATHESIS_HOOKS
names this file.
"""

import json

import schemathesis

MODEL = "sonnet"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = "data:text/plain;base64,aGk="


@schemathesis.hook
def before_call(context, case, kwargs):
    is_to_be_taken = case.meta is not None and case.meta.generation.mode.is_positive
    if is_to_be_taken and case.path == "/admin/usage":
        days(case.query)
    if not is_to_be_taken or not isinstance(case.body, dict):
        return
    body = case.body
    if case.path == "/admin/cli":
        # The stand-in of demo mode has no other.
        body["command"] = "version"
    if "model" not in body:
        return
    body["model"] = MODEL
    # An answer takes a process and a place; sixteen side by side would say no more than two.
    if body.get("n"):
        body["n"] = min(body["n"], 2)
    if case.path == "/v1/completions":
        completion(body)
    elif case.path == "/v1/chat/completions" and body.get("messages") is not None:
        chat(body)
        can_be_met(((body.get("response_format") or {}).get("json_schema") or {}).get("schema"))
    elif case.path == "/v1/chat/completions":
        responses(body)
        can_be_met(((body.get("text") or {}).get("format") or {}).get("schema"))
    elif case.path in ("/v1/messages", "/v1/messages/count_tokens"):
        messages(body)
        can_be_met((body.get("output_format") or {}).get("schema"))
        can_be_met(((body.get("output_config") or {}).get("format") or {}).get("schema"))


def days(query):
    """There are such days, and the first is not behind the last."""
    for name, day in (("from", "2026-01-31"), ("to", "2026-02-01")):
        if name in (query or {}):
            query[name] = day


def completion(body):
    """Prompts say something; `best_of` is `n`."""
    if isinstance(body["prompt"], list):
        body["prompt"] = [said(prompt) for prompt in body["prompt"]][:3]
    else:
        body["prompt"] = said(body["prompt"])
    if body.get("best_of") is not None:
        body["best_of"] = body.get("n") or 1


def chat(body):
    """Calls are answered at once, nothing else is, and the last message asks something."""
    conversation = []
    for index, message in enumerate(body["messages"]):
        role = message["role"]
        if role in ("tool", "function"):
            continue
        message = with_media(message)
        conversation.append(message)
        if role != "assistant":
            continue
        calls = message.get("tool_calls") or []
        call = message.get("function_call")
        if call:
            arguments_are_json(call)
            message.pop("tool_calls", None)
            conversation.append({"role": "function", "name": call["name"], "content": "ok"})
            continue
        for number, call in enumerate(calls):
            call["id"] = f"{call['id']}-{index}-{number}"
            arguments_are_json(call["function"])
        # In another order than that of the calls.
        conversation.extend({"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in reversed(calls))
    body["messages"] = conversation + [{"role": "user", "content": "Hello!"}]
    if body.get("tools") and body.get("functions"):
        del body["functions"]
    names = own_names([tool["function"] for tool in body.get("tools") or []])
    names += own_names(body.get("functions") or [])
    choice = body.get("tool_choice")
    if demands(choice) and not names:
        del body["tool_choice"]
    elif isinstance(choice, dict) and "function" in choice:
        choice["function"]["name"] = names[0]
    elif isinstance(choice, dict):
        for tool in choice["allowed_tools"]["tools"]:
            tool["function"]["name"] = names[0]
    if isinstance(body.get("function_call"), dict):
        if names:
            body["function_call"]["name"] = names[0]
        else:
            del body["function_call"]


def responses(body):
    """As in a chat."""
    if isinstance(body["input"], list):
        conversation = []
        for index, item in enumerate(body["input"]):
            kind = item.get("type") or "message"
            if kind == "function_call_output":
                continue
            if kind == "message":
                is_user = item["role"] == "user"
                if isinstance(item.get("content"), list):
                    item["content"] = [part for part in map(input_part, item["content"]) if is_user or "text" in part["type"]]
            conversation.append(item)
            if kind == "function_call":
                item["call_id"] += f"-{index}"
                arguments_are_json(item)
                conversation.append({"type": "function_call_output", "call_id": item["call_id"], "output": "ok"})
        body["input"] = conversation + [{"role": "user", "content": "Hello!"}]
    names = own_names(body.get("tools") or [])
    choice = body.get("tool_choice")
    if demands(choice) and not names:
        del body["tool_choice"]
    elif isinstance(choice, dict) and choice["type"] == "function":
        choice["name"] = names[0]
    elif isinstance(choice, dict):
        for tool in choice["tools"]:
            tool["name"] = names[0]


def messages(body):
    """As in a chat, in Anthropic's form."""
    conversation = []
    for index, message in enumerate(body["messages"]):
        blocks = message["content"]
        if isinstance(blocks, list):
            blocks = [block(one) for one in blocks if one["type"] != "tool_result"]
            message["content"] = blocks
        conversation.append(message)
        calls = [one for one in blocks if isinstance(one, dict) and one["type"] == "tool_use"]
        for number, call in enumerate(calls):
            call["id"] += f"-{index}-{number}"
        if calls:
            results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "ok"} for call in calls]
            conversation.append({"role": "user", "content": results})
    body["messages"] = conversation + [{"role": "user", "content": "Hello!"}]
    names = own_names(body.get("tools") or [])
    choice = body.get("tool_choice") or {}
    if choice.get("type") in ("any", "tool") and not names:
        del body["tool_choice"]
    elif choice.get("type") == "tool":
        choice["name"] = names[0]
    thinking = body.get("thinking") or {}
    if "budget_tokens" in thinking and body.get("max_tokens") is not None:
        thinking["budget_tokens"] = 1024
        body["max_tokens"] = max(body["max_tokens"], 2048)


def can_be_met(schema):
    """A form that no answer has is an error of the answer: a 502, which is right and says nothing of the server."""
    if isinstance(schema, dict) and "required" in schema:
        properties = schema.get("properties") or {}
        schema["required"] = [name for name in schema["required"] if isinstance(properties.get(name), dict)]


def said(text):
    return text if text.strip().strip("\ufeff\u0085") else "Hello!"


def demands(choice):
    return choice == "required" or isinstance(choice, dict)


def own_names(functions):
    """Each function gets a name of its own."""
    for index, function in enumerate(functions):
        function["name"] = f"{function['name'][:50]}_{index}"
    return [function["name"] for function in functions]


def arguments_are_json(call):
    try:
        is_object = isinstance(json.loads(call.get("arguments") or "{}"), dict)
    except ValueError:
        is_object = False
    if not is_object:
        call["arguments"] = "{}"


def with_media(message):
    """Images and files that can be read, and none where they cannot be."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    for part in content:
        if part["type"] == "image_url":
            part["image_url"]["url"] = PIXEL
        elif part["type"] == "file":
            part["file"]["file_data"] = TEXT
    return message


def input_part(part):
    if part["type"] == "input_image":
        part["image_url"] = PIXEL
    elif part["type"] == "input_file":
        part["file_data"] = TEXT
    return part


def block(one):
    if one["type"] == "image":
        one["source"] = {"type": "url", "url": PIXEL}
    elif one["type"] == "document":
        one["source"] = {"type": "text", "data": "hi"}
    return one
