// The test of {worker}: node --test {file}. It stands in for the server, hands out one task, and looks at its end.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('{program}', import.meta.url))
const args = JSON.parse({args})

test('result of a task', { timeout: 10_000 }, async context => {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const worker = spawn(process.execPath, [program, `127.0.0.1:${listener.address().port}`], { stdio: 'inherit' })
  context.after(() => { worker.kill('SIGKILL'); listener.close() })
  const [server] = await once(listener, 'connection')
  const send = message => server.write(JSON.stringify(message) + '\n')
  const lines = createInterface({ input: server })[Symbol.asyncIterator]()
  const receive = async command => {
    for (;;) {
      const { value, done } = await lines.next()
      assert(!done, `The worker sends no "${command}".`)
      const message = JSON.parse(value)
      if (message.command === command) return message
    }
  }
  assert.equal((await receive('work')).functions[0].name, {text})
  send({ status: 'ok', result: { lease_ms: 15000, heartbeat_ms: 5000 } })
  send({ status: 'task', lease: '1.1', task_id: 1, function: {text}, attempt: 1, args })
  const [end] = (await receive('settle')).ends
  assert.deepEqual(end, { lease: '1.1', result: args })
})
