"""The official openai package against Couplet: answers in a form, and tools that must be called.

Usage: structured.py BASE_URL IGNORED. Where a prompt scripts nothing, the API behind the real CLI makes JSON and arguments of
the schemas it is given. IGNORED is what the header
`x-couplet-ignored` is to say of a request with a temperature; empty, that there is none.
"""

import enum
import json
import sys
import uuid
from typing import Literal, Optional, Union

import openai
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel, Field

MODEL = "claude-sonnet-5-5"
IGNORED = sys.argv[2] or None
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="any", max_retries=0)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    zip: Optional[str] = None


class Person(BaseModel):
    name: str = Field(description="In full.")
    age: int
    address: Address
    colours: list[Colour]
    pet: Union[Literal["cat"], Address, None]


class Node(BaseModel):
    value: float
    children: list["Node"]


class GetWeather(BaseModel):
    """Tells the weather."""
    city: str
    unit: Literal["celsius", "fahrenheit"]


class Now(BaseModel):
    """Tells the time."""


ADA = {"name": "Ada \"Zoë\" L.\n", "age": 36, "address": {"street": "1 St James's Sq", "zip": None},
       "colours": ["blue", "red"], "pet": {"street": "a kennel", "zip": "SW1"}}
TREE = {"value": 1.5, "children": [{"value": 2.0, "children": []}, {"value": -3.0, "children": [
    {"value": 4.0, "children": []}]}]}
LOOSE = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"},
        "born": {"type": "string", "format": "date"},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
        "more": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["code", "share"],
}


def user(text):
    return [{"role": "user", "content": text}]


def scripted(value):
    return user(f"[[json {json.dumps(value)}]] Who? {uuid.uuid4()}")


def whole(kind, messages, **more):
    choice = client.chat.completions.parse(model=MODEL, messages=messages, response_format=kind, **more).choices[0]
    assert choice.finish_reason == "stop" and not choice.message.tool_calls, choice
    return choice.message


def streamed(kind, messages, **more):
    contents, parsed = [], []
    with client.chat.completions.stream(model=MODEL, messages=messages, response_format=kind, **more) as stream:
        for event in stream:
            if event.type == "content.delta":
                contents.append(event.delta)
                parsed.append(event.parsed)
        message = stream.get_final_completion().choices[0].message
    assert "".join(contents) == message.content and len(contents) > 3, contents
    assert len({json.dumps(part) for part in parsed}) > 1, "it grows"
    return message


def the_answer_is_the_model_s():
    for ask in (whole, streamed):
        for kind, value in ((Person, ADA), (Node, TREE)):
            message = ask(kind, scripted(value))
            assert json.loads(message.content) == value and message.parsed == kind.model_validate(value), message


def a_model_of_the_client_s_is_filled_in():
    assert isinstance(whole(Person, user("Who?")).parsed, Person)
    assert isinstance(streamed(Node, user("[[chunk 5]] Which?")).parsed, Node)


def a_schema_that_is_not_strict():
    def form(schema, **more):
        return {"type": "json_schema", "json_schema": {"name": "form", "schema": schema, **more}}
    for strict in ({}, {"strict": False}, {"strict": None}):
        answer = json.loads(ask("Who?", response_format=form(LOOSE, **strict)))
        assert answer["code"][3] == "-" and 0 < answer["share"] <= 0.5, answer
    # What no schema in OpenAI's strict form may be.
    integers = form({"type": "array", "items": {"type": "integer"}})
    assert json.loads(content(scripted([1, 2]), response_format=integers)) == [1, 2]


def content(messages, **more):
    choice = client.chat.completions.create(model=MODEL, messages=messages, **more).choices[0]
    assert choice.finish_reason == "stop", choice
    return choice.message.content


def ask(text, **more):
    return content(user(text), **more)


def any_json_object():
    for value in (ADA, {}):
        assert json.loads(content(scripted(value), response_format={"type": "json_object"})) == value
    assert isinstance(json.loads(ask("As JSON.", response_format={"type": "json_object"})), dict)


def tools_with_models():
    tools = [pydantic_function_tool(GetWeather), pydantic_function_tool(Now)]
    messages = user('[[tool GetWeather {"city":"Paris","unit":"celsius"}]] Who is in the rain?')
    message = client.chat.completions.parse(
        model=MODEL, messages=messages, tools=tools, response_format=Person).choices[0].message
    [call] = message.tool_calls
    assert call.function.parsed_arguments == GetWeather(city="Paris", unit="celsius"), call
    assert message.parsed is None and not message.content
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": f"[[json {json.dumps(ADA)}]]"}]
    for complete in (whole, streamed):
        assert complete(Person, messages, tools=tools).parsed == Person.model_validate(ADA)


def calls_of(choice, stream, **more):
    tools = [pydantic_function_tool(GetWeather), pydantic_function_tool(Now)]
    request = {"model": MODEL, "messages": user(f"How is it? {uuid.uuid4()}"), "tools": tools, "tool_choice": choice, **more}
    if stream:
        with client.chat.completions.stream(**request) as events:
            for _ in events:
                pass
            answer = events.get_final_completion().choices[0]
    else:
        answer = client.chat.completions.parse(**request).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert all(call.function.parsed_arguments is not None for call in answer.message.tool_calls)
    return [call.function.name for call in answer.message.tool_calls]


def tools_that_must_be_called():
    one = {name: {"type": "function", "function": {"name": name}} for name in ("GetWeather", "Now")}
    assert calls_of("required", False) and calls_of("required", True)
    assert calls_of(one["GetWeather"], True) == ["GetWeather"]
    assert calls_of(one["Now"], False, parallel_tool_calls=False) == ["Now"]
    for stream in (False, True):
        allowed = {"mode": "required", "tools": [one["Now"]]}
        assert calls_of({"type": "allowed_tools", "allowed_tools": allowed}, stream) == ["Now"]


def a_conversation_goes_on_after_an_answer_in_a_form():
    messages = scripted(TREE)
    messages += [whole(Node, messages), *scripted(ADA)]
    assert whole(Person, messages).parsed == Person.model_validate(ADA)
    messages += [{"role": "assistant", "content": json.dumps(ADA)}, *user("[[words 2]] Now in words.")]
    assert content(messages) == "w0 w1"


def a_temperature():
    for stream in (False, True):
        answer = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=user("[[words 2]]"), temperature=0.5, stream=stream)
        assert answer.headers.get("x-couplet-ignored") == IGNORED, answer.headers
        answer.parse() if not stream else list(answer.parse())


def what_cannot_be():
    for form, field in (({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 5}}}, "schema"),
                        ({"type": "xml"}, "response_format")):
        try:
            ask("x", response_format=form)
        except openai.BadRequestError as error:
            assert field in error.param, error.body
        else:
            sys.exit(f"{form} was taken")


for step in (the_answer_is_the_model_s, a_model_of_the_client_s_is_filled_in, a_schema_that_is_not_strict, any_json_object,
             tools_with_models, tools_that_must_be_called, a_conversation_goes_on_after_an_answer_in_a_form, a_temperature,
             what_cannot_be):
    step()
    print(step.__name__, "ok", flush=True)
