"""The official anthropic package against Couplet: answers in a form, and tools that must be called.

Usage: messages_structured.py BASE_URL IGNORED. Where a prompt scripts nothing, the API behind the real CLI makes JSON and
arguments of the schemas it is given. IGNORED is what the header `x-couplet-ignored` is to say of a request with a
temperature; empty, that there is none.
"""

import sys
from typing import Literal, Optional

from anthropic import Anthropic
from pydantic import BaseModel

MODEL = "claude-sonnet-5-5"
IGNORED = sys.argv[2] or None
client = Anthropic(base_url=sys.argv[1], api_key="any", max_retries=0)


class Address(BaseModel):
    street: str
    zip: Optional[str] = None


class Person(BaseModel):
    name: str
    age: int
    address: Address
    pet: Literal["cat", "dog"]


ADA = Person(name='Ada "Zoë" L.\n', age=36, address=Address(street="1 St James's Sq", zip=None), pet="dog")
SAY_ADA = f"[[chunk 7]][[json {ADA.model_dump_json()}]] Who?"
LOOK = {"name": "look", "description": "Looks.", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


def request(prompt, **more):
    return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": prompt}], **more}


def parses():
    message = client.messages.parse(**request(SAY_ADA), output_format=Person)
    assert (message.parsed_output, message.stop_reason) == (ADA, "end_turn"), message
    assert message.usage.output_tokens > 0
    made = client.messages.parse(**request("[[agent]] Of 7 years: the person 'Ada'"), output_format=Person).parsed_output
    assert isinstance(made, Person) and (made.name, made.age) == ("Ada", 7), made


def streams():
    with client.messages.stream(**request(SAY_ADA), output_format=Person) as stream:
        texts = [event.text for event in stream if event.type == "text"]
        message = stream.get_final_message()
    assert Person.model_validate_json("".join(texts)) == ADA and message.parsed_output == ADA, message
    assert message.stop_reason == "end_turn", message


def a_call_comes_first():
    message = client.messages.parse(**request('[[tool look {"city":"Oslo"}]] Who?', tools=[LOOK]), output_format=Person)
    call = message.content[-1]
    assert (call.name, call.input, message.stop_reason) == ("look", {"city": "Oslo"}, "tool_use"), message
    more = [{"role": "assistant", "content": message.content}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call.id, "content": SAY_ADA}]}]
    ask = request("Who?", tools=[LOOK])
    ask["messages"] = [*request('[[tool look {"city":"Oslo"}]] Who?')["messages"], *more]
    answer = client.messages.parse(**ask, output_format=Person)
    assert answer.parsed_output == ADA, answer


def demanded():
    for choice in ({"type": "any"}, {"type": "tool", "name": "look"}):
        message = client.messages.create(**request("[[agent]] the weather in 'Oslo'", tools=[LOOK], tool_choice=choice))
        call = message.content[-1]
        assert (call.name, call.input, message.stop_reason) == ("look", {"city": "Oslo"}, "tool_use"), message


def temperature():
    for stream in (False, True):
        with client.messages.with_streaming_response.create(
                **request("[[words 2]]", stream=stream), extra_body={"temperature": 0.5}) as response:
            assert response.headers.get("x-couplet-ignored") == IGNORED, response.headers
            response.read()


for step in (parses, streams, a_call_comes_first, demanded, temperature):
    step()
    print(step.__name__, "ok", flush=True)
