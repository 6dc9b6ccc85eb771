// SPDX-License-Identifier: MIT
// Open the page of a server, which listens on a UNIX socket, with a real browser, and tell what is there.
//
//   figures SOCKET [nojs]                   what it shows, as JSON; fails on an error in the console or a violation of the policy
//   cookies SOCKET                          how many bytes of cookies it sends with its request, of three that are as large as can be
//   watch SOCKET                            the same, a line each time it changes, until SIGTERM
//   shot SOCKET FILE WIDTH HEIGHT SCHEME [SECONDS]
//                                           a picture of all of it, in a light or dark SCHEME, after so many seconds
//   axe SOCKET WIDTH SCHEME                 what axe-core finds serious or critical; fails if there is anything
//   hide SOCKET                             how often it asks in five seconds while its tab is hidden, and once it is shown again
//   print FILE WIDTH                        a picture of standard input as a terminal shows it
//
// A UNIX socket, because a client in the same network namespace would use the ports that are counted.
import { createConnection, createServer } from "node:net";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
if (process.getuid() === 0) FLAGS.push("--no-sandbox");

const troubles = [];

// A port of this machine that leads to the socket.
const bridge = (socket) => new Promise((resolve) => {
	const server = createServer((client) => {
		const peer = createConnection(socket);
		peer.on("error", () => client.destroy());
		client.on("error", () => peer.destroy());
		client.pipe(peer).pipe(client);
	});
	server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}/`));
});

const open = async (browser, socket, options) => {
	const context = await browser.newContext(options);
	const page = await context.newPage();
	await context.addInitScript(() => document.addEventListener("securitypolicyviolation", (e) => console.error("violation: " + e.violatedDirective + " " + e.blockedURI)));
	page.on("pageerror", (error) => troubles.push("error: " + error.message));
	page.on("console", (message) => {
		// That nobody answers is what some tests are about; the page says so itself.
		if (message.type() === "error" && !message.text().includes("net::ERR_")) troubles.push("console: " + message.text());
	});
	const url = await bridge(socket);
	await context.addCookies((options.cookies ?? []).map((cookie) => ({ ...cookie, url })));
	const answer = await page.goto(url);
	if (answer.status() !== 200) throw new Error(`status ${answer.status()}`);
	return page;
};

// By locators, which work without JavaScript in the page as well.
const read = async (page) => {
	const text = async (id) => (await page.locator("#" + id).textContent()).trim();
	const verdict = page.locator("#verdict");
	return {
		verdict: (await verdict.locator("h2").textContent()).trim(),
		used: Number((await text("used")).replaceAll(",", "")),
		total: Number((await text("total")).replaceAll(",", "")),
		nearest: Number(await verdict.getAttribute("data-nearest")),
		states: Object.fromEntries(await Promise.all((await page.locator("#states tbody tr").all()).map(async (row) =>
			[await row.locator("th").textContent(), (await row.locator("td").allTextContents()).map((n) => Number(n.replaceAll(",", "")))]))),
		destinations: await Promise.all((await page.locator("#destinations tbody tr").all()).map((row) => row.locator("td").allTextContents())),
		status: await text("status"),
		left: await text("left"),
		line: ((await page.locator("#line-nearest").getAttribute("d")) ?? "").length > 0,
	};
};

const verbs = {
	async figures(browser, socket, nojs) {
		const page = await open(browser, socket, { javaScriptEnabled: nojs !== "nojs" });
		console.log(JSON.stringify(await read(page)));
	},

	async cookies(browser, socket) {
		const cookies = ["a", "b", "c"].map((name) => ({ name, value: name.repeat(4095) }));
		const page = await open(browser, socket, { cookies });
		console.log(await page.evaluate(() => document.cookie.length));
	},

	async watch(browser, socket) {
		const page = await open(browser, socket, {});
		let last, ended = false;
		process.once("SIGTERM", () => { ended = true; });
		while (!ended) {
			// A part may be replaced while it is read.
			const now = await page.evaluate(() => ({
				used: Number(document.getElementById("used").textContent.replaceAll(",", "")),
				trouble: document.getElementById("status").classList.contains("trouble"),
				status: document.getElementById("status").textContent.replace(/\d+:\d+:\d+( [AP]M)? [A-Z]+([+-][\d:]+)?/, "TIME ZONE"),
				left: document.getElementById("left").textContent,
			}));
			const line = JSON.stringify(now);
			if (line !== last) console.log(line);
			last = line;
			await new Promise((resolve) => setTimeout(resolve, 100));
		}
	},

	async shot(browser, socket, file, width, height, scheme, seconds = "0") {
		const page = await open(browser, socket, { viewport: { width: Number(width), height: Number(height) }, colorScheme: scheme });
		await page.waitForTimeout(Number(seconds) * 1000);
		await page.screenshot({ path: file, fullPage: true });
		// Nothing sticks out at the side.
		const scroll = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
		if (scroll > 0) troubles.push(`wider than the screen by ${scroll} pixels`);
	},

	async axe(browser, socket, width, scheme) {
		const page = await open(browser, socket, { viewport: { width: Number(width), height: 900 }, colorScheme: scheme, bypassCSP: true });
		await page.addScriptTag({ path: fileURLToPath(new URL("node_modules/axe-core/axe.min.js", import.meta.url)) });
		const found = await page.evaluate(() => axe.run());
		if (found.passes.length === 0) troubles.push("axe: looked at nothing");
		for (const one of found.violations)
			(["serious", "critical"].includes(one.impact) ? troubles : { push: console.log }).push(`axe: ${one.impact}: ${one.id}: ${one.nodes.map((n) => n.target).join(", ")}`);
		console.log(`axe: ${found.passes.length} rules passed`);
	},

	async hide(browser, socket) {
		const page = await open(browser, socket, {});
		const set = (hidden) => page.evaluate((value) => {
			Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
			document.dispatchEvent(new Event("visibilitychange"));
		}, hidden);
		let asked = 0;
		page.on("request", () => { asked++; });
		await page.waitForRequest("**/", { timeout: 10000 });
		await set(true);
		await page.waitForTimeout(500);
		asked = 0;
		await page.waitForTimeout(5000);
		const hidden = asked;
		await Promise.all([page.waitForRequest("**/", { timeout: 1000 }), set(false)]);
		console.log(`hidden ${hidden}, shown ${asked}`);
	},

	async print(browser, file, width) {
		const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
		const colours = { 31: "#ff7b72", 32: "#4cc38a", 33: "#e0a93b", 34: "#5b9bff" };
		// ECMA-48, as far as a report needs it: what is set stays until it is set anew.
		let bold = false, faint = false, colour;
		const select = (n) => {
			if (n === 0) { bold = faint = false; colour = undefined; }
			else if (n === 1) bold = true;
			else if (n === 2) faint = true;
			else if (n === 22) bold = faint = false;
			else if (n >= 30 && n < 40) colour = colours[n];
		};
		const text = readFileSync(0, "utf8").trimEnd().split(/\x1b\[([0-9;]*)m/).map((part, i) => {
			if (i % 2 === 0) return escape(part);
			part.split(";").forEach((n) => select(Number(n)));
			return `</span><span style="font-weight:${bold ? "bold" : "normal"};color:${colour ?? (faint ? "#8b949e" : "inherit")}">`;
		}).join("");
		const page = await (await browser.newContext({ viewport: { width: Number(width), height: 100 } })).newPage();
		await page.setContent(`<body style="margin:0;padding:12px;background:#0f1318;color:#e8ebef"><pre style="margin:0;font:14px/1.2 'DejaVu Sans Mono',monospace"><span>${text}</span></pre>`);
		await page.screenshot({ path: file, fullPage: true });
	},
};

const [verb, ...words] = process.argv.slice(2);
if (!Object.hasOwn(verbs, verb)) {
	console.error(`browse ${verb}: no such verb`);
	process.exit(2);
}
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, handleSIGTERM: false });
try {
	await verbs[verb](browser, ...words);
} finally {
	await browser.close();
}
for (const trouble of troubles) console.error(trouble);
process.exit(troubles.length > 0 ? 1 : 0);
