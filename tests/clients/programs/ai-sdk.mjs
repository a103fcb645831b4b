// Vercel's AI SDK: a text with a tool over responses, whole and streamed, and over chat completions.
import { writeFileSync } from "node:fs";
import { openai } from "@ai-sdk/openai";
import { APICallError, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";

const properties = { path: { type: "string" }, text: { type: "string" } };
const write_file = tool({
  description: "Write a file",
  inputSchema: jsonSchema({ type: "object", properties, required: ["path", "text"] }),
  execute: async ({ path, text }) => {
    writeFileSync(path, text);
    return "written";
  },
});
const asked = { prompt: process.argv[2], tools: { write_file }, stopWhen: isStepCount(4) };
const whole = await generateText({ ...asked, model: openai("auto") });
const chat = await generateText({ ...asked, model: openai.chat("auto") });
const streamed = streamText({ ...asked, model: openai("auto") });
await streamed.consumeStream();
const used = [whole.totalUsage, chat.totalUsage, await streamed.totalUsage];
const told = {
  texts: [whole.text, chat.text, await streamed.text],
  input_tokens: used.reduce((sum, one) => sum + one.inputTokens, 0),
  output_tokens: used.reduce((sum, one) => sum + one.outputTokens, 0),
};
try {
  await generateText({ ...asked, model: openai("auto") });
} catch (error) {
  if (!APICallError.isInstance(error)) throw error;
  Object.assign(told, { error: error.name, status: error.statusCode, message: error.message });
}
console.log(JSON.stringify(told));
