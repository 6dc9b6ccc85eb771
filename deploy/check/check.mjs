// SPDX-License-Identifier: MIT
// Each document becomes a program of one constant, `const document: Type = {...}`, which the compiler checks: a
// literal may have no field that its type does not know. What the compiler finds is said by its place in the document.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { LineCounter, parseAllDocuments } from "yaml";

const here = dirname(fileURLToPath(import.meta.url));
const models = join(here, "node_modules", "kubernetes-models");
const operator = ["PodMonitor", "PrometheusRule", "ServiceMonitor"];

let errors = 0;
function fail(place, message) {
	console.error(`${place}: ${message}`);
	errors++;
}

function read(file) {
	try {
		return readFileSync(file === "-" ? 0 : file, "utf8");
	} catch (error) {
		fail(nameOf(file), `read: ${error.message}`);
		return "";
	}
}

// As short as it can be said.
function nameOf(file) {
	const near = relative(process.cwd(), file);
	return file === "-" ? "standard input" : near.startsWith("..") ? resolve(file) : near;
}

// YAML 1.1, because kubectl reads that: an unquoted `yes` is no string. JSON is YAML.
function parse(file) {
	const lines = new LineCounter();
	const documents = [];
	const before = errors;
	for (const tree of parseAllDocuments(read(file), { version: "1.1", merge: true, lineCounter: lines })) {
		const lineOf = (offset) => `${nameOf(file)}:${lines.linePos(offset).line}`;
		for (const error of [...tree.errors, ...tree.warnings])
			fail(lineOf(error.pos[0]), error.message.replace(/ at line \d[\s\S]*/, ""));
		const value = tree.errors.length ? null : tree.toJS();
		if (value !== null)
			documents.push({ tree, value, place: lineOf(tree.contents.range[0]), lineOf });
	}
	if (documents.length === 0 && errors === before)
		fail(nameOf(file), "has no document");
	return documents;
}

// Which type a document is to have: its import, its name, and who is to have that name; or an error; or nothing.
function typeOf(value) {
	if (typeof value !== "object" || Array.isArray(value))
		return { error: "is no object" };
	if ("schemaVersion" in value && !("kind" in value))
		return { source: "./dashboard.js", name: "Dashboard", who: `dashboard ${value.uid}` };
	const { apiVersion, kind, metadata } = value;
	if (!/^([a-z0-9.-]+\/)?v[a-z0-9]+$/.test(apiVersion) || !/^[A-Z][A-Za-z]+$/.test(kind))
		return { error: "has no apiVersion and kind, and is no dashboard" };
	const who = `${kind} ${metadata?.name ?? "without a name"}`;
	if (apiVersion === "monitoring.coreos.com/v1" && operator.includes(kind))
		return { source: "./kubernetes.js", name: kind, who };
	if (existsSync(join(models, apiVersion, `${kind}.d.ts`)))
		return { source: `kubernetes-models/${apiVersion}/${kind}`, name: `I${kind}`, who };
	if (existsSync(join(models, apiVersion.split("/")[0])))
		return { error: `${who}: Kubernetes has no ${kind} in ${apiVersion}` };
	return { who };
}

function programOf({ source, name }, value) {
	const type = name === "Dashboard" ? "Type" : "Manifest<Type>";
	return `import type { ${name} as Type } from "${source}";
import type { Manifest } from "./kubernetes.js";
export const document: ${type} = ${JSON.stringify(value, null, 1)};
`;
}

// Where in the document the text at this position of its program stands.
function pathAt(source, position) {
	const path = [];
	let node = source.statements.at(-1).declarationList.declarations[0].initializer;
	for (;;) {
		const next = (node.properties ?? node.elements ?? []).findIndex((child) => child.pos <= position && position < child.end);
		if (next < 0)
			return path;
		path.push(node.properties ? node.properties[next].name.text : next);
		node = node.properties ? node.properties[next].initializer : node.elements[next];
	}
}

function spell(path) {
	return path.map((key) => typeof key === "number" ? `[${key}]` : /^\w+$/.test(key) ? `.${key}` : `["${key}"]`)
		.join("").replace(/^\./, "") || "the document";
}

// The first and the last sentence of a chain: what does not fit, and why at last.
function reason({ messageText }) {
	let last = messageText;
	while (last.next)
		last = last.next[0];
	const ends = [messageText.messageText ?? messageText, last.messageText ?? last];
	return [...new Set(ends)].map((end) => end.length > 300 ? `${end.slice(0, 300)}...` : end).join(" ");
}

// The line of the node, or of the nearest one around it that is there.
function lineAt(document, path) {
	for (let length = path.length; length >= 0; length--) {
		const node = document.tree.getIn(path.slice(0, length), true);
		if (node?.range)
			return document.lineOf(node.range[0]);
	}
	return document.place;
}

function compile(documents) {
	const options = {
		lib: ["lib.es2022.d.ts"], module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
		noEmit: true, skipLibCheck: true, strict: true, target: ts.ScriptTarget.ES2022, types: [],
	};
	const programs = new Map(documents.map((document, i) => [join(here, `document-${i}.ts`), document]));
	const host = ts.createCompilerHost(options);
	const { fileExists, readFile } = host;
	const text = (name) => programs.has(name) ? programOf(programs.get(name).type, programs.get(name).value) : undefined;
	host.fileExists = (name) => programs.has(name) || fileExists(name);
	host.readFile = (name) => text(name) ?? readFile(name);
	host.getSourceFile = (name, version) => {
		const content = host.readFile(name);
		return content === undefined ? undefined : ts.createSourceFile(name, content, version, true);
	};
	const program = ts.createProgram([...programs.keys(), join(here, "dashboard.ts"), join(here, "kubernetes.ts")], options, host);
	for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
		const document = programs.get(diagnostic.file?.fileName);
		if (!document) {
			fail(diagnostic.file?.fileName ?? "compiler", reason(diagnostic));
			continue;
		}
		const path = pathAt(diagnostic.file, diagnostic.start);
		fail(`${lineAt(document, path)}: ${document.type.who}: ${spell(path)}`, reason(diagnostic));
	}
}

const typed = [];
for (const file of process.argv.slice(2)) {
	for (const document of parse(file)) {
		document.type = typeOf(document.value);
		if (document.type.error)
			fail(document.place, document.type.error);
		else if (document.type.source)
			typed.push(document);
		else
			console.log(`${document.place}: not checked by type: ${document.type.who}`);
	}
}
compile(typed);
console.log(`checked by type: ${typed.length}, errors: ${errors}`);
process.exit(errors ? 1 : 0);
