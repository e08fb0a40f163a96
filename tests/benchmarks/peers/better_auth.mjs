// A program that verifies keys with better-auth, kept in memory. It speaks as verifying.py does.

import { createInterface } from "node:readline";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";

const KEYS = 10; // as in verifying.py

const kept = { user: [], session: [], account: [], verification: [], apikey: [] };
const auth = betterAuth({
  baseURL: "http://localhost",
  secret: "a secret of the benchmark that is long enough for it",
  database: memoryAdapter(kept),
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  // By default it lets ten requests a day through.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});

const { user } = await auth.api.signUpEmail({
  body: { name: "Ada", email: "ada@example.com", password: "a password of the benchmark" },
});
const keys = [];
for (let number = 0; number < KEYS; number += 1) {
  keys.push((await auth.api.createApiKey({ body: { name: "one", userId: user.id } })).key);
}

const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const processorSeconds = () => {
  const { user: own, system } = process.cpuUsage();
  return (own + system) / 1e6;
};

async function take(calls) {
  const processor = processorSeconds();
  const started = seconds();
  for (let call = 0; call < calls; call += 1) {
    const { valid } = await auth.api.verifyApiKey({ body: { key: keys[call % KEYS] } });
    if (!valid) throw new Error("a good key was refused");
  }
  return { seconds: seconds() - started, processor_seconds: processorSeconds() - processor };
}

await take(KEYS);
console.log(JSON.stringify("ready"));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await take(JSON.parse(line))));
}
