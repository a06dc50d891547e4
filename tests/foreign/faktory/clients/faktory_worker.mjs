// Pushes jobs with faktory-worker, and works them.
import assert from "node:assert";
import { createRequire } from "node:module";

const faktory = createRequire(process.argv[4] + "/")("faktory-worker");
const options = { host: "127.0.0.1", port: Number(process.argv[2]) };
const client = await faktory.connect(options);
const done = [];
let finished;
const all = new Promise((resolve) => { finished = resolve; });
for (let number = 0; number < 5; number += 1) {
  await client.job("note", number).push();
}
const rejected = await client.pushBulk([client.job("note", 5), client.job("note", 6)]);
assert.deepStrictEqual(Object.keys(rejected ?? {}).length, 0);
const failing = client.job("fail", 7);
failing.retry = 0;
await failing.push();
assert.strictEqual((await client.info()).faktory.queues.default, 8);
faktory.register("note", async (number) => {
  done.push(number);
  if (done.length === 7) {
    finished();
  }
});
faktory.register("fail", async () => {
  throw new Error("it cannot be done");
});
const worker = await faktory.work({ ...options, concurrency: 3, queues: ["default"] });
await all;
for (;;) {
  const { queues, tasks } = (await client.info()).faktory;
  if ((queues.default ?? 0) === 0 && tasks.Working.size === 0) {
    break;
  }
  await new Promise((resolve) => { setTimeout(resolve, 20); });
}
await worker.stop();
await client.close();
assert.deepStrictEqual(done.sort(), [0, 1, 2, 3, 4, 5, 6]);
console.log("done");
process.exit(0);
