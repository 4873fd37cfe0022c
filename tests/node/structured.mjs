// Answers in a form, and tools that must be called: the official openai package for Node.js with zod.
//
// Usage: structured.mjs BASE_URL IGNORED. Where a prompt scripts nothing, the API behind the real CLI makes JSON and arguments
// of the schemas it is given. IGNORED is what `x-couplet-ignored` is to say of a request with a temperature; empty: nothing.

import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'any', maxRetries: 0 });
const model = 'claude-sonnet-5-5';
const ignored = process.argv[3] || null;

const Address = z.object({ street: z.string(), zip: z.string().nullable() });
const Person = z.object({
  name: z.string().describe('In full.'),
  age: z.number().int(),
  colours: z.array(z.enum(['red', 'blue'])),
  pet: z.union([z.literal('cat'), Address]).nullable(),
});
const ada = { name: 'Ada "Zoë"\n', age: 36, colours: ['blue', 'red'], pet: { street: 'a kennel', zip: null } };
const Weather = z.object({ city: z.string(), unit: z.enum(['celsius', 'fahrenheit']) });

const user = (content) => [{ role: 'user', content }];
const scripted = user(`[[json ${JSON.stringify(ada)}]] Who?`);
const format = zodResponseFormat(Person, 'person');
const tools = [
  zodFunction({ name: 'weather', parameters: Weather }),
  zodFunction({ name: 'now', parameters: z.object({}) }),
];

const whole = async (request) => (await client.chat.completions.parse({ model, ...request })).choices[0];

async function streamed(request) {
  const parts = [];
  const stream = client.chat.completions.stream({ model, ...request });
  stream.on('content.delta', ({ delta }) => parts.push(delta));
  const [choice] = (await stream.finalChatCompletion()).choices;
  assert.equal(parts.join(''), choice.message.content ?? '');
  assert.ok(choice.message.tool_calls?.length || parts.filter((part) => part).length > 2, `it streams: ${parts}`);
  return choice;
}

const tests = {
  async the_answer_is_the_model_s() {
    for (const ask of [whole, streamed]) {
      const { message, finish_reason: reason } = await ask({ messages: scripted, response_format: format });
      assert.deepEqual([message.parsed, reason], [ada, 'stop']);
      assert.deepEqual(JSON.parse(message.content), ada);
    }
  },
  async a_schema_of_the_client_s_is_filled_in() {
    const { message } = await whole({ messages: user('Who?'), response_format: format });
    assert.deepEqual(Person.parse(message.parsed), message.parsed);
  },
  async any_json_object() {
    const { message } = await whole({ messages: scripted, response_format: { type: 'json_object' } });
    assert.deepEqual(JSON.parse(message.content), ada);
  },
  async tools_and_a_form() {
    const messages = user('[[tool weather {"city":"Ulm","unit":"celsius"}]] Who is in the rain?');
    const request = { messages, tools, response_format: format };
    const { message } = await whole(request);
    const [call] = message.tool_calls;
    assert.deepEqual(call.function.parsed_arguments, { city: 'Ulm', unit: 'celsius' });
    messages.push(message, { role: 'tool', tool_call_id: call.id, content: `[[json ${JSON.stringify(ada)}]]` });
    for (const ask of [whole, streamed]) assert.deepEqual((await ask(request)).message.parsed, ada);
  },
  async tools_that_must_be_called() {
    const named = (name) => ({ type: 'function', function: { name } });
    const asked = [
      ['required', undefined],
      [named('weather'), 'weather'],
      [{ type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [named('now')] } }, 'now'],
    ];
    for (const [choice, name] of asked) {
      for (const ask of [whole, streamed]) {
        const answer = await ask({ messages: user('How is it?'), tools, tool_choice: choice });
        const [call] = answer.message.tool_calls;
        assert.equal(answer.finish_reason, 'tool_calls');
        assert.ok(call.function.parsed_arguments && (!name || call.function.name === name), call.function.name);
      }
    }
  },
  async a_temperature() {
    const request = { model, messages: user('[[words 2]]'), temperature: 0.5 };
    const { response } = await client.chat.completions.create(request).withResponse();
    assert.equal(response.headers.get('x-couplet-ignored'), ignored);
  },
};
for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`${name} ok`);
}
