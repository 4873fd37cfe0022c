// The Vercel AI SDK against Couplet, with its provider for all that speak like OpenAI and with OpenAI's own.
//
// Usage: ai_sdk.mjs BASE_URL. Where a prompt scripts nothing, the API behind the real CLI makes JSON and arguments of the
// schemas it is given.

import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { Output, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';

const baseURL = `${process.argv[2]}/v1`;
const id = 'claude-sonnet-5-5';
const compatible = (supportsStructuredOutputs) =>
  createOpenAICompatible({ name: 'couplet', baseURL, apiKey: 'any', supportsStructuredOutputs })(id);
const models = {
  // Without schemas it asks for any JSON object, and puts the schema into the prompt.
  json_object: compatible(false),
  json_schema: compatible(true),
  openai: createOpenAI({ baseURL, apiKey: 'any' }).chat(id),
};

const recipe = z.object({
  name: z.string(),
  steps: z.array(z.object({ text: z.string(), minutes: z.number().nullable() })),
  level: z.enum(['easy', 'hard']),
});
const soup = { name: 'Soup "à l’eau"', steps: [{ text: 'boil', minutes: 3 }, { text: 'eat', minutes: null }], level: 'easy' };
const says = (value) => `[[json ${JSON.stringify(value)}]] What is for dinner?`;
const maxRetries = 0;

const tests = {
  async objects() {
    for (const [name, model] of Object.entries(models)) {
      const { object, finishReason } = await generateObject({ model, schema: recipe, prompt: says(soup), maxRetries });
      assert.deepEqual([object, finishReason], [soup, 'stop'], name);
      const streaming = streamObject({ model, schema: recipe, prompt: says(soup), maxRetries });
      const parts = [];
      for await (const part of streaming.partialObjectStream) parts.push(part);
      assert.deepEqual(await streaming.object, soup, name);
      assert.ok(parts.length > 2, `${name} streams`);
    }
  },
  async objects_that_the_model_makes() {
    for (const model of [models.json_schema, models.openai]) {
      const { object } = await generateObject({ model, schema: recipe, prompt: 'What is for dinner?', maxRetries });
      assert.deepEqual(recipe.parse(object), object);
    }
  },
  async arrays_and_choices() {
    const { object: list } = await generateObject({
      model: models.json_schema, output: 'array', schema: z.object({ a: z.number() }), prompt: 'Which?', maxRetries,
    });
    assert.equal(typeof list[0].a, 'number');
    const { object: choice } = await generateObject({
      model: models.json_schema, output: 'enum', enum: ['yes', 'no'], prompt: 'Well?', maxRetries,
    });
    assert.equal(choice, 'yes');
    const loose = jsonSchema({ type: 'object', properties: { n: { type: 'integer', minimum: 7 } }, required: ['n'] });
    const { object } = await generateObject({ model: models.json_schema, schema: loose, prompt: 'How many?', maxRetries });
    assert.equal(object.n, 7);
  },
  async texts_with_tools_and_an_output() {
    for (const model of [models.json_schema, models.openai]) {
      const asked = [];
      const fridge = tool({
        description: 'Looks into the fridge.',
        inputSchema: z.object({ shelf: z.number() }),
        execute: ({ shelf }) => {
          asked.push(shelf);
          return says(soup);
        },
      });
      const request = {
        model, maxRetries, tools: { fridge }, stopWhen: stepCountIs(3), output: Output.object({ schema: recipe }),
        prompt: '[[tool fridge {"shelf":2}]] What is for dinner?',
      };
      const { output, steps } = await generateText(request);
      assert.deepEqual([output, steps.length, asked], [soup, 2, [2]]);
      const streaming = streamText(request);
      await streaming.consumeStream();
      assert.deepEqual([await streaming.output, asked], [soup, [2, 2]]);
    }
  },
  async tools_that_must_be_called() {
    const called = tool({ inputSchema: z.object({ city: z.string() }) });
    for (const model of [models.json_schema, models.openai]) {
      for (const toolChoice of ['required', { type: 'tool', toolName: 'weather' }]) {
        const request = { model, maxRetries, tools: { weather: called, other: called }, toolChoice, prompt: 'How is it?' };
        const { toolCalls, finishReason } = await generateText(request);
        assert.equal(finishReason, 'tool-calls');
        assert.equal(typeof toolCalls[0].input.city, 'string');
        if (toolChoice !== 'required') assert.deepEqual(toolCalls.map(({ toolName }) => toolName), ['weather']);
      }
    }
  },
};
for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`${name} ok`);
}
