// A real client of another make, MQTT.js, driven through all it can do. Run by test_clients.py:
//     node mqttjs_client.js MODULE PROTOCOL HOST PORT VERSION PREFIX [will|session]

const [module_, protocol, host, port, version, prefix, mode] = process.argv.slice(2)
const mqtt = require(module_)
const options = {
  port: Number(port), host, protocol, protocolVersion: Number(version),
  protocolId: version === '3' ? 'MQIsdp' : 'MQTT', clientId: prefix + 'js', clean: true,
  reconnectPeriod: 0
}
if (mode === 'will') {
  options.will = { topic: prefix + '/will', payload: Buffer.from('js is gone'), qos: 1 }
}

if (mode === 'session') {
  options.clean = false
  if (version === '5') options.properties = { sessionExpiryInterval: 1000 }
}

function fail (why) {
  console.log('failed', why)
  process.exit(1)
}

setTimeout(() => fail('took too long'), 30000).unref()
const client = mqtt.connect(options)
client.on('error', error => fail(error))
client.on('close', () => { if (!leaving) fail('closed') })

let leaving = false
const waiting = []
const messages = []

client.on('message', receive)

function receive (topic, payload, packet) {
  const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain }
  if (waiting.length) waiting.shift()(message)
  else messages.push(message)
}

function next () {
  if (messages.length) return Promise.resolve(messages.shift())
  return new Promise(resolve => waiting.push(resolve))
}

async function expect (topic, payload, qos, retain) {
  const got = await next()
  if (got.topic !== topic || got.payload !== payload || got.qos !== qos || got.retain !== retain) {
    fail(JSON.stringify(got).slice(0, 300))
  }
  console.log('ok', payload.slice(0, 20))
}

async function run () {
  await client.subscribeAsync(prefix + '/a/+', { qos: 2 })
  for (const qos of [0, 1, 2]) {
    await client.publishAsync(prefix + '/a/b', 'qos ' + qos, { qos })
    await expect(prefix + '/a/b', 'qos ' + qos, qos, false)
  }
  await client.publishAsync(prefix + '/kept', 'retained', { qos: 1, retain: true })
  await client.subscribeAsync(prefix + '/kept', { qos: 1 })
  await expect(prefix + '/kept', 'retained', 1, true)
  await client.publishAsync(prefix + '/kept', '', { qos: 1, retain: true })
  await expect(prefix + '/kept', '', 1, false)
  await client.subscribeAsync('$share/g/' + prefix + '/work', { qos: 1 })
  await client.publishAsync(prefix + '/work', 'shared', { qos: 1 })
  await expect(prefix + '/work', 'shared', 1, false)
  const large = 'large'.repeat(200000)
  for (const qos of [1, 2]) {
    await client.publishAsync(prefix + '/a/large', large, { qos })
    await expect(prefix + '/a/large', large, qos, false)
  }
  leaving = true
  await client.endAsync()
  console.log('done')
}

// Leaves, has another client publish, and comes back.
async function leaveAndReturn () {
  await client.subscribeAsync(prefix + '/a', { qos: 1 })
  leaving = true
  await client.endAsync()
  const other = await mqtt.connectAsync({ ...options, clientId: prefix + 'other', clean: true })
  await other.publishAsync(prefix + '/a', 'meanwhile', { qos: 1 })
  await other.endAsync()
  const again = mqtt.connect(options)
  again.on('message', receive)
  await expect(prefix + '/a', 'meanwhile', 1, false)
  await again.endAsync()
  console.log('done')
}

client.on('connect', () => {
  if (mode === 'will') console.log('ready')
  else if (mode === 'session') leaveAndReturn().catch(fail)
  else run().catch(fail)
})
