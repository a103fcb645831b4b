// The OpenAI SDK for Node.js: a whole chat completion, a streamed one, a response, and the models.
import OpenAI from "openai";

const client = new OpenAI();
const content = process.argv[2];
const asked = { model: "auto", messages: [{ role: "user", content }], max_tokens: 500 };
const whole = await client.chat.completions.create(asked);
const options = { stream: true, stream_options: { include_usage: true } };
let streamed = "";
let usage;
for await (const chunk of await client.chat.completions.create({ ...asked, ...options })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const body = { model: "auto", input: content, max_output_tokens: 500 };
const response = await client.responses.create(body);
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const told = {
  texts: [whole.choices[0].message.content, streamed, response.output_text],
  models,
  input_tokens: whole.usage.prompt_tokens + usage.prompt_tokens + response.usage.input_tokens,
  output_tokens:
    whole.usage.completion_tokens + usage.completion_tokens + response.usage.output_tokens,
};
try {
  await client.chat.completions.create(asked);
} catch (error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  Object.assign(told, { error: error.constructor.name, status: error.status });
  told.message = error.message;
}
console.log(JSON.stringify(told));
