"""LangChain's structured output against Couplet, in all of its methods.

Usage: langchain_structured.py BASE_URL.
"""

import json
import sys
from typing import Optional, TypedDict

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

model = ChatOpenAI(model="claude-sonnet-5-5", base_url=sys.argv[1] + "/v1", api_key="any", max_retries=0)


class Author(BaseModel):
    """Who wrote a book."""
    name: str = Field(description="In full.")
    born: Optional[int]


class Book(BaseModel):
    """A book."""
    title: str
    authors: list[Author]


class Loose(TypedDict):
    """A book, roughly."""
    title: str


BOOK = {"title": "Über \"x\"", "authors": [{"name": "Ada", "born": 1815}, {"name": "Bo", "born": None}]}
EXPECTED = Book.model_validate(BOOK)
METHODS = [{"method": method, **strict} for method in ("json_schema", "function_calling")
           for strict in ({}, {"strict": True}, {"strict": False})]


def prompt(method, value, name):
    """What scripts the answer of the model behind the real CLI."""
    script = f"tool {name}" if method == "function_calling" else "json"
    return f"[[{script} {json.dumps(value)}]] Which book?"


def models():
    for how in METHODS:
        reader = model.with_structured_output(Book, include_raw=True, **how)
        read = reader.invoke(prompt(how["method"], BOOK, "Book"))
        assert read["parsed"] == EXPECTED and read["parsing_error"] is None, (how, read)
        assert isinstance(model.with_structured_output(Book, **how).invoke("Which book?"), Book), how


def schemas_and_typed_dicts():
    for how in METHODS:
        for kind, name in ((Loose, "Loose"), (Book.model_json_schema(), "Book")):
            value = {"title": "t"} if kind is Loose else BOOK
            assert model.with_structured_output(kind, **how).invoke(prompt(how["method"], value, name)) == value, how


def json_mode():
    reader = model.with_structured_output(Book, method="json_mode")
    assert reader.invoke(prompt("json_mode", BOOK, None)) == EXPECTED


def streams_and_tools():
    for how in METHODS:
        parts = list(model.with_structured_output(Loose, **how).stream(prompt(how["method"], {"title": "a b c d"}, "Loose")))
        assert parts[-1] == {"title": "a b c d"}, (how, parts)

    @tool
    def look_up(isbn: str) -> str:
        """Finds a book."""
        return isbn

    @tool
    def give_up() -> str:
        """Finds none."""
        return ""

    for choice, expected in (("any", None), ("look_up", "look_up"), ("give_up", "give_up"), (True, None)):
        tools = [look_up] if choice is True else [look_up, give_up]
        called = model.bind_tools(tools, tool_choice=choice).invoke("Which book?").tool_calls
        assert called and (expected is None or [call["name"] for call in called] == [expected]), (choice, called)


for step in (models, schemas_and_typed_dicts, json_mode, streams_and_tools):
    step()
    print(step.__name__, "ok", flush=True)
