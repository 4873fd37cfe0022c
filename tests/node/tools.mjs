// Function calling with the official openai package for Node.js: loops of eight steps with parallel calls.
//
// Usage: tools.mjs BASE_URL. The first prompt scripts the first calls behind the real CLI; a result of each step holds
// the script of the next, so that every name and argument is known here.

import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'any', maxRetries: 0 });
const model = 'claude-sonnet-5-5';

const STEPS = 8;
// Of each step: two sums, and in every other one the time, which has no arguments.
const callsOf = (step) => [
  ['add', { a: step, b: 1 }],
  ['add', { a: step, b: 0.5 }],
  ...(step % 2 ? [['now', {}]] : []),
];
const textOf = (step) => (step % 3 ? '' : `Step ${step}.`);

const script = (step) => {
  if (step === STEPS) return '[[say All is added.]]';
  const calls = callsOf(step).map(([name, input]) =>
    name === 'now' ? '[[tool now]]' : `[[tool ${name} ${JSON.stringify(input)}]]`,
  );
  return [...(textOf(step) ? [`[[say ${textOf(step)}]]`] : []), ...calls].join(' ');
};
// The result of the step's first call brings the script of the next step.
const add = ({ a, b }) => `${a + b}${b === 1 ? ` ${script(a + 1)}` : ''}`;
const functions = { add, now: () => 'noon' };

const number = { type: 'number' };
const parameters = {
  add: { type: 'object', properties: { a: number, b: number }, required: ['a', 'b'] },
  now: { type: 'object', properties: {} },
};
const tools = Object.entries(parameters).map(([name, schema]) => ({
  type: 'function',
  function: { name, description: `Does ${name}.`, parameters: schema },
}));

function check(completion, step) {
  const [{ message, finish_reason: reason }] = completion.choices;
  const calls = message.tool_calls ?? [];
  assert.equal(message.content ?? '', step === STEPS ? 'All is added.' : textOf(step));
  assert.equal(reason, step === STEPS ? 'stop' : 'tool_calls');
  const called = calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
  assert.deepEqual(called, step === STEPS ? [] : callsOf(step));
  assert.equal(completion.usage.prompt_tokens, 175);
  return calls;
}

async function loop(complete) {
  const messages = [{ role: 'user', content: script(0) }];
  const ids = new Set();
  for (let step = 0; step <= STEPS; step += 1) {
    const completion = await complete({ model, messages, tools });
    const calls = check(completion, step);
    messages.push(completion.choices[0].message);
    for (const { id, function: called } of calls) {
      ids.add(id);
      const content = functions[called.name](JSON.parse(called.arguments));
      messages.push({ role: 'tool', tool_call_id: id, content });
    }
  }
  assert.equal(ids.size, STEPS * 2 + STEPS / 2, 'an id is used once');
}

const whole = (request) => client.chat.completions.create(request);

const options = { stream_options: { include_usage: true } };
const byHelper = (request) => client.chat.completions.stream({ ...request, ...options }).finalChatCompletion();

// What applications do: everything that comes for an index is joined, ids and names too.
async function byHand(request) {
  const [message, calls, reasons] = [{ role: '', content: '' }, [], []];
  let usage;
  for await (const chunk of await client.chat.completions.create({ ...request, ...options, stream: true })) {
    usage = chunk.usage ?? usage;
    for (const { delta, finish_reason: reason } of chunk.choices) {
      message.role += delta.role ?? '';
      message.content += delta.content ?? '';
      if (reason) reasons.push(reason);
      for (const { index, id, type, function: called } of delta.tool_calls ?? []) {
        calls[index] ??= { id: '', type: '', function: { name: '', arguments: '' } };
        assert.ok(!id || !calls[index].id, 'an id comes once');
        calls[index].id += id ?? '';
        calls[index].type += type ?? '';
        calls[index].function.name += called?.name ?? '';
        calls[index].function.arguments += called?.arguments ?? '';
      }
    }
  }
  assert.equal(message.role, 'assistant', 'the role comes once');
  assert.equal(reasons.length, 1);
  assert.ok(calls.every(({ type }) => type === 'function'));
  if (calls.length) message.tool_calls = calls;
  return { choices: [{ message, finish_reason: reasons[0] }], usage };
}

// The package's own loop, which calls the functions itself.
async function byRunner(more) {
  const called = [];
  const runnable = tools.map(({ function: tool }) => ({
    type: 'function',
    function: {
      ...tool,
      parse: JSON.parse,
      function: (input) => {
        called.push([tool.name, input]);
        return functions[tool.name](input);
      },
    },
  }));
  const request = { model, messages: [{ role: 'user', content: script(0) }], tools: runnable, ...more };
  const runner = client.chat.completions.runTools(request, { maxChatCompletions: STEPS + 1 });
  assert.equal(await runner.finalContent(), 'All is added.');
  // The functions of one step run side by side.
  const order = (calls) => calls.map((call) => JSON.stringify(call)).sort();
  const expected = Array.from({ length: STEPS }, (_, step) => callsOf(step)).flat();
  assert.deepEqual(order(called), order(expected));
  assert.equal((await runner.totalUsage()).prompt_tokens, 175 * (STEPS + 1));
}

const tests = {
  whole: () => loop(whole),
  streamed_by_hand: () => loop(byHand),
  streamed_by_the_helper: () => loop(byHelper),
  run_by_the_package: () => byRunner({}),
  run_by_the_package_streamed: () => byRunner({ stream: true, ...options }),
};
for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`${name} ok`);
}
