// Puts and works jobs with node-beanstalk, as its documentation does.
import assert from "node:assert";
import { createRequire } from "node:module";

const { Client, Pool } = createRequire(process.argv[3] + "/")("node-beanstalk");
const port = Number(process.argv[2]);
const client = new Client({ host: "127.0.0.1", port });
await client.connect();
await client.use("node");
await client.watch("node");
await client.ignore("default");
const put = await client.put({ foo: "bar" }, 10);
assert.strictEqual(put.state, "ready");
const job = await client.reserveWithTimeout(5);
assert.strictEqual(Number(job.id), Number(put.id));
const stats = await client.statsJob(job.id);
assert.strictEqual(stats.state, "reserved");
await client.touch(job.id);
await client.release(job.id, 100, 0);
const again = await client.reserveJob(job.id);
await client.bury(again.id, 5);
assert.strictEqual(Number((await client.peekBuried()).id), Number(job.id));
assert.strictEqual(Number(await client.kick(10)), 1);
await client.delete((await client.reserve()).id);
assert.strictEqual(await client.reserveWithTimeout(0), null);
assert.ok((await client.listTubes()).includes("node"));
client.disconnect();

const pool = new Pool({ capacity: 5, clientOptions: { host: "127.0.0.1", port } });
const clients = await Promise.all(Array.from({ length: 5 }, () => pool.connect()));
await Promise.all(clients.map((one) => one.use("pool").then(() => one.watch("pool"))));
await Promise.all(clients.map((one, number) => one.put({ number }, 1)));
const jobs = await Promise.all(clients.map((one) => one.reserveWithTimeout(5)));
assert.strictEqual(new Set(jobs.map((reserved) => String(reserved.id))).size, 5);
await Promise.all(clients.map((one, number) => one.delete(jobs[number].id)));
clients.forEach((one) => one.releaseClient?.() ?? pool.releaseClient?.(one));
console.log("done");
process.exit(0);
