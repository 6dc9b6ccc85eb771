"use strict";
/* The page is fetched again, and its parts replace ours: there is one rendering. What is kept here is what was seen. */
const EVERY = 2000, KEPT = 600000, PACE = 120000, PATIENCE = 10000, PARTS = ["verdict", "nearest", "pool", "destinations", "states", "map", "scan"];
const $ = (id) => document.getElementById(id);
let samples = [], timer, busy = false, failedSince;

const say = (text, trouble) => {
	const status = $("status");
	if (status.textContent !== text) status.textContent = text;
	status.classList.toggle("trouble", trouble);
};

const clock = (at) => new Date(at).toLocaleTimeString();

const remember = (page) => {
	const seen = page.getElementById("verdict").dataset, now = Date.now();
	samples = samples.filter((s) => s.at > now - KEPT);
	samples.push({ at: now, total: +seen.total, used: +seen.used, nearest: +seen.nearest });
};

/* A line of shares of the pool, with gaps where nobody looked. */
const line = (now, name) => samples.map((s, i) => {
	const gap = i === 0 || s.at - samples[i - 1].at > 3 * EVERY;
	const x = 600 - (now - s.at) / 1000, y = 120 - 120 * (s.total ? s[name] / s.total : 1);
	return (gap ? "M" : "L") + x.toFixed(1) + " " + y.toFixed(1) + (gap ? "h.1" : "");
}).join("");

const words = (seconds) => {
	if (seconds < 90) return Math.max(1, Math.round(seconds)) + " seconds";
	if (seconds < 5400) return Math.round(seconds / 60) + " minutes";
	return Math.round(seconds / 3600) + " hours";
};

/* Ports a second by least squares over the last two minutes. */
const pace = (now) => {
	const some = samples.filter((s) => s.at > now - PACE), n = some.length;
	if (n < 5) return NaN;
	const mt = some.reduce((sum, s) => sum + s.at, 0) / n, mv = some.reduce((sum, s) => sum + s.nearest, 0) / n;
	const over = some.reduce((sum, s) => sum + (s.at - mt) * (s.nearest - mv), 0);
	return 1000 * over / some.reduce((sum, s) => sum + (s.at - mt) ** 2, 0);
};

const left = (now) => {
	const { total, nearest } = samples[samples.length - 1], rate = pace(now), seconds = (total - nearest) / rate;
	if (nearest >= total) return "Nothing is left towards the nearest destination.";
	if (Number.isNaN(rate)) return "How long the ports last is known in a few seconds.";
	if (rate < 0.01 || seconds > 172800) return "At the pace of the last two minutes the ports do not run out.";
	return "At the pace of the last two minutes, " + rate.toFixed(rate < 10 ? 1 : 0) + " ports a second, the nearest destination is exhausted in " + words(seconds) + ".";
};

const draw = () => {
	const now = Date.now();
	$("history").hidden = false;
	$("line-used").setAttribute("d", line(now, "used"));
	$("line-nearest").setAttribute("d", line(now, "nearest"));
	$("left").textContent = left(now);
};

const fetchPage = async () => {
	const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
	const text = await answer.text();
	if (!answer.ok) throw new Error(text.trim().replace(/\n/g, ": "));
	const page = new DOMParser().parseFromString(text, "text/html");
	if (!PARTS.every((id) => page.getElementById(id))) throw new Error("not this page any more: load it again");
	return page;
};

const trouble = (error) => {
	failedSince ??= Date.now();
	/* fetch() says TypeError where nobody answers, and AbortSignal says TimeoutError. */
	const unreachable = error instanceof TypeError || error.name === "TimeoutError";
	say((unreachable ? "The sidecar cannot be reached since " : "No figures since ") + clock(failedSince) +
		(unreachable ? "" : " (" + error.message + ")") + "; what you see is older.", true);
};

const refresh = async () => {
	if (busy || document.hidden) return;
	busy = true;
	try {
		const page = await fetchPage();
		for (const id of PARTS) $(id).replaceWith(document.adoptNode(page.getElementById(id)));
		failedSince = undefined;
		say("Figures of " + clock(Date.now()) + ", renewed every two seconds", false);
		remember(document);
		draw();
	} catch (error) {
		trouble(error);
	}
	busy = false;
};

const watch = () => {
	clearInterval(timer);
	if (document.hidden) return;
	timer = setInterval(refresh, EVERY);
	refresh();
};

remember(document);
draw();
document.addEventListener("visibilitychange", watch);
watch();
