"use strict";
// Shows what /events tells. It writes text only: names of files come from elsewhere, and may be anything.
(() => {
  const token = new URLSearchParams(location.search).get("token");
  const SAMPLES = 60;
  const OPERATIONS = { list_path: "listing", create_remote_digest: "digest", retrieve_file: "first bytes" };
  const STATES = {
    idle: "not used yet", ok: "works", slow: "slow", failing: "fails",
    unreachable: "no answer", unauthorized: "login refused",
  };
  const at = (id) => document.getElementById(id);

  const make = (tag, className, ...inside) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...inside);
    return made;
  };

  const bytes = (count) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
    return `${unit && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
  };
  const seconds = (time) => time < 1 ? `${Math.max(1, Math.round(time * 1000))} ms` : `${time.toFixed(1)} s`;
  const many = (count, one, more) => `${count} ${count === 1 ? one : more}`;

  // What a source has done between two statuses: bytes a second of the last minute, and how long answers took.
  const pasts = new Map();
  const remember = (name, source, now) => {
    const past = pasts.get(name) ?? { rates: [], latency: {} };
    if (past.at && now > past.at) {
      const rate = Math.max(0, source.bytes_retrieved - past.bytes) / ((now - past.at) / 1000);
      past.rates = [...past.rates, rate].slice(-SAMPLES);
    }
    for (const [operation, { latency }] of Object.entries(source.operations)) {
      const count = latency.counts.reduce((sum, more) => sum + more, 0);
      const before = past.latency[operation] ?? { count: 0, seconds: 0, mean: null };
      const news = count - before.count;
      const mean = news > 0 ? (latency.seconds - before.seconds) / news : before.mean;
      past.latency[operation] = { count, seconds: latency.seconds, mean };
    }
    past.at = now;
    past.bytes = source.bytes_retrieved;
    pasts.set(name, past);
    return past;
  };

  const plot = (rates, label) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 10`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    const most = Math.max(1, ...rates);
    const first = SAMPLES - rates.length;
    line.setAttribute("points", rates.map((rate, n) => `${first + n},${(9.5 - 9 * rate / most).toFixed(2)}`).join(" "));
    svg.append(line);
    return svg;
  };

  const card = (name, source, now) => {
    const past = remember(name, source, now);
    const rate = past.rates.at(-1) ?? 0;
    const since = new Date(source.since);
    const inside = [
      make("div", "head", make("h3", "", name), make("span", `state ${source.state}`, STATES[source.state] ?? source.state)),
      make("p", "faint", `${source.type}, since ${since.toLocaleTimeString()}`),
    ];
    if (!["ok", "idle"].includes(source.state) && source.last_error) inside.push(make("p", "error", source.last_error));
    for (const note of source.notes) inside.push(make("p", "faint", note));
    const latencies = Object.entries(OPERATIONS)
      .filter(([operation]) => (past.latency[operation]?.mean ?? null) !== null)
      .map(([operation, words]) => make("span", "", `${words} `, make("b", "", seconds(past.latency[operation].mean))));
    inside.push(make("div", "numbers",
      make("span", "", make("b", "", `${bytes(rate)}/s`)), make("span", "", `${bytes(source.bytes_retrieved)} in all`), ...latencies));
    if (source.errors > 0) inside.push(make("p", "faint", many(source.errors, "request has failed", "requests have failed")));
    inside.push(plot(past.rates, `bytes a second in the last minute, now ${bytes(rate)}`));
    return make("article", "card", ...inside);
  };

  const waiting = ([name, { waiting }]) => {
    const who = waiting.names.length ? waiting.names.join(", ") : many(waiting.programs, "program", "programs");
    const more = waiting.programs - waiting.names.length;
    const left = waiting.seconds_left === null ? "" : `, at most ${Math.round(waiting.seconds_left)} s more`;
    return make("li", "",
      make("b", "", waiting.programs ? who : "No program"), waiting.names.length && more > 0 ? ` and ${more} more` : "",
      ` ${waiting.programs > 1 ? "wait" : "waits"} for `, make("b", "", name), `, silent for ${Math.round(waiting.seconds)} s${left}`,
      make("p", "faint", waiting.for));
  };

  // Each file once: several requests may retrieve it, of which the one that is furthest counts.
  const files = (transfers) => {
    const furthest = new Map();
    for (const one of transfers) {
      const known = furthest.get(one.path);
      if (!known || one.start + one.arrived > known.start + known.arrived) furthest.set(one.path, one);
    }
    return [...furthest.values()].sort((one, other) => (one.path < other.path ? -1 : 1));
  };

  const transfer = (name, one) => {
    const position = one.start + one.arrived;
    const total = one.size ?? one.end;
    const bar = make("progress");
    if (total) { bar.max = total; bar.value = position; }
    bar.setAttribute("aria-label", `${name}${one.path}`);
    const how = total ? `${bytes(position)} of ${bytes(total)}` : bytes(one.arrived);
    return make("li", "", make("b", "", name), one.path, make("p", "faint", how), bar);
  };

  const fill = (id, items, none) => at(id).replaceChildren(...(items.length ? items : [make("li", "none", none)]));

  const show = (status) => {
    const now = performance.now();
    const sources = Object.entries(status.sources);
    document.title = `${status.mountpoint} · kitovufs`;
    at("place").textContent = `${status.mountpoint} · version ${status.version}`;
    at("sources").replaceChildren(...sources.map(([name, source]) => card(name, source, now)));
    fill("waits", sources.filter(([, source]) => source.waiting).map(waiting), "Nobody waits.");
    const transfers = sources.flatMap(([name, source]) => files(source.transfers).map((one) => transfer(name, one)));
    fill("transfers", transfers, "Nothing is being retrieved.");
    const { cache } = status;
    const bar = make("progress");
    bar.max = cache.max_bytes || 1;
    bar.value = cache.bytes;
    bar.setAttribute("aria-label", "room that the cache takes");
    const opens = cache.hits + cache.misses;
    const share = opens ? ` (${Math.round(100 * cache.hits / opens)} %)` : "";
    at("cache").replaceChildren(
      make("div", "", `${bytes(cache.bytes)} of ${bytes(cache.max_bytes)} in ${many(cache.copies, "copy", "copies")}`),
      bar,
      make("div", "numbers",
        make("span", "", make("b", "", cache.hits), ` hits${share}`), make("span", "", make("b", "", cache.misses), " misses"),
        make("span", "", make("b", "", cache.evicted), " evicted"), make("span", "", make("b", "", bytes(cache.pinned_bytes)), " pinned"),
        make("span", "", make("b", "", cache.quarantined), " quarantined")),
      ...(cache.no_room ? [make("p", "error", `no room: ${cache.no_room}`)] : []));
    document.querySelector("main").hidden = false;
  };

  const say = (text, isLost) => {
    if (at("connection").textContent !== text) at("connection").textContent = text;
    at("connection").classList.toggle("lost", isLost);
  };

  const follow = async () => {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch("events", { headers, cache: "no-store" });
    if (!response.ok) throw new Error(await response.text());
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("the mount has ended");
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      const latest = events.at(-1);
      if (latest) {
        show(JSON.parse(latest.slice("data: ".length)));
        say("live", false);
      }
    }
  };

  const keepFollowing = async () => {
    for (;;) {
      try {
        await follow();
      } catch (error) {
        say(`no connection: ${error.message.trim()}; trying again`, true);
      }
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  };

  // The links need the token too.
  if (token) for (const link of document.querySelectorAll("footer a")) link.search = new URLSearchParams({ token });
  keepFollowing();
})();
