// The Anthropic SDK for Node.js: a whole message, a streamed one, a count of tokens, and the models.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const messages = [{ role: "user", content: process.argv[2] }];
const asked = { model: "auto", max_tokens: 500, messages };
const whole = await client.messages.create(asked);
const streamed = await client.messages.stream(asked).finalMessage();
const counted = await client.messages.countTokens({ model: "auto", messages });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const told = {
  texts: [whole.content[0].text, streamed.content[0].text],
  models,
  counted: counted.input_tokens === whole.usage.input_tokens,
  input_tokens: whole.usage.input_tokens + streamed.usage.input_tokens,
  output_tokens: whole.usage.output_tokens + streamed.usage.output_tokens,
};
try {
  await client.messages.create(asked);
} catch (error) {
  if (!(error instanceof Anthropic.APIError)) throw error;
  Object.assign(told, { error: error.constructor.name, status: error.status });
  told.message = error.message;
}
console.log(JSON.stringify(told));
