#!/usr/bin/env bash
# The npm client of Salesforce's Pub/Sub API (salesforce-pubsub-api-client 5.5.2) ends early, passes over events, or reorders them:
# - A managed subscription without a number of events, which is "kept alive forever", ends after 100: it never asks for more.
#   (Its issue 55 was the same for other subscriptions, and is mended there only.)
# - `lastReplayId`, "of the last processed event", is that of the last one received. Who stores it with each event, or commits it
#   as the README does, and starts again after it, passes over the rest of the batch.
# - Events overtake one that waits for a schema that is not known yet.
# It hurts whoever counts on a managed subscription to go on, or on the position to start again from: events are missed without
# an error. What helps: `event.replayId` instead of lastReplayId, and requestAdditionalManagedEvents() at each LAST_EVENT.
#
# What this does: a Pub/Sub API on 127.0.0.1 has 250 events of one schema and sends them in batches of 10, as many as it is
# asked for. The client reads them with a subscription and with a managed one, and with one that asks for more at LAST_EVENT.
# At last the second of three events, which come one by one, has a schema that takes 0.3 s.
# Seen: 250 events, 100, 250; order 1, 3, 2; lastReplayId is not the event's own in 9 of 10 events.
# Needs npm and openssl.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit salesforce-pubsub-api-client@5.5.2 avro-js@1.12.1 @grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.0
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key -out cert 2>/dev/null
cat >try.mjs <<'NODE'
import grpc from '@grpc/grpc-js'
import loader from '@grpc/proto-loader'
import fs from 'node:fs'
import https from 'node:https'
import PubSubApiClient from 'salesforce-pubsub-api-client'

const schemaJson = '{"type": "record", "name": "Event", "fields": [{"name": "number", "type": "int"}]}'
const zigzag = number => {
  const bytes = []
  for (let rest = number * 2; ; rest >>>= 7) {
    if (rest < 128) return Buffer.from([...bytes, rest])
    bytes.push((rest & 127) | 128)
  }
}
const replayId = number => {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32BE(number, 4)
  return bytes
}
const topics = {
  '/event/Plain': { events: 250, batch: 10, schema: () => 'known' },
  '/event/Slow': { events: 3, batch: 1, schema: number => (number === 2 ? 'slow' : 'known') },
}

function subscribe(call, topicOf) {
  let asked = 0, sent = 0
  call.on('data', request => {
    const topic = topics[topicOf(request)]
    asked += request.numRequested
    while (sent < Math.min(asked, topic.events)) {
      const events = []
      while (events.length < topic.batch && sent < Math.min(asked, topic.events)) {
        sent++
        events.push({ replayId: replayId(sent), event: { id: String(sent), schemaId: topic.schema(sent), payload: zigzag(sent) } })
      }
      call.write({ events, latestReplayId: replayId(sent), pendingNumRequested: asked - sent })
    }
  })
}

const handlers = {
  Subscribe: call => subscribe(call, request => request.topicName),
  ManagedSubscribe: call => subscribe(call, () => '/event/Plain'),
  GetSchema: (call, callback) => {
    const { schemaId } = call.request
    setTimeout(() => callback(null, { schemaId, schemaJson }), schemaId === 'slow' ? 300 : 0)
  },
}
const proto = loader.loadSync('node_modules/salesforce-pubsub-api-client/pubsub_api.proto', {})
const server = new grpc.Server()
server.addService(grpc.loadPackageDefinition(proto).eventbus.v1.PubSub.service, handlers)
const pair = { private_key: fs.readFileSync('key'), cert_chain: fs.readFileSync('cert') }
const port = await new Promise((resolve, reject) =>
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createSsl(null, [pair]), (error, port) => (error ? reject(error) : resolve(port))))
const org = https.createServer({ key: pair.private_key, cert: pair.cert_chain }, (request, response) => {
  const Metadata = { topicName: '/event/Plain', state: 'RUN', label: 'Plain', version: 64 }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ size: 1, totalSize: 1, done: true, records: [{ Id: '18x000000000001AAA', DeveloperName: 'Plain', Metadata }] }))
})
await new Promise(resolve => org.listen(0, '127.0.0.1', resolve))

async function read(start, askForMore = false) {
  const silent = { debug() {}, info() {}, warn() {}, error() {} }
  const client = new PubSubApiClient({
    authType: 'user-supplied', accessToken: 'token', organizationId: '00D000000000001AAA',
    instanceUrl: `https://127.0.0.1:${org.address().port}`,
    pubSubEndpoint: `127.0.0.1:${port}`, rejectUnauthorizedSsl: false,
  }, silent)
  await client.connect()
  const numbers = [], errors = []
  let ahead = 0, ends = 0
  await start(client, (info, kind, data) => {
    if (kind === 'event') {
      numbers.push(data.payload.number)
      ahead += info.lastReplayId > data.replayId
    }
    if (kind === 'error') errors.push(data.message)
    if (kind === 'lastEvent') {
      ends++
      if (askForMore) client.requestAdditionalManagedEvents(info.subscriptionId, 100)
    }
  })
  await new Promise(resolve => setTimeout(resolve, 3000))
  client.close()
  return { numbers, errors, ahead, ends }
}

const subscribeTo = topic => (client, callback) => client.subscribe(topic, callback)
const managedSubscription = (client, callback) => client.subscribeWithManagedSubscription('Plain', callback)
const say = (what, { numbers, errors, ends }) =>
  console.log(`${what}: ${numbers.length} of 250 events, errors [${errors}], LAST_EVENT ${ends} times`)
const plain = await read(subscribeTo('/event/Plain'))
say('subscription', plain)
console.log(`lastReplayId is not the event's own in at least 9 of 10: ${plain.ahead >= 225}`)
say('managed subscription', await read(managedSubscription))
say('managed subscription, asking for more', await read(managedSubscription, true))
console.log(`a slow schema: order ${(await read(subscribeTo('/event/Slow'))).numbers}`)
process.exit()
NODE
NODE_EXTRA_CA_CERTS=cert timeout 120 node --no-warnings try.mjs | tee seen
diff seen - <<'SEEN'
subscription: 250 of 250 events, errors [], LAST_EVENT 0 times
lastReplayId is not the event's own in at least 9 of 10: true
managed subscription: 100 of 250 events, errors [], LAST_EVENT 1 times
managed subscription, asking for more: 250 of 250 events, errors [], LAST_EVENT 2 times
a slow schema: order 1,3,2
SEEN
