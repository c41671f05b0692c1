"use strict";

// Asks the relay for its state once a second and puts it into the page. Everything becomes a text node or an attribute that
// holds no code, so whatever an endpoint said is shown as it was said.

const PERIOD = 1000;
const SMOOTHING = 3000; // A rate is the mean of so many milliseconds.
const LONGEST_STEP = 6000; // Between moments that are further apart, a line is broken.

const LOSSES = [
  ["evicted", "made room for newer ones in a full spool"],
  ["not_written", "could not be written to the spool"],
  ["buffer_full", "came faster than the disk takes them"],
  ["encode_failed", "could not be encoded"],
  ["expired", "waited longer than they are kept"],
  ["corrupt", "were damaged on disk"],
  ["bad_frame", "were not of their listener's protocol"],
  ["cut", "were cut off by their client"],
  ["too_large", "were above a limit"],
];
const DROPS = [
  ["bad_frame", "not of the listener's protocol"],
  ["bad_request", "not of HTTP or of a protocol"],
  ["cut", "the connection ended within it"],
  ["slow", "took too long to come"],
  ["too_large", "above the limit"],
  ["buffer_full", "no room in the buffer"],
  ["unavailable", "not on disk in time, the client was told"],
  ["duplicate", "stored already, sent again"],
  ["unauthorized", "credentials missing or wrong"],
  ["cross_site", "sent by another site's page"],
  ["loop", "sent by this relay itself"],
];

// Words for numbers.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const count = (n) => (n == null ? "–" : whole.format(n));
const brief = (n) => (n == null ? "–" : Math.abs(n) < 10000 ? whole.format(Math.round(n)) : short.format(n));
const rate = (n) => (n == null ? "–" : n > 0 && n < 10 ? n.toFixed(1) : brief(n));

function size(bytes) {
  if (bytes == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${unit > 0 && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

// The two largest units, of which the smaller is left out where it is 0.
function time(millis) {
  if (millis == null) return "–";
  const s = Math.floor(millis / 1000);
  const [large, small] = s < 3600 ? [[60, "min"], [1, "s"]] : s < 86400 ? [[3600, "h"], [60, "min"]] : [[86400, "d"], [3600, "h"]];
  const parts = [[Math.floor(s / large[0]), large[1]], [Math.floor((s % large[0]) / small[0]), small[1]]];
  return parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(" ") || "0 s";
}

// The page.

const at = (id) => document.getElementById(id);

function write(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
  return node;
}

function make(tag, attributes = {}, ...children) {
  const node = mark(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}

function draw(tag, attributes, text) {
  const node = mark(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
  if (text != null) node.textContent = text;
  return node;
}

// Lays out `place` anew where `shape` has changed since, so that a selection and a reader's place survive each second.
function once(place, shape, build) {
  const key = JSON.stringify(shape);
  if (place.shape === key) return;
  place.shape = key;
  place.replaceChildren(...build());
}

// A table: `columns` are its heads; a row is a list of cells, of which the first heads it, or `{group: text}`. A cell is a text, or
// `[text, tone]`, or for a head `[text, explanation]`. The roles say what styles for narrow windows would hide.
function table(place, caption, columns, rows) {
  const shape = [columns, rows.map((row) => (row.group == null ? row[0] : null))];
  once(place, shape, () => {
    const heads = columns.map((text) => make("th", { scope: "col", role: "columnheader" }, text));
    const body = rows.map((row) => {
      if (row.group != null) {
        const group = make("th", { scope: "rowgroup", role: "rowheader", colspan: columns.length });
        return make("tr", { role: "row", class: "group" }, group);
      }
      const [name, explanation] = [row[0]].flat();
      const head = make("th", { scope: "row", role: "rowheader", "data-label": columns[0] }, name);
      if (explanation) head.append(make("small", {}, explanation));
      const cells = row.slice(1).map((_, i) => make("td", { role: "cell", "data-label": columns[i + 1] }));
      return make("tr", { role: "row" }, head, ...cells);
    });
    const whole = make("table", { role: "table" },
      make("caption", {}, caption),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
      make("tbody", { role: "rowgroup" }, ...body));
    return [whole];
  });
  const lines = place.querySelectorAll("tbody tr");
  rows.forEach((row, i) => {
    if (row.group != null) return write(lines[i].firstChild, row.group);
    row.slice(1).forEach((cell, j) => {
      const [text, tone] = [cell].flat();
      const node = lines[i].children[j + 1];
      write(node, text);
      mark(node, { "data-tone": tone });
    });
  });
}

// The last minutes.

const moments = new Map(); // signal: rows of [moment, accepted, delivered, lost, pending, oldest]
let span = 300000;

function remember(state) {
  for (const s of state.signals) {
    const rows = moments.get(s.signal) ?? [];
    moments.set(s.signal, rows);
    if (rows.length === 0 || rows[rows.length - 1][0] < state.uptime) {
      rows.push([state.uptime, s.accepted, s.delivered, s.lost_total, s.pending, s.oldest]);
    }
    while (rows[0][0] < state.uptime - span) rows.shift();
  }
}

// The moments of the signals of this name, or of all: `{at, in, out, pending, oldest}`.
function series(signal) {
  const sums = new Map();
  for (const [name, rows] of moments) {
    if (signal !== "" && name !== signal) continue;
    for (const row of rows) {
      const sum = sums.get(row[0]);
      if (!sum) sums.set(row[0], row.slice());
      else {
        for (const i of [1, 2, 3, 4]) sum[i] += row[i];
        sum[5] = sum[5] == null && row[5] == null ? null : Math.max(sum[5] ?? 0, row[5] ?? 0);
      }
    }
  }
  const rows = [...sums.values()].sort((a, b) => a[0] - b[0]);
  let back = 0;
  return rows.map((row, i) => {
    while (back + 1 < i && rows[back + 1][0] <= row[0] - SMOOTHING) back++;
    const took = (row[0] - rows[back][0]) / 1000;
    const per = (column) => (took > 0 ? Math.max(0, row[column] - rows[back][column]) / took : null);
    return { at: row[0], in: per(1), out: per(2), pending: row[4], oldest: (row[5] ?? 0) / 1000 };
  });
}

// The plots.

const seconds = (n) => (n == null ? "–" : time(n * 1000));
const TIMES = [10, 20, 40, 60, 120, 240, 600, 1200, 2400, 3600, 7200, 14400, 43200];

// The top of a scale: the least round number that is not below `n`.
function aboveCount(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(n, 10)));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= n);
}

const aboveTime = (n) => TIMES.find((top) => top >= n) ?? Math.ceil(n / 86400) * 86400;

const PLOTS = [
  { title: "Throughput", unit: "records per second", say: rate, above: aboveCount, lines: [["in", "in", "area"], ["out", "out", "line"]] },
  { title: "Backlog", unit: "records that wait", say: brief, above: aboveCount, lines: [["pending", "waiting", "area"]] },
  { title: "Oldest record", unit: "time in the spool", say: seconds, above: aboveTime, lines: [["oldest", "oldest", "area"]] },
];

function prepare(plot) {
  plot.values = plot.lines.map(() => make("b"));
  plot.when = make("span", { class: "when" });
  plot.svg = draw("svg", { role: "img" });
  const keys = plot.lines.map(([key, name], i) => make("span", { class: "key", "data-line": key }, `${name} `, plot.values[i]));
  const caption = make("figcaption", {}, make("strong", {}, plot.title), ` ${plot.unit}`, make("span", { class: "keys" }, ...keys, plot.when));
  plot.svg.addEventListener("pointermove", (event) => {
    plot.pointer = event.clientX - plot.svg.getBoundingClientRect().left;
    paint(plot);
  });
  plot.svg.addEventListener("pointerleave", () => {
    plot.pointer = null;
    paint(plot);
  });
  return make("figure", {}, caption, plot.svg);
}

function paint(plot) {
  const rows = plot.rows ?? [];
  const [width, height, left, right, top, bottom] = [plot.svg.clientWidth || 320, 150, 46, 8, 8, 20];
  const now = rows.length ? rows[rows.length - 1].at : 0;
  const highest = plot.above(Math.max(0, ...rows.flatMap((row) => plot.lines.map(([key]) => row[key] ?? 0))));
  const x = (moment) => left + ((moment - now + span) / span) * (width - left - right);
  const y = (value) => top + (1 - value / highest) * (height - top - bottom);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const level = y(highest * share);
    parts.push(draw("line", { x1: left, x2: width - right, y1: level, y2: level, class: share ? "grid" : "axis" }));
    parts.push(draw("text", { x: left - 6, y: level + 4, "text-anchor": "end" }, plot.say(highest * share)));
  }
  for (let minute = 0; minute <= span / 60000; minute++) {
    const label = minute === 0 ? "now" : minute === span / 60000 ? `−${minute} min` : `−${minute}`;
    const anchor = minute === 0 ? "end" : minute === span / 60000 ? "start" : "middle";
    parts.push(draw("text", { x: x(now - minute * 60000), y: height - 4, "text-anchor": anchor }, label));
  }
  for (const [key, , kind] of plot.lines) {
    const pieces = [];
    rows.forEach((row, i) => {
      if (row[key] == null) return;
      if (!pieces.length || row.at - rows[i - 1].at > LONGEST_STEP) pieces.push([]);
      pieces[pieces.length - 1].push([x(row.at), y(row[key])]);
    });
    for (const piece of pieces) {
      const line = "M" + piece.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
      const [from, to] = [piece[0][0].toFixed(1), piece[piece.length - 1][0].toFixed(1)];
      if (kind === "area") parts.push(draw("path", { d: `${line}L${to},${y(0)}L${from},${y(0)}Z`, class: "area", "data-line": key }));
      parts.push(draw("path", { d: line, class: "line", "data-line": key }));
    }
  }
  let shown = rows[rows.length - 1];
  if (plot.pointer != null && rows.length) {
    const distance = (row) => Math.abs(x(row.at) - plot.pointer);
    shown = rows.reduce((best, row) => (distance(row) < distance(best) ? row : best));
    parts.push(draw("line", { x1: x(shown.at), x2: x(shown.at), y1: top, y2: height - bottom, class: "pointer" }));
  }
  write(plot.when, plot.pointer != null && shown ? `${time(now - shown.at)} ago` : "");
  plot.lines.forEach(([key], i) => write(plot.values[i], plot.say(shown?.[key])));
  const words = plot.lines.map(([key, name]) => `${name} ${plot.say(rows[rows.length - 1]?.[key])}`).join(", ");
  mark(plot.svg, { height, viewBox: `0 0 ${width} ${height}`, "aria-label": `${plot.title}, ${plot.unit}, now: ${words}. Highest of the scale: ${plot.say(highest)}.` });
  plot.svg.replaceChildren(...parts);
}

// The same by half minutes, for who sees no plot.
function listPlots(rows) {
  const now = rows.length ? rows[rows.length - 1].at : 0;
  const mean = (some, key) => {
    const values = some.map((row) => row[key]).filter((value) => value != null);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  };
  const lines = [];
  for (let ago = 0; ago < span; ago += 30000) {
    const some = rows.filter((row) => row.at <= now - ago && row.at > now - ago - 30000);
    const highest = (key) => (some.length ? Math.max(...some.map((row) => row[key])) : null);
    lines.push([`${ago / 1000} to ${ago / 1000 + 30}`, rate(mean(some, "in")), rate(mean(some, "out")), brief(highest("pending")), seconds(highest("oldest"))]);
  }
  table(at("plot-table"), "Means of throughput, and highest backlog and age, by half minutes", ["Seconds ago", "In per second", "Out per second", "Backlog", "Oldest"], lines);
}

// Puts a state into the page.

function total(list, value) {
  return list.reduce((sum, item) => sum + value(item), 0);
}

const alarm = (n, tone = "bad") => [count(n), n > 0 ? tone : "quiet"];

function say(level, text, detail) {
  mark(at("verdict"), { "data-level": level });
  write(at("verdict-text"), text);
  write(at("verdict-detail"), detail);
  document.title = `${text} – relay`;
}

function show(state) {
  const { signals, listeners } = state;
  const names = signals.map((s) => s.signal);
  mark(document.body, { "data-stale": null });
  say(state.verdict.level, state.verdict.text, state.verdict.detail);
  write(at("endpoint"), state.endpoint ? `to ${state.endpoint}` : "");
  write(at("about"), `opentelemetry-spool ${state.version}, up for ${time(state.uptime)}`);

  const all = series("");
  const last = all[all.length - 1];
  const oldest = signals.map((s) => s.oldest).filter((age) => age != null);
  const [lost, rejected] = [total(signals, (s) => s.lost_total), total(signals, (s) => s.rejected)];
  const tiles = [
    ["In", rate(last?.in), "records per second"],
    ["Out", rate(last?.out), "records per second"],
    ["Backlog", brief(total(signals, (s) => s.pending)), "records that wait"],
    ["Oldest", oldest.length ? time(Math.max(...oldest)) : "–", "in the spool"],
    ["On disk", size(state.disk_bytes), state.max_bytes == null ? "used" : `of ${size(state.max_bytes)}`],
    ["Lost", brief(lost), "records", lost > 0 ? "bad" : "quiet"],
    ["Rejected", brief(rejected), "records", rejected > 0 ? "warning" : "quiet"],
  ];
  once(at("tiles"), tiles.length, () => tiles.map(() => make("div", {}, make("dt"), make("dd"), make("dd", { class: "unit" }))));
  tiles.forEach(([name, value, unit, tone], i) => {
    const tile = at("tiles").children[i];
    mark(tile, { "data-tone": tone });
    [name, value, unit].forEach((text, j) => write(tile.children[j], text));
  });

  once(at("signal"), names, () => ["", ...names].map((name) => make("option", { value: name }, name || "all")));
  at("choice").hidden = names.length < 2;
  plotAll();

  const errors = signals.filter((s) => s.last_error != null);
  at("errors").hidden = errors.length === 0;
  once(at("error-list"), errors.map((s) => s.signal), () => errors.map(() => make("div", { class: "error" }, make("p"), make("pre"))));
  errors.forEach((s, i) => {
    const [about, words] = at("error-list").children[i].children;
    const now = { working: "delivery works now", failing: "it is retried", held: "held until an operator acts" }[s.delivery];
    write(about, `${s.signal}, ${s.last_error_age == null ? "" : `${time(s.last_error_age)} ago, `}${now}`);
    write(words, s.last_error);
  });

  const rows = (lines) => lines.map(([name, value]) => [name, ...signals.map(value)]);
  table(at("delivery"), "Records and requests by signal", ["Measure", ...names], rows([
    ["State", (s) => ({ working: s.recovering ? "recovering" : "works", failing: ["fails", "warning"], held: ["held", "bad"] })[s.delivery]],
    ["Accepted records", (s) => count(s.accepted)],
    ["Delivered records", (s) => count(s.delivered)],
    ["Waiting records", (s) => count(s.pending)],
    ["Oldest record", (s) => time(s.oldest)],
    ["Partitions", (s) => count(s.partitions)],
    ["Rejected records", (s) => alarm(s.rejected, "warning")],
    ["Unconfirmed records", (s) => alarm(s.unconfirmed, "warning")],
    ["Probed records", (s) => alarm(s.probed, null)],
    ["Thinned records", (s) => alarm(s.thinned, null)],
    ["Filtered records", (s) => alarm(s.filtered, null)],
    ["Requests", (s) => count(s.requests)],
    ["Retried requests", (s) => alarm(s.retries, null)],
    ["Failed requests", (s) => alarm(s.failed_requests, "warning")],
    ["Requests in flight", (s) => count(s.in_flight)],
    ["Failed commits", (s) => alarm(s.failed_commits)],
    ["Segments", (s) => count(s.segments)],
  ]));
  table(at("losses"), "Lost records by reason and signal", ["Reason", ...names], [
    ...rows(LOSSES.map(([reason, meaning]) => [[reason, meaning], (s) => alarm(s.lost[reason])])),
    ["all", ...signals.map((s) => alarm(s.lost_total))],
  ]);

  const taken = listeners.flatMap((listener) => [
    { group: `${listener.name} – ${count(listener.open)} open of ${count(listener.connections)} connections` },
    ...listener.intakes.map((intake) => {
      const reasons = DROPS.map(([reason]) => reason).filter((reason) => intake.dropped[reason] > 0);
      const words = reasons.map((reason) => `${reason} ${count(intake.dropped[reason])}`).join(", ");
      const not = words ? [words, reasons.join() === "duplicate" ? null : "warning"] : ["0", "quiet"];
      return [intake.protocol, intake.signal ?? "unknown", count(intake.records), size(intake.bytes), not];
    }),
  ]);
  table(at("listeners"), "Records that listeners took, by protocol and signal", ["Protocol", "Signal", "Records", "Size", "Not taken"], taken);
  const intakes = listeners.flatMap((listener) => listener.intakes);
  const kinds = [...names, null].filter((name) => intakes.some((intake) => intake.signal === name));
  const drops = DROPS.map(([reason, meaning]) => {
    const of = (kind) => total(intakes.filter((intake) => intake.signal === kind), (intake) => intake.dropped[reason] ?? 0);
    return [[reason, meaning], ...kinds.map((kind) => alarm(of(kind), reason === "duplicate" ? null : "warning"))];
  });
  at("dropped-section").hidden = kinds.length === 0;
  table(at("dropped"), "Messages by reason and signal", ["Reason", ...kinds.map((kind) => kind ?? "unknown")], drops);

  const keys = signals.flatMap((s) => (s.keys ?? []).map(([key, pending]) => [key === "" ? "(none)" : key, s.signal, count(pending)]));
  at("keys-section").hidden = !signals.some((s) => s.keys);
  table(at("keys"), "Waiting records by partition", ["Partition", "Signal", "Records"], keys);
}

function plotAll() {
  const rows = series(at("signal").value);
  for (const plot of PLOTS) {
    plot.rows = rows;
    paint(plot);
  }
  listPlots(rows);
}

// Asking.

async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

async function loadHistory() {
  const history = await ask("/history.json");
  span = history.span;
  moments.clear();
  for (const [signal, rows] of Object.entries(history.signals)) moments.set(signal, rows);
}

let newest = -1; // The moment of the last state. A lower one is that of a relay that was restarted.

async function poll() {
  try {
    const state = await ask("/status.json");
    if (newest < 0 || state.uptime < newest) await loadHistory();
    newest = state.uptime;
    remember(state);
    show(state);
  } catch (error) {
    newest = -1;
    mark(document.body, { "data-stale": "" });
    say("bad", "relay does not answer", `The figures below are the last that it gave. ${error.message}`);
  }
}

async function run() {
  await poll();
  setTimeout(run, PERIOD);
}

at("plots").append(...PLOTS.map(prepare));
at("signal").addEventListener("change", plotAll);
addEventListener("resize", plotAll);
// A page in the background is woken seldom, so its plots have gaps, which the relay's history fills.
document.addEventListener("visibilitychange", () => { newest = -1; });
run();
