"""LangChain's own tests of chat models, for its OpenAI client against Couplet.

Usage: langchain_chat.py BASE_URL. Their prompts hold no directives: the scripted API is to act as an agent.
docs/compatibility.md lists what they leave out.
"""

import base64
import functools
import operator
import sys

import httpx
import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PDF = (b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
       b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")


@pytest.fixture(autouse=True)
def files_from_here(monkeypatch):
    """The tests send files that they fetch from the network, and this is to run without one."""
    def get(url, **_):
        return httpx.Response(200, content=PDF if url.endswith(".pdf") else PNG)
    monkeypatch.setattr("langchain_tests.integration_tests.chat_models.httpx.get", get)


class TestCouplet(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        # Without stream_usage LangChain asks for the usage of streams at OpenAI's own address only.
        return {"model": "claude-sonnet-5-5", "base_url": sys.argv[1] + "/v1", "api_key": "any", "max_retries": 0,
                "stream_usage": True}

    @property
    def model_override_value(self):
        return "claude-haiku-4-5"

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_image_tool_message(self):
        return True

    @property
    def supports_pdf_inputs(self):
        return True

    @property
    def supports_pdf_tool_message(self):
        return True

    @property
    def supports_audio_inputs(self):
        return False  # Claude hears nothing

    @property
    def supports_image_urls(self):
        return False  # works, but needs a network

    @property
    def supported_usage_metadata_details(self):
        return dict.fromkeys(("invoke", "stream"), ["cache_read_input", "reasoning_output"])

    def invoke_with_cache_read_input(self, *, stream=False):
        return self.asked("A prompt of which a part is in the cache, as always.", stream)

    def invoke_with_reasoning_output(self, *, stream=False):
        return self.asked("[[think]] [[words 3]]", stream)

    def asked(self, prompt, stream):
        model = ChatOpenAI(**self.chat_model_params)
        return functools.reduce(operator.add, model.stream(prompt)) if stream else model.invoke(prompt)


if __name__ == "__main__":
    # No cache and no settings from a folder above: the source tree stays clean, and nobody else's settings count. One
    # event loop for all tests: LangChain keeps connections from one model to the next.
    sys.exit(pytest.main([__file__, "-q", "-rsxf", "--tb=short", "--rootdir", "/", "-c", "/dev/null",
                          "-p", "no:cacheprovider", "-o", "asyncio_mode=auto",
                          "-o", "asyncio_default_test_loop_scope=session"]))
