"""The official openai package: text completions, and several answers to one question.

Usage: completions.py BASE_URL. Prompts script the upstream behind the real CLI with [[...]] directives.
"""

import sys

import openai
from openai import OpenAI

MODEL = "claude-haiku-4-5"
client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="any", max_retries=0)


def complete(prompt, **more):
    return client.completions.create(model=MODEL, prompt=prompt, **more)


def completes():
    answer = complete("[[words 3]]", max_tokens=50, stop=["END"], temperature=0)
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-"), answer
    (choice,) = answer.choices
    assert (choice.text, choice.index, choice.finish_reason, choice.logprobs) == ("w0 w1 w2", 0, "stop", None)
    assert answer.usage.prompt_tokens == 175 and answer.usage.completion_tokens == 3


def fills_in():
    answer = complete("[[echo messages.0.content]]", suffix="behind", echo=True)
    text = answer.choices[0].text
    assert text.startswith("[[echo messages.0.content]]"), text
    assert "<before_gap>[[echo messages.0.content]]</before_gap><after_gap>behind</after_gap>" in text, text


def several_prompts():
    answer = complete(["[[say a]]", "[[say b]]"], n=2)
    assert [(c.index, c.text) for c in answer.choices] == [(0, "a"), (1, "a"), (2, "b"), (3, "b")], answer


def streams():
    chunks = list(complete("[[words 4]]", stream=True, echo=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.object for chunk in chunks} == {"text_completion"}
    texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert texts == ["[[words 4]]", "w0 ", "w1 ", "w2 ", "w3", ""], texts
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 4


def fails():
    for prompt, kind, param in ((" ", openai.BadRequestError, "prompt"), ([1, 2], openai.BadRequestError, "prompt"),
                                ("[[err 529 overloaded_error]]", openai.InternalServerError, None)):
        for stream in (False, True):
            try:
                list(complete(prompt, stream=stream))
            except kind as error:
                assert error.param == param, error
                continue
            raise AssertionError(f"nothing was raised for {prompt}")
    try:
        client.embeddings.create(model=MODEL, input="x")
    except openai.NotFoundError as error:
        assert error.code == "unsupported_endpoint" and "another server" in error.message, error
        return
    raise AssertionError("there are no embeddings")


def ask(n, **more):
    messages = [{"role": "user", "content": "[[words 3]]"}]
    return client.chat.completions.create(model=MODEL, messages=messages, n=n, **more)


def several_answers():
    answer = ask(2)
    assert [(c.index, c.message.content, c.finish_reason) for c in answer.choices] == [
        (0, "w0 w1 w2", "stop"), (1, "w0 w1 w2", "stop")], answer
    assert answer.usage.prompt_tokens == 350 and answer.usage.completion_tokens == 6


def several_answers_stream():
    messages = [{"role": "user", "content": "[[words 3]]"}]
    with client.chat.completions.stream(
            model=MODEL, messages=messages, n=2, stream_options={"include_usage": True}) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert [(c.index, c.message.role, c.message.content) for c in final.choices] == [
        (0, "assistant", "w0 w1 w2"), (1, "assistant", "w0 w1 w2")], final
    assert final.usage.completion_tokens == 6


for step in (completes, fills_in, several_prompts, streams, fails, several_answers, several_answers_stream):
    step()
    print(step.__name__, "ok", flush=True)
