"use strict";
/* The page is fetched again, and its parts replace ours: there is one rendering. What is kept here is what was seen. */
const EVERY = 2000, KEPT = 600000, PACE = 120000, PATIENCE = 10000, HORIZON = 172800, PARTS = ["verdict", "nearest", "pool", "destinations", "states", "map", "scan"];
const $ = (id) => document.getElementById(id);
let samples = [], timer, busy = false, failedSince;

const say = (text, trouble) => {
	const status = $("status");
	if (status.textContent !== text) status.textContent = text;
	status.classList.toggle("trouble", trouble);
};

const clock = (at) => new Date(at).toLocaleTimeString([], { timeZoneName: "short" });

const remember = (page) => {
	const seen = page.getElementById("verdict").dataset, now = Date.now();
	/* A clock may be set back. */
	samples = samples.filter((s) => s.at > now - KEPT && s.at <= now);
	samples.push({ at: now, total: +seen.total, used: +seen.used, nearest: +seen.nearest });
};

/* A line of shares of the pool, with gaps where nobody looked. */
const line = (now, name) => samples.map((s, i) => {
	const gap = i === 0 || s.at - samples[i - 1].at > 3 * EVERY;
	const x = 600 - (now - s.at) / 1000, y = 120 - 120 * (s.total ? s[name] / s.total : 1);
	return (gap ? "M" : "L") + x.toFixed(1) + " " + y.toFixed(1) + (gap ? "h.1" : "");
}).join("");

/* report.c has the same words, and trend.c the same line. */
const words = (seconds) => {
	if (seconds < 90) return seconds + (seconds === 1 ? " second" : " seconds");
	if (seconds < 5400) return Math.round(seconds / 60) + " minutes";
	return Math.round(seconds / 3600) + " hours";
};

/* Ports a second, by least squares over the last two minutes in which the pool had its present size. */
const pace = (some) => {
	const n = some.length, mt = some.reduce((sum, s) => sum + s.at, 0) / n, mv = some.reduce((sum, s) => sum + s.nearest, 0) / n;
	const over = some.reduce((sum, s) => sum + (s.at - mt) * (s.nearest - mv), 0), under = some.reduce((sum, s) => sum + (s.at - mt) ** 2, 0);
	return under > 0 ? 1000 * over / under : 0;
};

const left = (now) => {
	if ($("verdict").dataset.bound === "lower") return "How long the ports last cannot be estimated: not every port in use can be seen.";
	const { total, nearest } = samples.at(-1), some = samples.filter((s) => s.at >= now - PACE);
	const same = some.slice(some.findLastIndex((s) => s.total !== total) + 1);
	if (same.length < 5) return "How long the ports last can be estimated in a few seconds.";
	if (nearest >= total) return "Nothing is left towards the nearest destination.";
	const rate = pace(same), span = "At the pace of the last " + words(Math.floor((now - same[0].at) / 1000));
	if (rate * HORIZON < total - nearest) return span + " connections to the nearest destination do not take all ports within two days.";
	return span + ", " + rate.toFixed(rate < 0.1 ? 3 : rate < 10 ? 1 : 0) + " ports a second, the nearest destination is exhausted in " + words(Math.ceil((total - nearest) / rate)) + ".";
};

const draw = () => {
	const now = samples.at(-1).at;
	$("history").hidden = false;
	$("line-used").setAttribute("d", line(now, "used"));
	$("line-nearest").setAttribute("d", line(now, "nearest"));
	$("left").textContent = left(now);
};

const fetchPage = async () => {
	const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
	const text = await answer.text();
	if (!answer.ok) throw new Error(text.trim().replace(/\n/g, ": ") || answer.status + " " + answer.statusText);
	const page = new DOMParser().parseFromString(text, "text/html");
	if (!PARTS.every((id) => page.getElementById(id))) throw new Error("not this page any more: load it again");
	/* Behind a forwarded port there may be another pod by now. */
	if (page.title !== document.title) throw new Error("this is " + page.title + " now: load it again");
	return page;
};

const trouble = (error) => {
	if (!failedSince) announce("No new figures");
	failedSince ??= Date.now();
	/* fetch() says TypeError where nobody answers, and AbortSignal says TimeoutError. */
	const unreachable = error instanceof TypeError || error.name === "TimeoutError";
	say((unreachable ? "The sidecar cannot be reached since " : "No figures since ") + clock(failedSince) +
		(unreachable ? "" : " (" + error.message + ")") + "; what you see is older.", true);
};

/* What somebody is about to copy stays. */
const isSelected = (part) => {
	const selection = getSelection();
	return !selection.isCollapsed && selection.containsNode(part, true);
};

/* For who hears the page: what changes with every look would be said with every look. */
const announce = (news) => { $("news").textContent = news; };

const refresh = async () => {
	if (busy || document.hidden) return;
	busy = true;
	try {
		const page = await fetchPage(), verdict = $("verdict").firstElementChild.textContent;
		const selected = PARTS.filter((id) => isSelected($(id)));
		remember(page);
		for (const id of PARTS) if (!selected.includes(id)) $(id).replaceWith(document.adoptNode(page.getElementById(id)));
		if ($("verdict").firstElementChild.textContent !== verdict) announce($("verdict").firstElementChild.textContent);
		failedSince = undefined;
		say("Figures of " + clock(Date.now()) + (selected.length ? ", but for what is selected" : ", renewed every two seconds"), false);
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
