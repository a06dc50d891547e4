// A worker for {name}: node {file} HOST:PORT, or a table of config/workers.toml. It runs 16 tasks at a time.
import { connect } from 'node:net'
import { hostname } from 'node:os'
import { createInterface } from 'node:readline'

// The end of a task is what this returns, or what it throws; progress(50, 'half') reports how far it is, and the
// signal is aborted when the task is to stop.
async function handle(args, progress, signal) {
  return args
}

const schema = JSON.parse({schema})
const [host, port] = (process.argv[2] ?? process.env.THINK_SERVER ?? '127.0.0.1:9501').split(/:(?=[^:]*$)/)
let server, stop = false
const send = message => server?.writable && server.write(JSON.stringify(message) + '\n')
process.on('SIGTERM', () => { stop = true; send({ command: 'leave' }) })

async function run({ lease, args }, running) {
  const controller = new AbortController()
  running.set(lease, controller)
  const progress = (percent, text = '') => send({ command: 'progress', lease, percent, text })
  const end = await handle(args, progress, controller.signal)
    .then(result => ({ result: result ?? null }), error => controller.signal.aborted ? { cancelled: true } : { error: `${error}` })
  running.delete(lease)
  send({ command: 'settle', ends: [{ lease, ...end }], credit: stop ? 0 : 1 })
  if (stop && running.size === 0) server.end()
}

function work() {
  const running = new Map()
  server = host === 'unix' ? connect(port) : connect(+port, host)
  const beats = setInterval(() => send({ command: 'heartbeat' }), 1000)
  send({ command: 'work', worker: `${hostname()}:${process.pid}`, language: `node/${process.versions.node}`, credit: 16,
    functions: [{ name: {text}, schema }] })
  server.on('error', () => {}).on('close', () => { clearInterval(beats); if (!stop) setTimeout(work, 1000) })
  createInterface({ input: server }).on('line', line => {
    const message = JSON.parse(line)
    if (message.status === 'error') throw new Error(message.error)
    if (message.status === 'task') run(message, running)
    if (message.status === 'cancel') running.get(message.lease)?.abort()
    if (message.status === 'ok' && stop && running.size === 0) server.end()
  })
}
work()
