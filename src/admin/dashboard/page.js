// The dashboard: follows api/v1/events and shows each picture. Names, reasons and hints come from
// files and from the network: they get into the page as text (textContent) and in no other way.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const wish = { search: "", sort: "requests", state: "", limit: 25, tenant: "" };
  let stream = null;       // the AbortController of the one that is read
  let failures = 0;        // in a row
  let again = 0;           // the timer of the next try
  let last = null;         // the picture that is shown
  const charts = new Map();   // "tenant:acme" → its history: it is not sent with every picture

  // Small things.

  const make = (name, kind, text) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const number = (value) => {
    if (value >= 1e6) return (value / 1e6).toFixed(1) + "M";
    if (value >= 1e4) return (value / 1e3).toFixed(1) + "k";
    if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
    return value.toFixed(value >= 10 ? 1 : 2);
  };
  const whole = (value) => value.toLocaleString("en");
  const time = (ms) => {
    if (ms === null || ms === undefined) return "–";
    if (ms >= 1000) return (ms / 1000).toFixed(ms >= 10000 ? 0 : 1) + " s";
    return ms >= 10 ? Math.round(ms) + " ms" : ms.toFixed(1) + " ms";
  };
  const span = (seconds) => {
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const at = Math.max(0, units.findIndex(([size]) => seconds >= size));
    const [size, unit] = seconds < 1 ? [1, "s"] : units[at];
    const rest = units[at + 1];
    const more = rest && at < 2 ? Math.floor((seconds % size) / rest[0]) : 0;
    return Math.floor(seconds / size) + " " + unit + (more ? " " + more + " " + rest[1] : "");
  };
  const since = (text) => span(Math.max(0, (Date.now() - Date.parse(text)) / 1000));

  // Charts: ten minutes from left to right, the newest point on the right.

  const POINTS = 120, HEIGHT = 30;
  const svg = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const places = (values, top) => {
    const all = values.map((value, at) => [POINTS - values.length + at + 1, HEIGHT - (value / top) * (HEIGHT - 2)]);
    return all.length === 1 ? [[POINTS - 1, all[0][1]], ...all] : all; // one point alone draws nothing
  };
  const path = (points) => points.map(([x, y], at) => (at ? "L" : "M") + x + " " + y.toFixed(2)).join("");
  const area = (points) => points.length
    ? path(points) + "L" + POINTS + " " + HEIGHT + "L" + points[0][0] + " " + HEIGHT + "Z" : "";
  const drawing = () => {
    const node = svg("svg", { class: "chart", viewBox: "0 0 " + POINTS + " " + HEIGHT, preserveAspectRatio: "none", role: "img" });
    node.append(svg("line", { class: "base", x1: 0, x2: POINTS, y1: HEIGHT, y2: HEIGHT }),
      svg("path", { class: "area" }), svg("path", { class: "line" }), svg("path", { class: "errors" }));
    return node;
  };
  const draw = (node, values, errors, label) => {
    const known = values.map((value) => value ?? 0);
    const top = Math.max(...known, ...(errors || []), 1e-9);
    const [, fill, line, wrong] = node.children;
    const points = places(known, top);
    fill.setAttribute("d", area(points));
    line.setAttribute("d", path(points));
    wrong.setAttribute("d", errors && errors.some((value) => value > 0) ? area(places(errors, top)) : "");
    node.setAttribute("aria-label", label);
  };
  const keep = (key, chart) => {
    if (chart) charts.set(key, chart);
    return charts.get(key) || { requests: [], errors: [], p99_ms: [] };
  };
  const most = (values) => Math.max(0, ...values.map((value) => value ?? 0));
  const peak = (values) => values.length ? "peak " + number(most(values)) + "/s" : "no history yet";

  // The stream, read by fetch so that it can carry a token.

  const open = async () => {
    clearTimeout(again);
    stream?.abort();
    const own = stream = new AbortController();
    const query = new URLSearchParams({ search: wish.search, sort: wish.sort, state: wish.state, limit: wish.limit, tenant: wish.tenant });
    const token = sessionStorage.getItem("token");
    try {
      const answer = await fetch("api/v1/events?" + query, {
        headers: token ? { authorization: "Bearer " + token } : {}, signal: own.signal, cache: "no-store",
      });
      if (answer.status === 401) return ask(Boolean(token));
      if (!answer.ok) throw new Error(await answer.json().then((problem) => problem.detail, () => "status " + answer.status));
      $("sign-in").hidden = true;
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      throw new Error("the stream ended");
    } catch (error) {
      if (own !== stream || own.signal.aborted) return;
      retry(error);
    }
  };
  const read = async (reader) => {
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (data) show(JSON.parse(data.slice(6)));
      }
      failures = 0;
    }
  };
  const retry = (error) => {
    failures += 1;
    const wait = Math.min(15, 2 ** failures);
    // A stream that ends after a while is opened again at once: nothing is wrong yet.
    const pause = failures === 1 ? 0.3 : wait;
    if (failures > 1) {
      state("bad", "no connection");
      say($("about"), error.message + "; next try in " + wait + " s" + (last ? "; below is what was seen at " + new Date(last.at).toLocaleTimeString() : ""));
      document.body.classList.add("stale");
    }
    again = setTimeout(open, pause * 1000);
  };
  const ask = (wrong) => {
    sessionStorage.removeItem("token");
    state("warn", wrong ? "the token is not right" : "token wanted");
    $("sign-in").hidden = false;
    $("token").focus();
  };
  const state = (kind, text) => {
    const pill = $("state");
    pill.className = "pill " + kind;
    say(pill, text);
  };

  // The parts of a picture.

  const show = (picture) => {
    last = picture;
    if (picture.total.chart) charts.clear(); // all that is shown comes with it
    document.body.classList.remove("stale");
    if (picture.unready) state("warn", picture.unready.includes("draining") ? "draining" : "not ready");
    else if (picture.problems_total || picture.serving_last_good) state("bad", "config problems");
    else if (picture.pools.ineligible) state("warn", "serving, endpoints out");
    else state("good", "serving");
    say($("about"), "generation " + picture.generation
      + (picture.live_since ? ", live for " + since(picture.live_since) : "")
      + " · version " + picture.version + " · up " + span(picture.uptime_seconds));
    document.title = (picture.problems_total || picture.pools.ineligible ? "⚠ " : "") + "Tenantry";
    showNotices(picture);
    showTotal(picture.total);
    showTenants(picture);
    showPools(picture.pools);
    showTenant(picture.tenant);
    document.body.dataset.generation = picture.generation;
  };

  let noticed = "";
  const showNotices = (picture) => {
    const seen = JSON.stringify([picture.problems, picture.problems_total, picture.serving_last_good, picture.failed_since, picture.needs_restart, picture.unready]);
    if (seen === noticed) return;
    noticed = seen;
    const notices = [];
    const notice = (kind, text) => { const node = make("div", "notice " + kind); node.append(make("b", "", text)); notices.push(node); return node; };
    if (picture.serving_last_good) notice("bad", "The routes were broken at the start: the last good ones, kept on disk, serve.");
    if (picture.problems_total) {
      const of = [...new Set(picture.problems.map((problem) => problem.of))].join(", ");
      const node = notice("bad", whole(picture.problems_total) + (picture.problems_total === 1 ? " problem" : " problems") + " (" + of + "): generation " + picture.generation + " still serves");
      if (picture.failed_since) node.append(make("span", "quiet", " since " + new Date(picture.failed_since).toLocaleTimeString()));
      const list = make("ul");
      for (const problem of picture.problems) {
        const item = make("li");
        item.append(make("code", "", problem.place), " ");
        if (problem.key) item.append(make("code", "", problem.key), ": ");
        item.append(problem.what);
        if (problem.hint) item.append(make("div", "quiet", "hint: " + problem.hint));
        list.append(item);
      }
      const left = picture.problems_total - picture.problems.length;
      if (left > 0) list.append(make("li", "", "and " + whole(left) + " more: see api/v1/config"));
      node.append(list);
    }
    if (picture.unready) notice("warn", picture.unready);
    if (picture.needs_restart.length) notice("warn", "Changed in gateway.toml, in effect after a restart: " + picture.needs_restart.join(", "));
    $("notices").replaceChildren(...notices);
  };

  const tile = (parent, name) => {
    const node = make("div", "tile");
    const [figure, beside, chart] = [make("div", "figure number"), make("div", "beside quiet"), drawing()];
    node.append(make("div", "quiet", name), figure, beside, chart);
    parent.append(node);
    return (value, unit, text, values, errors, label) => {
      figure.replaceChildren(value, " ", make("small", "", unit));
      say(beside, text);
      chart.toggleAttribute("hidden", !values);
      if (values) draw(chart, values, errors, label);
      return figure;
    };
  };
  const tiles = {};
  for (const name of ["Requests", "Errors", "Latency", "Open"]) tiles[name] = tile($("total"), name);
  const trio = (parts, rates, chart, over) => {
    const share = rates.requests_per_second ? 100 * rates.errors_per_second / rates.requests_per_second : 0;
    parts.Requests(number(rates.requests_per_second), "req/s", peak(chart.requests), chart.requests, null,
      "requests per second, ten minutes, at most " + number(most(chart.requests)));
    parts.Errors(number(rates.errors_per_second), "5xx/s", share.toFixed(share && share < 10 ? 1 : 0) + "% · 4xx " + number(rates.client_errors_per_second) + "/s", chart.errors, chart.errors,
      "answers of 5xx per second, ten minutes, at most " + number(most(chart.errors))).classList.toggle("wrong", rates.errors_per_second > 0);
    parts.Latency(time(rates.p99_ms), "p99", "p50 " + time(rates.p50_ms) + " · over " + Math.round(over) + " s", chart.p99_ms, null,
      "99 of 100 requests within, ten minutes, at most " + time(most(chart.p99_ms)));
  };
  const showTotal = (total) => {
    trio(tiles, total, keep("total", total.chart), total.rates_over_seconds);
    tiles.Open(whole(total.in_flight), "in flight", whole(total.connections) + (total.connections === 1 ? " connection" : " connections") + " · own answers " + number(total.own_answers_per_second) + "/s", null);
  };

  // A list keeps its rows: what has the focus or is open stays so. Its order rests while somebody
  // points at it.
  const hovers = matchMedia("(hover: hover)");
  const list = (parent, create) => {
    const rows = new Map();
    return (items, key) => {
      const wanted = new Set(items.map(key));
      for (const [name, row] of rows) if (!wanted.has(name)) { row.node.remove(); rows.delete(name); }
      const rests = hovers.matches && parent.matches(":hover") || parent.contains(document.activeElement);
      let before = null;
      for (const item of items) {
        let row = rows.get(key(item));
        const fresh = !row;
        if (fresh) { row = create(item); rows.set(key(item), row); }
        if (fresh && rests) parent.append(row.node);
        else if (!rests && row.node !== (before ? before.nextSibling : parent.firstChild)) parent.insertBefore(row.node, before ? before.nextSibling : parent.firstChild);
        before = row.node;
        row.update(item);
      }
    };
  };
  const cells = (node) => {
    const [name, title, words, badge, below, chart] = [make("span", "name"), make("b"), make("span", "words"), make("span", "badge"), make("small"), drawing()];
    const [requests, errors, latency] = [make("span", "number"), make("span", "number"), make("span", "number")];
    title.append(words, badge);
    name.append(title, below);
    node.append(name, chart, requests, errors, latency);
    return (text, tag, kind, under, item, history) => {
      say(words, text);
      say(badge, tag);
      badge.className = "badge " + kind;
      say(below, under);
      say(requests, number(item.requests_per_second));
      say(errors, number(item.errors_per_second));
      errors.classList.toggle("wrong", item.errors_per_second > 0);
      say(latency, time(item.p99_ms));
      draw(chart, history.requests, history.errors, "ten minutes, at most " + number(most(history.requests)) + " requests per second");
      node.title = text;
    };
  };

  const tenantRows = list($("tenants").querySelector(".rows"), (tenant) => {
    const [item, button] = [make("li"), make("button", "row")];
    button.type = "button";
    button.addEventListener("click", () => { location.hash = "tenant=" + encodeURIComponent(tenant.id); });
    item.append(button);
    const fill = cells(button);
    return { node: item, update: (now) => fill(now.id, now.state === "active" ? "" : now.state, "",
      [now.pool, ...now.hosts].filter(Boolean).join(" · "), now, keep("tenant:" + now.id, now.chart)) };
  });
  const showTenants = (picture) => {
    const page = picture.tenants;
    const section = $("tenants");
    const narrowed = page && page.matching !== page.total;
    say(section.querySelector(".count"), page ? (narrowed ? whole(page.matching) + " of " : "") + whole(page.total) : "");
    say($("tabs").children[0], "Tenants" + (page ? " " + whole(page.matching) : ""));
    tenantRows(page ? page.tenants : [], (tenant) => tenant.id);
    const more = section.querySelector(".more");
    const text = !page ? "No routes are live yet." : !page.total ? "There are no tenants."
      : !page.matching ? "No tenant matches." : page.tenants.length < page.matching
        ? "The first " + whole(page.tenants.length) + " of " + whole(page.matching) + "." + (wish.limit >= 100 ? " Search for others." : "") : "";
    if (more.firstChild?.data !== text) {
      more.replaceChildren(text);
      if (page && page.next && wish.limit < 100) {
        const button = make("button", "", "Show more");
        button.type = "button";
        button.addEventListener("click", () => { wish.limit = 100; open(); });
        more.append(button);
      }
    }
  };

  // Out, or about to be: nobody should have to open a list to see it.
  const isOut = (endpoint) => ["down", "ejected", "trial", "pending", "drained"].includes(endpoint.state) || endpoint.failures >= 3;
  const endpointLine = (endpoint) => {
    const item = make("li");
    item.append(make("span", "dot " + (isOut(endpoint) && endpoint.failures ? "failing " : "") + endpoint.state), make("b", "", endpoint.address), " " + endpoint.state);
    if (endpoint.reason) item.append(": " + endpoint.reason);
    if (endpoint.failures) item.append(make("span", "wrong", " · " + whole(endpoint.failures) + " failed in a row"));
    item.append(make("span", "quiet", " · " + whole(endpoint.in_flight) + " in flight · from " + endpoint.origin));
    return item;
  };
  const poolRows = list($("pools").querySelector(".rows"), () => {
    const [item, row, inside] = [make("li"), make("div", "row"), make("div", "inside")];
    const [out, details, summary, others] = [make("ul"), make("details"), make("summary"), make("ul")];
    details.append(summary, others);
    inside.append(out, details);
    item.append(row, inside);
    const fill = cells(row);
    let seen = "";
    return { node: item, update: (pool) => {
      const tag = !pool.size ? "no endpoints" : pool.panicking ? "all used: too few healthy" : pool.ineligible ? pool.ineligible + " out" : "";
      fill(pool.name, tag, pool.panicking || pool.ineligible === pool.size ? "bad" : "",
        whole(pool.size - pool.ineligible) + " of " + whole(pool.size) + " endpoints in use", pool, keep("pool:" + pool.name, pool.chart));
      const now = JSON.stringify([pool.endpoints, pool.sources]);
      if (now === seen) return;
      seen = now;
      const lines = pool.endpoints.filter(isOut).map(endpointLine);
      for (const source of pool.sources) {
        if (!source.error && !source.waiting) continue;
        const line = make("li");
        line.append(make("span", "dot " + (source.error ? "down" : "pending")), make("b", "", source.name), source.error ? " failed: " + source.error + "; what it named before stays" : " has not answered yet");
        lines.push(line);
      }
      out.replaceChildren(...lines);
      const rest = pool.endpoints.filter((endpoint) => !isOut(endpoint)).map(endpointLine);
      details.hidden = !rest.length;
      say(summary, whole(rest.length) + (rest.length === 1 ? " endpoint" : " endpoints") + " in use");
      const hidden = pool.size - pool.endpoints.length;
      if (hidden > 0) rest.push(make("li", "quiet", "and " + whole(hidden) + " more: see api/v1/pools"));
      others.replaceChildren(...rest);
    } };
  });
  const showPools = (pools) => {
    const out = pools.ineligible ? ", " + whole(pools.ineligible) + " of " + whole(pools.endpoints) + " endpoints out" : ", " + whole(pools.endpoints) + " endpoints";
    say($("pools").querySelector(".count"), (pools.matching !== pools.total ? whole(pools.matching) + " of " : "") + whole(pools.total) + out);
    say($("tabs").children[1], "Pools " + whole(pools.matching) + (pools.ineligible ? " · " + whole(pools.ineligible) + " out" : ""));
    poolRows(pools.rows, (pool) => pool.name);
    const left = pools.matching - pools.rows.length;
    say($("pools").querySelector(".more"), !pools.total ? "There are no pools." : !pools.matching ? "No pool matches." : left > 0 ? "and " + whole(left) + " more, none in more trouble than these" : "");
  };

  // One tenant, looked at closely: its id is in the address, so that it can be sent to a colleague.
  const closer = {};
  const openTenant = (id) => {
    wish.tenant = id;
    say($("tenant-title"), id);
    const body = $("tenant-body");
    const [box, facts, note] = [make("div", "tiles"), make("dl"), make("p", "quiet", "loading")];
    body.replaceChildren(note, box, facts);
    box.hidden = true;
    for (const name of ["Requests", "Errors", "Latency"]) closer[name] = tile(box, name);
    Object.assign(closer, { box, facts, note, seen: "" });
    if (!$("tenant").open) $("tenant").showModal();
  };
  const showTenant = (tenant) => {
    if (!wish.tenant) return;
    if (!tenant || tenant.id !== wish.tenant) {
      closer.box.hidden = true;
      closer.facts.replaceChildren();
      return say(closer.note, "There is no tenant of this id in generation " + last.generation + ".");
    }
    closer.box.hidden = false;
    const states = {
      active: "active", suspended: "suspended: every request is answered 403",
      maintenance: "in maintenance: 503, clients may come again after " + span(tenant.retry_after_seconds || 0),
      quarantined: "quarantined: every request is answered 503, as its file was never good",
    };
    say(closer.note, states[tenant.state] + (tenant.quarantined_by ? " · " + tenant.quarantined_by + " is broken" : ""));
    trio(closer, tenant, tenant.chart, tenant.rates_over_seconds);
    const facts = [
      ["Pool", tenant.pool || "none"], ["All its pools", tenant.pools.join(", ") || "none"],
      ["Hosts", tenant.hosts.join(", ") || "none of its own"],
      ["Routes", whole(tenant.routes) + (tenant.route_sets.length ? " and those of " + tenant.route_sets.join(", ") : "")],
      ["Since the start", tenant.since_start ? whole(tenant.since_start.requests) + " requests, " + whole(tenant.since_start.errors) + " answered 5xx"
        : "no sum of its own: no request yet, or it is counted with others under _other (metrics.tenants)"],
    ];
    if (tenant.plan) facts.unshift(["Plan", tenant.plan]);
    if (tenant.sample) facts.push(["Log sample", tenant.sample]);
    if (tenant.error_pages) facts.push(["Error pages", "its own"]);
    const now = JSON.stringify(facts);
    if (now === closer.seen) return;
    closer.seen = now;
    closer.facts.replaceChildren(...facts.flatMap(([name, text]) => [make("dt", "", name), make("dd", "", text)]));
  };
  const follow = () => {
    const id = new URLSearchParams(location.hash.slice(1)).get("tenant") || "";
    if (id === wish.tenant) return false;
    if (id) openTenant(id);
    else { wish.tenant = ""; if ($("tenant").open) $("tenant").close(); }
    return true;
  };
  addEventListener("hashchange", () => { if (follow()) open(); });
  const leave = () => { if (location.hash) history.pushState(null, "", location.pathname + location.search); if (follow()) open(); };
  $("close").addEventListener("click", leave);
  $("tenant").addEventListener("close", leave);
  $("tenant").addEventListener("click", (event) => { if (event.target === $("tenant")) leave(); });

  // What the reader wishes.
  let typing = 0;
  const wished = () => {
    Object.assign(wish, { search: $("search").value.trim(), sort: $("sort").value, state: $("which").value, limit: 25 });
    open();
  };
  $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(wished, 200); });
  for (const id of ["sort", "which"]) $(id).addEventListener("change", wished);
  $("filter").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); wished(); });
  $("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value);
    $("token").value = "";
    open();
  });
  for (const button of $("tabs").children) {
    button.addEventListener("click", () => {
      $("lists").dataset.shown = button.dataset.list;
      for (const other of $("tabs").children) other.setAttribute("aria-pressed", String(other === button));
    });
  }
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) { event.preventDefault(); $("search").focus(); }
  });
  // A page that nobody sees reads nothing: a phone in a pocket, a tab in the background.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(again); stream?.abort(); } else { failures = 0; open(); }
  });
  follow();
  open();
})();
