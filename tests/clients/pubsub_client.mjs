// What a user of salesforce-pubsub-api-client does with an org; prints the results as one JSON object.
import PubSubApiClient from "salesforce-pubsub-api-client";

const env = process.env;
const endpoint = { pubSubEndpoint: env.SF_PUBSUB_ENDPOINT, rejectUnauthorizedSsl: false };
const app = { loginUrl: env.SF_LOGIN_URL, clientId: env.SF_CLIENT_ID };
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const VISITS = "/event/Store_Visit__e";
const said = {};

async function connected(config) {
  const client = new PubSubApiClient({ ...endpoint, ...config }, quiet);
  await client.connect();
  return client;
}

// The next events of a subscription that `start` opens, until there are `count` of them.
function next(count, start) {
  return new Promise((resolve, reject) => {
    const events = [];
    start((_, kind, data) => {
      if (kind === "error") reject(data);
      if (kind === "event" && events.push(data) === count) resolve(events);
    });
  });
}

const visit = (Store__c) => ({ CreatedDate: Date.now(), CreatedById: "005000000000001AAA", Store__c: { string: Store__c },
  ...Object.fromEntries(["Customer_Name__c", "Contact__c", "Email__c", "Phone__c", "Consent__c", "Amount__c"].map((name) => [name, null])),
  Visited_At__c: { long: 1795500000000 } });

// Log-in by each flow; the token of a third program serves too.
const client = await connected({ ...app, authType: "oauth-client-credentials", clientSecret: env.SF_CLIENT_SECRET });
const bearer = { ...app, authType: "oauth-jwt-bearer", username: env.SF_USERNAME, privateKey: env.SF_PRIVATE_KEY };
(await connected(bearer)).close();
const form = new URLSearchParams({ grant_type: "client_credentials", client_id: app.clientId, client_secret: env.SF_CLIENT_SECRET });
const token = await (await fetch(`${env.SF_LOGIN_URL}/services/oauth2/token`, { method: "POST", body: form })).json();
const { access_token: accessToken, instance_url } = token;
const supplied = await connected({ authType: "user-supplied", accessToken, instanceUrl: `${instance_url}/` });

// Publish, PublishStream, Subscribe, GetTopic, GetSchema.
said.published = (await client.publish(VISITS, visit("one"), "11111111-1111-4111-8111-111111111111")).correlationKey;
said.batch = await new Promise((resolve, reject) => {
  const callback = (_, kind, data) => (kind === "error" ? reject(data) : kind === "publishResponse" && resolve(data));
  client.publishBatch(VISITS, ["two", "three"].map((name) => ({ payload: visit(name) })), callback);
}).then((data) => data.results.length);
const visits = await next(3, (callback) => supplied.subscribeFromEarliestEvent(VISITS, callback, 3));
said.visits = visits.map(({ payload }) => [payload.Store__c, payload.Visited_At__c]);
said.firstId = visits[0].id;
const again = await connected({ ...app, authType: "oauth-client-credentials", clientSecret: env.SF_CLIENT_SECRET });
const rest = await next(2, (callback) => again.subscribeFromReplayId(VISITS, callback, 2, visits[0].replayId));
said.resumed = rest.map(({ payload }) => payload.Store__c);
const changes = await next(2, (callback) => client.subscribeFromEarliestEvent("/data/CaseChangeEvent", callback, 2));
said.changes = changes.map(({ payload: { ChangeEventHeader: header, Subject } }) => [header.changeType, header.changedFields, Subject]);
said.wrong = await next(1, (callback) => again.subscribe("/data/NothingChangeEvent", callback, 1)).catch((error) => error.code);

// ManagedSubscribe: the org keeps the position.
const managed = async (count) => {
  let subscription;
  const own = await connected({ ...app, authType: "oauth-client-credentials", clientSecret: env.SF_CLIENT_SECRET });
  const events = await new Promise((resolve, reject) => {
    const found = [];
    own.subscribeWithManagedSubscription("Visits", (info, kind, data) => {
      subscription = info.subscriptionId;
      if (kind === "error") reject(data);
      if (kind === "event" && found.push(data) === count) resolve(found);
    }, count).catch(reject);
  });
  own.commitReplayId(subscription, events.at(-1).replayId);
  await new Promise((resolve) => setTimeout(resolve, 300)); // the client says nothing when a commit is done
  await fetch(`${env.SF_LOGIN_URL}/_control/break_streams`, { method: "POST", body: "{}" }); // its close() leaves them open
  return events.map(({ payload }) => payload.Store__c);
};
said.managed = [await managed(2), await managed(1)];
console.log(JSON.stringify(said));
process.exit(0);
