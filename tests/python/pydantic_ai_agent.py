"""pydantic-ai against Couplet: its agents force calls of tools, or ask for a form of the answer.

Usage: pydantic_ai_agent.py BASE_URL. Where a prompt scripts nothing, the API behind the real CLI makes JSON and arguments of
the schemas it is given.
"""

import asyncio
import json
import sys
from typing import Literal, Optional

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("claude-sonnet-5-5", provider=OpenAIProvider(base_url=sys.argv[1] + "/v1", api_key="any"))


class Stop(BaseModel):
    place: str
    nights: int
    by: Literal["rail", "sea"]


class Journey(BaseModel):
    title: str
    stops: list[Stop]
    back: Optional[Stop] = None


JOURNEY = {"title": "Nach \"Süden\"", "stops": [{"place": "Ulm", "nights": 2, "by": "rail"},
                                             {"place": "Wien", "nights": 1, "by": "sea"}], "back": None}
EXPECTED = Journey.model_validate(JOURNEY)


def agent(output_type, **more):
    return Agent(model, output_type=output_type, **more)


async def text():
    result = await agent(str).run("[[words 3]]")
    assert result.output == "w0 w1 w2" and result.usage.output_tokens == 3, result


async def output_by_a_tool():
    """The default: a tool `final_result`, and tool_choice "required"."""
    scripted = f"[[tool final_result {json.dumps(JOURNEY)}]]"
    assert (await agent(Journey).run(scripted)).output == EXPECTED
    assert isinstance((await agent(Journey).run("Where to?")).output, Journey)
    two = agent([ToolOutput(Journey, name="far"), ToolOutput(Stop, name="near")])
    assert (await two.run('[[tool near {"place":"Ulm","nights":2,"by":"rail"}]]')).output == EXPECTED.stops[0]


async def output_in_a_form():
    for kind in (NativeOutput, PromptedOutput):
        for strict in ({}, {"strict": True}, {"strict": False}) if kind is NativeOutput else ({},):
            assert (await agent(kind(Journey, **strict)).run(f"[[json {json.dumps(JOURNEY)}]]")).output == EXPECTED
    assert isinstance((await agent(NativeOutput(Journey)).run("Where to?")).output, Journey)


async def tools_and_output():
    for output, script in ((Journey, "tool final_result"), (NativeOutput(Journey), "json")):
        asked = []
        guide = agent(output)

        @guide.tool_plain
        def look_up(city: str) -> str:
            """Tells what there is to see."""
            asked.append(city)
            # One result of each step tells the model how to go on.
            return "a wheel" if city == "Wien" else f"a hill [[{script} {json.dumps(JOURNEY)}]]"

        run = await guide.run('What is in Ulm? [[tool look_up {"city":"Ulm"}]]')
        assert asked == ["Ulm"] and run.output == EXPECTED, (asked, run.output)
        # And on with what was said.
        calls = '[[say Two.]] [[tool look_up {"city":"Wien"}]] [[tool look_up {"city":"Graz"}]]'
        more = await guide.run(calls, message_history=run.all_messages())
        assert sorted(asked) == ["Graz", "Ulm", "Wien"] and more.output == EXPECTED, asked


async def streams():
    for output, script in ((Journey, "tool final_result"), (NativeOutput(Journey), "json")):
        async with agent(output).run_stream(f"[[{script} {json.dumps(JOURNEY)}]]") as result:
            parts = [part async for part in result.stream_output(debounce_by=None)]
        assert parts[-1] == EXPECTED, parts
    async with agent(str).run_stream("[[words 4]]") as result:
        parts = [part async for part in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(parts) == "w0 w1 w2 w3" and len(parts) == 4, parts


async def main():
    for step in (text, output_by_a_tool, output_in_a_form, tools_and_output, streams):
        await step()
        print(step.__name__, "ok", flush=True)

asyncio.run(main())
