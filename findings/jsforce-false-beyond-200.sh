#!/usr/bin/env bash
# jsforce 3.10.16 writes false to 200 records, and not to 201. `find(...).update({Open__c: false})` (Query.update) goes over REST up
# to 200 records, and over the Bulk API beyond that, by itself. There the CSV holds an empty cell for false, which the Bulk API
# ignores: the field stays true in all records, and each of them is reported as a success. A Date becomes a number of
# milliseconds, which Salesforce refuses as a date.
# It hurts whoever ticks off what they have worked on, such as `Send_Survey__c: false`: it works in a test and on most days, and
# on the day with more records nothing is ticked off, and all of it is worked on again. jsforce's issue 714 says that it is
# mended in v3. It is, up to 200 records and where updateBulk() gets a list; not here, nor where records are streamed to a batch.
# What helps: `update(mapping, {allowBulk: false})`, or 'false' as a text.
#
# What this does: plays Salesforce on 127.0.0.1: a query, collections over REST, and the Bulk API. It updates 200 records, 201,
# and 201 with allowBulk: false. Then it streams one record to a batch of the Bulk API.
# Seen: what was sent for the first record, as printed.
# Needs npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit jsforce@3.10.16
cat >try.mjs <<'NODE'
import http from 'node:http'
import jsforce from 'jsforce'

let matching = 0, sent = []
const idOf = number => `500${String(number).padStart(12, '0')}AAA`
const each = make => Array.from({ length: matching }, (_, number) => make(idOf(number)))
const element = (name, fields) =>
  `<${name}>${Object.entries(fields).map(([key, value]) => `<${key}>${value}</${key}>`).join('')}</${name}>`
const org = http.createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray()).toString()
  const path = request.url.replace(/\?.*/, '').replace(/^.*\/(data|async)\/v?64\.0/, '')
  const answer = (type, text) => response.writeHead(200, { 'content-type': type }).end(text)
  const json = value => answer('application/json', JSON.stringify(value))
  const xml = (name, fields) => answer('application/xml', element(name, fields))
  if (path === '/query') {
    return json({ totalSize: matching, done: true, records: each(Id => ({ attributes: { type: 'Case' }, Id })) })
  }
  if (path === '/composite/sobjects') {
    const { records } = JSON.parse(body)
    sent.push(...records.map(({ id, attributes, ...fields }) => `REST ${JSON.stringify(fields)}`))
    return json(records.map(({ id }) => ({ id, success: true, errors: [] })))
  }
  if (/^\/job(\/750)?$/.test(path)) return xml('jobInfo', { id: '750', object: 'Case', operation: 'update', state: 'Open' })
  if (path === '/job/750/batch') {
    const [header, ...rows] = body.trim().split('\n')
    sent.push(...rows.map(row => `Bulk ${header.replace(/^Id,/, '')}: ${row.replace(/^[^,]*,/, '')}`))
    return xml('batchInfo', { id: '751', jobId: '750', state: 'Queued' })
  }
  if (path === '/job/750/batch/751') return xml('batchInfo', { id: '751', jobId: '750', state: 'Completed' })
  if (path === '/job/750/batch/751/result') {
    return answer('text/csv', ['"Id","Success","Created","Error"', ...each(Id => `"${Id}","true","false",""`)].join('\n'))
  }
  response.writeHead(404).end()
})
await new Promise(resolve => org.listen(0, '127.0.0.1', resolve))
const instanceUrl = `http://127.0.0.1:${org.address().port}`
const connection = new jsforce.Connection({ instanceUrl, accessToken: 'token', version: '64.0' })
const fields = { Open__c: false, Vip__c: true, Closed_At__c: new Date('2026-05-04T03:02:01Z'), Note__c: null }
for (const [records, options] of [[200, {}], [201, {}], [201, { allowBulk: false }]]) {
  matching = records
  sent = []
  const results = await connection.sobject('Case').find({ Status: 'Closed' }, 'Id').update(fields, options)
  const successes = results.filter(result => result.success).length
  console.log(`${records} records ${JSON.stringify(options)}: ${sent.length} sent, ${successes} successes; ${sent[0]}`)
}
sent = []
matching = 1
const batch = connection.bulk.createJob('Case', 'update').createBatch()
batch.on('queue', () => batch.poll(10, 10000))
const answered = new Promise((resolve, reject) => batch.on('response', resolve).on('error', reject))
batch.write({ Id: idOf(0), ...fields })
batch.end()
console.log(`streamed: success ${(await answered)[0].success}; ${sent[0]}`)
process.exit()
NODE
timeout 120 node --no-warnings try.mjs | tee seen
diff seen - <<'SEEN'
200 records {}: 200 sent, 200 successes; REST {"Open__c":false,"Vip__c":true,"Closed_At__c":"2026-05-04T03:02:01.000Z","Note__c":null}
201 records {}: 201 sent, 201 successes; Bulk Open__c,Vip__c,Closed_At__c,Note__c: ,1,1777863721000,#N/A
201 records {"allowBulk":false}: 201 sent, 201 successes; REST {"Open__c":false,"Vip__c":true,"Closed_At__c":"2026-05-04T03:02:01.000Z","Note__c":null}
streamed: success true; Bulk Open__c,Vip__c,Closed_At__c,Note__c: ,1,1777863721000,#N/A
SEEN
