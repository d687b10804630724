// The same life as life.py, through openapi-fetch and the types that openapi-typescript generated.
// node life.js URL EMAIL PASSWORD REPOSITORY APP BETWEEN: runs BETWEEN before each call; prints what it saw as JSON.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import createClient from "openapi-fetch";
import type { components, paths } from "./generated.js";

const [url, email, password, repository, app, between] = process.argv.slice(2) as [
  string, string, string, string, string, string,
];
type Deployment = components["schemas"]["Deployment"];
type Answer<T> = { data?: T; error?: unknown; response: Response };

async function call<T>(request: () => Promise<Answer<T>>): Promise<Answer<T>> {
  await promisify(execFile)(between); // not execFileSync: fetch has to see that its kept connection was closed
  return request();
}

async function made<T>(request: () => Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await call(request);
  if (!response.ok) throw new Error(`${response.url} ${response.status} ${JSON.stringify(error)}`);
  return data as T;
}

const person = createClient<paths>({ baseUrl: url });
const login = await call(() => person.POST("/auth/login", { body: { email, password } }));
if (!login.data) throw new Error(JSON.stringify(login.error));
const cookie = login.response.headers.getSetCookie().map((one) => one.split(";")[0]).join("; ");
person.use({ onRequest: ({ request }) => request.headers.set("Cookie", cookie) });
const token = await made(() => person.POST("/tokens", { body: { name: "life", scopes: ["admin"] } }));

const program = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token.token}` } });
const path = { app_id: app };
const show = (id: string) => () =>
  program.GET("/apps/{app_id}/deployments/{deployment_id}", { params: { path: { ...path, deployment_id: id } } });
const setEnv = (value: string) =>
  made(() => program.PUT("/apps/{app_id}/env", { params: { path }, body: { key: "GREETING", value } }));
const deploy = () => made(() => program.POST("/apps/{app_id}/deployments", { params: { path } }));

async function finished(id: string): Promise<Deployment> {
  const deadline = Date.now() + 120_000;
  let deployment: Deployment = await made(show(id));
  while (deployment.status !== "healthy" && deployment.status !== "failed") {
    if (Date.now() > deadline) throw new Error(JSON.stringify(deployment));
    await new Promise((resolve) => setTimeout(resolve, 100));
    deployment = (await show(id)()).data ?? deployment;
  }
  return deployment;
}

const about = { provider: "git", owner: "tests", name: app, clone_url: repository };
const imported = await made(() => program.POST("/apps/import", { body: { repository: about, name: app } }));
await setEnv("one");
const first = await finished((await deploy()).deployment_id);
const logs = await made(() =>
  program.GET("/apps/{app_id}/deployments/{deployment_id}/logs", {
    params: { path: { ...path, deployment_id: first.id } },
  }),
);
await setEnv("two");
const second = await finished((await deploy()).deployment_id);
const rollback = await made(() => program.POST("/apps/{app_id}/rollback", { params: { path } }));
const back = await finished(rollback.deployment_id);
const state = await made(() => program.GET("/apps/{app_id}", { params: { path } }));
const listed = await made(() => program.GET("/apps/{app_id}/deployments", { params: { path } }));
await made(() => program.DELETE("/tokens/{token_id}", { params: { path: { token_id: token.summary.id } } }));
const refused = await call(() => program.GET("/apps/{app_id}", { params: { path } }));
await made(() => person.POST("/auth/logout"));
const gone = await call(() => person.GET("/auth/me"));

const code = (answer: { error?: unknown }) => (answer.error as components["schemas"]["Error"]).error.code;
process.stdout.write(
  JSON.stringify({
    email: login.data.email,
    framework: imported.detection.framework,
    ended: [first, second, back].map((one) => one.status),
    "logs name the commit": logs.logs.includes((first.commit_sha ?? "?").slice(0, 8)),
    serves: state.active_deployment_id === back.id,
    history: listed.items.map((one) => one.kind),
    "after revocation": [refused.response.status, code(refused)],
    "after logout": [gone.response.status, code(gone)],
  }),
);
