// What a user of jsforce does with an org; prints the results as one JSON object.
import { createSign } from "node:crypto";
import jsforce from "jsforce";

const env = process.env;
const loginUrl = env.SF_LOGIN_URL;
const app = { loginUrl, clientId: env.SF_CLIENT_ID, clientSecret: env.SF_CLIENT_SECRET };
const redirectUri = "http://localhost:1717/OauthRedirect";
const version = "66.0";
const said = {};

async function refusal(call) {
  try {
    return { unexpected: await call() };
  } catch (error) {
    return { code: error.errorCode ?? error.name, message: error.message };
  }
}

function assertion() {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { iss: app.clientId, sub: env.SF_USERNAME, aud: loginUrl, exp: Math.floor(Date.now() / 1000) + 180 };
  const text = `${encode({ alg: "RS256" })}.${encode(claims)}`;
  return `${text}.${createSign("RSA-SHA256").update(text).sign(env.SF_PRIVATE_KEY).toString("base64url")}`;
}

const logIn = async (connection, what) => (await connection.authorize(what)) && connection.identity();

// Log-in by each flow that still exists, and by two that do not.
const conn = new jsforce.Connection({ oauth2: app, version });
said.clientCredentials = await logIn(conn, { grant_type: "client_credentials" });
const bearer = new jsforce.Connection({ oauth2: app, version });
const grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
said.jwtBearer = await logIn(bearer, { grant_type, assertion: assertion() });
const oauth2 = new jsforce.OAuth2({ ...app, redirectUri, useVerifier: true });
const page = await fetch(oauth2.getAuthorizationUrl({ scope: "api refresh_token", state: "s" }), { redirect: "manual" });
const back = new URL(page.headers.get("location"));
const web = new jsforce.Connection({ oauth2, version });
said.webServer = await logIn(web, back.searchParams.get("code"));
said.state = back.searchParams.get("state");
const { refreshToken, instanceUrl } = web;
const refreshed = new jsforce.Connection({ oauth2: app, version, instanceUrl, refreshToken, accessToken: "expired" });
said.refreshed = (await refreshed.query("SELECT Id FROM Case LIMIT 1")).totalSize;
await web.logout();
said.loggedOut = await refusal(() => new jsforce.Connection({ instanceUrl, accessToken: "x", version }).query("SELECT Id FROM Case"));
said.soapLogin = await refusal(() => new jsforce.Connection({ loginUrl, version: "64.0" }).login("a@example.com", "b"));
said.password = await refusal(() => new jsforce.Connection({ oauth2: app }).loginByOAuth2("a@example.com", "b"));

// Records.
const cases = conn.sobject("Case");
const one = await cases.create({ Subject: "one", External_Key__c: "K1" });
const many = await conn.create("Case", [2, 3, 4].map((n) => ({ Subject: `n${n}`, External_Key__c: `K${n}` })));
said.created = [one, ...many].map((each) => each.success);
said.updated = (await cases.update({ Id: one.id, Priority: "High" })).success;
said.updatedMany = (await conn.update("Case", many.map(({ id }) => ({ Id: id, Priority: "Low" })))).length;
said.upserted = await cases.upsert({ External_Key__c: "K5", Subject: "n5" }, "External_Key__c");
said.upsertedMany = await conn.upsert("Case", [{ External_Key__c: "K5", Subject: "five" }], "External_Key__c");
said.retrieved = (await conn.retrieve("Case", [one.id, many[0].id], { fields: ["Subject"] })).map((row) => row.Subject);
said.retrievedOne = (await cases.retrieve(one.id)).Priority;
const related = { "Contact.Account.Name": 1, Subject: 1 };
said.found = (await cases.find({ Subject: { $like: "n%" }, $or: [{ Priority: "Low" }, { Subject: "one" }] }, related)).length;
said.count = await cases.count({ External_Key__c: { $ne: null } });
said.destroyed = (await conn.destroy("Case", [many[0].id, many[1].id])).map((each) => each.success);
said.destroyedOne = (await cases.destroy(many[2].id)).success;
said.deletedRows = (await conn.query("SELECT Id FROM Case WHERE IsDeleted = true", { scanAll: true })).totalSize;

// Query with pages.
const paged = [];
await new Promise((resolve, reject) => {
  conn.query("SELECT Id, Name FROM Contact ORDER BY Id").on("record", (row) => paged.push(row.Id)).on("end", resolve)
    .on("error", reject).run({ autoFetch: true, maxFetch: 10000 });
});
said.paged = [paged.length, new Set(paged).size];

// What the org says about itself.
said.described = (await cases.describe()).fields.filter((field) => field.externalId).map((field) => field.name);
said.objects = (await conn.describeGlobal()).sobjects.map((each) => each.name);
said.limits = (await conn.limits()).DailyApiRequests.Max;
said.usage = conn.limitInfo.apiUsage.limit;
said.versions = (await conn.request("/services/data")).at(-1).version;

// Several calls in one.
const sobjects = `/services/data/v${version}/sobjects`;
const composite = (allOrNone, subject) => conn.requestPost("/composite", {
  allOrNone,
  compositeRequest: [
    { method: "POST", url: `${sobjects}/Contact`, referenceId: "who", body: { LastName: "Composed" } },
    { method: "POST", url: `${sobjects}/Case`, referenceId: "what", body: { ContactId: "@{who.id}", ...subject } },
    { method: "GET", url: `${sobjects}/Case/@{what.id}?fields=Subject,ContactId`, referenceId: "seen" },
  ],
});
const statuses = (answer) => answer.compositeResponse.map((each) => each.httpStatusCode);
const done = await composite(true, { Subject: "composed" });
said.composite = [statuses(done), done.compositeResponse[2].body.ContactId === done.compositeResponse[0].body.id];
said.rolledBack = statuses(await composite(true, { Nothing__c: 1 }));
said.composedContacts = (await conn.query("SELECT Id FROM Contact WHERE LastName = 'Composed'")).totalSize;

// A platform event, and what neither this org nor the double has.
said.event = await conn.sobject("Store_Visit__e").create({ Store__c: "Izmir" });
said.missing = await refusal(() => conn.request("/nothing/here"));
said.missingApex = await refusal(() => conn.apex.get("/nothing/"));
said.missingTooling = await refusal(() => conn.tooling.query("SELECT Id FROM ApexClass"));
said.missingRecord = await refusal(() => cases.retrieve("500000000000001AAA"));
said.missingField = await refusal(() => conn.query("SELECT Nothing__c FROM Case"));
console.log(JSON.stringify(said));
